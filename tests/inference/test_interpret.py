"""Nearest words against closed forms and NumPy, and the tokens that SEP chooses against CLIP's own blocks."""

import numpy as np
import pytest
import torch
from PIL import Image

from inference.api import TrainedModel
from inference.interpret import chosen_tokens, nearest_words
from tests.golden.formula import clip_state_dict
from tests.tiny import CLASSNAMES, GEOMETRY
from tests.trainers.methods import METHODS
from trainers.errors import UserError
from trainers.precision import Precision
from trainers.prompting.prompt_text import n_tokens, tokenize

WORDS = ["cat", "red", "photo", "of", "the", "blue", "a", "star"]
SEP = [name for name in METHODS if "sep" in name.split("-")]


@pytest.fixture
def trained(build, make_cfg):
    """trained(row of methods.py, KEY, value, ...) -> a TrainedModel with the method's start as what was trained."""

    def make(name, *options):
        row = METHODS[name]
        cfg = make_cfg(row.trainer, *row.options, *options)
        return TrainedModel("", cfg, build(name, *options), Precision("fp32", "cpu"), torch.device("cpu"))

    return make


@pytest.fixture
def embedding(tiny_clip):
    return tiny_clip().token_embedding.weight.detach()


def put(parameter, words, embedding):
    """Let context tokens (n, width) be the embeddings of words."""
    assert all(n_tokens(word) == 1 for word in words)
    parameter.data.copy_(embedding[tokenize(words)[:, 1]])


# Those that learn nothing in the place of words
WITHOUT = {
    "zsclip",
    "clip_lora",
    "two_sfs",
    "mma",
    "mma_pp",
    "mmrl",
    "mmrl_pp",
    "skip_tuning",
    "tipadapter",
    "tipadapter_f",
    "linear_probe",
    "promptkd",
}

# ---- what is declared is what the text encoder gets


@pytest.mark.parametrize("name", METHODS)
def test_context_tokens_are_what_enters_the_text_encoder(name, build, monkeypatch):
    model = build(name).eval()
    contexts, seen = model.context_tokens(), {}
    assert (contexts == {}) == (name in WITHOUT)
    if not contexts:
        return
    encode = model.text_encoder.forward

    def in_the_place(x, n):
        return x.read(1, 1 + n)[x.rows.argsort()]

    def spy(tokens, before_layer=None):
        n = contexts[0].shape[-2]
        seen[0] = in_the_place(tokens, n)

        def hook(i, x):
            new = x if before_layer is None else before_layer(i, x)
            if not torch.equal(in_the_place(x, n), in_the_place(new, n)):
                seen[i] = in_the_place(new, n)
            return new

        return encode(tokens, hook)

    monkeypatch.setattr(model.text_encoder, "forward", spy)
    with torch.no_grad():
        f = model.encode_image(torch.randn(2, 3, 32, 32).clamp(-1.5, 1.5))
        model.encode_text(f) if model.text_depends_on_image else model.encode_text()
        if name in SEP:
            assert list(contexts) == [0] and "Before layer 1 they are merged" in model.context_note
            assert list(seen) == [0, 1]  # and those of layer 1 differ from class to class
        else:
            assert contexts.keys() == seen.keys()
    for layer, context in contexts.items():
        entered = seen[layer]
        if name == "cocoop":  # each image's vector on top
            added = entered - context
            assert (added - added[:, :1]).abs().max() < 1e-6 and not torch.equal(added[0], added[-1])
            assert "each image" in model.context_note
        else:
            wanted = context if context.dim() == 3 else context.expand(len(CLASSNAMES), -1, -1)
            assert torch.equal(entered, wanted)


# ---- nearest words


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT])
def test_contexts_made_of_words_are_those_words_at_no_distance(name, trained, embedding):
    model = trained(name)
    learner, expected = model._model.prompt_learner, []
    mapped = name.startswith("hicropl")  # behind the input, what enters is made of the parameters
    for layer, parameter in enumerate([learner.ctx, *([] if mapped else getattr(learner, "deep_ctx", []))]):
        words = [WORDS[(layer + i) % len(WORDS)] for i in range(len(parameter))]
        put(parameter, words, embedding)
        expected += [(layer, None, number, word) for number, word in enumerate(words, start=1)]
    shared = [token for token in nearest_words(model, top=2) if token.classname is None and token.layer <= layer]
    assert [(*token[:3], token.words[0].word) for token in shared] == expected
    for token in shared:
        assert token.words[0].distance == 0 < token.words[1].distance


def test_each_class_has_its_words(trained, embedding):
    model = trained("coop", "TRAINER.COOP.CSC", True, "TRAINER.COOP.N_CTX", 2)
    ctx = model._model.prompt_learner.ctx
    for i in range(len(CLASSNAMES)):
        put(ctx[i], [WORDS[i], WORDS[i + 1]], embedding)
    found = [(token.classname, token.number, token.words) for token in nearest_words(model, top=1)]
    assert found == [(name, 1 + j, [(WORDS[i + j], 0.0)]) for i, name in enumerate(CLASSNAMES) for j in range(2)]


def test_class_aware_tokens(trained):
    model = trained("tcp")
    found = [token[:3] for token in nearest_words(model)]
    n = METHODS["tcp"].module.DEFAULTS.N_CTX.default
    shared = [(0, None, number) for number in range(1, 1 + n)]
    assert found == [*shared, *((1, name, number) for name in CLASSNAMES for number in range(1, 1 + n))]


def test_the_nearest_by_numpy(trained, embedding):
    model = trained("kgcoop")
    ctx = model._model.prompt_learner.ctx
    torch.manual_seed(3)
    ctx.data.normal_(std=0.02)
    table = embedding.double().numpy()
    for token, vector in zip(nearest_words(model, top=7), ctx.detach().double().numpy()):
        distances = np.sort(np.sqrt(((table - vector) ** 2).sum(axis=1)))[:7]
        np.testing.assert_allclose([word.distance for word in token.words], distances, rtol=1e-5)


def test_only_words_that_the_backbone_was_trained_on(trained, embedding, tmp_path):
    rows = tokenize(WORDS)[:, 1].sort().values
    state = clip_state_dict(g=GEOMETRY)
    del state["token_embedding.weight"]
    state.update(
        {"token_embedding.rows": rows, "token_embedding.values": embedding[rows], "vocab_size": torch.tensor(49408)}
    )
    torch.save(state, tmp_path / "some_words.pt")
    model = trained("kgcoop", "MODEL.BACKBONE.NAME", str(tmp_path / "some_words.pt"))
    generator = torch.Generator().manual_seed(0)
    filled = torch.randn(embedding.shape, generator=generator) * 0.02  # what the loader fills in, see MODEL_CARD.md
    ctx = model._model.prompt_learner.ctx
    ctx.data.copy_(filled[[i for i in range(len(filled)) if i not in rows][: len(ctx)]])
    for token in nearest_words(model, top=1000):
        assert {word.word for word in token.words} == set(WORDS) and token.words[0].distance > 0


# ---- chosen tokens


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.mark.parametrize("name", SEP)
@pytest.mark.parametrize("layers", [[], [2]])
def test_chosen_tokens_with_the_blocks_of_clip(name, layers, trained, tiny_clip, picture):
    model = trained(name, "TRAINER.SEP.LAYERS", layers)
    image = model.transform(Image.open(picture))[None]
    learner, visual = model._model.prompt_learner, tiny_clip().visual
    expected = {}
    with torch.no_grad():
        before = model.encode_image(picture)
        patches = torch.nn.functional.unfold(image, 8, stride=8)[0].t() @ visual.conv1.weight.flatten(1).t()
        x = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
        x = visual.ln_pre(torch.cat([x, learner.ctx_visual]))
        for layer, block in enumerate(visual.transformer.resblocks):
            if layer in (layers or [1, 2]):
                power = [float((row.double() ** 2).sum()) for row in x[:17]]
                expected[layer] = sorted(range(17), key=lambda i: -power[i])[:4]
                fused = learner.image_enhancer[str(layer)](x[expected[layer]][None], x[None, 17:])[0]
                x = torch.cat([x[:17], fused])
            x = block(x[:, None])[:, 0]
    chosen = chosen_tokens(model, picture)
    assert chosen.layers == expected and chosen.grid == 4
    assert torch.equal(model.encode_image(picture), before)  # looking changes nothing


def test_the_part_that_the_model_saw(trained, picture):
    model = trained("sep")
    for given in (picture, Image.open(picture)):
        seen = chosen_tokens(model, given).image
        assert seen.size == (32, 32)
        *_, normalize = model.transform.transforms
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1) / 255
        torch.testing.assert_close(normalize(pixels), model.transform(Image.open(picture)))
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    deep, plain = (chosen_tokens(model, Image.fromarray(x)).image for x in (ramp, (ramp // 257).astype(np.uint8)))
    assert np.array_equal(deep, plain)


@pytest.mark.parametrize("name", ["coop", "maple"])
def test_methods_that_choose_nothing(name, trained, picture):
    with pytest.raises(UserError, match=f"{METHODS[name].trainer} chooses none of an image's tokens"):
        chosen_tokens(trained(name), picture)
