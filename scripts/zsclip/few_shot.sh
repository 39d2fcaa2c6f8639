#!/usr/bin/env bash
# Test zero-shot CLIP on all classes of a data set (it has nothing to train).
# Usage: bash scripts/zsclip/few_shot.sh DATASET SEED SHOTS [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
few_shot "$@"
