#!/usr/bin/env bash
# Install everything into tools/venv: no root, nothing outside this directory; safe to repeat.
# shellcheck disable=SC2034,SC2154
set -euo pipefail
_tools="$(dirname "$(readlink -f "$0")")"
# shellcheck source=utils/platform.sh
. "${_tools}/../utils/platform.sh" || exit 1

python=""       # Python to build on (empty: the first of python3, python3.13, ... that will do).
on_demand=false # For tools/activate: silent when installed; refuses an environment made elsewhere.
check=false     # Only say whether all is installed, and what installs it.
force=false     # Build the environment anew.
# shellcheck source=utils/parse_options.sh
. "${_tools}/../utils/parse_options.sh"
cd "${_tools}"

disk_needed=7    # GB, with pip's temporary files.
pip_version=24.2 # The one that was tested.

die() {
    echo "install.sh: $*" >&2
    exit 1
}
say() { echo "[$((SECONDS / 60))m$((SECONDS % 60))s] $*"; }

# What is installed belongs to these requirements and to this place: its programs name their Python.
wanted="$(cat requirements.txt constraints.txt | sha256sum | cut -d ' ' -f 1) $(pwd -P)"
installed() { [ -f venv/.installed ] && [ "$(<venv/.installed)" == "${wanted}" ]; }
made_elsewhere() { # An older stamp names no place.
    local place
    place="$(cut -d ' ' -f 2- venv/.installed 2>/dev/null)" || return 1
    [[ ${place} == /* && ${place} != "$(pwd -P)" ]]
}

suits() { # Can this Python make a virtual environment with pip in it?
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${python:+"${python}"} python3 python3.13 python3.12 python3.11; do
        if suits "${candidate}"; then
            command -v "${candidate}"
            return
        fi
        [ -z "${python}" ] || break
    done
    die "needs Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip, and ${python:-python3} is" \
        "$("${python:-python3}" --version 2>&1 || true); install one (Debian: apt-get install" \
        "python3-venv; without root: conda create -n py311 python=3.11), then give it by --python PATH"
}

check_disk() {
    local free
    free="$(df -Pk . | awk 'NR == 2 { print int($4 / 1e6) }')"
    [ "${free}" -ge "${disk_needed}" ] ||
        die "needs ${disk_needed} GB of disk in ${PWD}, and ${free} GB are free; free some, or clone elsewhere"
}

# run WHAT COMMAND...: its output goes to venv.log; a line every 15 s shows that it lives.
run() {
    local what="$1" job
    shift
    say "${what}"
    "$@" >>venv.log 2>&1 &
    job=$!
    trap 'kill "${job}" 2>/dev/null; exit 130' INT TERM HUP
    (
        while sleep 15 && kill -0 "${job}" 2>/dev/null; do
            say "  ... $(tail -n 1 venv.log | cut -c 1-90) ($(du -sm venv | cut -f 1) MB so far)"
        done
    ) &
    local ticker=$!
    if ! wait "${job}"; then
        kill "${ticker}" 2>/dev/null
        tail -n 20 venv.log >&2
        die "failed at: ${what}; the end of tools/venv.log is above. The same command tries again"
    fi
    kill "${ticker}" 2>/dev/null || true
}

check_imports() {
    venv/bin/python - <<'END'
import importlib, sys
failed = []
names = """torch torchaudio espnet2.tasks.abs_task transformers sentencepiece sacrebleu jiwer kaldiio
           librosa soundfile yaml matplotlib tensorboard pytest espeakng_loader espnet_audiollm"""
for name in names.split():
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error}")
sys.exit("\n".join(failed) or 0)
END
}

if [ "${force}" == false ] && installed; then
    [ "${on_demand}${check}" != falsefalse ] || echo "install.sh: all is installed in ${PWD}/venv"
    exit 0
fi
if [ "${check}" == true ] && ! made_elsewhere; then
    die "${PWD}/venv is not installed, or for other requirements; ${PWD}/install.sh installs it" \
        "(5.5 GB, no root), and so do a recipe's run.sh and test/run.sh"
fi
if [ "${on_demand}" == true ] || [ "${check}" == true ] && made_elsewhere; then
    die "${PWD}/venv was made in another place ($(cut -d ' ' -f 2- venv/.installed)) and does not work" \
        "here; ${PWD}/install.sh builds it anew"
fi

exec 9>>.install.lock
status=0
flock -n 9 || status=$?
if ((status == 1)); then # Another status: this disk has no locks.
    say "waiting for ${PWD}/.install.lock: install.sh is at work here ($(tail -n 1 .install.lock))"
    flock 9
fi
echo "process $$ on ${HOSTNAME}" >.install.lock
if [ "${force}" == false ] && installed; then exit 0; fi # The other one did it.

: >venv.log
if [ "${force}" == true ] || made_elsewhere || ! venv/bin/python -m pip --version >/dev/null 2>&1; then
    base="$(find_python)"
    check_disk
    say "installing into ${PWD}/venv: about 3 minutes and 5.5 GB; the log is tools/venv.log"
    run "a virtual environment on ${base} ($("${base}" --version))" "${base}" -m venv --clear venv
fi
rm -f venv/.installed
bare='^(espnet|pocketsphinx)' # What is installed without what it requires.
pip=(venv/bin/python -m pip --disable-pip-version-check --no-input)
run "pip ${pip_version}" "${pip[@]}" install "pip==${pip_version}"
run "the packages of requirements.txt" \
    "${pip[@]}" install --progress-bar off -r <(grep -Ev "${bare}" requirements.txt) -c constraints.txt
run "ESPnet and PocketSphinx, without requirements that need a compiler or a sound card" \
    "${pip[@]}" install --no-deps -r <(grep -E "${bare}" requirements.txt)
run "espnet_audiollm itself" "${pip[@]}" install --no-deps --no-build-isolation -e ..
run "does all of it load?" check_imports
echo "${wanted}" >venv/.installed.tmp && mv venv/.installed.tmp venv/.installed
say "installed in ${PWD}/venv"
