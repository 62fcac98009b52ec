#!/usr/bin/env bash
# The speech LMs of local/ablation.yaml, each with each seed, on top of a finished main job; then one table.
#   local/ablation.sh [--list FILE] [--names "NAME ..."] [--seeds "1 2 3"] [-- OPTION of run.sh ...]
# Stopped at any moment, the same command goes on; what is up to date is not done again.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh
exec python local/speech_ablation.py "$@"
