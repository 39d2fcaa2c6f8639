#!/usr/bin/env bash
# Train MMApp on the base classes of a data set and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mma_pp base2new_train "$@"
