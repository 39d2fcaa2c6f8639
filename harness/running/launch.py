"""One run, as a script asks for it: refuse it, skip it, or become train.py, new or resumed.

    python harness sep base2new_train caltech101 1 [KEY VALUE ...]

is what scripts/sep/base2new_train.sh calls. Environment, all optional; a relative path is relative to the folder that
the script is called from:

    DATA     folder that holds the data sets          (default: data in the checkout)
    OUTPUT   folder for results                       (default: output in the checkout)
    CFG      a file of configs/trainers/<Trainer>, without .yaml (default: the method's for data set and protocol)
    METHOD_PATH  folders of your own methods, with ":" between (docs/your_own_method.md)
    DATASET_PATH folders of your own data sets, likewise (docs/your_own_data.md)
    SHOTS    training images per class                (default: 16; few_shot.sh takes its third argument instead)
    SOURCE   xd_test.sh: what the model was trained on (default: imagenet)
    LOADEP   epoch of the checkpoint to test          (default: the last one)
    FORCE    1 deletes the run's folder and starts over
    PYTHON   the interpreter                          (default: the checkout's .venv, otherwise python)

Exit code: 0 done, or done before; 2 wrong arguments; otherwise train.py's own, or 1.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

from .. import catalogue, layout, records
from ..command_line import given, parse_args
from .protocols import Job

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Refused(Exception):
    """A sentence for the user, and the exit code."""

    def __init__(self, code: int, sentence: str):
        super().__init__(sentence)
        self.code = code


class Environment(NamedTuple):
    """The variables above, checked as far as they are the same for all runs of a script."""

    data: str
    output: str
    cfg: str = ""
    load_epoch: str = ""
    force: bool = False


class Plan(NamedTuple):
    """What is to be done for a run: print `message`, then call train.py with `arguments`, unless they are None."""

    message: str
    arguments: Optional[list[str]]
    replaces: str = ""  # folder to delete before
    teacher: Optional[Job] = None  # that must be trained before


# ---- environment and arguments ---------------------------------------------------------------------------------


def read_environment(environ: dict[str, str]) -> Environment:
    """Raises Refused if LOADEP is no number."""
    here = environ.get("PWD", "")
    if not os.path.isdir(here) or not os.path.samefile(here, "."):
        here = os.getcwd()

    def folder(name, default):
        value = environ.get(name) or os.path.join(ROOT, default)
        return os.path.join(here, os.path.expanduser(value))

    load_epoch = environ.get("LOADEP", "")
    if load_epoch:
        number("LOADEP", load_epoch)
    if not environ.get("DATA"):
        with contextlib.suppress(OSError):  # of a checkout that cannot be written to
            os.makedirs(os.path.join(ROOT, "data"), exist_ok=True)  # so that Shapes, which is drawn, has a place
    force = environ.get("FORCE") == "1"
    cfg = environ.get("CFG", "")
    return Environment(folder("DATA", "data"), folder("OUTPUT", "output"), cfg, load_epoch, force)


def number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused(2, f'{name} must be a whole number, not "{text}"')
    return int(text)


def method_of(name: str) -> catalogue.Method:
    """The method of that name. Raises Refused, with all names, if there is none."""
    try:
        return catalogue.method(name)
    except KeyError:
        known = ", ".join(method.folder for method in catalogue.METHODS)
        raise Refused(2, f'no method "{name}"; there are {known}') from None


def need_config(what: str, name: str, folder: str, others: Iterable[str] = ()):
    """Raises Refused, with the nearest and all names, unless folder/name.yaml exists, below the checkout.

    others: names that lie elsewhere.
    """
    path = os.path.join(ROOT, folder)
    known = sorted(n[:-5] for n in (os.listdir(path) if os.path.isdir(path) else []) if n.endswith(".yaml"))
    known += others
    if name in known:
        return
    import difflib  # here, since only this message needs it

    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}; " if near else ""
    raise Refused(2, f'no {what} "{name}" in {folder}; {hint}available: {", ".join(known) or "none"}')


def need_dataset(name: str):
    need_config("data set", name, "configs/datasets", catalogue.OWN_DATASETS)


def need_protocol(method, protocol: str):
    """Raises Refused if the method does not have it."""
    if not method.has(protocol):
        raise Refused(2, method.refusal(protocol))


def check_pairs(pairs: Sequence[str], where: str):
    """Raises Refused for what would contradict the folder of a run: pairs that it stands for, and flags."""
    for key in pairs[::2]:
        instead = layout.DECIDES.get(key.strip(" \t\"'").upper())
        if instead:
            raise Refused(2, f"{where} takes no pair {key}: {instead}")
        if key.startswith("-"):
            raise Refused(2, f"{where} takes no flag {key}, only KEY VALUE pairs: config keys and their values")


# ---- one run -----------------------------------------------------------------------------------------------------


def plan(job: Job, pairs: Sequence[str], environment: Environment) -> Plan:
    """What to do for a run. Raises Refused."""
    need_dataset(job.dataset)
    need_dataset(job.source)
    trainer = job.method.trainer
    if job.method.on_target and job.dataset in sum(catalogue.DOMAIN_SHIFTS.values(), []):
        raise Refused(2, f"{trainer} learns from a data set's training images, and {job.dataset} has test images alone")
    own = catalogue.OWN_DATASETS.get(job.dataset)
    if own and own.shift_of and job.step.script != "xd_test":
        what = f"{own.name} is a domain shift of {own.shift_of}, of which test images alone are read"
        raise Refused(2, f"{what}: xd_test.sh tests a model of {own.shift_of} on it")
    base_key = job.method.base_key
    if environment.cfg and base_key and base_key in pairs[::2]:
        raise Refused(2, f"CFG={environment.cfg} says what {trainer} wraps, too: leave out {base_key}, or CFG")
    cfg = job.config(pairs, environment.cfg)
    need_config("config", cfg, job.method.config_folder)
    folder = job.place(cfg, pairs).below(environment.output)
    arguments = [
        *("--root", own.home if own else environment.data, "--seed", str(job.seed), "--trainer", trainer),
        *("--dataset-config-file", own.file if own else f"{ROOT}/configs/datasets/{job.dataset}.yaml"),
        *("--config-file", os.path.join(ROOT, job.method.config_folder, f"{cfg}.yaml")),
        *("--output-dir", folder),
    ]
    given_pairs, teacher = _teacher_found(job, pairs, environment)
    all_pairs = [*given_pairs, "DATASET.NUM_SHOTS", str(job.shots), "DATASET.SUBSAMPLE_CLASSES", job.step.classes]
    replaces = folder if environment.force and os.path.isdir(folder) else ""
    if job.needs:
        model = job.needs.place(cfg, pairs).below(environment.output)
        return _plan_test(job, model, folder, arguments, all_pairs, environment)._replace(replaces=replaces)
    record = {} if environment.force else records.record_of(folder)
    epoch = 0 if environment.force else layout.last_epoch(folder)
    if records.is_imported(record):
        arguments += ["--eval-only", "--model-dir", folder]
    elif not job.method.learns:
        arguments.append("--eval-only")
    arguments += all_pairs
    if records.is_imported(record) and not records.has_result(record):
        message = f"testing the imported model: {folder}"
    elif records.is_trained(record) and records.early_epoch(record):
        message = f"the earlier result is of epoch {records.early_epoch(record)}, so it is replaced: {folder}"
    elif records.is_trained(record):
        skipped = _skip(folder, record, arguments)
        if skipped:
            return skipped
        message = f"finished before, with other files or pairs given; comparing all settings: {folder}"
    elif not job.method.learns:
        nothing = f" ({trainer} has nothing to train)" if not job.step.needs else ""
        message = f"testing{nothing}: {folder}"
    elif epoch:
        message = f"resuming after epoch {epoch}: {folder}"
    else:
        message = f"training: {folder}"
    return Plan(message, arguments, replaces, teacher)


def _teacher_found(job, pairs, environment):
    """The pairs with a run's folder in the place of a trainer to learn from, and what is to be trained before.

    A test needs no teacher. Raises Refused for a trainer that has no config to teach with.
    """
    key = job.method.teacher_key
    if not key:
        return pairs, None
    named = dict(zip(pairs[::2], pairs[1::2])).get(key)
    if named in catalogue.TRAINERS and named not in job.method.teachers:
        choice = ", ".join(job.method.teachers)
        raise Refused(2, f"{key} can be {choice} or the folder of a run, but not {named}, which has no config for it")
    others = [text for pair in zip(pairs[::2], pairs[1::2]) if pair[0] != key for text in pair]
    if job.needs:
        return others, None
    teacher = job.teacher(pairs)
    if not teacher:
        return pairs, None
    folder = teacher.place(teacher.config()).below(environment.output)
    return [*others, key, folder], None if records.is_trained(records.record_of(folder)) else teacher


def _skip(folder, record, arguments) -> Optional[Plan]:
    """The plan to do nothing, if a finished run was given the same; None if train.py has to compare all settings."""
    args = parse_args(arguments)
    now, then = given(args), record.get("given", {})
    backbone = dict(zip(args.opts[::2], args.opts[1::2])).get("MODEL.BACKBONE.NAME", "")
    if {**then, "root": ""} != {**now, "root": ""} or records.backbone_has_changed(record, backbone):
        return None
    return Plan(records.finished_already(folder, record, args.root), None)


def _plan_test(job, model, folder, arguments, pairs, environment) -> Plan:
    command = f"bash {job.needs.command}"
    if job.source != job.dataset:
        command += " (or set SOURCE to what the model was trained on)"
    epoch, record = layout.last_epoch(model), records.record_of(model)
    if not epoch:
        raise Refused(1, f"no trained model in {model}; run first, with the same settings: {command}")
    if not environment.load_epoch and not records.is_trained(record):
        raise Refused(1, f"training in {model} stopped after epoch {epoch}; finish it first: {command}")

    load = ["--load-epoch", environment.load_epoch] if environment.load_epoch else []
    arguments = [*arguments, "--eval-only", "--model-dir", model, *load, *pairs]
    message = f"testing: {folder}"
    earlier = {} if environment.force else records.record_of(folder)
    if not records.is_tested(earlier):
        return Plan(message, arguments)
    tested = earlier.get("model_dir")
    if tested and not layout.same_run(tested, model):
        raise Refused(
            1,
            f"{folder} has the result of another model, {tested}: FORCE=1 replaces it by that of {model}; "
            "to keep both, give this SOURCE an OUTPUT of its own",
        )
    wanted = int(environment.load_epoch) if environment.load_epoch else records.final_epoch(record)
    if wanted not in (None, earlier.get("epoch")) or (not environment.load_epoch and records.early_epoch(earlier)):
        return Plan(f"the earlier result is of epoch {earlier.get('epoch')}, so it is replaced\n{message}", arguments)
    if _newer(model, folder):
        return Plan(f"the model is newer than the earlier result, so it is replaced\n{message}", arguments)
    return _skip(folder, earlier, arguments) or Plan(message, arguments)


def _newer(model, folder) -> bool:
    """Whether the model's record was written after the test's."""
    try:
        return records.written_at(model) > records.written_at(folder)
    except FileNotFoundError:  # LOADEP may test a model whose training has not ended
        return False


def need_writable(folders: Iterable[str], environment: Environment):
    """Raises Refused unless runs can write into their folders, which need not be there, and OUTPUT, which is made."""
    output = place = environment.output
    try:
        os.makedirs(output, exist_ok=True)
        for place in dict.fromkeys(map(there, [output, *folders])):
            try_writing(place)
    except OSError as error:
        raise Refused(
            2, f"{place} cannot be written to ({error.strerror}): mend that, or set OUTPUT to another folder"
        ) from error


def there(path: str) -> str:
    """The path itself, or the nearest folder above it that exists."""
    return path if os.path.lexists(path) else there(os.path.dirname(path))


def try_writing(folder: str):
    """Write a file in a folder, and take it away; neither permissions nor `os.access` tell of a full disk.

    Raises OSError.
    """
    import tempfile  # here, since a run that is skipped does without it

    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(4096))


def clear(folder: str):
    """Delete a run's folder. Raises Refused if a process is at work in it, or if it cannot be deleted."""
    from .lock import holder  # here, since a run that is skipped does without it

    sentence = holder(folder)
    if sentence:
        raise Refused(1, sentence)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise Refused(1, f"{error.filename or folder} cannot be deleted ({error.strerror}): mend that") from error


def command_of(plan: Plan, environment: Environment) -> list[str]:
    """Print the plan, clear its folder, and return the command to run; empty if there is nothing to do.

    Raises Refused if that folder cannot be written to.
    """
    if plan.arguments is not None:
        need_writable([parse_args(plan.arguments).output_dir], environment)
    print(plan.message, flush=True)
    if plan.replaces:
        clear(plan.replaces)
    return [] if plan.arguments is None else [sys.executable, f"{ROOT}/train.py", *plan.arguments]
