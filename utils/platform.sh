# shellcheck shell=bash
# To be sourced before all else, ". utils/platform.sh || exit 1": says in one sentence what this
# machine lacks. In words that any bash reads.

unsupported() { # unsupported BASH_VERSION SYSTEM MACHINE LIBC: why; nothing where all is well
    local version="${1%%[!0-9.]*}" minor
    minor="${version#*.}" && minor="${minor%%.*}"
    if [ "$2" != Linux ]; then
        echo "this is $2"
    elif [ "$3" != x86_64 ] && [ "$3" != aarch64 ]; then
        echo "this is a processor of kind $3"
    elif [ "${version%%.*}" -lt 4 ] || { [ "${version%%.*}" -eq 4 ] && [ "${minor}" -lt 4 ]; }; then
        echo "this is bash $1"
    else
        case "$4" in
            "glibc 2."[0-9] | "glibc 2."[0-9].* | "glibc 2."1[0-9]* | "glibc 2."2[0-7]*) echo "this is $4" ;;
            "glibc "*) ;;
            *) echo "this system has another C library (musl?)" ;;
        esac
    fi
}

_lacking="$(unsupported "${BASH_VERSION:-0}" "$(uname -s)" "$(uname -m)" \
    "$(getconf GNU_LIBC_VERSION 2>/dev/null)")"
if [ -n "${_lacking}" ]; then
    echo "${0##*/}: needs Linux on x86-64 or aarch64, glibc 2.28 and bash 4.4 or newer, and ${_lacking}" >&2
    unset _lacking
    return 1
fi
unset _lacking
