"""A protocol over methods, data sets and seeds becomes a list of runs, and what each needs done before it."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from .. import catalogue
from ..layout import PARTS, VARIANT, Place

PROTOCOLS = ("base2new", "joint", "xd", "dg", "few_shot")
SEEDS = (1, 2, 3)
SHOTS = 16
FEW_SHOT = (1, 2, 4, 8, 16)  # shots of the few-shot protocol


class Step(NamedTuple):
    """What one script does: a training, or the test of another step's model."""

    script: str  # scripts/<method>/<script>.sh
    folder: str  # a key of layout.PARTS
    arguments: str  # names of its positional arguments
    purpose: str  # a sentence about {method}
    untrained: str  # the same for a method that learns nothing
    needs: str = ""  # the step whose model it tests
    on_target: str = ""  # a sentence about {method} where it is `on_target`, and needs no other step

    @property
    def protocol(self) -> str:
        return PARTS[self.folder].protocol

    @property
    def classes(self) -> str:
        return PARTS[self.folder].classes


_NOTHING = "(it has nothing to train)"
STEPS = {
    step.script: step
    for step in (
        Step(
            "base2new_train",
            "base2new/train_base",
            "DATASET SEED",
            "Train {method} on the base classes of a data set and test it on them.",
            f"Test {{method}} on the base classes of a data set {_NOTHING}.",
        ),
        Step(
            "base2new_test",
            "base2new/test_new",
            "DATASET SEED",
            "Test the {method} model of base2new_train.sh on the new classes of its data set.",
            "Test {method} on the new classes of a data set.",
            needs="base2new_train",
        ),
        Step(
            "base2new_joint",
            "base2new/test_joint",
            "DATASET SEED",
            "Test the {method} model of base2new_train.sh on base and new classes at once.",
            "Test {method} on base and new classes at once.",
            needs="base2new_train",
        ),
        Step(
            "xd_train",
            "xd/train",
            "DATASET SEED",
            "Train {method} on all classes of a source data set (the papers': imagenet) and test it on them.",
            f"Test {{method}} on all classes of a source data set {_NOTHING}.",
        ),
        Step(
            "xd_test",
            "xd/test",
            "TARGET SEED",
            "Test the {method} model of xd_train.sh on another data set: cross-dataset and domain generalization.",
            "Test {method} on all classes of a target data set: cross-dataset and domain generalization.",
            needs="xd_train",
            on_target="Train {method} on a target's unlabelled images, by a teacher of the source, and test it there.",
        ),
        Step(
            "few_shot",
            "few_shot",
            "DATASET SEED SHOTS",
            "Train {method} on a few images of each class of a data set and test it on all classes.",
            f"Test {{method}} on all classes of a data set {_NOTHING}.",
        ),
    )
}
REPRODUCE = "reproduce"  # the script of a whole protocol
REPRODUCE_PURPOSE = "Run a whole protocol with {method} (PROTOCOL={protocols}) and print its table."


def steps_of(method: catalogue.Method) -> list[Step]:
    """The steps that it has, as they are for it."""
    steps = [step for step in STEPS.values() if method.has(step.protocol)]
    if not method.on_target:
        return steps
    left_out = {step.needs for step in steps if step.on_target}
    own = [step._replace(needs="", purpose=step.on_target) if step.on_target else step for step in steps]
    return [step for step in own if step.script not in left_out]


def step_of(method: catalogue.Method, script: str) -> Step:
    """A step as it is for a method; one that it does not have is as for others."""
    return next((step for step in steps_of(method) if step.script == script), STEPS[script])


def protocols_of(method: catalogue.Method) -> list[str]:
    return [protocol for protocol in PROTOCOLS if method.has(protocol)]


class Job(NamedTuple):
    """One run: a step of a method on a data set. `source` is what its model is trained on."""

    step: Step
    method: catalogue.Method
    dataset: str
    seed: int
    shots: int
    source: str
    variant: str = ""  # of a sweep: its settings differ from the config's by overrides of this name
    teaches: bool = False  # trained to be learned from, with a config of its own for that

    @property
    def script(self) -> str:
        return self.method.script(self.step.script)

    @property
    def command(self) -> str:
        """Script and arguments, as a user types them."""
        shots = f" {self.shots}" if "SHOTS" in self.step.arguments else ""
        return f"{self.script} {self.dataset} {self.seed}{shots}"

    def config(self, pairs: Sequence[str] = (), named: str = "") -> str:
        """Stem of its config file. A test has its training's, which says the prompts' shape and the images' size.

        `named`: the config that the user asks for instead (CFG); a teacher keeps its own.
        """
        if self.teaches:
            return self.method.config(catalogue.TEACHER, self.source, self.shots)
        return named or self.method.config(self.step.protocol, self.source, self.shots, pairs)

    def teacher(self, pairs: Sequence[str] = ()) -> Optional["Job"]:
        """The training that this one learns from; None if it does not, or if the pairs name a folder."""
        trainer = self.method.teacher(pairs)
        if not trainer or self.step.needs:
            return None
        job = self._replace(method=catalogue.method_of(trainer))
        if self.step.on_target:
            job = job._replace(step=STEPS["xd_train"], dataset=self.source)
        taught = job._replace(teaches=True)
        return job if job.config() == taught.config() else taught  # where they are one config, they are one run

    @property
    def needs(self) -> Optional["Job"]:
        """The training whose model this run tests; None if it trains, or if the method learns nothing."""
        if not self.step.needs or not self.method.learns:
            return None
        return self._replace(step=STEPS[self.step.needs], dataset=self.source)

    def place(self, cfg: str, pairs: Sequence[str] = ()) -> Place:
        """Where it lives. If it learns from another teacher than the default one, it is a variant named after that."""
        teacher = self.method.teacher(pairs)
        for variant in (teacher if teacher not in self.method.teachers[:1] else "", self.variant):
            cfg += variant and VARIANT + variant
        return Place(self.step.folder, self.dataset, str(self.shots), self.method.trainer, cfg, self.seed)


def make_job(
    step: str, method: catalogue.Method, dataset: str, seed: int, shots: int = SHOTS, source: str = "imagenet"
) -> Job:
    """`source` counts for xd_test alone: all others train on, or are trained on, their own data set."""
    return Job(step_of(method, step), method, dataset, seed, shots, source if step == "xd_test" else dataset)


class Series(NamedTuple):
    """A protocol of one method, over data sets and seeds; `grid.series_of` makes one of what a user leaves out."""

    protocol: str
    method: catalogue.Method
    datasets: Sequence[str]  # of xd and dg the targets
    seeds: Sequence[int]
    shots: Sequence[int]  # several for few_shot alone; otherwise the first counts
    source: str  # of xd and dg, what the models are trained on


def jobs_of(series: Series) -> list[Job]:
    """All runs of a series in an order that may be run: each behind what it needs, all of one seed before the next."""
    protocol, method, datasets, seeds, shots, source = series
    jobs = []
    for seed in seeds:
        if protocol in ("xd", "dg") and not method.on_target:
            jobs.append(make_job("xd_train", method, source, seed, shots[0]))
        for dataset in datasets:
            if protocol in ("base2new", "joint"):
                test = "base2new_test" if protocol == "base2new" else "base2new_joint"
                jobs += [make_job(step, method, dataset, seed, shots[0]) for step in ("base2new_train", test)]
            elif protocol == "few_shot":
                jobs += [make_job("few_shot", method, dataset, seed, n) for n in shots]
            else:
                jobs.append(make_job("xd_test", method, dataset, seed, shots[0], source))
    return jobs
