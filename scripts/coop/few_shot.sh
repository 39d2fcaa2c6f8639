#!/usr/bin/env bash
# Train CoOp on a few images of each class of a data set and test it on all classes.
# Usage: bash scripts/coop/few_shot.sh DATASET SEED SHOTS [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
few_shot "$@"
