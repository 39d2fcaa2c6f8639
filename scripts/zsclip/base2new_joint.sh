#!/usr/bin/env bash
# Test ZeroshotCLIP on base and new classes at once. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" zsclip base2new_joint "$@"
