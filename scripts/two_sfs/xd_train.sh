#!/usr/bin/env bash
# Train TwoSFS on all classes of a source data set (the papers': imagenet) and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" two_sfs xd_train "$@"
