#!/usr/bin/env bash
# LibriSpeech at the paper's scale: ./run.sh --llm ID_OR_DIRECTORY [--librispeech DIR] [OPTION]...
# The bridge in the LLM's token space; README.md has the paper's own setting.
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" librispeech LIBRISPEECH "$@"

exec ./audiollm.sh \
    --token_type llm --vocab_size 0 \
    --ctc_config conf/train_ctc_conformer18.yaml \
    --align_configs conf/train_align_bridge_conformer18.yaml \
    "${arguments[@]}"
