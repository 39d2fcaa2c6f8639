#!/usr/bin/env bash
# Test ZeroshotCLIP on all classes of a data set (it has nothing to train). Arguments: DATASET SEED SHOTS [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" zsclip few_shot "$@"
