#!/usr/bin/env bash
# Speech translation into English: ./run.sh --llm ID --commonvoice DIR [--lang es] [OPTION]...
# The spoken translations are for ../speechlm1; here they are prepared and not learned from.
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"
take_option lang CVSS_LANG
take_option version CVSS_VERSION

exec ./audiollm.sh \
    --vocab_size 1500 \
    --normalizer "${CVSS_LANG:-es}" \
    --system_prompt "Translate what the user says into English. Answer with the translation alone." \
    --target_lang en \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
