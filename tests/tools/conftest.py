import re
import threading
from http.server import ThreadingHTTPServer

import huggingface_hub.constants
import pytest

from tests.conftest import REPOSITORY
from tests.datasets.stubs import STEMS
from tests.tools.web import Site
from tools import downloads, prepare_data
from tools.prepare_data import loader_of


@pytest.fixture
def site(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.files, server.digests, server.requests, server.pages = {}, {}, [], set()
    server.ranges, server.cuts = True, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.fetched = lambda: [path.rpartition("/")[2] for path, _ in server.requests if "/api/" not in path]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(downloads, "CHECKSUMS", {})
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def guide(site, monkeypatch, tmp_path):
    """DATASETS.md with the server's address in place of every other."""
    path = tmp_path / "DATASETS.md"
    text = (REPOSITORY / "DATASETS.md").read_text()
    path.write_text(re.sub(r"<https?://(?!drive)[^/>]+", f"<{site.url}", text))
    monkeypatch.setattr(prepare_data, "GUIDE", str(path))
    return path


@pytest.fixture
def stub_sizes(monkeypatch):
    """A stub has other numbers than the data set it stands for; none are expected while a test runs."""
    for stem in STEMS:
        monkeypatch.setattr(loader_of(stem), "expected_classes", None)
        monkeypatch.setattr(loader_of(stem), "expected_images", (None, None, None))
