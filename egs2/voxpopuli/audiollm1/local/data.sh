#!/usr/bin/env bash
# A language's data directories, from VoxPopuli as its own scripts leave it (CC0). The language (en
# de fr es pl it ro hu cs nl fi hr sk sl et lt) is run.sh's --lang, which is VOXPOPULI_LANG here.
set -euo pipefail

voxpopuli=""    # Directory of transcribed_data (empty: VOXPOPULI of db.sh).
text=normalized # Transcripts: normalized (lower case, numbers in words) or raw.
subset=false    # Whether the corpus here is a part: segments without audio are left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${voxpopuli:-${VOXPOPULI}}" --text "${text}" \
    --lang "${VOXPOPULI_LANG:-en}" --subset "${subset}" \
    data/train=train data/valid=dev data/test=test
