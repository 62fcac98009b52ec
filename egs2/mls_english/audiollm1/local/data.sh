#!/usr/bin/env bash
# MLS English's data directories, from the unpacked corpus or from OpenSLR 94 (CC BY 4.0).
set -euo pipefail

mls_english=""      # Directory of train, dev and test (empty: MLS_ENGLISH of db.sh, or download).
downloads=downloads # Where the download goes.
audio=opus          # Archive to download: opus (651 GB) or flac (2.4 TB).
train_part=all      # What to train on: all, or the corpus's own 10h or 1h.
subset=false        # Whether the corpus here is a part: counts are not compared, gaps left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${mls_english:-${MLS_ENGLISH}}" --downloads "${downloads}" \
    --audio "${audio}" --train_part "${train_part}" --subset "${subset}" data
