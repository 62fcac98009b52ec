#!/usr/bin/env bash
# CoVoST 2's data directories: its translations (CC BY-NC 4.0) of Common Voice's clips (CC0).
# The languages are run.sh's --pair, which is COVOST2_PAIR here.
set -euo pipefail

covost2=""          # Directory of covost_v2.*_*.tsv (empty: COVOST2 of db.sh, or download).
commonvoice=""      # Directory of Common Voice, version 4 (empty: COMMONVOICE of db.sh).
downloads=downloads # Where the download of the translations goes.
text=written        # Transcripts: written (as they are) or spoken (lower case, no punctuation).
subset=false        # Whether the clips here are a part: counts are not compared, gaps left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${covost2:-${COVOST2}}" --downloads "${downloads}" \
    --commonvoice "${commonvoice:-${COMMONVOICE}}" --pair "${COVOST2_PAIR:-fr_en}" \
    --text "${text}" --subset "${subset}" data
