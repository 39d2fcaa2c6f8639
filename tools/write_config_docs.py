"""Write docs/config.md: every config key with default, range and meaning, from the places that declare them.

python tools/write_config_docs.py            # after a change of a key
python tools/write_config_docs.py --check    # only say whether the page is stale, with exit code 1
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import datasets
import trainers
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from dassl.utils import import_all
from harness.catalogue import METHODS
from harness.config import flatten
from trainers.ranges import RANGES

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/config.md"
HEAD = """\
# Config keys

Written by `tools/write_config_docs.py` from the places that declare the keys: Dassl's in `dassl/config/defaults.py`, a
method's at the top of its file in `trainers/`, the ranges of Dassl's in `trainers/ranges.py`. A value outside of its
range is refused before anything is built; a key without one takes any value of its default's type. The nodes of Dassl's
own trainers, which are not here, are left out.
"""
_LINE = re.compile(r"^\s*(\w+(?:\.[A-Z][A-Z0-9_]*)+) = [^#]*?(?:  # (.*))?$")


def meanings(path) -> dict:
    """Name after the first dot -> comment, of every assignment `X.KEY = ...  # comment` of a file.

    A comment on a line of its own above belongs to the key below it, and to the one after that if that has none.
    """
    found, above = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if match:
            found[match[1].partition(".")[2]] = match[2] or above
        else:
            above = line.strip()[2:] if line.strip().startswith("# ") else ""
    return found


def rows(prefix, cfg, said):
    for key, value in flatten(cfg, prefix):
        allowed = RANGES[key].text if key in RANGES else ""
        meaning = said.get(key, said.get(key.rpartition(".")[2], ""))
        default = f"`{value!r}`".replace("|", "\\|")
        yield f"| `{key}` | {default} | {allowed} | {meaning.replace('|', chr(92) + '|')} |"


def page() -> str:
    import_all(trainers)
    import_all(datasets)
    cfg = get_cfg_default()
    shared = meanings(ROOT / "dassl/config/defaults.py")
    added = meanings(ROOT / "trainers/base.py")
    added.update(meanings(ROOT / "datasets/image_folder.py"))
    sections = [("Of every run", "", {k: v for k, v in cfg.items() if k != "TRAINER"}, {**added, **shared})]
    for method in METHODS:
        node = TRAINER_REGISTRY.get(method.trainer).config_node
        said = {**added, **meanings(ROOT / f"trainers/{method.folder}.py")}
        sections.append((method.trainer, f"TRAINER.{node}.", cfg.TRAINER[node], said))
    text = HEAD
    for title, prefix, node, said in sections:
        lines = "\n".join(rows(prefix, node, said))
        text += f"\n## {title}\n\n| key | default | range | meaning |\n|---|---|---|---|\n{lines}\n"
    return text


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    path, text = ROOT / PAGE, page()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if args.check:
        print(f"stale: {PAGE}; write it with tools/write_config_docs.py")
        return 1
    path.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
