"""A run's folder becomes a model that says of pictures what the run's test said."""

import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from inference import api
from inference.api import load_run
from tests.dassl.test_classes import SAME
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


@pytest.fixture
def model(run):
    return load_run(run(METHODS["zsclip"])[0])


NOISE = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NO_PICTURES = {  # what is passed -> what is said of it
    "uint8": (lambda image: NOISE, "of uint8 is not what `transform` makes, .3, 32, 32. of float32"),
    "any uint8": (lambda image: [NOISE[:, :9]], "A tensor .3, 9, 32. of uint8"),
    "0 to 255": (lambda image: NOISE.float(), "of float32 from 0 to 255 is not normalised as the run's pictures are"),
    "0 to 1": (lambda image: NOISE / 255, "from 0 to 1 is not normalised"),
    "0 to 1, resized": (lambda image: (NOISE / 255).roll(1, 1) / 2 + NOISE / 511, "is not normalised"),
    "one colour of 0 to 1": (lambda image: torch.full((3, 32, 32), 100 / 255), "is not normalised"),
    "-1 to 1": (lambda image: NOISE / 25.5 - 5, "is not normalised"),
    "small": (lambda image: image[:, :16], "A tensor .3, 16, 32. of float32 is not what"),
    "grey": (lambda image: image[:1], "A tensor .1, 32, 32."),
    "H, W, 3": (lambda image: image.permute(1, 2, 0), "A tensor .32, 32, 3."),
    "a batch of others": (lambda image: image[None, :, :9], "A tensor .3, 9, 32."),
    "a batch in a list": (lambda image: [image[None]], "A tensor .1, 3, 32, 32."),
    "five": (lambda image: image[None, None], "A tensor .1, 1, 3, 32, 32."),
    "no axis": (lambda image: torch.tensor(1.0), "A tensor .. of float32"),
    "ints": (lambda image: image.long(), "of int64"),
    "complex": (lambda image: image.to(torch.complex64), "of complex64"),
    "sparse": (lambda image: image.to_sparse(), "is not what"),
    "NaN": (lambda image: image.where(image > 0, torch.tensor(float("nan"))), "infinite or NaN"),
    "infinite": (lambda image: image / 0, "infinite or NaN"),
    "array": (lambda image: NOISE.permute(1, 2, 0).numpy(), "a uint8 array of NumPy, .32, 32, 3. .Image.fromarray"),
    "arrays": (lambda image: [image, image.numpy()], "a float32 array of NumPy"),
    "none": (lambda image: [], "There is no picture in what was passed"),
    "an empty batch": (lambda image: image[None][:0], "There is no picture"),
    "None": (lambda image: None, "A picture cannot be a NoneType: pass paths, PIL images, or"),
    "a list of lists": (lambda image: [["a.png"]], "cannot be a list"),
    "a number": (lambda image: 5, "cannot be a int"),
    "bytes": (lambda image: b"a.png", "cannot be a bytes"),
    "an open file": (lambda image: io.BytesIO(b"a\nb"), "cannot be a BytesIO"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture(model, name):
    make, said = NO_PICTURES[name]
    what = make(model.transform(Image.fromarray(NOISE.permute(1, 2, 0).numpy())))
    for look in (model.predict, model.logits, model.encode_image):
        with pytest.raises(UserError, match=said):
            look(what)
    if isinstance(what, list) and what and not isinstance(what[0], list):
        assert isinstance(list(model.stream(what))[-1][1], UserError)


@given(st.integers(1, 4), st.sampled_from([torch.float32, torch.float64, torch.float16]), st.booleans(), st.integers(0))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_transform_makes_is_taken(model, n, dtype, flat, seed):
    """Alone, in a list, as a batch and in a stream, of any float type; also pictures of one colour."""
    rng = np.random.RandomState(seed % 2**32)
    pixels = rng.randint(0, 256, (n, 1, 1, 3) if flat else (n, 40, 50, 3)) + np.zeros((n, 40, 50, 3), int)
    pictures = [Image.fromarray(p.astype(np.uint8)) for p in pixels]
    expected, images = model.logits(pictures), torch.stack([model.transform(p) for p in pictures]).to(dtype)
    for given_images in (images, list(images), iter(images)):
        torch.testing.assert_close(model.logits(given_images), expected, atol=0.3, rtol=0)
    assert [best[0] for _, best in model.stream(pictures, top=1)] == [best[0] for best in model.predict(pictures, 1)]


def test_a_stream_is_of_many_pictures(model):
    for paths in ("a.png", b"a.png", Path("a.png"), None, 5):
        with pytest.raises(UserError, match="paths are a list or another iterable"):
            next(model.stream(paths))
    for options in ({"batch_size": 0}, {"batch_size": 2.5}, {"top": 0}, {"top": "2"}, {"top": True}):
        with pytest.raises(UserError, match="ask for 1 or more"):
            list(model.stream([Image.new("RGB", (8, 8))], **options))


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


def test_folders_are_decoded_once_beside_a_gpu(run, tmp_path, monkeypatch):
    """Lists of files that have not changed, to the same bits; a list with what is no picture is not kept."""
    folder, _ = run(METHODS["zsclip"], "STORE.DIR", "")
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    monkeypatch.setattr("trainers.features.stored_pictures.pays", lambda device: True)
    read, original = [], api.read_image
    monkeypatch.setattr(api, "read_image", lambda path: read.append(path) or original(path))
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path, pixels in zip(paths, np.random.RandomState(0).randint(0, 256, (6, 40, 50, 3), np.uint8)):
        Image.fromarray(pixels).save(path)
    expected = torch.stack([load_run(folder).transform(original(path)) for path in paths])

    def images():
        read.clear()
        lists = load_run(folder).read([*paths, tmp_path / "none.png"], batch_size=3)
        found = [image for batch in lists for _, image in batch]
        assert isinstance(found.pop(), UserError) and torch.equal(torch.stack(found), expected)
        return len(read) - 1

    assert [images(), images()] == [6, 0]
    for block in (tmp_path / "store").glob("pixels-*/*.features"):
        block.write_bytes(block.read_bytes()[:-40])
    assert [images(), images()] == [6, 0]
    expected[1] = expected[0]
    shutil.copy(paths[0], paths[1])
    assert [images(), images()] == [3, 0]
    assert len(list(load_run(folder).read([Image.new("RGB", (8, 8)), paths[0], None]))[0]) == 3


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


def test_a_runs_own_names_may_be_alike(run, tmp_path, capsys):
    """As two classes of ImageNet are."""
    folder, test = run(METHODS["zsclip"])
    metrics = json.loads((tmp_path / "output/metrics.json").read_text())
    metrics["classnames"][1] = "Cat"
    (tmp_path / "output/metrics.json").write_text(json.dumps(metrics))
    for names in (None, metrics["classnames"]):
        assert load_run(folder, names).classnames[:2] == ["cat", "Cat"]
        assert (
            'has classes that CLIP reads alike, so that they have one prompt: "cat" and "Cat"'
            in capsys.readouterr().err
        )


def test_what_cannot_be(run, tmp_path):
    folder, test = run(METHODS["coop"], "TRAINER.COOP.CSC", True)
    with pytest.raises(UserError, match="class"):
        load_run(folder, ["owl", "box"])
    with pytest.raises(MissingFile, match="is no folder of a run, as it has no config.yaml"):
        load_run(tmp_path)
    for names in ("owl", [], [""], ["owl", 5], [None], [b"owl"]):
        with pytest.raises(UserError, match="classnames are a list of texts, one or more, and not "):
            load_run(folder, names)
    for name, other in SAME:
        with pytest.raises(UserError) as error:
            load_run(folder, ["ox", name, other])
        assert str(error.value).startswith(f'CLIP reads "{name}" and "{other}" alike, so that they have one prompt')
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
