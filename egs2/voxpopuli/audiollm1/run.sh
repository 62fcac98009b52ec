#!/usr/bin/env bash
# The European Parliament: ./run.sh --llm ID --voxpopuli DIR [--local_data_opts "--lang de"] ...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" voxpopuli VOXPOPULI "$@"

exec ./audiollm.sh \
    --vocab_size 1500 \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
