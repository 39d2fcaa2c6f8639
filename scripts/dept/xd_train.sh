#!/usr/bin/env bash
# Train DePT on all classes of a source data set (the papers': imagenet) and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" dept xd_train "$@"
