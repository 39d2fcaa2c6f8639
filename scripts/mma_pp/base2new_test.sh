#!/usr/bin/env bash
# Test the MMApp model of base2new_train.sh on the new classes of its data set. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mma_pp base2new_test "$@"
