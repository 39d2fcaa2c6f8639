#!/usr/bin/env bash
# Train DePT on a few images of each class of a data set and test it on all classes. Arguments: DATASET SEED SHOTS [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" dept few_shot "$@"
