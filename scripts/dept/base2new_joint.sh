#!/usr/bin/env bash
# Test the DePT model of base2new_train.sh on base and new classes at once. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" dept base2new_joint "$@"
