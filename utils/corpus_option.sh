# shellcheck shell=bash
# To be sourced by a recipe's run.sh: corpus_option.sh NAME VARIABLE ARGUMENT...
#
# Takes `--NAME DIR` (or --NAME=DIR) out of the arguments and exports DIR, made absolute, as
# VARIABLE, where db.sh finds it: a path may hold spaces. The other arguments are left in
# ${arguments[@]}, for audiollm.sh. Then goes to the recipe's directory.

# shellcheck source=utils/platform.sh
. "${BASH_SOURCE[0]%/*}/platform.sh" || exit 1

# take_option NAME VARIABLE: takes `--NAME VALUE` (or --NAME=VALUE) out of ${arguments[@]} and
# exports VALUE as VARIABLE, for local/data.sh to read. The last one counts.
take_option() {
    local given=(${arguments[@]+"${arguments[@]}"})
    set -- "$1" "$2" ${given[@]+"${given[@]}"}
    local name="$1" variable="$2"
    shift 2
    arguments=()
    while [ $# -gt 0 ]; do
        case "$1" in
            "--${name}")
                if [ $# -lt 2 ]; then
                    echo "${0##*/}: --${name} needs a value" >&2
                    exit 1
                fi
                export "${variable}=$2"
                shift
                ;;
            "--${name}="*) export "${variable}=${1#*=}" ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
}

_co_name="$1" _co_variable="$2"
shift 2
arguments=("$@")
take_option "${_co_name}" "${_co_variable}"
[ -z "${!_co_variable:-}" ] || export "${_co_variable}=$(realpath -m "${!_co_variable}")"
unset _co_name _co_variable
cd "$(dirname "$(readlink -f "$0")")" || exit 1
