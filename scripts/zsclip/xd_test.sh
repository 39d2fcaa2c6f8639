#!/usr/bin/env bash
# Test ZeroshotCLIP on all classes of a target data set: cross-dataset and domain generalization. Arguments: TARGET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" zsclip xd_test "$@"
