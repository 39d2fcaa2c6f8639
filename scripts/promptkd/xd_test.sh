#!/usr/bin/env bash
# Train PromptKD on a target's unlabelled images, by a teacher of the source, and test it there. Arguments: TARGET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" promptkd xd_test "$@"
