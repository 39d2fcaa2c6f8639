# make demo        train and test the methods on the bundled Shapes data and print the base / new / H table
# make demo-full   every protocol on the Shapes family over three seeds, and their four tables; may be stopped, goes on
# make test        linters, and the tests that one waits for
# make test-long   the others: kills, SLURM, a browser, whole examples; .ci/run runs both
# make torture     faults on purpose, 20 minutes: see docs/reliability.md
# make venv        only set up .venv (again only when requirements.txt changed)
#
# Variables: BASE_PYTHON, the interpreter that .venv is made with (python3); DATA, OUTPUT, FORCE as for scripts/,
# of demo-full also SEEDS; of both demos JOBS, runs at once (2).
#
# The demos are sweeps, see docs/sweep.md.

BASE_PYTHON ?= python3
JOBS ?= 2
PY := .venv/bin/python
STAMP := .venv/requirements-installed

.PHONY: demo demo-full test test-long torture venv
SHELL := bash

# a thread for each run: small models gain little by several, and the last digits depend on their number
demo demo-full: export OMP_NUM_THREADS = 1
demo: venv
	@$(PY) tools/sweep.py --config configs/sweeps/demo.yaml --jobs $(JOBS)
	@runs="$${OUTPUT:-output}/base2new/train_base/shapes/shots_16"; \
		$(PY) tools/tsne.py "$$runs"/{CoOp,SEP,E2MIM}/shapes/seed1 --output "$${OUTPUT:-output}/figures"
	@$(PY) tools/report.py "$${OUTPUT:-output}" --protocol base2new
	@$(PY) tools/report.py "$${OUTPUT:-output}" --html "$${OUTPUT:-output}/report.html"

demo-full: venv
	@$(PY) tools/sweep.py --config configs/sweeps/demo_full.yaml --jobs $(JOBS)
	@$(PY) tools/report.py "$${OUTPUT:-output}" --protocol all
	@$(PY) tools/report.py "$${OUTPUT:-output}" --html "$${OUTPUT:-output}/report.html"

# one thread per worker: two test processes with many threads each are slower than one
test test-long: export OMP_NUM_THREADS = 1
test: venv
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/shellcheck -x -P SCRIPTDIR .ci/run scripts/*.sh scripts/*/*.sh
	@# forks, into which trainers/ goes, still use Python 3.8
	.venv/bin/vermin -q -t=3.8- --eval-annotations --no-tips --violations trainers
	$(PY) -m pytest -q -n 2 -m "not long and not slurm"

test-long: venv
	@# the sweep's tests start a SLURM of their own, the page's a browser; where they cannot be installed these tests are
	@# skipped, and say so
	@missing=; command -v slurmctld >/dev/null && command -v munged >/dev/null || missing="slurm-wlm munge"; \
		command -v chromium >/dev/null || missing="$$missing chromium"; \
		[ -z "$$missing" ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing; } >/dev/null 2>&1 || true
	$(PY) -m pytest -q -n 2 -m "long or slurm"

# what takes longer than a test may: kills at random moments, and a fuzz of the command line
torture: export OMP_NUM_THREADS = 1
torture: venv
	$(PY) -m tests.torture --sequences 100
	FUZZ=2000 $(PY) -m pytest -q tests/test_fuzz.py

venv: $(STAMP)

$(STAMP): requirements.txt
	@command -v $(BASE_PYTHON) >/dev/null || \
		{ echo "error: $(BASE_PYTHON) is not installed; install Python 3.11 or newer, or name one: make BASE_PYTHON=..." >&2; exit 1; }
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(BASE_PYTHON) is older than Python 3.11; name a newer one: make BASE_PYTHON=python3.11" >&2; exit 1; }
	@# Debian keeps this part of Python in a package of its own
	@$(BASE_PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ echo "Installing python3-venv, without which Debian's Python makes no virtual environments"; \
		apt-get -q update && apt-get -q install -y python3-venv; }
	@$(BASE_PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "error: $(BASE_PYTHON) cannot make virtual environments; install that part first: apt install python3-venv" >&2; exit 1; }
	$(BASE_PYTHON) -m venv .venv
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@
