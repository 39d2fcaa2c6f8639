from tests.datasets.prepare.web import drive, elsewhere, site, stub_sizes  # noqa: F401  fixtures
from tests.datasets.stubs import STEMS
from tools import prepare_data

FETCHED = [name for name in STEMS if name != "imagenet"]


def run(capsys, *argv):
    """(exit code, stdout, stderr) of prepare_data."""
    code = prepare_data.main([str(arg) for arg in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
