"""Unpack archives safely, and move what a data set needs of them to its place."""

import contextlib
import errno
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import PurePosixPath

from dassl.utils import UserError, progress

from .fetch import BLOCK, bar_of, need_space, one_line

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


def unpack(archive, folder):
    """Unpack a zip or tar archive into a new folder; an earlier attempt's is removed first.

    Raises ValueError for an archive that reaches outside of the folder (a path, a link or a device), or is damaged
    (it is then removed), encrypted or compressed in an unknown way; nothing of it is then left unpacked.
    """
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unzip(archive, folder):
    with _damage_is_said(archive), zipfile.ZipFile(archive) as members:
        infos = members.infolist()
        for info in infos:
            _stay_inside(archive, info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refusal(archive, info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise RuntimeError(f'its member "{info.filename}" is encrypted')
        need_space(folder, sum(info.file_size for info in infos))
        for info in progress(infos, f"Unpacking {os.path.basename(archive)}", "file", leave=False):
            members.extract(info, folder)


def _untar(archive, folder):
    if not hasattr(tarfile, "data_filter"):
        raise UserError("This Python is too old to unpack tar archives safely: use 3.9.17, 3.10.12, 3.11.4 or newer.")
    with _damage_is_said(archive), open(archive, "rb") as file, bar_of(file, archive, "Unpacking") as blocks:
        with tarfile.open(fileobj=blocks) as members:
            for member in members:
                _stay_inside(archive, member.name)
                try:
                    members.extract(member, folder, filter="data")
                except tarfile.FilterError as e:
                    raise _refusal(archive, member.name, f"is not allowed ({one_line(e)})") from None
            while members.fileobj.read(BLOCK):  # to the end, where gzip's checksum is
                pass


def _stay_inside(archive, name):
    """Raise ValueError if a member's path leaves the folder; the libraries would bend some of them instead."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise _refusal(archive, name, "would leave the folder that it is unpacked in")


def _refusal(archive, name, what):
    return UserError(f'{archive} is refused: its member "{one_line(name)}" {what}')


@contextlib.contextmanager
def _damage_is_said(archive):
    """Turn what a damaged archive raises into one sentence, and remove the archive so that it is fetched again."""
    try:
        yield
    except RuntimeError as e:  # it is whole, but encrypted or compressed in a way that this Python cannot read
        raise UserError(
            f"{archive} cannot be unpacked here ({one_line(e)}): unpack it by hand or try the other --source"
        ) from None
    except UserError:
        raise
    except Exception as e:  # the libraries raise anything for a damaged one, LZMAError and UnicodeDecodeError too
        if isinstance(e, OSError) and e.errno not in (
            None,
            errno.EINVAL,
        ):  # of the disk, but for EINVAL: a damaged offset
            raise
        os.remove(archive)
        raise UserError(f"{archive} is damaged ({one_line(e)}) and was removed: try again") from None


# ---- laying out --------------------------------------------------------------------------------------------


def lay_out(tree, folder, names):
    """Move the files and folders `names` from anywhere in an unpacked tree to `folder`; returns those it had.

    Archives that hold one of them, such as images.tar.gz, are unpacked on the way. What `folder` has stays as it is:
    only what it lacks is added, whole folders at once where they are new.
    """
    for parent, name, archive in _inner_archives(tree, names):
        inner = os.path.join(parent, f".{name.replace('/', '-')}")
        unpack(os.path.join(parent, archive), inner)
        _merge(inner, parent)
    base = _where(tree, names)
    found = [name for name in names if os.path.exists(os.path.join(base, name))]
    for name in sorted(found, key=lambda name: os.path.isfile(os.path.join(base, name))):  # files last
        _merge(os.path.join(base, name), os.path.join(folder, name))
    return found


def _folders(tree):
    """The tree's folders, outer ones first."""
    walk = (parent for parent, _, _ in os.walk(tree))
    return sorted(walk, key=lambda parent: (parent.count(os.sep), parent))


def _where(tree, names):
    """The outermost of the folders that hold most of `names`."""
    return max(_folders(tree), key=lambda parent: sum(os.path.exists(os.path.join(parent, name)) for name in names))


def _inner_archives(tree, names):
    for name in names:
        for parent in _folders(tree):
            for archive in (name + end for end in ARCHIVES):
                if os.path.isfile(os.path.join(parent, archive)) and not os.path.exists(os.path.join(parent, name)):
                    yield parent, name, archive


def _merge(source, target):
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(source, target)
    elif os.path.isdir(source) and os.path.isdir(target):
        for name in os.listdir(source):
            _merge(os.path.join(source, name), os.path.join(target, name))
