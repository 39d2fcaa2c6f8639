"""MMRL++ beyond the golden numbers: what a target has of its source, and tokens that remember."""

import torch

from tests.trainers.methods import METHODS

OPTIONS = METHODS["mmrl_pp"].options


def test_a_target_has_the_beta_of_the_source(make_trainer, tmp_path):
    options = (*OPTIONS, "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True)
    source = make_trainer("MMRLpp", *options, output=tmp_path / "source")
    source.model.prompt_learner.beta.fill_(0.3)
    source.train()
    test = make_trainer("MMRLpp", *options, output=tmp_path / "target")
    assert abs(test.model.prompt_learner.beta.item() - 0.9) < 1e-6
    test.load_model(str(tmp_path / "source"))
    assert abs(test.model.prompt_learner.beta.item() - 0.3) < 1e-6


def test_what_a_layer_has_made_of_its_tokens_goes_on(build):
    """All of it at beta 0: then the maps of the layers behind the first do nothing; at 1 they are all."""
    image = torch.randn(2, 3, 32, 32)
    for beta, changes in ((0.0, False), (0.5, True), (1.0, True)):
        model = build("mmrl_pp", "TRAINER.MMRLPP.LAYER", 0, "TRAINER.MMRLPP.BETA", beta)
        with torch.no_grad():
            before = model.encode_image(image), model.encode_text()
            for maps in (model.prompt_learner.to_image, model.prompt_learner.to_text):
                maps.biases[-1].add_(1.0)
            after = model.encode_image(image), model.encode_text()
        assert [not torch.equal(a, b) for a, b in zip(before, after)] == [changes, changes]
