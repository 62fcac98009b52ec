#!/usr/bin/env bash
# TriviaQA's questions (Apache 2.0), spoken by espeak-ng.
set -euo pipefail

triviaqa=""         # Directory of triviaqa-unfiltered or of qa (empty: TRIVIAQA of db.sh, or download).
downloads=downloads # Where the download goes.
part=unfiltered-web # Questions: unfiltered-web, or wikipedia or web of triviaqa-rc.
num_train=10000     # Questions to train on (0: all).
num_valid=500       # Questions to choose checkpoints by, taken from those to train on (at least 1).
num_test=2000       # Questions to test on (0: all), by voices that training does not have.
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

python local/prepare.py --corpus "${triviaqa:-${TRIVIAQA}}" --downloads "${downloads}" \
    --part "${part}" --num_train "${num_train}" --num_valid "${num_valid}" --num_test "${num_test}" \
    --text "${text}" --seed "${seed}" --nj "${nj}" --subset "${subset}" data
