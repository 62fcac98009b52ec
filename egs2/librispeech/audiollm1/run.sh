#!/usr/bin/env bash
# LibriSpeech at the paper's scale: ./run.sh --llm ID_OR_DIRECTORY [--librispeech DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" librispeech LIBRISPEECH "$@"

exec ./audiollm.sh \
    --vocab_size 1500 \
    --ctc_config conf/train_ctc_conformer18.yaml \
    --align_configs conf/train_align_conformer18.yaml \
    "${arguments[@]}"
