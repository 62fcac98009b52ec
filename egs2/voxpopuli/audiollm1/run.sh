#!/usr/bin/env bash
# The European Parliament: ./run.sh --llm ID --voxpopuli DIR [--lang de] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" voxpopuli VOXPOPULI "$@"
take_option lang VOXPOPULI_LANG

exec ./audiollm.sh \
    --vocab_size 1500 \
    --normalizer "${VOXPOPULI_LANG:-en}" \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
