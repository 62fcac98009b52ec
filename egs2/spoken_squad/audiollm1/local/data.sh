#!/usr/bin/env bash
# Spoken SQuAD's data directories (CC BY-SA 4.0, as SQuAD).
set -euo pipefail

spoken_squad="" # Directory of spoken_*.json and Spoken-SQuAD_audio (empty: SPOKEN_SQUAD of db.sh).
squad=""        # Directory of SQuAD's train-v1.1.json and dev-v1.1.json (empty: the same).
max_passage=120 # Longest paragraph asked about (seconds): --max_audio, or less.
subset=false    # Whether the corpus here is a part: counts are not compared, gaps left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${spoken_squad:-${SPOKEN_SQUAD}}" --squad "${squad}" \
    --max_passage "${max_passage}" --subset "${subset}" data
