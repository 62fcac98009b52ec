#!/usr/bin/env bash
# WebQuestions' questions (CC BY 4.0), spoken by espeak-ng.
set -euo pipefail

webquestions=""     # Directory of trainmodel.json, ... (empty: WEBQUESTIONS of db.sh, or download).
downloads=downloads # Where the download goes.
num_train=0         # Questions to train on (0: all).
num_valid=0         # Questions to choose checkpoints by (0: all).
num_test=0          # Questions to test on (0: all), by voices that training does not have.
text=written        # Transcripts: written (as they are) or spoken (lower case, no punctuation).
seed=1              # Which questions, and which voices.
nj=2                # Processes that speak.
subset=false        # Whether the files here are cut down: counts are not compared.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${webquestions:-${WEBQUESTIONS}}" --downloads "${downloads}" \
    --num_train "${num_train}" --num_valid "${num_valid}" --num_test "${num_test}" \
    --text "${text}" --seed "${seed}" --nj "${nj}" --subset "${subset}" data
