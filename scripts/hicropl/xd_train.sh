#!/usr/bin/env bash
# Train HiCroPL on all classes of a source data set (the papers': imagenet) and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" hicropl xd_train "$@"
