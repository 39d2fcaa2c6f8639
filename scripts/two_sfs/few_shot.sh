#!/usr/bin/env bash
# Train TwoSFS on a few images of each class of a data set and test it on all classes. Arguments: DATASET SEED SHOTS [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" two_sfs few_shot "$@"
