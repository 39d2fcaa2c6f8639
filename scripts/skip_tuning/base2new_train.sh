#!/usr/bin/env bash
# Train SkipTuning on the base classes of a data set and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" skip_tuning base2new_train "$@"
