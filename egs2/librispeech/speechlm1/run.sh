#!/usr/bin/env bash
# Speech as tokens, with spoken answers: ./run.sh --llm ID_OR_DIRECTORY [--librispeech DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" librispeech LIBRISPEECH "$@"

exec ./speechlm.sh \
    --language en \
    --ctc_config conf/train_ctc_25hz.yaml \
    --unit_source ctc:../audiollm1/exp/ctc_25hz:9 --unit_size 1024 --unit_hours 10 \
    --answer_voice en-us+edward \
    "${arguments[@]}"
