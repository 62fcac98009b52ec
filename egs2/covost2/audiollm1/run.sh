#!/usr/bin/env bash
# Speech translation: ./run.sh --llm ID --commonvoice DIR [--pair fr_en] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"
export COVOST2_PAIR="${COVOST2_PAIR:-fr_en}"
take_option pair COVOST2_PAIR
target="${COVOST2_PAIR#*_}"
language="$(sed -n "s/^${target} //p" conf/languages.txt)"

exec ./audiollm.sh \
    --vocab_size 1500 \
    --normalizer "${COVOST2_PAIR%_*}" \
    --system_prompt "Translate what the user says into ${language}. Answer with the translation alone." \
    --target_lang "${target}" \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
