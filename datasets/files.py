"""Files of data sets: writing them whole, also where a data set is read-only, and saying how to get a missing one."""

import os
import re
import tempfile

GUIDE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "DATASETS.md")


def write_whole(path, save, mode="w"):
    """Call save(file) on a temporary file and rename it to `path`: others see the old file or the whole new one."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
    try:
        with os.fdopen(fd, mode, encoding=None if "b" in mode else "utf-8") as file:
            save(file)
        os.chmod(temporary, 0o644)  # mkstemp makes it private; others share the data set
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def keep(write, name, dataset_dir, output_dir, what):
    """Call write(path) for `name` in the data set's folder or, if that fails (read-only), below the output folder."""
    path = os.path.join(dataset_dir, name)
    try:
        write(path)
    except OSError as e:
        fallback = os.path.join(output_dir, name)
        print(f"Cannot write {path} ({e.strerror or e}); keeping {what} in {fallback}")
        write(fallback)


def require(dataset, dataset_dir, *names):
    """Raise FileNotFoundError, with the step of DATASETS.md that gets it, for the first of `names` that is missing."""
    for name in names:
        path = os.path.join(dataset_dir, name)
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"{dataset} needs {path}, which does not exist: {how_to_get(dataset, name)}, "
                "let tools/prepare_data.py do it, or pass another data root with --root."
            )


def how_to_get(dataset, name, guide=GUIDE):
    """The step in DATASETS.md's section `dataset` that names `name` (in backquotes), and its line number."""
    number, text = step_for(dataset, name, guide)
    if not text:
        return "DATASETS.md says how to get it"
    text = text.rstrip(".")
    return f"{text[0].lower()}{text[1:]} (DATASETS.md, line {number})"


def step_for(dataset, name, guide=GUIDE):
    """(line number, text) of the first step in DATASETS.md's section `dataset` that names `name`; (0, "") without."""
    try:
        with open(guide, encoding="utf-8") as f:
            lines = f.read().splitlines()
    except FileNotFoundError:
        lines = []
    section, step = None, None
    for number, line in enumerate([*lines, ""], start=1):
        if step and not line.startswith("   "):  # the step before this line is complete
            text = " ".join(part.strip() for part in step[1])
            if f"`{name}`" in text or f"`{name}/`" in text:
                return step[0], re.sub(r"^\d+\. ", "", text)
            step = None
        if line.startswith("## "):
            section = line[3:].strip()
        elif section == dataset and re.match(r"\d+\. ", line):
            step = (number, [line])
        elif step:
            step[1].append(line)
    return 0, ""
