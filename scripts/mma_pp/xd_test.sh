#!/usr/bin/env bash
# Test the MMApp model of xd_train.sh on another data set: cross-dataset and domain generalization. Arguments: TARGET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mma_pp xd_test "$@"
