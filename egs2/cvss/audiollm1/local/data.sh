#!/usr/bin/env bash
# CVSS's data directories: spoken translations into English (CC BY 4.0) of Common Voice's clips (CC0).
# The language is run.sh's --lang, which is CVSS_LANG here, the voices its --version, CVSS_VERSION.
set -euo pipefail

cvss=""             # Directory of cvss_c_es_en_v1.0, or it itself (empty: CVSS of db.sh, or download).
commonvoice=""      # Directory of Common Voice, version 4 (empty: COMMONVOICE of db.sh).
downloads=downloads # Where the download of the translations goes.
text=written        # Transcripts: written (as they are) or spoken (lower case, no punctuation).
subset=false        # Whether the clips here are a part: gaps are left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${cvss:-${CVSS}}" --downloads "${downloads}" \
    --commonvoice "${commonvoice:-${COMMONVOICE}}" --lang "${CVSS_LANG:-es}" \
    --version "${CVSS_VERSION:-c}" --text "${text}" --subset "${subset}" data
