"""Write scripts/<method>/*.sh and the README's table of methods from the catalogue.

python tools/write_scripts.py            # after a change of harness/catalogue.py or harness/protocols.py
python tools/write_scripts.py --check    # only say what is stale, with exit code 1
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tabulate import tabulate

from harness.catalogue import METHODS
from harness.protocols import REPRODUCE, REPRODUCE_PURPOSE, STEPS

ROOT = Path(__file__).resolve().parent.parent
DOORBELL = """\
#!/usr/bin/env bash
# {purpose} Arguments: {arguments}[KEY VALUE ...]
. "$(dirname "${{BASH_SOURCE[0]}}")/../common.sh" {folder} {script} "$@"
"""
TABLE = re.compile(r"(<!-- methods -->\n).*?(<!-- /methods -->)", re.DOTALL)


def doorbells(method) -> dict:
    """Path below the checkout -> content, of every script of a method."""
    purposes = {s.script: (s.purpose if method.learns else s.untrained, s.arguments) for s in STEPS.values()}
    purposes[REPRODUCE] = (REPRODUCE_PURPOSE, "")
    return {
        f"scripts/{method.folder}/{script}.sh": DOORBELL.format(
            purpose=purpose.format(method=method.trainer),
            folder=method.folder,
            script=script,
            arguments=f"{arguments} " if arguments else "",
        )
        for script, (purpose, arguments) in purposes.items()
    }


def table_of_methods() -> str:
    rows = [[f"`{m.folder}`", m.trainer, f"[arXiv {m.paper}](https://arxiv.org/abs/{m.paper})"] for m in METHODS]
    return tabulate(rows, ["scripts/", "trainer", "paper"], tablefmt="github", disable_numparse=True)


def contents(root=ROOT) -> dict:
    """Path below `root` -> content, of all that the catalogue decides on."""
    files = {path: text for method in METHODS for path, text in doorbells(method).items()}
    readme = (root / "README.md").read_text(encoding="utf-8")
    files["README.md"] = TABLE.sub(lambda found: f"{found[1]}{table_of_methods()}\n{found[2]}", readme)
    return files


def stale(root=ROOT) -> list:
    """Paths, sorted: of files that differ from what the catalogue says, and of scripts that it does not know."""
    files = contents(root)
    wrong = [p for p, text in files.items() if not (root / p).is_file() or (root / p).read_text() != text]
    there = {path.relative_to(root).as_posix() for path in (root / "scripts").glob("*/*.sh")}
    return sorted({*wrong, *(there - files.keys())})


def main(argv=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    files, wrong = contents(root), stale(root)
    for path in wrong:
        if args.check:
            print(f"stale: {path}; write it with tools/write_scripts.py")
        elif path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(files[path], encoding="utf-8")
            print(f"wrote {path}")
        else:
            (root / path).unlink()
            print(f"removed {path}")
    return 1 if args.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
