#!/usr/bin/env bash
# Make a recipe directory: setup.sh egs2/CORPUS/audiollm1. Of one that is there it mends the links
# that lead nowhere, and changes nothing that anybody wrote.
set -euo pipefail

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

[ $# -eq 1 ] || die "usage: ${0} egs2/CORPUS/audiollm1"
template="$(dirname "$(readlink -f "$0")")"
egs2="$(dirname "$(dirname "${template}")")"
recipe="$(realpath -m "$1")"
[ "$(dirname "$(dirname "${recipe}")")" == "${egs2}" ] ||
    die "a recipe lies in ${egs2}/CORPUS/NAME, and $1 does not"
corpus="$(basename "$(dirname "${recipe}")")"
[[ ${corpus} =~ ^[a-z][a-z0-9_]*$ ]] ||
    die "CORPUS names an option, so it is of a-z, 0-9 and _, and begins with a letter: not '${corpus}'"

link() { # link TARGET PLACE, unless there is something.
    [ -e "$2" ] || ln -sfn "$1" "$2"
}
fill_in() { # fill_in SKELETON PLACE, unless there is something.
    [ ! -e "$2" ] || return 0
    sed "s/CORPUS/${corpus}/g; s/VARIABLE/${corpus^^}/g" "$1" >"$2.tmp"
    chmod --reference="$1" "$2.tmp"
    mv "$2.tmp" "$2"
}

new=true
[ ! -e "${recipe}/run.sh" ] || new=false
mkdir -p "${recipe}/conf" "${recipe}/local"
for name in audiollm.sh path.sh cmd.sh db.sh; do
    link "../../TEMPLATE/audiollm1/${name}" "${recipe}/${name}"
done
link ../../../utils "${recipe}/utils"
for path in "${template}"/conf/*; do
    link "../../../TEMPLATE/audiollm1/conf/${path##*/}" "${recipe}/conf/${path##*/}"
done
if ! "${new}"; then
    echo "${recipe}: its links are whole"
    exit
fi
for kind in ctc align; do # The author's own, to be changed.
    fill_in "${template}/conf/train_${kind}_conformer12.yaml" "${recipe}/conf/train_${kind}.yaml"
done
for name in README.md local/data.sh run.sh; do
    fill_in "${template}/skeleton/${name}" "${recipe}/${name}"
done
cat <<END
${recipe} is made. Now
  1. write local/data.sh: what it must leave is said there;
  2. look over run.sh and conf/train_{ctc,align}.yaml (one GPU);
  3. ./run.sh --${corpus} DIR --stop_stage 2, then on to the table; ${template}/README.md helps.
END
