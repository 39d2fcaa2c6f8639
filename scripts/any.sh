#!/usr/bin/env bash
# Any script of any method, of those that METHOD_PATH names, too. Arguments: METHOD SCRIPT [ARGUMENT ...]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
