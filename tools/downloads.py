"""Fetch archives so that nothing is lost or fetched twice, check them, and unpack them safely."""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import socket
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import NamedTuple, Optional

from tqdm import tqdm

MIRROR = "zhengli97/prompt_learning_dataset"  # a model repository of the Hugging Face hub, although it holds data
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
ATTEMPTS = 3  # times in a row that a connection may bring nothing new
TIMEOUT = 60  # seconds without a byte
_BLOCK = 1 << 20  # bytes

# MD5 of original archives, as torchvision 0.28 states them; the hub itself knows the SHA-256 of its files.
CHECKSUMS = {
    "102flowers.tgz": "52808999861908f626f3c1f4e79d11fa",
    "EuroSAT.zip": "c8fa014336c82ac7804f0398fcb19387",
    "SUN397.tar.gz": "8ca2778205c41d23104230ba66911c7a",
    "caltech-101.zip": "3138e1922a9193bfa496528edbbc45d0",
    "dtd-r1.0.1.tar.gz": "fff73e5086ae6bdbea199a49dfb8a4c1",
    "food-101.tar.gz": "85eeb15f3717b99a5da872d97d918f87",
    "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",  # OxfordPets
}


class Remote(NamedTuple):
    """A file to fetch: what to call it here, its address, and what is known of it."""

    name: str
    url: str
    checksum: Optional[str] = None  # hexadecimal; MD5 or SHA-256, told apart by their length
    size: Optional[int] = None  # bytes


# ---- where files are ---------------------------------------------------------------------------------------


def on_mirror(folder):
    """The mirror's archive of the data set that lies in `folder`, found in the mirror's own list of files.

    Names are compared by letters and digits: food101.zip is that of food-101. Raises OSError if the hub cannot be
    asked, ValueError if it has no such archive.
    """
    from huggingface_hub import HfApi, hf_hub_url  # here, since nothing else needs it

    try:
        files = [entry for entry in HfApi().list_repo_tree(MIRROR) if hasattr(entry, "size")]
    except Exception as e:  # network errors are those of another library from version to version
        raise OSError(f"the hub's list of {MIRROR} cannot be read ({_one_line(e)})") from None
    for file in files:
        stem = next((file.path[: -len(end)] for end in ARCHIVES if file.path.endswith(end)), "")
        if plain(stem) == plain(folder):
            # not hf_hub_download: in huggingface_hub 2.4 an interrupted one starts over
            return Remote(file.path, hf_hub_url(MIRROR, file.path), file.lfs and file.lfs.sha256, file.size)
    names = ", ".join(file.path for file in files)
    raise ValueError(f"{MIRROR} on the hub has no archive for {folder} (it has {names or 'no files'})")


def plain(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def in_step(text):
    """The file that a step of DATASETS.md ("Download `file` from <address>") fetches; None if that takes a browser.

    It does unless the address is that of the file, or Google Drive's page for it.
    """
    match = re.match(r"Download `([^`/]+)`.*?<(\S+?)>", text)
    if not match:
        return None
    name, url = match.groups()
    drive = re.match(r"https://drive\.google\.com/file/d/([^/]+)/", url)
    if drive:
        url = f"https://drive.usercontent.google.com/download?id={drive[1]}&export=download&confirm=t"
    elif url.rpartition("/")[2] != name:
        return None
    return Remote(name, url, CHECKSUMS.get(name))


# ---- fetching ----------------------------------------------------------------------------------------------


def fetch(remote, folder):
    """Download into `folder` unless it is there, and check it; returns its path.

    What has come is kept as <name>.part, and the next call goes on from there. Raises OSError if the connection
    fails, ValueError if the file is not what it should be (it is then removed) or the disk is too full.
    """
    path = os.path.join(folder, os.path.basename(remote.name))
    part = f"{path}.part"
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        _download(remote, part)
        os.replace(part, path)
    if remote.size is not None and os.path.getsize(path) != remote.size:
        found, right = f"{os.path.getsize(path):,} bytes", f"{remote.size:,}"
    elif remote.checksum:
        found, right = _digest(path, "md5" if len(remote.checksum) == 32 else "sha256"), remote.checksum
    else:
        return path
    if found != right:
        os.remove(path)
        raise ValueError(f"{remote.url} gave another file than it should ({found} instead of {right}); it was removed")
    return path


def _download(remote, part):
    have, idle = _size(part), 0
    while True:
        try:
            if _continue(remote, part, have):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as e:
            raise OSError(f"{remote.url} answers {e.code} {e.reason}") from None
        except (urllib.error.URLError, socket.timeout, ConnectionError, http.client.HTTPException) as e:
            reason = _one_line(getattr(e, "reason", e))
        before, have = have, _size(part)
        idle = idle + 1 if have == before else 0
        if idle == ATTEMPTS:
            raise OSError(f"{remote.url} cannot be fetched now ({reason}); what has come of it is kept")
        time.sleep(idle)


def _size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def _continue(remote, part, have):
    """Fetch what is missing after `have` bytes; returns whether the file is then whole."""
    if have and have == remote.size:
        return True
    request = urllib.request.Request(remote.url, headers={"User-Agent": "prepare_data"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as e:
        if e.code != 416:  # nothing after what is there
            raise
        if e.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        os.remove(part)  # longer than the file: of another one
        return False
    with response:
        if response.headers.get_content_type() == "text/html":
            raise ValueError(f"{remote.url} gives a web page instead of the file: open it in a browser")
        have = have if response.status == 206 else 0  # 200: the server starts over
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else remote.size
        _need_space(os.path.dirname(part), (total or have) - have)
        bar = tqdm(desc=remote.name, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024)
        with bar, open(part, "ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
    return total is None or os.path.getsize(part) == total


def _digest(path, kind):
    digest = hashlib.new(kind)
    with open(path, "rb") as file, _bar_of(file, path, "Checking") as blocks:
        while block := blocks.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _bar_of(file, path, what):
    name, size = os.path.basename(path), os.path.getsize(path)
    return tqdm.wrapattr(file, "read", desc=f"{what} {name}", total=size, unit="B", unit_scale=True, leave=False)


def _need_space(folder, size):
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ValueError(f"{folder} has {free / 1e9:.1f} GB free, and {size / 1e9:.1f} are needed: make room first")


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__


# ---- unpacking ---------------------------------------------------------------------------------------------


def unpack(archive, folder):
    """Unpack a zip or tar archive into a new folder; an earlier attempt's is removed first.

    Raises ValueError for an archive that reaches outside of the folder (a path, a link or a device), or is damaged
    (it is then removed); nothing of it is then left unpacked.
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
        _need_space(folder, sum(info.file_size for info in infos))
        for info in tqdm(infos, desc=f"Unpacking {os.path.basename(archive)}", unit="file", leave=False):
            members.extract(info, folder)


def _untar(archive, folder):
    if not hasattr(tarfile, "data_filter"):
        raise ValueError("This Python is too old to unpack tar archives safely: use 3.9.17, 3.10.12, 3.11.4 or newer.")
    with _damage_is_said(archive), open(archive, "rb") as file, _bar_of(file, archive, "Unpacking") as blocks:
        with tarfile.open(fileobj=blocks) as members:
            for member in members:
                _stay_inside(archive, member.name)
                try:
                    members.extract(member, folder, filter="data")
                except tarfile.FilterError as e:
                    raise _refusal(archive, member.name, f"is not allowed ({_one_line(e)})") from None
            while members.fileobj.read(_BLOCK):  # to the end, where gzip's checksum is
                pass


def _stay_inside(archive, name):
    """Raise ValueError if a member's path leaves the folder; the libraries would bend some of them instead."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise _refusal(archive, name, "would leave the folder that it is unpacked in")


def _refusal(archive, name, what):
    return ValueError(f'{archive} is refused: its member "{name}" {what}')


@contextlib.contextmanager
def _damage_is_said(archive):
    """Turn what a damaged archive raises into one ValueError, and remove the archive so that it is fetched again."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as e:
        if getattr(e, "errno", None) is not None:  # the disk's, not the archive's
            raise
        os.remove(archive)
        raise ValueError(f"{archive} is damaged ({_one_line(e)}) and was removed: try again") from None


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
