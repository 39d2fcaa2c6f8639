#!/usr/bin/env bash
# Test the CoPrompt model of xd_train.sh on another data set: cross-dataset and domain generalization. Arguments: TARGET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" coprompt xd_test "$@"
