"""Fetch a file so that nothing is lost or fetched twice, and check it."""

import contextlib
import hashlib
import http.client
import os
import shutil
import socket
import time
import urllib.error
import urllib.request

from tqdm.utils import CallbackIOWrapper

from dassl.utils import progress

ATTEMPTS = 3  # times in a row that a connection may bring nothing new
TIMEOUT = 60  # seconds without a byte
BLOCK = 1 << 20  # bytes


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
            reason = one_line(getattr(e, "reason", e))
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
        need_space(os.path.dirname(part), (total or have) - have)
        bar = progress(desc=remote.name, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024)
        with bar, open(part, "ab" if have else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    return total is None or os.path.getsize(part) == total


def _digest(path, kind):
    digest = hashlib.new(kind)
    with open(path, "rb") as file, bar_of(file, path, "Checking") as blocks:
        while block := blocks.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def bar_of(file, path, what):
    """The open `file` at `path`, with a bar that follows what is read of it."""
    name, size = os.path.basename(path), os.path.getsize(path)
    with progress(desc=f"{what} {name}", total=size, unit="B", unit_scale=True, leave=False) as bar:
        yield CallbackIOWrapper(bar.update, file, "read")


def need_space(folder, size):
    """Raise ValueError unless the disk of `folder` has room for `size` bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ValueError(f"{folder} has {free / 1e9:.1f} GB free, and {size / 1e9:.1f} are needed: make room first")


def one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
