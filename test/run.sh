#!/usr/bin/env bash
# Install tools/venv if needed, then run the tests, two at a time:
# test/run.sh [--install_system] [--all] [pytest options], e.g. test/run.sh --numprocesses 0 test/data
# --install_system installs Slurm, Chromium, sox and flac, too (root, Debian).
# Without --all what takes long is left out: ten minutes on two cores are enough for the rest.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
install_environment=true
# shellcheck source=tools/activate
. tools/activate
given=() check=(--check)
for word in "$@"; do
    if [ "${word}" == --install_system ]; then check=(); else given+=("${word}"); fi
done
tools/install_for_tests.sh "${check[@]}"
exec python -m pytest --numprocesses 2 --no-loadscope-reorder "${given[@]}"
