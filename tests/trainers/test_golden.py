"""Our methods against outputs of their authors' code, on weights made by a formula (tests/golden/README.md)."""

import json
import math
import re
from unittest import mock

import numpy as np
import pytest
import torch

from dassl.config import get_cfg_default
from tests.golden.compare import assert_theirs, golden, golden_images
from tests.golden.formula import fill
from tests.trainers import methods
from trainers.run.optimiser import optimiser_of
from zoo.convert import match

METHODS = {  # golden file: row of methods.py, and the keys of its node that the reference had otherwise
    "zsclip": ("zsclip", {}),
    "coop": ("coop", {"N_CTX": 4}),
    "cocoop": ("cocoop", {}),
    "kgcoop": ("kgcoop", {}),
    "prograd": ("prograd", {}),
    "prograd_conflicting": ("prograd", {}),  # with other labels
    "maple": ("maple", {}),
    "tcp": ("tcp", {}),
    "promptsrc": ("promptsrc", {}),
    "sep_paper": ("sep", {"VARIANT": "paper"}),
    "sep_released": ("sep", {"VARIANT": "released"}),
    "clip_lora": ("clip_lora", {"DROPOUT": 0.0}),
    "two_sfs": ("two_sfs", {}),
    "mma": ("mma", {"SCALE": 0.1}),
    "mma_pp": ("mma_pp", {"DROPOUT": 0.0, "SCALE": 0.1, "TEST_SCALE": 0.065}),
    "mmrl": ("mmrl", {}),
    "mmrl_pp": ("mmrl_pp", {}),
    "coprompt": ("coprompt", {"N_CTX": 4, "PROMPT_DEPTH": 12}),
    "hicropl_paper": ("hicropl", {}),
    "hicropl_released": ("hicropl", {"VARIANT": "released"}),
    "skip_tuning": ("skip_tuning", {}),
}
# Names of methods whose public checkpoints are not imported: regular expression of theirs, ours, of a layer, and by how
# much ours is behind in numbering it
NAMES = {
    "CLIPLoRA": (
        (r"transformer\.resblocks\.(\d+)\.attn\.(.)_proj\.w_lora_A", "text.{}.{}.a", 0),
        (r"transformer\.resblocks\.(\d+)\.attn\.(.)_proj\.w_lora_B", "text.{}.{}.b", 0),
        (r"visual\.transformer\.resblocks\.(\d+)\.attn\.(.)_proj\.w_lora_A", "image.{}.{}.a", 0),
        (r"visual\.transformer\.resblocks\.(\d+)\.attn\.(.)_proj\.w_lora_B", "image.{}.{}.b", 0),
    ),
    "TwoSFS": ((r"(visual\..+)", "image.{}", 0), (r"(transformer\..+)", "text.{}", 0)),
    "MMA": (
        (r"text_adapter\.(\d+)\.down\.0\.(\w+)", "down.text.{}.{}", 5),
        (r"visual_adapter\.(\d+)\.down\.0\.(\w+)", "down.image.{}.{}", 5),
        (r"text_adapter\.(\d+)\.up\.(\w+)", "up.text.{}.{}", 5),
        (r"visual_adapter\.(\d+)\.up\.(\w+)", "up.image.{}.{}", 5),
        (r"shared_adapter\.(\d+)\.0\.(\w+)", "shared.{}.{}", 5),
    ),
    "MMRL": (
        (r"representation_learner\.compound_rep_tokens", "rep_tokens", 0),
        (r"representation_learner\.compound_rep_tokens_r2tproj\.(\d+)\.(\w+)", "to_text.{}.{}", 0),
        (r"representation_learner\.compound_rep_tokens_r2vproj\.(\d+)\.(\w+)", "to_image.{}.{}", 0),
        (r"image_encoder\.proj_rep", "proj_rep", 0),
    ),
    "MMRLpp": (
        (r"representation_learner\.compound_rep_tokens", "rep_tokens", 0),
        *(
            entry
            for theirs, ours in (("t", "text"), ("v", "image"))
            for entry in (
                (rf"representation_learner\.srra_r2{theirs}proj\.weight", f"to_{ours}.weight", 0),
                (rf"representation_learner\.srra_r2{theirs}proj\.srra\.(\d+)\.A", f"to_{ours}.own.{{}}.a", 0),
                (rf"representation_learner\.srra_r2{theirs}proj\.srra\.(\d+)\.B", f"to_{ours}.own.{{}}.b", 0),
                (rf"representation_learner\.srra_r2{theirs}proj\.srra\.(\d+)\.bias", f"to_{ours}.biases.{{}}", 0),
            )
        ),
        (r"image_encoder\.A", "to_proj.a", 0),
        (r"image_encoder\.B", "to_proj.b", 0),
    ),
    "CoPrompt": (
        (r"prompt_learner\.ctx", "ctx", 0),
        (r"prompt_learner\.compound_prompts_text\.(\d+)", "deep_ctx.{}", 0),
        (r"prompt_learner\.proj\.(\w+)", "couplings.0.{}", 0),
        (r"prompt_learner\.compound_prompt_projections\.(\d+)\.(\w+)", "couplings.{}.{}", -1),
        (r"adapter_(\w+)\.fc\.0\.weight", "adapters.{}.down.weight", 0),
        (r"adapter_(\w+)\.fc\.2\.weight", "adapters.{}.up.weight", 0),
    ),
    "HiCroPL": (
        (r"prompt_learner\.ctx", "ctx", 0),
        (r"prompt_learner\.cross_prompts_text\.(\d+)", "deep_ctx.{}", 1),
        (r"prompt_learner\.cross_prompts_visual\.(\d+)", "ctx_visual.{}", 0),
        (r"prompt_learner\.text_proxy_token\.(\d+)", "text_proxies.{}.query", 0),
        (r"prompt_learner\.visual_proxy_token\.(\d+)", "image_proxies.{}.query", 0),
        (r"prompt_learner\.attn_pooling_text_nets\.(\d+)\.(.+)", "text_proxies.{}.{}", 0),
        (r"prompt_learner\.attn_pooling_visual_nets\.(\d+)\.(.+)", "image_proxies.{}.{}", 0),
        (r"prompt_learner\.text2visual_net\.(?:linear_|ffn\.)?(.+)", "to_image.{}", 0),
        (r"prompt_learner\.visual2text_net\.(?:linear_|ffn\.)?(.+)", "to_text.{}", 0),
    ),
    "SkipTuning": ((r"image_encoder\.(.+)", "image.visual.{}", 0), (r"text_encoder\.(.+)", "text.{}", 0)),
    "ZeroshotCLIP": (),
}
NAMES["MMApp"] = NAMES["MMA"]
LOSS_PARTS = {
    "ce": "ce",
    "kg": "W_times_score",
    "kl": "kl",
    "text": "W_times_text_score",
    "visual": "W_V_times_visual_dist",
    "proto": "loss_ce_v",
    "scl_text": "loss_scl_text",
    "scl_image": "loss_scl_image",
    "scl_logits": "L_SCL_logits",
    "ce_rep": "ce_rep",
    "reg_image": "reg_image",
    "reg_text": "reg_text",
    "con_text": "con_text",
    "con_image": "con_image",
    "distill_text": "distill_text",
    "distill_image": "distill_image",
}


@pytest.fixture(scope="module")
def images():
    return golden_images()


def ours_of(method, reference):
    """Names of theirs -> ours."""
    if method not in NAMES:
        return {theirs: ours for theirs, (ours, _) in match("", method, reference)[0].items()}
    names = {}
    for theirs, ours, behind in NAMES[method]:
        for found in filter(None, (re.fullmatch(theirs, name) for name in reference)):
            names[found[0]] = ours.format(*(int(n) - behind if n.isdigit() else n for n in found.groups()))
    return names


class Case:
    """A method built as the reference was, with its outputs."""

    def __init__(self, name, clip_model, folder):
        self.info, self.expected = golden(name)
        row, keys = methods.METHODS[METHODS[name][0]], METHODS[name][1]
        cfg = get_cfg_default()
        cfg.DATASET.NAME, cfg.INPUT.SIZE, cfg.MODEL.BACKBONE.NAME = "Caltech101", (64, 64), "ViT-B/16"
        cfg.TRAINER[row.config_node].update(keys)
        if "sentences" in self.info:
            (folder / "sentences.json").write_text(json.dumps(self.info["sentences"]))
            cfg.TRAINER[row.config_node].SENTENCES = str(folder / "sentences.json")
        self.model = row.custom_clip(cfg, self.info["classnames"], clip_model).eval()
        self.names = {}  # reference name -> our name
        state = self.model.prompt_learner.state_dict()
        reference = {p["name"]: p for p in self.info["parameters"]}
        for theirs, ours in ours_of(row.trainer, reference).items():
            p = reference[theirs]
            assert tuple(state[ours].shape) == tuple(p["shape"])
            if "filled_from" in p:  # else it is CLIP's own, from which training starts
                state[ours] = fill(p["filled_from"], p["shape"])
            self.names[theirs] = ours
        ours = {name for name, _ in self.model.prompt_learner.named_parameters()}
        assert set(self.names.values()) == ours, "every parameter of ours is filled"
        self.model.prompt_learner.load_state_dict(state)
        if "logit_scale" in self.info:  # a number in their code
            self.model.logit_scale = torch.nn.Parameter(torch.tensor(math.log(self.info["logit_scale"])))
        if "kept_ranks" in self.expected:
            mask = torch.from_numpy(self.expected["kept_ranks"])
            self.model.training_only["kept"].load_state_dict({"mask": mask})
        if "VPT_fc.weight" in self.expected:
            prototypes = torch.from_numpy(self.expected["VPT_fc.weight"])
            self.model.training_only["prototypes"].weight.data.copy_(prototypes)

    def step(self, images, number=0):
        """Losses of a training step: CoPrompt's is on two views, the second mirrored, and on the sentences drawn.

        MMA++'s is on the sentences and the scale drawn in step `number`.
        """
        if "drawn" in self.info:
            drawn = (torch.tensor(self.info["drawn"][number]) + 0.5) / 3, torch.tensor(self.info["scales"][number])
            with mock.patch.object(torch, "rand", side_effect=drawn):
                return self.model(images, torch.tensor(self.info["labels"]))[1]
        if "sentence" in self.info:
            images = [images, images.flip(-1)]
            _draw(self.info["sentence"], len(self.info["sentences"]["accordion"]))
        return self.model(images, torch.tensor(self.info["labels"]))[1]


def _draw(number, of):
    """Seed the generator so that the next number u of [0, 1) that is drawn has floor(of * u) = number."""
    for seed in range(1000):
        torch.manual_seed(seed)
        if int(of * torch.rand(()).item()) == number:
            torch.manual_seed(seed)
            return


LONG = {"hicropl_released"}  # its predictions are those of the other variant


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in METHODS],
)
def case(request, golden_clip, tmp_path_factory):
    return Case(request.param, golden_clip, tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("n", [6, 3, 1])
def test_logits(case, images, n):
    with torch.no_grad():
        logits = case.model(images[:n])
    np.testing.assert_allclose(logits, case.expected[f"logits_eval{n}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["mmrl", "mmrl_pp"])
def test_logits_of_new_classes(golden_clip, images, tmp_path, name):
    """Those of the class token alone."""
    case = Case(name, golden_clip, tmp_path)
    case.model.seen_classes = False
    with torch.no_grad():
        np.testing.assert_allclose(case.model(images), case.expected["logits_new_eval6"], atol=1e-4, rtol=0)


def test_losses_and_gradients(case, images):
    if not case.names:
        pytest.skip("nothing to train")
    case.model.train()
    case.model.zero_grad()
    losses = case.step(images)
    case.model.backward(losses)
    assert sum(losses.values()).item() == pytest.approx(case.info["loss_total"], abs=1e-4)
    for name, value in losses.items():
        assert value.item() == pytest.approx(case.info["loss_parts"][LOSS_PARTS[name]], abs=1e-4), name

    parameters = dict(case.model.prompt_learner.named_parameters())
    for theirs, ours in case.names.items():
        gradient = parameters[ours].grad
        if theirs in case.info.get("without_gradient", ()):
            assert gradient is None, theirs
            continue
        assert_theirs(gradient, case.expected, "grad", theirs)


@pytest.mark.long
@pytest.mark.parametrize("name", ["hicropl_paper", "hicropl_released", "mmrl_pp"])
def test_five_steps(golden_clip, images, tmp_path, name):
    """Their losses, and a prediction behind them: "released" writes into what the optimiser moves."""
    case = Case(name, golden_clip, tmp_path)
    optim = case.info["cfg"]["OPTIM"]
    cfg = get_cfg_default()
    cfg.merge_from_list([part for key, value in optim.items() for part in (f"OPTIM.{key}", value)])
    case.model.train()
    optimiser, _ = optimiser_of(torch.nn.ModuleDict({"learner": case.model.prompt_learner}), cfg.OPTIM, range(51))
    for expected in case.expected["steps_loss"]:
        losses = case.step(images)
        assert sum(losses.values()).item() == pytest.approx(expected, rel=1e-3)
        optimiser.zero_grad()
        case.model.backward(losses)
        optimiser.step()
    with torch.no_grad():
        logits = case.model.eval()(images)
    np.testing.assert_allclose(logits, case.expected["steps_logits_eval6"], atol=1e-3, rtol=0)


@pytest.mark.long
def test_five_steps_of_clips_own_weights(golden_clip, images, tmp_path):
    """Of the one method whose weights are CLIP's, by its authors' optimiser at a hundred times their learning rates."""
    case, cfg = Case("skip_tuning", golden_clip, tmp_path), get_cfg_default()
    optim = ["NAME", "sgd", "LR", 2e-3, "STAGED_LR", True, "NEW_LAYERS", ["text"], "BASE_LR_MULT", 0.25]
    cfg.OPTIM.merge_from_list(optim)
    learner = case.model.prompt_learner
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    optimiser, _ = optimiser_of(
        torch.nn.ModuleDict({"prompt_learner": learner}), cfg.OPTIM, range(cfg.OPTIM.MAX_EPOCH + 1)
    )
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        losses.append(case.step(images)["ce"])
        losses[-1].backward()
        optimiser.step()
    np.testing.assert_allclose(torch.stack(losses).detach(), case.expected["steps_loss"], atol=1e-4)
    for theirs, ours in case.names.items():
        change = (learner.state_dict()[ours] - before[ours]).norm().item()
        assert change == pytest.approx(case.expected[f"change_norm/{theirs}"], rel=1e-3), theirs
    with torch.no_grad():
        np.testing.assert_allclose(case.model(images), case.expected["logits_after_5"], atol=1e-3)


def test_tokens(case):
    owner = case.model if hasattr(case.model, "sequences") else case.model.prompt_learner
    if hasattr(owner, "sequences"):
        tokens = owner.sequences.tokenized_prompts
        np.testing.assert_array_equal(tokens, case.expected["tokenized_prompts"])
    if "tokenized_texts" in case.expected:  # several of each class, cut where they are too long
        np.testing.assert_array_equal(case.model.texts.ids, case.expected["tokenized_texts"])
