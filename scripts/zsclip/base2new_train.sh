#!/usr/bin/env bash
# Test zero-shot CLIP on the base classes of a data set (it has nothing to train).
# Usage: bash scripts/zsclip/base2new_train.sh DATASET SEED [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base2new_train "$@"
