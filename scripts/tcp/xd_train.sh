#!/usr/bin/env bash
# Train TCP on all classes of a source data set (the papers': imagenet) and test it on them.
# Usage: bash scripts/tcp/xd_train.sh DATASET SEED [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
xd_train "$@"
