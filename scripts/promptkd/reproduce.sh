#!/usr/bin/env bash
# Run a whole protocol with PromptKD (PROTOCOL=base2new|joint|xd) and print its table. Arguments: [KEY VALUE ...]
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh" promptkd reproduce "$@"
