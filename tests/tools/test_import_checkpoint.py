import re
import sys

import pytest
import torch

from tools import import_checkpoint
from tools.import_checkpoint import convert_sep, sep_name
from trainers.prompting import checkpoint
from trainers.prompting.errors import UserError


def test_names():
    assert sep_name("ctx") == "ctx"
    assert sep_name("prompt_projections.0.scale1") == "text_enhancer.1.scale_1"
    assert sep_name("visual_prompts.2.mlp_pa_visual.c_fc1.weight", [3, 6, 9]) == "image_enhancer.9.mlp_in.weight"
    for unused in (
        "visual_prompts.11.scale1",  # twelfth of eleven
        "prompt_projections.3.ln_pa_1_token.weight",
        "meta_net_.scale1",
        "VPT_fc.weight",
        "token_prefix",
    ):
        assert sep_name(unused) is None


def test_converted_file_loads_into_sep(tmp_path, monkeypatch, make_trainer):
    trainer = make_trainer("SEP", output=tmp_path / "run")
    ours = {name: value.clone() for name, value in trainer.model.prompt_learner.state_dict().items()}
    back = {"text_enhancer": "prompt_projections", "image_enhancer": "visual_prompts"}
    parts = {v: k for k, v in import_checkpoint._PARTS.items()}
    theirs = {"token_prefix": torch.zeros(1), "VPT_fc.weight": torch.zeros(6, 32)}
    for name, value in ours.items():
        stack, _, rest = name.partition(".")
        if stack in back:
            layer, _, part = rest.partition(".")
            leaf = next(p for p in parts if part == p or part.startswith(p + "."))
            name = f"{back[stack]}.{int(layer) - 1}.{parts[leaf]}{part[len(leaf) :]}"
        theirs[name] = value.half() + 1
    source, target = str(tmp_path / "theirs.pth"), str(tmp_path / "new" / "prompt_learner" / "model.pth.tar-50")
    torch.save({"state_dict": theirs, "epoch": 50}, source)
    monkeypatch.setattr(sys, "argv", ["import_checkpoint.py", source, target])
    import_checkpoint.main()
    trainer.load_model(str(tmp_path / "new"))
    assert trainer.checkpoints.trained_epochs == 50
    for name, value in trainer.model.prompt_learner.state_dict().items():
        assert torch.equal(value, (ours[name].half() + 1).float()), name
    with pytest.raises(UserError, match="mode.*an imported one, which can be tested but not resumed"):
        make_trainer("SEP", "OPTIM.MAX_EPOCH", 50, output=tmp_path / "new").resume_model_if_exist("")
    assert convert_sep(checkpoint.read(source)["state_dict"]).keys() == ours.keys()


@pytest.mark.parametrize(
    "state, ours, sentence",
    [
        (
            {"state_dict": {"ctx": torch.zeros(2)}, "epoch": 50},
            "model.pth.tar-5",
            "which is 50: call it model",
        ),
        ({"state_dict": {"weight": torch.zeros(2)}, "epoch": 5}, "model.pth.tar-5", 'no checkpoint of SEP.* no "ctx"'),
        ({"state_dict": {"ctx": torch.zeros(2)}}, "model.pth.tar-5", '"epoch" in it is missing'),
        (None, "model.pth.tar-5", 'theirs.pth" does not exist'),
    ],
)
def test_what_cannot_be_imported(tmp_path, monkeypatch, capsys, state, ours, sentence):
    source, target = tmp_path / "theirs.pth", tmp_path / ours
    if state is not None:
        torch.save(state, source)
    monkeypatch.setattr(sys, "argv", ["import_checkpoint.py", str(source), str(target)])
    with pytest.raises(SystemExit) as ended:
        import_checkpoint.main()
    error = capsys.readouterr().err
    assert ended.value.code == 1 and error.count("\n") == 1 and re.search(sentence, error) and not target.exists()
