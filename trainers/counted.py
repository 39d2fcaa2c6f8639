"""CountedTrainer: a training as long as its steps say, however many images and classes there are."""

from .base import PromptTrainer
from .run.steps import Steps, ends_of_epochs, steps_of_shots


class CountedTrainer(PromptTrainer):
    """ITERATIONS of its config node for each shot; with a `first_share`, in two stages.

    A stage begins with an epoch, and with OPTIM's whole schedule. The epochs are divided as the steps are, to the
    nearest, but each stage has one or more; a training of one epoch is a first stage alone.
    """

    first_share: float = 0.0  # of the steps, those of the first stage; 0: there are no stages

    @property
    def stages(self):
        epochs = self.cfg.OPTIM.MAX_EPOCH
        if not self.first_share or epochs == 1:
            return ()
        return (min(max(1, round(self.first_share * epochs)), epochs - 1),)

    def steps_done(self, per_pass):
        cfg, done = self.cfg, [0]
        total = steps_of_shots(cfg, self.dm.dataset, cfg.TRAINER[self.config_node].ITERATIONS)
        steps = [int(self.first_share * total) for _ in self.stages]
        steps.append(total - sum(steps))
        for n, first, last in zip(steps, [0, *self.stages], [*self.stages, cfg.OPTIM.MAX_EPOCH]):
            done += [done[-1] + end for end in ends_of_epochs(n, last - first, per_pass, cfg.OPTIM)[1:]]
        return done

    def build_model(self):
        super().build_model()
        print(f"{self.epoch_ends[-1]:,} steps in {self.cfg.OPTIM.MAX_EPOCH} epochs")
        self.train_loader_x = Steps(self.train_loader_x, self.epoch_ends)

    def before_epoch(self):
        super().before_epoch()
        self.train_loader_x.epoch = self.epoch
