"""PromptSRC beyond the golden numbers: the aggregate and the ensemble."""

import zlib

import numpy as np
import pytest
import torch

from tests.tiny import CLASSNAMES
from trainers.prompting.model import encode_prompts
from trainers.prompting.templates import IMAGENET_TEMPLATES, PROMPTSRC_TEMPLATES
from trainers.promptsrc import gaussian_weights
from trainers.run import checkpoint

NODE = "TRAINER.PROMPTSRC."
DEPTHS = (NODE + "PROMPT_DEPTH_TEXT", 2, NODE + "PROMPT_DEPTH_VISION", 3)
GAUSSIAN = (NODE + "GPA_MEAN", 2, NODE + "GPA_STD", 1)


# ---- aggregation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_epochs", "mean", "std"), [(20, 15, 1), (20, 6, 10), (50, 30, 30), (50, 45, 5)])
def test_weights_are_a_gaussian_over_epochs_from_one(n_epochs, mean, std):
    density = np.exp(-0.5 * ((np.arange(1, n_epochs + 1) - mean) / std) ** 2)
    weights = gaussian_weights(n_epochs, mean, std)
    np.testing.assert_allclose(weights, density / density.sum(), rtol=1e-12, atol=0)
    assert weights.argmax() == mean - 1


def test_weights_sum_to_one_however_far_the_mean():
    weights = gaussian_weights(5, 500, 1)
    assert weights.sum() == pytest.approx(1) and weights.argmax() == 4


def test_final_prompts_are_the_weighted_sum(make_trainer, tmp_path):
    """In the model, in the last checkpoint and in the test; checkpoints before it hold the epoch's own prompts."""
    trainer = make_trainer("PromptSRC", *DEPTHS, *GAUSSIAN, "TRAIN.CHECKPOINT_FREQ", 1, "TEST.SAVE_PREDICTIONS", True)
    learner, seen, after_epoch = trainer.model.prompt_learner, [], trainer.after_epoch

    def spy():
        seen.append({name: value.clone() for name, value in learner.state_dict().items()})
        after_epoch()

    trainer.after_epoch = spy
    trainer.train()

    saved = [
        checkpoint.read(str(tmp_path / "output" / "prompt_learner" / f"model.pth.tar-{epoch}"))["state_dict"]
        for epoch in (1, 2, 3)
    ]
    weights = gaussian_weights(3, 2, 1).tolist()
    assert len(saved[0]) == len(dict(learner.named_parameters())) == 5
    for name, value in learner.state_dict().items():
        expected = sum(w * prompts[name] for w, prompts in zip(weights, seen))
        torch.testing.assert_close(value, expected)
        assert not torch.allclose(value, seen[-1][name])
        assert torch.equal(saved[0][name], seen[0][name]) and torch.equal(saved[1][name], seen[1][name])
        assert torch.equal(saved[2][name], value)

    first = trainer.test_loader.dataset[0]["img"][None]
    with torch.no_grad(), trainer.text_encoded_once():
        logits = trainer.model_inference(first)
    predictions = np.load(tmp_path / "output" / "predictions.npz")["logits"]
    np.testing.assert_allclose(logits, predictions[:1], atol=1e-5)


# ---- ensemble of templates -----------------------------------------------------------------------------------


def test_templates_of_the_authors_code(build, tiny_clip):
    """60 of CLIP's 80, the same for every data set; a template of one's own takes the place of the plain photo."""
    assert len(PROMPTSRC_TEMPLATES) == 60 and set(PROMPTSRC_TEMPLATES) < set(IMAGENET_TEMPLATES)
    assert zlib.crc32("\n".join(sorted(PROMPTSRC_TEMPLATES)).encode()) == 0x230EDE65  # of their list
    theirs = encode_prompts(tiny_clip(), PROMPTSRC_TEMPLATES, CLASSNAMES, unit=False)
    assert torch.equal(build("promptsrc").hand_features, theirs)
    assert torch.equal(build("promptsrc", "DATASET.NAME", "OxfordPets").hand_features, theirs)
    own = ["a scan of {}" if t == "a photo of a {}." else t for t in PROMPTSRC_TEMPLATES]
    features = build("promptsrc", "DATASET.TEMPLATE", "a scan of {}").hand_features
    assert torch.equal(features, encode_prompts(tiny_clip(), own, CLASSNAMES, unit=False))
    assert not torch.allclose(features, theirs, atol=1e-5)
