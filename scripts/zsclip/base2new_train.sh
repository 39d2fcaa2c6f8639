#!/usr/bin/env bash
# Test ZeroshotCLIP on the base classes of a data set (it has nothing to train). Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" zsclip base2new_train "$@"
