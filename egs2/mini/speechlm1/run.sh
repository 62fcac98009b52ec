#!/usr/bin/env bash
# The small world's Llama learns to read and write units of speech: see ../audiollm1/run.sh.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

exec ./speechlm.sh \
    --llm ../audiollm1/exp/llm \
    --unit_source ctc:../audiollm1/exp/ctc_llm_llm_0:6 \
    --answer_unit_source fbank:8 --answer_unit_size 500 \
    --answer_voice en-us+edward --vocoder_utterances 1000 --judged_utterances 100 \
    "$@"
