"""Write a folder with a method of your own, which runs at once as the one that it is like does.

    python tools/new_method.py my_method --like CoOp     in my_method/, here
    METHOD_PATH=my_method bash scripts/any.sh my_method base2new_train shapes 1
    pytest my_method

Then change it: its file says where each idea goes. docs/your_own_method.md says how to go on.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.catalogue import OURS, Config, with_folders
from harness.errors import UserError, exit_with, fail
from harness.forks.content import Added, renamed
from harness.method_folders import FILE
from harness.whole_file import write_whole
from tests.trainers.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
LIKE = {method.trainer: method for method in OURS if method.trainer in ("CoOp", "MaPLe", "CLIPLoRA")}

ROW = """\
# What the harness knows of this method, without its code; docs/your_own_method.md lists all keys
name: {name}
trainer: {trainer}
paper: "unpublished" # or the number of arXiv
configs: # files of configs/; of the lines that fit a run the first is taken, on bundled data sets shapes.yaml
{configs}
"""
IDEAS = {  # what a comment stands before
    "DEFAULTS = method_defaults()": "Settings: a line for each, with its range; configs and KEY VALUE pairs set them",
    "class PromptLearner(": "What is learned: the parameters of this module are trained and saved, and no others",
    "class CustomCLIP(": "What is computed: override encode_text, encode_image, logits or losses where yours differs",
    "@TRAINER_REGISTRY.register()": "How it is trained: override what trainers.base.PromptTrainer does",
}
LOSSES = """
    def losses(self, image_features, text_features, logits, label):
        losses = super().losses(image_features, text_features, logits, label)
        # A loss of your own: losses["mine"] = weight * ..., a scalar. The sum of all is trained, and each is logged
        return losses
"""
TEST = '''\
"""{trainer} in the tests that all methods of the checkout pass: pytest on this folder, from anywhere."""

import os
import sys

sys.path.insert(0, os.environ.get("CHECKOUT", {root}))
from tests.trainers.own_method import battery  # noqa: E402

pytest_plugins = ["tests.conftest"]  # its fixtures

# Settings that fit the tests' CLIP, which has two layers for text and three for images, and what the method cannot do:
# `Method` in tests/trainers/methods.py lists that
globals().update(battery(__file__{row}))
'''


def files(name: str, like: str) -> dict:
    """Path in the folder -> content."""
    method = LIKE[like]
    trainer = "".join(part.capitalize() for part in name.split("_"))
    as_mine = Added(method, trainer)
    found = {
        f"{name}.py": code(method, as_mine),
        FILE: ROW.format(name=name, trainer=trainer, configs="\n".join(map(_line, method.configs))),
        f"test_{name}.py": TEST.format(trainer=trainer, root=json.dumps(str(ROOT)), row=_row(method, as_mine)),
    }
    for config in sorted({"shapes", *(line.name for line in method.configs)}):
        text = (ROOT / method.config_folder / f"{config}.yaml").read_text(encoding="utf-8")
        found[f"configs/{config}.yaml"] = f"# {trainer}, with the settings of\n{renamed(text, as_mine)}"
    return found


def code(method, as_mine) -> str:
    """The file of our method under another name, with a comment where each idea goes."""
    text = renamed((ROOT / f"trainers/{method.folder}.py").read_text(encoding="utf-8"), as_mine)
    text = re.sub(r"^from \.", "from trainers.", text, flags=re.M)
    text = re.sub(r'(require_vit\()"[^"]+"', rf'\1"{as_mine.name}"', text)
    text = re.sub(rf'(class {as_mine.name}\(\w+\):\n    """).*?"""', rf'\1{as_mine.name}."""', text)
    doc = f"{as_mine.name}: say here what it computes, and from which source. So far it is {method.trainer}:"
    text = f'"""{doc}\n\n' + text.removeprefix('"""')
    text = text.replace("\n\n\n@TRAINER_REGISTRY", f"\n{LOSSES}\n\n@TRAINER_REGISTRY", 1)
    for place, idea in IDEAS.items():
        text = text.replace(f"\n{place}", f"\n# {idea}\n{place}", 1)
    return text


def _line(config: Config) -> str:
    parts = [f"file: {config.name}"]
    parts += [f"protocol: {config.protocol}"] * bool(config.protocol)
    for key in ("datasets", "shots"):
        names = getattr(config, key).split()
        parts += [f"{key}: [{', '.join(names)}]"] * bool(names)
    return f"  - {{{', '.join(parts)}}}"


def _row(method, as_mine) -> str:
    """What sets it apart from other methods in the battery, as arguments."""
    row = METHODS[method.folder]._asdict()
    default = type(METHODS[method.folder])("", "")._asdict()
    row["options"] = tuple(renamed(part, as_mine) if isinstance(part, str) else part for part in row["options"])
    own = {key: value for key, value in row.items() if value != default[key]}
    return "".join(
        f", {key}={value!r}" for key, value in own.items() if key not in ("trainer", "config_node", "file")
    ).replace("'", '"')


def write(name: str, like: str, folder: Path) -> None:
    """Write folder/name, which must not be there. Raises UserError."""
    place = folder / name
    if place.exists():
        raise UserError(f"{place} is there already: choose another name, or another folder with --to.")
    if not re.fullmatch(r"[a-z]\w*", name, re.ASCII):
        raise UserError(f'A method cannot be called "{name}": take small letters, digits and _, such as my_method.')
    for path, text in files(name, like).items():
        write_whole(place / path, text.encode())
    try:
        with_folders(str(place))
    except UserError:  # the name is taken
        shutil.rmtree(place)
        raise


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="what commands will call it")
    parser.add_argument("--like", choices=LIKE, required=True, help="what it starts from")
    parser.add_argument("--to", metavar="FOLDER", type=Path, default=Path(), help="where to put NAME/ (default: here)")
    args = parser.parse_args(argv)
    try:
        write(args.name, args.like, args.to)
    except UserError as error:
        return fail(error, 2)
    print(f"{args.to / args.name}: {args.name}.py has a comment where each idea goes. Try it:")
    print(f"  METHOD_PATH={args.to / args.name} bash {ROOT}/scripts/any.sh {args.name} base2new_train shapes 1")
    return 0


if __name__ == "__main__":
    exit_with(main)
