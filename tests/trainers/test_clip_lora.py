"""CLIP-LoRA beyond the golden numbers: what is updated, for how long, and what cannot be built."""

import pytest
import torch

from trainers.clip_lora import Steps

NODE = "TRAINER.CLIPLORA."


def test_it_starts_at_zero_shot_clip(build):
    image = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = build("zsclip", "DATASET.TEMPLATE", "a photo of a {}.")(image)
        for model in (build("clip_lora"), build("clip_lora").eval()):
            torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)


def test_what_is_updated(build):
    learner = build("clip_lora").prompt_learner
    assert list(learner.text) == ["0", "1"] and list(learner.image) == ["0", "1", "2"]
    assert {tuple(layer) for layer in learner.text.values()} == {("q", "k", "v")}
    assert learner.text["0"]["q"].scale == pytest.approx(2**-0.5)
    learner = build("clip_lora", NODE + "LAYERS", [2, 1], NODE + "PARTS", ["o"], NODE + "RANK", 4).prompt_learner
    assert list(learner.text) == ["1"] and list(learner.image) == ["1", "2"]
    assert learner.image["2"]["o"].a.shape == (4, 64) and learner.image["2"]["o"].scale == 0.5


def test_every_template_is_plain(build):
    """As in the authors' code, whatever the data set; DATASET.TEMPLATE is still the user's."""
    words = {}
    for template in ("", "art of a {}"):
        options = ("DATASET.NAME", "EuroSAT", "DATASET.TEMPLATE", template)
        words[template] = build("clip_lora", *options).prompt_learner.sequences.tokenized_prompts
    plain = build("clip_lora", "DATASET.TEMPLATE", "a photo of a {}.").prompt_learner.sequences.tokenized_prompts
    assert torch.equal(words[""], plain) and not torch.equal(words["art of a {}"], plain)


def test_dropout_is_off_in_evaluation(build):
    model = build("clip_lora")
    for parameter in model.prompt_learner.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(model(image), model(image))
        model.prompt_learner.eval()  # what Dassl puts into evaluation mode
        assert torch.equal(model(image), model(image))


def test_each_class_has_its_own_dropout_in_training_alone(build):
    """Tokens that all classes begin with are then one for each class, so that each gets a mask."""
    model = build("clip_lora")
    learner, tokens = model.prompt_learner, model.prompt_learner()
    everything = sum(n * length for n, length in zip(*tokens.groups))

    def tokens_in_layer_0():
        seen = []
        hook = learner.text["0"]["k"].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
        with torch.no_grad():
            model.encode_text()
        hook.remove()
        return sum(seen)

    assert tokens_in_layer_0() == everything > len(tokens.x)
    learner.eval()
    assert tokens_in_layer_0() == len(tokens.x)
    assert build("clip_lora", NODE + "DROPOUT", 0.0).prompt_learner.apart(0, tokens) is tokens


def test_steps_are_counted_by_shots(make_trainer):
    """Of 36 images of 6 classes: 6 shots, 4 batches of 8 a pass."""
    trainer = make_trainer("CLIPLoRA", NODE + "ITERATIONS", 5, "OPTIM.MAX_EPOCH", 4)
    assert len(trainer.train_loader_x) == 8  # 5 * 6 / 4, rounded
    assert len(make_trainer("CLIPLoRA", NODE + "ITERATIONS", 1, "OPTIM.MAX_EPOCH", 100).train_loader_x) == 1


def test_steps_go_pass_after_pass():
    seen = []

    class Loader:
        dataset = "images"

        def __iter__(self):
            seen.append("pass")
            return iter("abc")

    steps = Steps(Loader(), 7)
    assert "".join(steps) == "abcabca" and len(steps) == 7 and steps.dataset == "images"
    assert len(seen) == 3 and "".join(steps) == "abcabca"
