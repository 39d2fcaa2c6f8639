# shellcheck shell=bash
# Sourced by every scripts/<method>/*.sh with METHOD SCRIPT [ARGUMENT ...]: finds an interpreter and becomes harness/,
# where everything else is decided; harness/launch.py says what the environment can set.

set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ ! -x "$ROOT/.venv/bin/python" ] || PYTHON=$ROOT/.venv/bin/python
fi
if ! command -v "$PYTHON" >/dev/null; then
    printf 'error: no interpreter "%s"; run '\''make venv'\'' in %s or set PYTHON\n' "$PYTHON" "$ROOT" >&2
    exit 1
fi
exec "$PYTHON" "$ROOT/harness" "$@"
