"""Trainings of counted steps, whose epochs are not of one length, in one stage or two."""

import pytest
import torch

LAST_BATCH = ("DATALOADER.TRAIN_X.DROP_LAST", False)  # of the 36 images a pass is 5 batches of 8 then
BY_STEP = ("OPTIM.LR_STEP", "iteration", *LAST_BATCH)
# 12 steps in two epochs, the first a pass and a warm-up
ONE_STAGE = (*BY_STEP, "TRAINER.CLIPLORA.ITERATIONS", 2, "OPTIM.MAX_EPOCH", 2, "OPTIM.MIN_LR", 1e-4)
# 14 and 10 steps in two epochs each
TWO_STAGES = (*BY_STEP, "TRAINER.TWOSFS.ITERATIONS", 4, "OPTIM.MAX_EPOCH", 4, "OPTIM.NAME", "adamw", "OPTIM.LR", 0.02)
TWO_STAGES += ("OPTIM.WARMUP_EPOCH", 0)


@pytest.mark.parametrize(
    ("name", "options", "n", "lowest"),
    [
        ("CLIPLoRA", ONE_STAGE, 12, range(5)),
        ("TwoSFS", (*TWO_STAGES, "TRAINER.TWOSFS.PEFT", "ln"), 24, []),
        pytest.param("TwoSFS", (*TWO_STAGES, "TRAINER.TWOSFS.PEFT", "lora"), 24, [], marks=pytest.mark.long),
    ],
)
def test_a_killed_training_goes_on_as_it_would_have(make_trainer, tmp_path, name, options, n, lowest):
    """After any epoch: with the same weights, random numbers and learning rates, which are replayed by steps.

    lowest: the steps that have the warm-up's rate.
    """
    rates = {}

    def train(output, epochs):
        trainer = make_trainer(name, *options, output=tmp_path / output)
        trainer.max_epoch, seen = epochs or trainer.max_epoch, rates.setdefault(output, [])
        step = trainer.precision.step
        trainer.precision.step = lambda optim: (seen.append(optim.param_groups[0]["lr"]), step(optim))
        trainer.train()
        (tmp_path / output / "metrics.json").unlink()
        return trainer.max_epoch, trainer.trained.state_dict()

    n_epochs, whole = train("whole", None)
    for epochs in range(1, n_epochs + 1):
        _, cut = train("cut", epochs)
    assert rates["cut"] == rates["whole"] and len(rates["cut"]) == n
    assert [i for i, rate in enumerate(rates["cut"]) if rate == 1e-5] == list(lowest)
    if name == "TwoSFS":  # each stage begins at the full rate
        assert [i for i, rate in enumerate(rates["cut"]) if rate == 0.02] == [0, 14]
    assert all(torch.equal(cut[key], value) for key, value in whole.items())
