#!/usr/bin/env bash
# Train MMApp on all classes of a source data set (the papers': imagenet) and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mma_pp xd_train "$@"
