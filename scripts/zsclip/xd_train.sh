#!/usr/bin/env bash
# Test zero-shot CLIP on all classes of a source data set (it has nothing to train).
# Usage: bash scripts/zsclip/xd_train.sh DATASET SEED [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
xd_train "$@"
