#!/usr/bin/env bash
# Train E2MIM on the base classes of a data set and test it on them. Arguments: DATASET SEED [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" e2mim base2new_train "$@"
