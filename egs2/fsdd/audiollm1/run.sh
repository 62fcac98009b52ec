#!/usr/bin/env bash
# Real spoken digits, joined to strings: ./run.sh [--fsdd DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" fsdd FSDD "$@"

exec ./audiollm.sh \
    --test_sets "test_known test_new" \
    --token_type llm --vocab_size 0 \
    --llm exp/llm \
    --ctc_config conf/train_ctc.yaml \
    --ctc_checkpoints "1epoch.pth 2epoch.pth valid.loss.ave.pth" \
    --behaviours local/behaviours_digits.yaml \
    --align_configs conf/train_align_bridge.yaml \
    "${arguments[@]}"
