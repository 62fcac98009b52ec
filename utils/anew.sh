#!/usr/bin/env bash
# anew.sh DIR COMMAND...: a directory that COMMAND makes, and does not write over. To be run within a
# job: who takes up a job that has ended finds what it made, and so does who has waited for another run of
# the same command (JOB_KEY says which it is).
set -euo pipefail
made="$1.log/.made"
if [ -n "${JOB_KEY:-}" ] && [ -d "$1" ] && [ -f "${made}" ] && [ "$(<"${made}")" == "${JOB_KEY}" ]; then
    echo "$1: another run has made it in the meantime (to have it made again, remove it)"
    exit 0
fi
rm -f -- "${made}" # First: half a directory is none.
rm -rf -- "$1"
"${@:2}"
mkdir -p "${made%/*}"
echo "${JOB_KEY:-}" >"${made}.tmp" && mv "${made}.tmp" "${made}"
