#!/usr/bin/env bash
# Speech as tokens, of CORPUS: ./run.sh --llm ID_OR_DIRECTORY --CORPUS DIR [OPTION]...
set -euo pipefail
# --CORPUS DIR reaches ../audiollm1/local/data.sh; all other options are speechlm.sh's (--help).
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" CORPUS VARIABLE "$@"

# Units: 1,024 of the middle layer of a recogniser with frames of 40 ms, of the corpus itself.
# hf:DIR:LAYER takes a layer of a model in DIR, without training a recogniser.
exec ./speechlm.sh \
    --language en \
    --ctc_config conf/train_ctc_25hz.yaml \
    --unit_source ctc:../audiollm1/exp/ctc_25hz:9 --unit_size 1024 --unit_hours 10 \
    "${arguments[@]}"
