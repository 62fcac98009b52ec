#!/usr/bin/env bash
# The European Parliament: ./run.sh --llm ID --voxpopuli DIR [--local_data_opts "--lang de"] ...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" voxpopuli VOXPOPULI "$@"
language="$(sed -nE 's/.*--lang[ =]([^ ]+).*/\1/p' <<<"${arguments[*]}")" # As local/data.sh has it.

exec ./audiollm.sh \
    --vocab_size 1500 \
    --normalizer "${language:-en}" \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
