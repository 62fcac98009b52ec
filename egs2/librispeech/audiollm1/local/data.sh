#!/usr/bin/env bash
# LibriSpeech's data directories, from the corpus in its own layout or from openslr.org.
set -euo pipefail

librispeech=""        # Directory that holds the parts (empty: LIBRISPEECH of db.sh, or download).
downloads=downloads   # Where downloads go.
hours=100             # Hours to train on: 100, 460 or 960.
train_parts=""        # Parts to train on, with commas between (empty: those of so many hours).
valid_parts=dev-clean # Parts to choose checkpoints by.
test_parts=test-clean # Parts to report on.
text_case=lower       # Of the transcripts: lower or upper.
subset=false          # Whether these are cut down: counts are not compared, gaps left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/audiollm1/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/audiollm1/path.sh
. ./path.sh

case "${hours}" in
    100) parts=train-clean-100 ;;
    460) parts=train-clean-100,train-clean-360 ;;
    960) parts=train-clean-100,train-clean-360,train-other-500 ;;
    *)
        echo "local/data.sh: --hours ${hours}: LibriSpeech has 100, 460 or 960" >&2
        exit 1
        ;;
esac
python local/prepare.py --corpus "${librispeech:-${LIBRISPEECH}}" --downloads "${downloads}" \
    --case "${text_case}" --subset "${subset}" "data/train=${train_parts:-${parts}}" \
    "data/valid=${valid_parts}" "data/test=${test_parts}"
