#!/usr/bin/env bash
# The small world's Llama learns to read and write units of speech: see ../audiollm1/run.sh.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

exec ./speechlm.sh \
    --inference_nj 2 \
    --llm ../audiollm1/exp/llm \
    --ctc_config ../audiollm1/conf/train_ctc_long.yaml --align_tag long \
    --unit_source ctc:../audiollm1/exp/ctc_long:6 --unit_size 500 --vocoder patches \
    --answer_unit_source fbank:8 --answer_unit_size 500 \
    --answer_voice en-us+edward --judged_utterances 100 \
    "$@"
