#!/usr/bin/env bash
# AN4's data directories, from CMU's distribution here or from speech.cs.cmu.edu.
set -euo pipefail

an4=""              # Directory of etc and wav (empty: AN4 of db.sh, or download).
downloads=downloads # Where the download goes.
subset=false        # Whether the corpus here is a part: counts are not compared, gaps left out.

# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=egs2/TEMPLATE/common/db.sh
. ./db.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh

python local/prepare.py --corpus "${an4:-${AN4}}" --downloads "${downloads}" --subset "${subset}" data
