#!/usr/bin/env bash
# Any language as tokens: ./run.sh --llm ID --commonvoice DIR [--lang de] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"
take_option lang COMMONVOICE_LANG
lang="${COMMONVOICE_LANG:-en}"
vocoder=none # What judges speech knows English alone.
[ "${lang}" != en ] || vocoder=train

exec ./speechlm.sh \
    --language "${lang}" --vocoder "${vocoder}" \
    --ctc_config conf/train_ctc_25hz.yaml \
    --unit_source ctc:../audiollm1/exp/ctc_25hz:9 --unit_size 1024 --unit_hours 10 \
    "${arguments[@]}"
