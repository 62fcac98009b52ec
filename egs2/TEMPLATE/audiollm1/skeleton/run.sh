#!/usr/bin/env bash
# What CORPUS is, in a line: ./run.sh --llm ID_OR_DIRECTORY --CORPUS DIR [OPTION]...
set -euo pipefail
# --CORPUS DIR reaches local/data.sh; all other options are audiollm.sh's (./run.sh --help).
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" CORPUS VARIABLE "$@"

# Pieces: 1,500 for 100 hours and more, 300 for some hours, fewer than there are different words.
# Configurations: one GPU; conf/train_*_conformer18.yaml are the paper's, _tiny tries out the stages.
exec ./audiollm.sh \
    --vocab_size 1500 \
    --ctc_config conf/train_ctc.yaml \
    --align_configs conf/train_align.yaml \
    "${arguments[@]}"
