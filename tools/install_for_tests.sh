#!/usr/bin/env bash
# Install from Debian what some tests need: Slurm and munge (test/slurm), Chromium (test/report), sox
# and flac (test/data/test_audio_formats.py). With --check: only say what is not there.
# Only where root and apt-get are there; else say why not. Nothing is started.
set -euo pipefail

skip() {
    echo "install_for_tests.sh: $*; its tests will be skipped" >&2
}
present() { # present PROGRAM...: all of them
    local name
    for name in "$@"; do
        PATH="${PATH}:/usr/sbin" command -v "${name}" >/dev/null || return 1
    done
}
install() { # install WHAT PACKAGE...
    local what="$1"
    shift
    [ "${check}" == false ] || { skip "not installed: ${what} (./test/run.sh --install_system installs it)" && return; }
    [ "$(id -u)" == 0 ] || { skip "${what} is not installed, and installing it needs root" && return; }
    present apt-get || { skip "${what} is not installed, and there is no apt-get here" && return; }
    echo "installing ${what} for the tests (apt-get)"
    { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >"${log}" 2>&1 ||
        { tail -n 5 "${log}" >&2 && skip "${what} could not be installed, see above"; }
}

check=false
[ "${1-}" != --check ] || check=true
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
made=("${log}")
trap 'rm -f "${made[@]}"' EXIT

if ! present munged slurmctld slurmd sbatch srun; then
    policy=/usr/sbin/policy-rc.d # Answers 101: the packages start no service of their own.
    if [ -e /etc/slurm/slurm.conf ]; then
        skip "this machine has a Slurm configuration, but no daemons"
    else
        if [ "${check}" == false ] && [ "$(id -u)" == 0 ] && [ ! -e "${policy}" ]; then
            made+=("${policy}")
            printf '#!/bin/sh\nexit 101\n' >"${policy}"
            chmod 755 "${policy}"
        fi
        install Slurm munge slurmctld slurmd slurm-client
    fi
fi
present chromium || present chromium-browser || present google-chrome ||
    install Chromium chromium fonts-dejavu-core
present sox flac || install "sox and flac" sox flac
