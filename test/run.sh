#!/usr/bin/env bash
# Install if needed (Slurm and Chromium too, where root may), then run the tests: test/run.sh [pytest options], e.g. test/run.sh --slow
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
# shellcheck source=tools/activate
. tools/activate
tools/install_for_tests.sh
exec python -m pytest "$@"
