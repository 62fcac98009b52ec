#!/usr/bin/env bash
# CORPUS's data directories. (Say here under which licence the corpus is had.)
set -euo pipefail

CORPUS=""    # Directory of the corpus (empty: VARIABLE of db.sh or of the environment).
subset=false # Whether the corpus here is a part: counts are not compared with the published ones.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

root="${CORPUS:-${VARIABLE:-}}"
[ -d "${root}" ] || {
    echo "$0: no directory '${root}': name the corpus with --CORPUS DIR" >&2
    exit 1
}

# What must be there at the end, for each of train, valid and test (--train_set, --valid_set and
# --test_sets), every file sorted by id in the C locale, one line an utterance:
#   data/<split>/wav.scp    id, path of the recording (16 kHz mono or not: stage 2 converts)
#   data/<split>/text       id, what is said
#   data/<split>/utt2spk    id, speaker; no speaker of a test set is in train
# and, where the corpus has them, answers (id, accepted answers with | between), category (id,
# word), translation (id, text) and summary (id, text). No id is in two splits.
#
# From a table with a column each: python utils/data/from_table.py --help
# What is wrong with a directory:  python utils/data/validate.py data/train
# In Python: espnet_audiollm/corpus/prepare.py, as egs2/librispeech/audiollm1/local/prepare.py does,
# which reports all errors at once, compares counts and writes all splits or none.
echo "$0 is not written yet: it is to leave data/{train,valid,test} from ${root}" \
    "(--subset ${subset}); what they must hold is said in this file" >&2
exit 1
