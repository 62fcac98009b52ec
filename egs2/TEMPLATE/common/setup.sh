#!/usr/bin/env bash
# Make a recipe directory: setup.sh egs2/CORPUS/KIND, of a KIND that TEMPLATE has (audiollm1,
# speechlm1). A KIND with a file on_top_of takes its data from the corpus's recipe of the kind named
# there, which is made as well. Of a recipe that is there it fixes the links that lead nowhere, and
# changes nothing that anybody wrote.
set -euo pipefail

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

[ $# -eq 1 ] || die "usage: ${0} egs2/CORPUS/KIND, e.g. egs2/my_corpus/audiollm1"
template="$(dirname "$(dirname "$(readlink -f "$0")")")"
egs2="$(dirname "${template}")"
recipe="$(realpath -m "$1")"
kind="$(basename "${recipe}")"
[ "$(dirname "$(dirname "${recipe}")")" == "${egs2}" ] ||
    die "a recipe lies in ${egs2}/CORPUS/KIND, and $1 does not"
corpus="$(basename "$(dirname "${recipe}")")"
[[ ${corpus} =~ ^[a-z][a-z0-9_]*$ ]] ||
    die "CORPUS names an option, so it is of a-z, 0-9 and _, and begins with a letter: not '${corpus}'"
kinds="$(cd "${template}" && dirname -- */skeleton | grep -vx common)"
grep -qx "${kind}" <<<"${kinds}" || die "there is no kind of recipe '${kind}'; there are: ${kinds//$'\n'/, }"

[[ " HOME USER LOGNAME LANG SHELL TMPDIR $(env -i bash --norc -c 'compgen -v' | tr '\n' ' ')" != *" ${corpus^^} "* ]] ||
    die "CORPUS names a variable, and ${corpus^^} is one of the shell's: choose another name than '${corpus}'"
! grep -qE "^${corpus}=" "${template}/${kind}/"*.sh "${template}/common/skeleton/local/data.sh" ||
    die "CORPUS names an option, and --${corpus} is one already: choose another name than '${corpus}'"

link() { # link TARGET PLACE, unless there is something.
    [ -e "$2" ] || ln -sfn "$1" "$2"
}
fill_in() { # fill_in SKELETON PLACE, unless there is something.
    [ ! -e "$2" ] || return 0
    sed "s/CORPUS/${corpus}/g; s/VARIABLE/${corpus^^}/g" "$1" >"$2.tmp"
    chmod --reference="$1" "$2.tmp"
    mv "$2.tmp" "$2"
}

skeletons=(common "${kind}")
if [ -e "${template}/${kind}/on_top_of" ]; then
    below="$(<"${template}/${kind}/on_top_of")"
    skeletons=("${kind}")
    [ -e "${egs2}/${corpus}/${below}/run.sh" ] || "$0" "${egs2}/${corpus}/${below}"
fi

new=true
[ ! -e "${recipe}/run.sh" ] || new=false
mkdir -p "${recipe}/conf"
if "${new}"; then # The author's own, to be changed.
    for part in "${skeletons[@]}"; do
        for name in $(cd "${template}/${part}/skeleton" && find . ! -type d); do
            mkdir -p "$(dirname "${recipe}/${name}")"
            fill_in "${template}/${part}/skeleton/${name}" "${recipe}/${name}"
        done
    done
fi
link ../../../utils "${recipe}/utils"
for part in common "${kind}"; do
    for path in "${template}/${part}"/*.sh; do
        [ "${path##*/}" == setup.sh ] || link "../../TEMPLATE/${part}/${path##*/}" "${recipe}/${path##*/}"
    done
    for path in "${template}/${part}"/conf/*; do
        link "../../../TEMPLATE/${part}/conf/${path##*/}" "${recipe}/conf/${path##*/}"
    done
done
if ! "${new}"; then
    echo "${recipe}: its links are complete"
    exit
fi
first="write local/data.sh: what it must leave is said there;"
[ -z "${below:-}" ] || first="see that ../${below} prepares the corpus;"
guide="${template}/${kind}/README.md"
[ -e "${guide}" ] || guide="$(dirname "${egs2}")/docs/${kind%1}.md"
cat <<END
${recipe} is made. Now
  1. ${first}
  2. look over run.sh and the configurations in conf that are no links (for one GPU);
  3. ./run.sh --${corpus} DIR --stop_stage 2, then on to the table; ${guide} helps.
END
