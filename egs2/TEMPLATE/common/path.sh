# shellcheck shell=bash
# To be sourced: the environment of a recipe (see tools/activate).

_root="$(dirname "$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")")"
# shellcheck source=tools/activate
. "${_root}/tools/activate" || return 1
unset _root

export LC_ALL=C.UTF-8 # Files are sorted by bytes, text is UTF-8.
export PYTHONIOENCODING=UTF-8
