"""Fetch a file so that nothing is lost or fetched twice, whatever the server answers, and check it."""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request

from tqdm.utils import CallbackIOWrapper

from dassl.utils import UserError, progress

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
        raise UserError(f"{remote.url} gave another file than it should ({found} instead of {right}); it was removed")
    return path


def _download(remote, part):
    most, idle = _size(part), 0
    while True:
        try:
            if _continue(remote, part):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as e:
            raise OSError(f"{remote.url} answers {e.code} {e.reason}") from None
        except (urllib.error.URLError, socket.timeout, ConnectionError, ssl.SSLError, http.client.HTTPException) as e:
            reason = one_line(getattr(e, "reason", e))
        have = _size(part)
        idle = 0 if have > most else idle + 1
        most = max(have, most)
        if idle == ATTEMPTS:
            raise OSError(f"{remote.url} cannot be fetched now ({reason}); what has come of it is kept")
        time.sleep(idle)


def _size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def _continue(remote, part):
    """Fetch what is missing; returns whether the file is then whole."""
    have = _size(part)
    if have and have == remote.size:
        return True
    request = urllib.request.Request(remote.url, headers={"User-Agent": "prepare_data"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as e:
        if e.code != 416 or not have:  # 416: nothing after what is there
            raise
        if e.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        os.remove(part)  # longer than the file: of another one
        return False
    with response:
        if response.headers.get_content_type() == "text/html":
            raise UserError(f"{remote.url} gives a web page instead of the file: open it in a browser")
        start = _start(response, have)
        if start not in (0, have):
            raise OSError(f"{remote.url} answers with bytes from {start} on instead of {have}")
        length = response.headers.get("Content-Length", "")
        announced = start + int(length) if length.isdecimal() else None  # servers leave it out, or write nonsense
        total = announced if remote.size is None else remote.size
        need_space(os.path.dirname(part), max(0, (total or start) - start))
        _write(response, remote, part, start, total)
    return total is None or _size(part) == (announced or total)


def _start(response, have):
    """Which byte of the file a server's answer begins with.

    With status 200 that is the first one. With 206 the answer names it, or else it is the one that was asked for.
    """
    if response.status != 206:
        return 0
    named = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(named[1]) if named else have


def _write(response, remote, part, start, total):
    """Write what the server sends into `part` from byte `start` on, never more than the file is known to have."""
    bar = progress(desc=remote.name, total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024)
    with bar, _disk_errors_named(part), open(part, "ab" if start else "wb") as file:
        while block := response.read(BLOCK):
            if remote.size is not None and file.tell() + len(block) > remote.size:
                os.remove(part)
                raise UserError(
                    f"{remote.url} gave another file than it should (more than {remote.size:,} bytes); it was removed"
                )
            file.write(block)
            bar.update(len(block))


@contextlib.contextmanager
def _disk_errors_named(path):
    """A full disk's error does not say of which file."""
    try:
        yield
    except OSError as e:
        if isinstance(e, (ConnectionError, socket.timeout, ssl.SSLError)) or e.errno is None or e.filename:
            raise
        raise OSError(e.errno, e.strerror, path) from None


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
    """Raise UserError unless the disk of `folder` has room for `size` bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(f"{folder} has {free / 1e9:.1f} GB free, and {size / 1e9:.1f} are needed: make room first")


def one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
