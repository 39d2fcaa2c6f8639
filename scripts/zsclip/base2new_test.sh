#!/usr/bin/env bash
# Test zero-shot CLIP on the new classes of a data set.
# Usage: bash scripts/zsclip/base2new_test.sh DATASET SEED [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_test "$@"
