#!/usr/bin/env bash
# A Llama of two cores' size gets an audio encoder: see ../../../README.md.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

exec ./audiollm.sh \
    --inference_nj 2 \
    --token_type llm --vocab_size 0 \
    --llm exp/llm \
    --ctc_config conf/train_ctc.yaml \
    --ctc_checkpoints "1epoch.pth 2epoch.pth valid.loss.ave.pth" \
    --behaviours conf/behaviours/mini.yaml \
    --align_configs conf/train_align_bridge.yaml \
    --noises "babble:10 white:10" --noise_checkpoints valid.loss.ave.pth \
    --conversations data/conversations/abilities.jsonl \
    "$@"
