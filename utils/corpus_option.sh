# shellcheck shell=bash
# To be sourced by a recipe's run.sh: corpus_option.sh NAME VARIABLE ARGUMENT...
#
# Takes `--NAME DIR` (or --NAME=DIR) out of the arguments and exports DIR, made absolute, as
# VARIABLE, where db.sh finds it: a path may hold spaces. The other arguments are left in
# ${arguments[@]}, for audiollm.sh. Then goes to the recipe's directory.

_co_name="$1" _co_variable="$2"
shift 2
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        "--${_co_name}")
            if [ $# -lt 2 ]; then
                echo "${0##*/}: --${_co_name} needs a directory" >&2
                exit 1
            fi
            export "${_co_variable}=$(realpath -m "$2")"
            shift
            ;;
        "--${_co_name}="*) export "${_co_variable}=$(realpath -m "${1#*=}")" ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
unset _co_name _co_variable
cd "$(dirname "$(readlink -f "$0")")" || exit 1
