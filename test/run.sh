#!/usr/bin/env bash
# Install if needed (Slurm and Chromium too, where root may), then run the tests, two at a time:
# test/run.sh [--all] [pytest options], e.g. test/run.sh --all, test/run.sh --numprocesses 0 test/data
# Without --all what takes long is left out: ten minutes on two cores are enough for the rest.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
# shellcheck source=tools/activate
. tools/activate
tools/install_for_tests.sh
exec python -m pytest --numprocesses 2 --no-loadscope-reorder "$@"
