#!/usr/bin/env bash
# Run a whole protocol with MMApp (PROTOCOL=base2new|joint|xd|dg|few_shot) and print its table. Arguments: [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" mma_pp reproduce "$@"
