#!/usr/bin/env bash
# Train MMRL on the base classes of a data set and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mmrl base2new_train "$@"
