#!/usr/bin/env bash
# The paper's corpus and settings: ./run.sh [--mls_english DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" mls_english MLS_ENGLISH "$@"

exec ./audiollm.sh \
    --max_audio 20 \
    --vocab_size 1500 \
    --normalizer en \
    --llm meta-llama/Llama-2-7b-chat-hf \
    --ctc_config conf/train_ctc_conformer18.yaml \
    --align_configs conf/train_align_conformer18.yaml \
    "${arguments[@]}"
