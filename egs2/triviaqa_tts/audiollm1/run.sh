#!/usr/bin/env bash
# Spoken questions: ./run.sh --llm ID_OR_DIRECTORY [--triviaqa DIR] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" triviaqa TRIVIAQA "$@"

exec ./audiollm.sh \
    --vocab_size 1500 --success_rule triviaqa \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
