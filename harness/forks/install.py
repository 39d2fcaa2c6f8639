"""Putting methods into a fork and taking them out: what would change is known first, and then carried out.

Wherever that is interrupted, the same command again ends in what it was to be, and `remove` in what was there before:
each file appears whole, and the record (record.py) is the first thing written and the last one removed.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from ..catalogue import METHODS, Method
from ..errors import UserError
from ..whole_file import write_whole
from . import PACKAGE, tree, troubles
from .content import FOLDER, ROOT, Added, changed_defaults, files
from .record import RECORD, Record, checksum, read
from .train_file import IMPORT, NoPlace, TrainFile, without_lines

TRAIN = "train.py"
DEFAULT = ("SEP", "E2MIM")
_PYC = re.compile(r"(\w+)\..+\.pyc(\.\d+)?")  # the second is of a Python that was killed


class Changes(NamedTuple):
    """What is to be done to a fork."""

    root: Path
    added: list[Added]  # what is there afterwards
    write: dict[str, bytes]  # path below the fork -> content
    remove: list[str]  # paths of files, some of which may be gone
    folders: list[str]  # that are ours and go if they are empty afterwards
    lines: list[str]  # of train.py that come or go, and what configs state more
    kept: list[str]  # paths in folders of ours that are not ours
    meanwhile: bytes = b""  # the record until all is done, if it is to be another than it is

    def is_empty(self) -> bool:
        return not (self.write or self.remove)

    def carry_out(self) -> None:
        """Raises UserError and OSError."""
        if self.meanwhile:
            self._put(RECORD, self.meanwhile)
        for path, content in self.write.items():  # train.py behind what it imports, or before that goes
            if path != RECORD:
                self._put(path, content)
        for path in self.remove:
            if path != RECORD:
                self._take(path)
        for folder in sorted({FOLDER, *self.folders}, reverse=True):  # the inner ones first
            self._tidy(folder)
        if RECORD in self.write:
            self._put(RECORD, self.write[RECORD])
        elif RECORD in self.remove:
            self._take(RECORD)
            self._tidy(FOLDER)

    def _put(self, path, content):
        write_whole(
            self.root / path, content, "mend that, then try again", temporary=os.path.basename(_temporary(path))
        )

    def _take(self, path):
        if os.path.lexists(self.root / path):
            os.unlink(self.root / path)

    def _tidy(self, folder):
        """Take away what Python made of modules that are gone, and the folder if it is empty."""
        place = self.root / folder
        cache = place / "__pycache__"
        if cache.is_dir() and not cache.is_symlink() and folder.startswith(FOLDER):
            for path in cache.iterdir():
                source = _source_of(path)
                if source and not source.exists():
                    os.unlink(path)
            _remove_if_empty(cache)
        _remove_if_empty(place)


def add(
    folder: Path, trainers: Iterable[str] = DEFAULT, names: Optional[dict[str, str]] = None, dirty: bool = False
) -> Changes:
    """What it takes to have `trainers` in the fork beside what this command has put there before.

    Args:
        names: trainer -> what the fork's registry is to call it.
        dirty: go on although the fork has changes that are not committed.

    Raises NoPlace, with which the steps by hand go, for a fork that this cannot be done to, and UserError.
    """
    root, train = tree.find(folder)
    record = read(root)
    _refuse_edited(root, record)
    found = train.content
    before, ours = _without_ours(train, record)
    train = TrainFile(before, train.path)
    if not dirty:
        _refuse_dirty(root, record)
    added = _wanted(trainers, names or {}, record.methods)
    _refuse_taken(root, train, added)
    train.refuse_own_trainers_alone()
    defaults = changed_defaults(troubles.find_dassl(root), train.defaults())
    content = files(added, defaults, tree.dataset_configs(root)[0])
    _refuse_links(root, content)
    clash = [path for path in content if path not in record.checksums() and os.path.lexists(root / path)]
    if clash:
        raise UserError(f"The fork has a file {clash[0]} already, which would be overwritten: move it, or use --name.")
    lines = train.lines()
    texts = [line.text for line in lines]
    stays = texts == ours  # wherever somebody has moved them
    changed = found if stays else train.with_lines(lines)
    folders = {parent.as_posix() for path in content for parent in list(Path(path).parents)[:-1]}
    now = Record(
        methods={each.method.trainer: each.name for each in added},
        files={path: checksum(text) for path, text in content.items()},
        folders=sorted({FOLDER, *record.folders, *(place for place in folders if not (root / place).is_dir())}),
        lines=texts,
        train=record.train if stays else {"before": checksum(before), "after": checksum(changed)},
    )
    write = {path: text for path, text in {RECORD: now.content(), **content}.items() if _differs(root / path, text)}
    if not stays:
        write[TRAIN] = changed
    gone = [path for path in record.checksums() if path not in content and os.path.lexists(root / path)]
    gone += _unfinished(root, [*content, *record.checksums()])
    told = [f"add in {TRAIN}, after line {line.after}: {line.text.strip()}" for line in lines if TRAIN in write]
    told += [
        f"state {key} {ours!r} in configs, as this fork has {theirs!r}" for key, (ours, theirs) in defaults.items()
    ]
    meanwhile = record.replaced_by(now).content() if RECORD in write else b""
    return Changes(root, added, write, gone, now.folders, told, [], meanwhile)


def remove(folder: Path) -> Changes:
    """What it takes to take away what this command has put into the fork. Raises UserError, and NoPlace as `add`."""
    root, train = tree.find(folder)
    record = read(root)
    if not record.files and not _has_only_begun(root):
        raise UserError(f"{root} has no {FOLDER} that this command has put there: there is nothing to remove.")
    _refuse_edited(root, record)
    _refuse_names_of_the_fork(root, record)
    before, ours = _without_ours(train, record)
    was = record.train
    if checksum(train.content) == was.get("after") and checksum(before) != was.get("before"):
        raise NoPlace(f"{train.path} would not be what it was before: remove the lines that name {PACKAGE} yourself.")
    write = {TRAIN: before} if before != train.content else {}
    gone = [path for path in record.checksums() if os.path.lexists(root / path)]
    gone += [*_unfinished(root, record.checksums()), RECORD]
    lines = [f"remove in {TRAIN}: {line.strip()}" for line in ours if write]
    return Changes(root, [], write, gone, record.folders, lines, list(_others(root, record.folders, gone)))


# ---- what is there ---------------------------------------------------------------------------------------------


def _refuse_edited(root, record):
    _refuse_links(root, record.checksums())
    edited = [path for path, ours in record.checksums().items() if not _is_one_of(root / path, ours)]
    if edited:
        raise UserError(
            f"In {root} somebody has edited {', '.join(edited)} since this command wrote it: keep your version under "
            "another name and put the file back, or delete it; then try again."
        )


def _is_one_of(path, checksums):
    """Whether a file has one of these checksums, or is not there."""
    return not os.path.lexists(path) or path.is_file() and checksum(path.read_bytes()) in checksums


def _differs(path, content):
    """Whether a file is to be written, which it is not for its line ends."""
    return not path.is_file() or checksum(path.read_bytes()) != checksum(content)


def _refuse_links(root, paths):
    """What a link leads to may be another fork's too, and would be changed, or taken away, for both."""
    places = {place for path in (RECORD, TRAIN, *paths) for place in (path, *map(str, Path(path).parents))}
    for place in sorted(places - {"."}):
        if (root / place).is_symlink():
            raise NoPlace(
                f"{root / place} is a link to {os.readlink(root / place)}, which may be of another fork, too: "
                "put a copy of that in its place, then try again."
            )


def _refuse_names_of_the_fork(root, record):
    """So that an edited record takes away no configs and scripts of the fork's own trainers."""
    taken = tree.registered(root, FOLDER)
    for name in record.methods.values():
        if name in taken:
            raise UserError(
                f"{root / RECORD} says that {name} was added, but the fork has a trainer {name} of its own "
                f"({taken[name]}): put the record back as it was, or rename that trainer."
            )


def _without_ours(train, record) -> tuple[bytes, list[str]]:
    """train.py without our lines, and those that it had."""
    if not train.imports_ours():
        return train.content, []
    for lines in record.all_lines():
        before = without_lines(train.content, lines) if lines else None
        if before is not None:
            return before, lines
    raise NoPlace(
        f"{train.path} names {PACKAGE} otherwise than this command wrote it: remove those lines yourself, then try "
        "again."
    )


def _refuse_dirty(root, record):
    changed = [path for path in tree.changed_in_git(root) if path not in (*record.checksums(), RECORD)]
    if record.files:
        changed = [path for path in changed if path != TRAIN]  # our own lines
    if changed:
        raise NoPlace(
            f"{root} has changes that are not committed ({', '.join(changed[:3])}{' ...' if changed[3:] else ''}): "
            "commit or stash them, so that git shows what this adds, or give --dirty."
        )


def _temporary(path) -> str:
    """The file that becomes `path` once it is whole."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{PACKAGE}.tmp")


def _unfinished(root, paths) -> list[str]:
    """What a command that was killed has left of the files that it was writing."""
    return sorted(path for path in set(map(_temporary, (RECORD, TRAIN, *paths))) if os.path.lexists(root / path))


def _has_only_begun(root) -> bool:
    """Whether an `add` was killed before there was a record, or a `remove` when there was none any more."""
    folder = root / FOLDER
    return folder.is_dir() and set(os.listdir(folder)) <= {os.path.basename(_temporary(RECORD))}


def _others(root, folders, ours) -> Iterator[str]:
    """Files in folders of ours that are not."""
    places = {place for folder in {FOLDER, *folders} for place in (root / folder).glob("**/*")}
    for path in sorted(place for place in places if place.is_symlink() or not place.is_dir()):
        place = path.relative_to(root).as_posix()
        if place not in ours and not _source_of(path):
            yield place


def _source_of(path) -> Optional[Path]:
    """The module that Python compiled into this file; None for any other."""
    match = path.parent.name == "__pycache__" and _PYC.fullmatch(path.name)
    return path.parents[1] / f"{match[1]}.py" if match else None


def _remove_if_empty(folder):
    if os.path.isdir(folder) and not os.path.islink(folder) and not os.listdir(folder):
        os.rmdir(folder)


# ---- what is wanted --------------------------------------------------------------------------------------------


def _wanted(trainers, names, there):
    methods = [_known(name) for name in trainers]
    renamed = {_known(name).trainer: new for name, new in names.items()}
    for trainer, new in renamed.items():
        if trainer not in [method.trainer for method in methods]:
            raise UserError(f"--name says how to call {trainer}, which is not among --trainers: add it there.")
        if not (new.isidentifier() and new.isascii()):
            raise UserError(f'--name {trainer}={new}: "{new}" cannot be the name of a trainer; use letters and digits.')
    wanted = {**there}
    for method in methods:
        name = renamed.get(method.trainer, there.get(method.trainer, method.trainer))
        if there.get(method.trainer, name) != name:
            raise UserError(f"{method.trainer} is in the fork as {there[method.trainer]}: --remove that first.")
        wanted[method.trainer] = name
    lost = sorted(wanted.keys() - {method.trainer for method in METHODS})
    if lost:
        raise UserError(f"The fork has {lost[0]} of a folder elsewhere: name that, too, with --methods-from.")
    return [Added(method, wanted[method.trainer]) for method in METHODS if method.trainer in wanted]


def _by_name() -> dict[str, Method]:
    return {name: method for method in METHODS for name in (method.trainer.lower(), method.folder)}


def _known(name) -> Method:
    known = _by_name()
    if name.lower() not in known:
        raise UserError(f'Unknown trainer "{name}": choose from {", ".join(method.trainer for method in METHODS)}.')
    return known[name.lower()]


def _refuse_taken(root, train, added):
    taken, nodes = tree.registered(root, FOLDER), train.nodes()
    for each in added:
        trainer = each.method.trainer
        offer = f"add ours under another name, for example --name {trainer}={trainer}_ours"
        if each.name in taken:
            raise UserError(f"The fork has a trainer {each.name} of its own ({taken[each.name]}): {offer}.")
        if each.node in nodes:
            raise UserError(f"The fork's train.py makes a config node TRAINER.{each.node} of its own: {offer}.")
        if [other.name.lower() for other in added].count(each.name.lower()) > 1:
            raise UserError(f"Two trainers would be called {each.name}: choose another --name.")


def steps_by_hand(trainers: Iterable[str] = DEFAULT) -> Iterator[str]:
    """What to do where this command cannot."""
    known = _by_name()
    modules = [known[name.lower()].folder for name in trainers if name.lower() in known]
    configs = " and ".join(f"configs/trainers/{known[module].trainer}/" for module in modules)
    yield f"copy {ROOT}/trainers/ to your fork's trainers/{PACKAGE}/, and {configs} into its configs/trainers/"
    yield f"let trainers/{PACKAGE}/__init__.py hold one line: from . import {', '.join(['base', *modules])}"
    yield f"add to train.py, behind its other imports of trainers: {IMPORT}"
    yield (
        "if train.py calls clean_cfg or removes config nodes otherwise, add after that, and before it merges config "
        f"files: trainers.{PACKAGE}.keys.restore_nodes(cfg)"
    )
