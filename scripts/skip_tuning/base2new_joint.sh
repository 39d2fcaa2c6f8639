#!/usr/bin/env bash
# Test the SkipTuning model of base2new_train.sh on base and new classes at once. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" skip_tuning base2new_joint "$@"
