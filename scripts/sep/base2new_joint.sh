#!/usr/bin/env bash
# Test the SEP model of base2new_train.sh on base and new classes at once. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" sep base2new_joint "$@"
