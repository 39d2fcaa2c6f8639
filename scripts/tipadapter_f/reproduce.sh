#!/usr/bin/env bash
# Run a whole protocol with TipAdapterF (PROTOCOL=few_shot) and print its table. Arguments: [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" tipadapter_f reproduce "$@"
