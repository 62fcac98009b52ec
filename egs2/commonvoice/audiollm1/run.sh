#!/usr/bin/env bash
# Any language: ./run.sh --llm ID_OR_DIRECTORY --commonvoice DIR [--lang de] [OPTION]...
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"
take_option lang COMMONVOICE_LANG

exec ./audiollm.sh \
    --vocab_size 1500 \
    --normalizer "${COMMONVOICE_LANG:-en}" \
    --ctc_config conf/train_ctc_conformer12.yaml \
    --align_configs conf/train_align_conformer12.yaml \
    "${arguments[@]}"
