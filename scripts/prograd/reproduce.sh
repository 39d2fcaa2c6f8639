#!/usr/bin/env bash
# Run a whole protocol with ProGrad (PROTOCOL=base2new|xd|dg|few_shot) and print its table.
# Usage: bash scripts/prograd/reproduce.sh [KEY VALUE ...]; environment: see scripts/common.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
reproduce "$@"
