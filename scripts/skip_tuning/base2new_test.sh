#!/usr/bin/env bash
# Test the SkipTuning model of base2new_train.sh on the new classes of its data set. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" skip_tuning base2new_test "$@"
