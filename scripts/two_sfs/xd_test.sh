#!/usr/bin/env bash
# Test the TwoSFS model of xd_train.sh on another data set: cross-dataset and domain generalization. Arguments: TARGET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" two_sfs xd_test "$@"
