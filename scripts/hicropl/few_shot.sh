#!/usr/bin/env bash
# Train HiCroPL on a few images of each class of a data set and test it on all classes. Arguments: DATASET SEED SHOTS [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" hicropl few_shot "$@"
