#!/usr/bin/env bash
# Test ZeroshotCLIP on the new classes of a data set. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" zsclip base2new_test "$@"
