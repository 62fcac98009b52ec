#!/usr/bin/env bash
# Strings of real spoken digits, and a small Llama that knows which digits they are and their sum.
set -euo pipefail

fsdd=""                  # Directory that holds recordings/ (empty: FSDD of db.sh, or download).
downloads=downloads      # Where the download goes.
num_train=2000           # Strings to train on.
num_valid=100            # Strings to choose checkpoints by.
num_test=200             # Strings of each test set.
new_speaker=george       # Speaker of test_new only.
speeds=0.8,0.9,1,1.1,1.2 # Of each training string: other pitches, as of other voices.
seed=1                   # Which strings, and of which recordings.
llm=exp/llm              # Where the LLM goes.
llm_conversations=30000  # Texts that the LLM learns from.
llm_eval=300             # Strings never learned that it is asked about.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

# shellcheck disable=SC2086
python local/prepare.py --corpus "${fsdd:-${FSDD}}" --downloads "${downloads}" \
    --num_train "${num_train}" --num_valid "${num_valid}" --num_test "${num_test}" \
    --new_speaker "${new_speaker}" --speeds ${speeds//,/ } --seed "${seed}" data
python local/train_digits_llm.py --seed "${seed}" --conversations "${llm_conversations}" \
    --num_eval "${llm_eval}" "${llm}"
