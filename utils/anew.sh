#!/usr/bin/env bash
# anew.sh DIR COMMAND...: a directory that COMMAND makes, and does not write over. To be run within a
# job: who takes up a job that has ended finds what it made.
set -euo pipefail
rm -rf -- "$1"
exec "${@:2}"
