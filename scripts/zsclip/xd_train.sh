#!/usr/bin/env bash
# Test ZeroshotCLIP on all classes of a source data set (it has nothing to train). Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" zsclip xd_train "$@"
