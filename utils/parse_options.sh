# shellcheck shell=bash
# Command-line options for a bash script. To be sourced, without arguments, after the option block:
#
#   ## Audio                 (a heading of --help)
#   max_audio=20             # Longest utterance kept (seconds).
#   . utils/parse_options.sh
#
# Every assignment at the start of a line above that one is an option: --max_audio 20,
# --max-audio 20 or --max_audio=20; a comment behind it is its help. Names that begin with a capital
# or an underscore, and arrays, are no options. Values may hold spaces. An option whose default is
# true or false, or a number, takes nothing else. Anything unknown is refused, with the nearest
# option there is, and so is a word that belongs to no option. What stands behind -- is in "$@".
#
# Afterwards a script with "set -e" does not end silently: a command that fails is named, with its
# file and line.

_po_script="${BASH_SOURCE[1]}"
_po_line="${BASH_LINENO[0]}" # The line that sources this file: the block ends there.
_po_pattern='^[a-z][a-zA-Z0-9_]*=([^(]|$)'

_po_die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

_po_block() {
    head -n "${_po_line}" "${_po_script}"
}

_po_options() { # The names of the options, one a line.
    _po_block | sed -nE "/${_po_pattern}/s/=.*//p"
}

[ -r "${_po_script}" ] ||
    _po_die "cannot read ${_po_script} in ${PWD}: source parse_options.sh before any cd, or start the script by its full path"
_po_known=$'\n'"$(_po_options)"$'\n'

_po_is_option() {
    [[ ${_po_known} == *$'\n'"$1"$'\n'* ]]
}

_po_help() { # The block, with the present values as defaults. What stands on line 2 is the title.
    local line name about
    sed -n '2s/^# *//p' "${_po_script}"
    echo "Usage: ${0} [--option value]..."
    while IFS= read -r line; do
        if [[ ${line} =~ ^##\ (.*) ]]; then
            printf '\n%s\n' "${BASH_REMATCH[1]}"
        elif [[ ${line} =~ ${_po_pattern} ]]; then
            name="${line%%=*}" about=""
            [[ ${line} != *[[:space:]]\#\ * ]] || about="${line##*[[:space:]]# } "
            printf '  %-24s %s[%s]\n' "--${name}" "${about}" "${!name}"
        fi
    done < <(_po_block)
}

_po_nearest() { # The option with the fewest letters to change, insert or delete.
    printf '%s' "${_po_known#?}" | awk -v given="$1" '
        function distance(a, b,   i, j, d, cost, best) {
            for (i = 0; i <= length(a); i++) d[i, 0] = i
            for (j = 0; j <= length(b); j++) d[0, j] = j
            for (i = 1; i <= length(a); i++) for (j = 1; j <= length(b); j++) {
                cost = substr(a, i, 1) != substr(b, j, 1)
                best = d[i - 1, j - 1] + cost
                if (d[i - 1, j] + 1 < best) best = d[i - 1, j] + 1
                if (d[i, j - 1] + 1 < best) best = d[i, j - 1] + 1
                d[i, j] = best
            }
            return d[length(a), length(b)]
        }
        { far = distance(given, $0); if (NR == 1 || far < least) { least = far; nearest = $0 } }
        END { print nearest }'
}

_po_check() { # NAME VALUE: the value must be of the kind of the default.
    local number='^-?[0-9]+(\.[0-9]*)?(e-?[0-9]+)?$'
    if [[ ${!1} == true || ${!1} == false ]]; then
        [[ $2 == true || $2 == false ]] || _po_die "--$1 takes true or false, not '$2'"
    elif [[ ${!1} =~ ${number} ]]; then
        [[ $2 =~ ${number} ]] || _po_die "--$1 takes a number, not '$2'"
    fi
}

_po_failed() { # STATUS FILE LINE COMMAND; what runs in a subshell is named by what waits for it.
    ((BASH_SUBSHELL > 0)) || echo "$2: line $3 failed (exit status $1): $4" >&2
}

while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            _po_help
            exit 0
            ;;
        --)
            shift
            break
            ;;
        --?*) ;;
        *) _po_die "'$1' is no option: options begin with two dashes (--help lists them)" ;;
    esac
    _po_name="${1#--}"
    _po_name="${_po_name%%=*}"
    _po_name="${_po_name//-/_}"
    [[ ${_po_known} != $'\n\n' ]] || _po_die "unknown option --${_po_name}; there are none"
    _po_is_option "${_po_name}" || _po_die \
        "unknown option --${_po_name}; the nearest is --$(_po_nearest "${_po_name}") (--help lists all)"
    if [[ $1 == *=* ]]; then
        _po_value="${1#*=}"
        shift
    else
        [[ $# -ge 2 ]] || _po_die "--${_po_name} needs a value"
        _po_value="$2"
        if [[ ${_po_value} == --* ]] && _po_is_option "${_po_value#--}"; then
            _po_die "--${_po_name} needs a value, and the next word is the option ${_po_value}"
        fi
        shift 2
    fi
    _po_check "${_po_name}" "${_po_value}"
    printf -v "${_po_name}" '%s' "${_po_value}"
done
unset _po_name _po_value _po_script _po_line _po_pattern _po_known

if [[ $- == *e* && -z $(trap -p ERR) ]]; then
    set -o errtrace
    trap '_po_failed "$?" "${BASH_SOURCE[0]}" "${LINENO}" "${BASH_COMMAND}"' ERR
fi
