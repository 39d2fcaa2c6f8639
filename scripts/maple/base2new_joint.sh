#!/usr/bin/env bash
# Test the MaPLe model of base2new_train.sh on base and new classes at once. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" maple base2new_joint "$@"
