#!/usr/bin/env bash
# Spoken paragraphs: ./run.sh --llm ID_OR_DIRECTORY --spoken_squad DIR [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" spoken_squad SPOKEN_SQUAD "$@"

exec ./audiollm.sh \
    --max_audio 120 \
    --vocab_size 1500 \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    --conversations data/conversations/questions_test.jsonl \
    "${arguments[@]}"
