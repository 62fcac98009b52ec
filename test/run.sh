#!/usr/bin/env bash
# Install if needed (Slurm and Chromium too, where root may), then run the tests, two at a time:
# test/run.sh [pytest options], e.g. test/run.sh --slow, test/run.sh --numprocesses 0 test/data
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
# shellcheck source=tools/activate
. tools/activate
tools/install_for_tests.sh
exec python -m pytest --numprocesses 2 --no-loadscope-reorder "$@"
