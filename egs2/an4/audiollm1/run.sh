#!/usr/bin/env bash
# Less than an hour of speech: ./run.sh --llm ID_OR_DIRECTORY [--an4 DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" an4 AN4 "$@"

exec ./audiollm.sh \
    --vocab_size 60 \
    --ctc_config conf/train_ctc.yaml \
    --align_configs conf/train_align.yaml \
    "${arguments[@]}"
