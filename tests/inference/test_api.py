"""A run's folder becomes a model that says of pictures what the run's test said."""

import json
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from inference.api import load_run
from tests.tiny import CLASSNAMES
from tests.trainers.methods import METHODS
from trainers.errors import MissingFile, UserError
from trainers.prompting.model import PromptedCLIP


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_the_same_logits_as_the_test(run, row):
    folder, test = run(row)
    model = load_run(folder)
    assert model.classnames == CLASSNAMES and not model._model.training
    logits = model.logits(list(test["impaths"]))
    torch.testing.assert_close(logits, torch.from_numpy(test["logits"]), atol=2e-4, rtol=1e-4)
    best = model.predict(list(test["impaths"]), top=2)[0]
    assert best[0].classname == CLASSNAMES[int(test["logits"][0].argmax())]
    assert best[0].probability == pytest.approx(logits[0].softmax(0).max().item(), abs=1e-6)
    assert len(best) == 2 and best[0].probability >= best[1].probability
    if model.predicts_by_text and METHODS["cocoop"] is not row and not row.class_specific:
        f, g = model.encode_image(list(test["impaths"])), model.encode_text()
        torch.testing.assert_close(model._model.logit_scale.exp().detach() * f @ g.t(), logits, atol=2e-4, rtol=1e-4)


def test_a_run_from_before_there_was_another_activation(run, tmp_path):
    """Its config has no such key, its weights file does not say, and QuickGELU is what it was trained with."""
    folder, test = run(METHODS["kgcoop"])
    config = tmp_path / "output" / "config.yaml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if line.strip() != "ACTIVATION: quickgelu"))
    assert len(config.read_text().splitlines()) == len(lines) - 1
    logits = load_run(folder).logits(list(test["impaths"]))
    torch.testing.assert_close(logits, torch.from_numpy(test["logits"]), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("row", ["zsclip", "coop"])
def test_other_weights_under_the_same_name(run, row, weights, tmp_path):
    own = str(tmp_path / "clip.pt")
    shutil.copy(weights["vit"], own)
    folder, _ = run(METHODS[row], "MODEL.BACKBONE.NAME", own)
    load_run(folder)
    state = torch.load(own, weights_only=True)
    name = "visual.transformer.resblocks.1.mlp.c_fc.bias"
    torch.save({**state, name: state[name] + 1e-3}, own)
    with pytest.raises(UserError, match="is a run on other weights than .*clip.pt has now: put those back"):
        load_run(folder)


def test_pictures_of_any_kind(run):
    folder, test = run(METHODS["kgcoop"])
    model, path = load_run(folder), str(test["impaths"][0])
    with Image.open(path) as image:
        expected = model.logits(path)
        assert torch.equal(model.logits(image), expected)
        assert torch.equal(model.logits(model.transform(image)), expected)
        assert model.logits([path, image, model.transform(image)]).shape == (3, len(CLASSNAMES))


def test_pictures_of_16_bits_are_scaled_wherever_they_come_from(run, tmp_path, capsys):
    model = load_run(run(METHODS["zsclip"])[0])
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    expected = model.logits(Image.fromarray((ramp // 257).astype(np.uint8)))
    capsys.readouterr()
    assert torch.equal(model.logits(tmp_path / "deep.png"), expected)
    torch.testing.assert_close(model.logits([Image.fromarray(ramp)] * 2), expected.repeat(2, 1))
    assert torch.equal(model.logits(Image.open(tmp_path / "deep.png")), expected)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f'Warning: pictures such as "{tmp_path}/deep.png" (16 bits) are scaled to 8 bits by their own depth'
    ]


def test_other_classes(run):
    folder, test = run(METHODS["sep"])
    names = ["owl", "red cat", "box"]
    model = load_run(folder, names)
    assert model.classnames == names and model.logits(str(test["impaths"][0])).shape == (1, 3)
    whole = load_run(folder)
    torch.testing.assert_close(whole.encode_text(names), model.encode_text())
    torch.testing.assert_close(model.encode_text()[0], whole.encode_text()[CLASSNAMES.index("owl")])


def test_a_test_leads_to_the_model_that_it_tested(run, make_trainer, tmp_path):
    folder, _ = run(METHODS["kgcoop"])
    (tmp_path / "output").rename(tmp_path / "trained")
    tester = make_trainer(
        "KgCoOp", *METHODS["kgcoop"].options, "DATASET.SUBSAMPLE_CLASSES", "new", "OPTIM.MAX_EPOCH", 1
    )
    tester.load_model(str(tmp_path / "trained"))
    tester.test()
    (tmp_path / "output/config.yaml").write_text(tester.cfg.dump())
    tested, trained = load_run(folder), load_run(tmp_path / "trained", tester.dm.dataset.classnames)
    assert tested.classnames == tester.dm.dataset.classnames
    assert torch.equal(tested.encode_text(), trained.encode_text())


@pytest.mark.parametrize("name", ["e2mim", "dept"])
def test_threads_share_a_model(run, name):
    folder, test = run(METHODS[name])
    model, paths = load_run(folder), list(test["impaths"])
    expected, results = model.logits(paths), [None] * 4

    def look(i):
        results[i] = model.logits(paths)

    threads = [threading.Thread(target=look, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, expected) for result in results)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_stream(run, tmp_path, batch_size):
    folder, test = run(METHODS["zsclip"])
    model, paths = load_run(folder), [str(p) for p in test["impaths"]]
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    mixed = [paths[0], str(tmp_path / "damaged.png"), *paths[1:9], str(tmp_path / "none.png")]
    results = dict(model.stream(iter(mixed), top=1, batch_size=batch_size))
    assert list(results) == mixed
    assert isinstance(results[mixed[1]], UserError) and "cannot be decoded" in str(results[mixed[1]])
    assert isinstance(results[mixed[-1]], UserError) and "does not exist" in str(results[mixed[-1]])
    for path in paths[:9]:
        (best,) = results[path]
        assert best.classname == model.predict(path, top=1)[0][0].classname
    features = dict(model.stream(paths[:3], embed=True))
    torch.testing.assert_close(torch.stack(list(features.values())), model.encode_image(paths[:3]))


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # of which reading asks only whether the model needs its cores
@pytest.mark.parametrize("quick", [0.0, 10.0], ids=["by threads", "in turn"])
@pytest.mark.parametrize("norm", ["normalize", "instance_norm"])
def test_images_are_read_as_the_transform_makes_them(run, tmp_path, monkeypatch, device, quick, norm):
    model = load_run(run(METHODS["zsclip"], "INPUT.TRANSFORMS", [norm])[0])
    rng = np.random.RandomState(0)
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.randint(0, 256, (40 + 9 * i, 70, 3), dtype=np.uint8)).save(path)
    monkeypatch.setattr("inference.api.QUICK", quick)
    monkeypatch.setattr(model, "device", torch.device(device))
    lists = list(model.read([*paths, tmp_path / "none.png"], batch_size=3))
    assert [len(batch) for batch in lists] == [3, 3, 2]
    read = [pair for batch in lists for pair in batch]
    assert [path for path, _ in read] == [*paths, tmp_path / "none.png"] and isinstance(read.pop()[1], UserError)
    for path, image in read:
        with Image.open(path) as picture:
            assert torch.equal(image, model.transform(picture))


def test_text_is_encoded_once(run, monkeypatch):
    folder, test = run(METHODS["coop"])
    calls, encode_text = [], PromptedCLIP.encode_text
    monkeypatch.setattr(PromptedCLIP, "encode_text", lambda self: calls.append(1) or encode_text(self))
    model, paths = load_run(folder), [str(p) for p in test["impaths"]]
    assert len(list(model.stream(paths, batch_size=4))) == len(paths) and model.predict(paths) and len(calls) == 1


def test_a_stream_reads_only_a_little_ahead(run):
    """However many pictures there are."""
    folder, test = run(METHODS["zsclip"])
    asked = []

    def many():
        for _ in range(100):
            asked.append(1)
            yield str(test["impaths"][0])

    stream = load_run(folder).stream(many(), batch_size=4)
    for _ in range(12):
        next(stream)
    assert len(asked) <= 12 + 2 * 4


def test_what_cannot_be(run, tmp_path):
    folder, test = run(METHODS["coop"], "TRAINER.COOP.CSC", True)
    with pytest.raises(UserError, match="class"):
        load_run(folder, ["owl", "box"])
    with pytest.raises(MissingFile, match="is no folder of a run, as it has no config.yaml"):
        load_run(tmp_path)
    with pytest.raises(UserError, match='Class "owl" is named more than once'):
        load_run(folder, ["owl", "box", "owl"])
    with pytest.raises(UserError, match="top is 0"):
        load_run(folder).predict(str(test["impaths"][0]), top=0)
    with pytest.raises(MissingFile, match='"none.png" does not exist'):
        load_run(folder).predict("none.png")
    metrics = json.loads((tmp_path / "output/metrics.json").read_text())
    del metrics["classnames"]
    (tmp_path / "output/metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"does not say which classes it has \(metrics.json\): give their names"):
        load_run(folder)
    (tmp_path / "output/config.yaml").write_text("TRAINER: [")
    with pytest.raises(UserError, match="is no config of a run"):
        load_run(folder)
