#!/usr/bin/env bash
# Make a recipe directory: setup.sh egs2/CORPUS/audiollm1 links it to this template.
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

mkdir -p "${recipe}/conf" "${recipe}/local"
for link in audiollm.sh path.sh cmd.sh db.sh; do
    ln -sfn "../../TEMPLATE/audiollm1/${link}" "${recipe}/${link}"
done
ln -sfn ../../../utils "${recipe}/utils"
for link in llm slurm.yaml; do
    ln -sfn "../../../TEMPLATE/audiollm1/conf/${link}" "${recipe}/conf/${link}"
done
echo "${recipe} is linked; now write local/data.sh, conf/*.yaml and run.sh (see egs2/mini/audiollm1)"
