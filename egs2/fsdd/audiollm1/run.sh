#!/usr/bin/env bash
# Real spoken digits, joined to strings: ./run.sh [--fsdd DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" fsdd FSDD "$@"

exec ./audiollm.sh \
    --test_sets "test_known test_new" \
    --vocab_size 32 \
    --llm exp/llm \
    --ctc_config conf/train_ctc.yaml \
    --ctc_checkpoints "6epoch.pth 8epoch.pth valid.loss.ave.pth" \
    --align_configs conf/train_align.yaml \
    "${arguments[@]}"
