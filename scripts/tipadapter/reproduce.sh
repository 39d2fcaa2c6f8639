#!/usr/bin/env bash
# Run a whole protocol with TipAdapter (PROTOCOL=few_shot) and print its table. Arguments: [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" tipadapter reproduce "$@"
