#!/usr/bin/env bash
# Speech translation by tokens: ./run.sh --llm ID --commonvoice DIR [--pair fr_en] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"
export COVOST2_PAIR="${COVOST2_PAIR:-fr_en}"
take_option pair COVOST2_PAIR

exec ./speechlm.sh \
    --language "${COVOST2_PAIR%_*}" --translation_language "${COVOST2_PAIR#*_}" \
    --ctc_config conf/train_ctc_25hz.yaml \
    --unit_source ctc:../audiollm1/exp/ctc_25hz:9 --unit_size 1024 --unit_hours 10 \
    --vocoder none \
    "${arguments[@]}"
