#!/usr/bin/env bash
# Train E2MIM on the base classes of a data set and test it on them.
# Usage: bash scripts/e2mim/base2new_train.sh DATASET SEED [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_train "$@"
