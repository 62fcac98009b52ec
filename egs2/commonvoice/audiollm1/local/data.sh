#!/usr/bin/env bash
# A language's data directories, from a release of Common Voice (CC0). The language is run.sh's
# --lang, which is COMMONVOICE_LANG here.
set -euo pipefail

commonvoice="" # Directory of the release, or of the language (empty: COMMONVOICE of db.sh).
train=train    # Table to train on.
stats=""       # The release's JSON of counts, of github.com/common-voice/cv-dataset.
text=written   # Transcripts: written (as they are) or spoken (lower case, no punctuation).
subset=false   # Whether the release here is a part: counts are not compared, gaps left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${commonvoice:-${COMMONVOICE}}" --lang "${COMMONVOICE_LANG:-en}" \
    --stats "${stats}" --text "${text}" --subset "${subset}" \
    "data/train=${train}" data/valid=dev data/test=test
