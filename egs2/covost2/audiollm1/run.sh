#!/usr/bin/env bash
# Speech translation: ./run.sh --llm ID --commonvoice DIR [--local_data_opts "--covost2 DIR"] ...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"

exec ./audiollm.sh \
    --vocab_size 1500 \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
