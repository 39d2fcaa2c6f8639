"""Write what follows from other places: scripts/<method>/*.sh, docs/config.md, parts of README.md and DATASETS.md.

python tools/write_generated.py            after a change of the catalogue, protocols, config keys or sources.yaml
python tools/write_generated.py --check    only says what is stale, with exit code 1
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from tabulate import tabulate

import datasets
import trainers
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from dassl.utils import import_all
from datasets.prepare.guide import with_steps
from harness.catalogue import OURS
from harness.config import flatten
from harness.errors import exit_with
from harness.running.protocols import REPRODUCE, REPRODUCE_PURPOSE, protocols_of, steps_of
from harness.whole_file import write_whole
from trainers.keys import RANGES

ROOT = Path(__file__).resolve().parent.parent
DOORBELL = """\
#!/usr/bin/env bash
# {purpose} Arguments: {arguments}[KEY VALUE ...]
. "$(dirname "${{BASH_SOURCE[0]}}")/../common.sh" {folder} {script} "$@"
"""
TABLE = re.compile(r"(<!-- methods -->\n).*?(<!-- /methods -->)", re.DOTALL)


def doorbells(method) -> dict:
    """Path below the checkout -> content, of every script of a method."""
    purposes = {s.script: (s.purpose if method.learns else s.untrained, s.arguments) for s in steps_of(method)}
    purposes[REPRODUCE] = (REPRODUCE_PURPOSE, "")
    return {
        f"scripts/{method.folder}/{script}.sh": DOORBELL.format(
            purpose=purpose.format(method=method.trainer, protocols="|".join(protocols_of(method))),
            folder=method.folder,
            script=script,
            arguments=f"{arguments} " if arguments else "",
        )
        for script, (purpose, arguments) in purposes.items()
    }


def paper_link(paper: str) -> str:
    on_arxiv = re.fullmatch(r"\d{4}\.\d{5}", paper)
    return f"[arXiv {paper}](https://arxiv.org/abs/{paper})" if on_arxiv else paper


def table_of_methods() -> str:
    only = {m: f" ({m.protocols.replace(' ', ', ')} alone)" if m.protocols else "" for m in OURS}
    rows = [[f"`{m.folder}`", m.trainer + only[m], paper_link(m.paper)] for m in OURS]
    return tabulate(rows, ["scripts/", "trainer", "paper"], tablefmt="github", disable_numparse=True)


# ---- docs/config.md ------------------------------------------------------------------------------------------

CONFIG_PAGE = """\
# Config keys

Written by `tools/write_generated.py` from the places that declare the keys: Dassl's in `dassl/config/defaults.py`, a
method's at the top of its file in `trainers/`, the ranges of Dassl's in `trainers/keys.py`. A value outside of its
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


def _rows(prefix, cfg, said):
    for key, value in flatten(cfg, prefix):
        allowed = RANGES[key].text if key in RANGES else ""
        meaning = said.get(key, said.get(key.rpartition(".")[2], "")).replace("|", "\\|")
        default = f"`{value!r}`".replace("|", "\\|")
        yield f"| `{key}` | {default} | {allowed} | {meaning} |"


def config_page() -> str:
    import_all(trainers)
    import_all(datasets)
    cfg = get_cfg_default()
    shared = meanings(ROOT / "dassl/config/defaults.py")
    added = meanings(ROOT / "trainers/keys.py")
    added.update(meanings(ROOT / "datasets/image_folder.py"))
    sections = [("Of every run", "", {k: v for k, v in cfg.items() if k != "TRAINER"}, {**added, **shared})]
    for method in OURS:
        node = TRAINER_REGISTRY.get(method.trainer).config_node
        said = {**added, **meanings(ROOT / f"trainers/{method.folder}.py")}
        sections.append((method.trainer, f"TRAINER.{node}.", cfg.TRAINER[node], said))
    text = CONFIG_PAGE
    for title, prefix, node, said in sections:
        lines = "\n".join(_rows(prefix, node, said))
        text += f"\n## {title}\n\n| key | default | range | meaning |\n|---|---|---|---|\n{lines}\n"
    return text


# ---- all of it -----------------------------------------------------------------------------------------------


def contents(root=ROOT) -> dict:
    """Path below `root` -> content, of all that follows from another place."""
    files = {path: text for method in OURS for path, text in doorbells(method).items()}
    readme = (root / "README.md").read_text(encoding="utf-8")
    files["README.md"] = TABLE.sub(lambda found: f"{found[1]}{table_of_methods()}\n{found[2]}", readme)
    files["docs/config.md"] = config_page()
    files["DATASETS.md"] = with_steps((root / "DATASETS.md").read_text(encoding="utf-8"))
    return files


def stale(root=ROOT) -> list:
    """Paths, sorted: of files that differ from `contents`, and of scripts that the catalogue does not know."""
    files = contents(root)
    wrong = [
        p for p, text in files.items() if not (root / p).is_file() or (root / p).read_text(encoding="utf-8") != text
    ]
    there = {path.relative_to(root).as_posix() for path in (root / "scripts").glob("*/*.sh")}
    return sorted({*wrong, *(there - files.keys())})


def main(argv=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    files, wrong = contents(root), stale(root)
    for path in wrong:
        if args.check:
            print(f"stale: {path}; write it with tools/write_generated.py")
        elif path in files:
            write_whole(root / path, files[path].encode())
            print(f"wrote {path}")
        else:
            (root / path).unlink()
            print(f"removed {path}")
    return 1 if args.check and wrong else 0


if __name__ == "__main__":
    exit_with(main)
