#!/usr/bin/env bash
# Test zero-shot CLIP on all classes of a target data set: cross-dataset and domain generalization.
# Usage: bash scripts/zsclip/xd_test.sh TARGET SEED [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
xd_test "$@"
