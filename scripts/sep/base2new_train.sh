#!/usr/bin/env bash
# Train SEP on the base classes of a data set and test it on them. Usage: bash scripts/sep/base2new_train.sh DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" sep base2new_train "$@"
