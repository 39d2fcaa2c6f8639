"""Get a data set from the first of its sources that has it."""

import contextlib
import os
import shutil

import filelock

from dassl.utils import UserError, read_text, write_whole

from ..imagenet import CLASSNAMES
from ..sources import line_of, step_for
from . import remotes
from .fetch import fetch
from .state import NAMES, Found, loader_of
from .unpack import lay_out, unpack

BY_HAND = "imagenet"  # its images are for registered users only
WORK = ".download"  # in the data set's folder, for what has been fetched so far; hidden, so that no loader sees it


def get(names, root, source=None):
    """Get what data sets lack, saying how it goes; returns 0 if all are then complete, else 1.

    `source`, "mirror" or "original", uses that one alone. Raises ValueError and OSError for what stops it altogether,
    such as a disk that cannot be written to.
    """
    os.makedirs(root, exist_ok=True)
    return max([_get_one(name, root, source) for name in names])


def _get_one(name, root, source):
    found = Found(name, root)
    if found.wanted:
        work = os.path.join(found.folder, WORK)  # on the data set's own disk, also where its folder is a link
        os.makedirs(work, exist_ok=True)
        try:
            with filelock.FileLock(os.path.join(work, "lock"), timeout=0):
                for attempt in _sources(found, source):
                    if found.wanted:
                        attempt(found, root, work)
                        found = Found(name, root)
        except filelock.Timeout:
            raise UserError(f"{found.folder} is being filled by another process: wait for it") from None
        if not found.wanted or set(os.listdir(work)) <= {"lock"}:
            shutil.rmtree(work)
    title = found.loader.__name__
    if found.state == "complete":
        print(f"{title} is complete in {found.folder}")
        return 0
    print(f"{title} in {found.folder} is {found.state}: {'; '.join(found.lacks)}")
    if found.problem and not found.wanted:
        print("Remove the file that is damaged, then run this again.")
    by_hand = {(line_of(dataset, step), step.text) for dataset, step in (_step(found, name) for name in found.wanted)}
    for line, text in sorted(by_hand):
        print(f"By hand (DATASETS.md, line {line}): {text}")
    return 1


def _sources(found, source):
    """The ways to get it, in the order in which they are tried."""
    ways = {"mirror": _from_mirror, "original": _from_original}
    if source:
        return [_share_classnames, ways[source]]
    if found.name == BY_HAND or not any(os.path.splitext(name)[1] == "" for name in found.wanted):
        # only files such as the split are missing: the mirror has them too, but in an archive with all images
        return [_share_classnames, _from_original, *([] if found.name == BY_HAND else [_from_mirror])]
    return [_share_classnames, _from_mirror, _from_original]


def _share_classnames(found, root, work):
    """ImageNet and its variants have the same file of class names; one is copied from whichever has it."""
    if CLASSNAMES not in found.absent:
        return
    folders = [loader_of(name).dataset_dir for name in NAMES if CLASSNAMES in loader_of(name).files()]
    paths = [path for path in (os.path.join(root, folder, CLASSNAMES) for folder in folders) if os.path.isfile(path)]
    if paths:
        text = read_text(paths[0])
        write_whole(os.path.join(found.folder, CLASSNAMES), lambda target: target.write(text))


def _from_mirror(found, root, work):
    with _failure_is_said():
        _install(remotes.on_mirror(found.loader.dataset_dir), found, found.wanted, work)


def _from_original(found, root, work):
    for step in dict.fromkeys(_step(found, name) for name in found.wanted):
        remote = remotes.of_step(step[1])
        if remote:
            names = [name for name in found.wanted if _step(found, name) == step]
            with _failure_is_said():
                _install(remote, found, names, work)


def _step(found, name):
    """(data set, step) that gets a file; class names always come from ImageNet's."""
    dataset = "ImageNet" if name == CLASSNAMES else found.loader.__name__
    return dataset, step_for(dataset, name)


def _install(remote, found, names, work):
    path = fetch(remote, work)
    if remote.name in names:
        os.replace(path, os.path.join(found.folder, remote.name))
        return
    tree = os.path.join(work, "unpacked")
    unpack(path, tree)
    if not lay_out(tree, found.folder, names):
        print(f"{remote.name} holds none of {', '.join(names)}")
    shutil.rmtree(tree)


@contextlib.contextmanager
def _failure_is_said():
    """Print why a source failed, so that the next one is tried; a full or read-only disk would fail for all."""
    try:
        yield
    except (ValueError, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        print(f"{str(e).rstrip('.')}.")
