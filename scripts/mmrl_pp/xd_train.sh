#!/usr/bin/env bash
# Train MMRLpp on all classes of a source data set (the papers': imagenet) and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mmrl_pp xd_train "$@"
