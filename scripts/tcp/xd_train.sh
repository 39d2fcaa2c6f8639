#!/usr/bin/env bash
# Train TCP on all classes of a source data set (the papers': imagenet) and test it on them. Usage: bash scripts/tcp/xd_train.sh DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" tcp xd_train "$@"
