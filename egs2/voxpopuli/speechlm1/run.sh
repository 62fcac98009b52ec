#!/usr/bin/env bash
# The European Parliament as tokens: ./run.sh --llm ID --voxpopuli DIR [--lang de] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" voxpopuli VOXPOPULI "$@"
take_option lang VOXPOPULI_LANG
lang="${VOXPOPULI_LANG:-en}"
vocoder=none # What judges speech knows English alone.
[ "${lang}" != en ] || vocoder=train

exec ./speechlm.sh \
    --language "${lang}" --vocoder "${vocoder}" \
    --ctc_config conf/train_ctc_25hz.yaml \
    --unit_source ctc:../audiollm1/exp/ctc_25hz:9 --unit_size 1024 --unit_hours 10 \
    "${arguments[@]}"
