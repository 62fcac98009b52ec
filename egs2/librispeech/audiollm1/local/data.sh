#!/usr/bin/env bash
# LibriSpeech's data directories, from the corpus in its own layout or from openslr.org.
set -euo pipefail

librispeech=""              # Directory that holds the parts (empty: LIBRISPEECH of db.sh, or download).
downloads=downloads         # Where downloads go.
train_parts=train-clean-100 # Parts to train on, with commas between.
valid_parts=dev-clean       # Parts to choose checkpoints by.
test_parts=test-clean       # Parts to report on.
text_case=lower             # Of the transcripts: lower or upper.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/audiollm1/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/audiollm1/path.sh
. ./path.sh

python local/prepare.py --corpus "${librispeech:-${LIBRISPEECH}}" --downloads "${downloads}" \
    --case "${text_case}" "data/train=${train_parts}" "data/valid=${valid_parts}" \
    "data/test=${test_parts}"
