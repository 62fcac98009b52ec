#!/usr/bin/env bash
# The mini recipe's data: a small world, spoken by espeak-ng, and a small Llama that talks about it.
# Runs in the recipe directory; skips what is up to date.
set -euo pipefail

num_train=12000         # Utterances to train on (about 6 hours).
num_valid=150           # Voices and combinations as in training.
num_test=450            # Voices and combinations that training never has.
num_conversations=60    # Of each of four kinds, in several turns, in the test's voices.
seed=1                  # What is said and by whom follows from it.
nj=2                    # Processes that speak.
llm=exp/llm             # Where the LLM goes.
llm_conversations=60000 # Texts that the LLM learns from.
llm_eval=500            # Held-out questions that it is asked.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
here=$(dirname "$0")
export PYTHONPATH="${PWD}/../../..${PYTHONPATH:+:${PYTHONPATH}}"

python3 "${here}/synthesize.py" --split train --num "${num_train}" --seed "${seed}" --nj "${nj}" data/train
python3 "${here}/synthesize.py" --split valid --num "${num_valid}" --seed "${seed}" --nj "${nj}" data/valid
python3 "${here}/synthesize.py" --split test --num "${num_test}" --seed "${seed}" --nj "${nj}" data/test
python3 "${here}/speak_conversations.py" --num "${num_conversations}" --seed "${seed}" --nj "${nj}" \
    data/conversations
python3 "${here}/train_llm.py" --seed "${seed}" --conversations "${llm_conversations}" \
    --num_eval "${llm_eval}" "${llm}"
