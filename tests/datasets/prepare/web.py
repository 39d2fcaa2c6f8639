"""A web server on this machine that plays the Hugging Face hub and other sites, and archives to put on it.

Its fixtures are for tests of datasets/prepare and of tools/prepare_data.py.
"""

import hashlib
import io
import json
import os
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest

from datasets import sources
from datasets.prepare import fetch, remotes
from datasets.prepare.state import loader_of
from tests.datasets.stubs import STEMS, folders_of, make

MIRROR = sources.mirror()


class Site(BaseHTTPRequestHandler):
    """Serves `server.files` (path: bytes) with ranges, notes every request, and fails as it is told to."""

    def do_GET(self):
        site, path = self.server, self.path.partition("?")[0]
        wanted = self.headers.get("Range")
        site.requests.append((self.path, wanted))
        if path.startswith("/api/models/"):
            return self.answer(200, json.dumps(self.listing()).encode(), {"Content-Type": "application/json"})
        body = site.files.get(self.path, site.files.get(path))
        if body is None:
            return self.answer(404, b"none")
        if path in site.pages:
            return self.answer(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"})
        start = int(wanted[len("bytes=") : -1]) if wanted and site.ranges else 0
        if start >= len(body) > 0 or path in site.refused:
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        cut = site.cuts.pop(0) if site.cuts else None  # bytes after which the connection ends
        self.answer(206 if start else 200, body[start:], {**headers, **site.headers.get(path, {})}, cut)

    def answer(self, code, body, headers=(), cut=None):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])

    def listing(self):
        entries = [{"type": "directory", "path": "images", "oid": "0" * 40}]
        for path, body in self.server.files.items():
            if path.startswith(f"/{MIRROR}/"):
                digest = self.server.digests.get(path) or hashlib.sha256(body).hexdigest()
                lfs = {"oid": digest, "size": len(body), "pointerSize": 100}
                name = path.rpartition("/")[2]
                entries.append({"type": "file", "path": name, "size": len(body), "oid": "0" * 40, "lfs": lfs})
        return entries

    def log_message(self, *args):
        pass


def zipped(folder, top=""):
    """A zip archive of a folder's content, below `top`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, os.path.join(top, path.relative_to(folder)))
    return buffer.getvalue()


def tarred(entries, mode="w:gz"):
    """A tar archive of (name or TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member, body in entries:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def zipped_entries(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in entries:
            archive.writestr(name, body)
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def on_mirror(site, stem, tmp_path, name=None, top=None):
    """Put a stub's archive on the mirror; returns (its path there, the stub's lists)."""
    parts = make(stem, tmp_path / "stub")
    folder = folders_of(stem)[0]
    path = f"/{MIRROR}/resolve/main/{name or folder + '.zip'}"
    site.files[path] = zipped(tmp_path / "stub" / folder, folder if top is None else top)
    return path, parts


def same_tree(one, other):
    def content(root):
        files = (p for p in root.rglob("*") if p.is_file())
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}

    return content(one) == content(other)


# ---- fixtures ----------------------------------------------------------------------------------------------


@pytest.fixture
def site(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.files, server.digests, server.requests, server.pages = {}, {}, [], set()
    server.ranges, server.cuts = True, []
    server.headers, server.refused = {}, set()  # by path: headers to add, change or leave out (None); always 416
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.fetched = lambda: [path.rpartition("/")[2] for path, _ in server.requests if "/api/" not in path]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def elsewhere(site, monkeypatch, tmp_path):
    """sources.yaml with the server's address in place of every other, Google Drive's aside, and no checksums."""
    with open(sources.SOURCES, encoding="utf-8") as file:
        text = re.sub(r"https?://(?!drive)[^/>\s]+", site.url, file.read())
    path = tmp_path / "sources.yaml"
    path.write_text(re.sub(r"\n +md5: .*", "", text), encoding="utf-8")
    monkeypatch.setattr(sources, "SOURCES", str(path))


@pytest.fixture
def drive(site, monkeypatch):
    """Google Drive's files come from the server as well."""
    monkeypatch.setattr(remotes, "DRIVE", remotes.DRIVE.replace("https://drive.usercontent.google.com", site.url))


@pytest.fixture
def stub_sizes(monkeypatch):
    """A stub has other numbers than the data set it stands for; none are expected while a test runs."""
    for stem in STEMS:
        monkeypatch.setattr(loader_of(stem), "expected_classes", None)
        monkeypatch.setattr(loader_of(stem), "expected_images", (None, None, None))
