#!/usr/bin/env bash
# Install Debian's Slurm and munge for test/slurm, where root and apt-get are there. Else say why not.
#
# Nothing is started: the tests start daemons of their own, with a configuration of their own.
set -euo pipefail

present() {
    local name
    for name in munged slurmctld slurmd sbatch srun; do
        PATH="${PATH}:/usr/sbin" command -v "${name}" >/dev/null || return 1
    done
}
skip() {
    echo "install_slurm.sh: $*; the tests of test/slurm will be skipped" >&2
    exit 0
}

if present; then exit 0; fi
[ "$(id -u)" == 0 ] || skip "Slurm is not installed, and installing it needs root"
command -v apt-get >/dev/null || skip "Slurm is not installed, and there is no apt-get here"
[ -e /etc/slurm/slurm.conf ] && skip "this machine has a Slurm configuration, but no daemons"

echo "installing Slurm and munge for the tests (apt-get)"
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
trap 'rm -f "${log}"' EXIT
policy=/usr/sbin/policy-rc.d # Answers 101: the packages start no service of their own.
if [ ! -e "${policy}" ]; then
    printf '#!/bin/sh\nexit 101\n' >"${policy}"
    chmod 755 "${policy}"
    trap 'rm -f "${log}" "${policy}"' EXIT
fi
{ apt-get update && apt-get install --yes --no-install-recommends \
    munge slurmctld slurmd slurm-client; } >"${log}" 2>&1 || {
    tail -n 5 "${log}" >&2
    skip "apt-get failed, see above"
}
