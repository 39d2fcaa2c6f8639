#!/usr/bin/env bash
# Train TwoSFS on the base classes of a data set and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" two_sfs base2new_train "$@"
