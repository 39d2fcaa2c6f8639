from tests.datasets.prepare.web import drive, elsewhere, site, stub_sizes  # noqa: F401  fixtures
