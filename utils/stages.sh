# shellcheck shell=bash disable=SC2154
# What the stages of audiollm.sh are made of: run one thing once, alone, or in jobs. To be sourced;
# the variables that it reads (stage, stop_stage, nj, train_cmd, …) are those of audiollm.sh.

log() { echo "$(date '+%H:%M:%S') $*"; }
die() {
    echo "${0##*/}: $*" >&2
    exit 1
}
runs() { # runs N: is stage N to run? Remembers it for messages.
    ((stage <= $1 && $1 <= stop_stage)) && [[ " ${skip_stages} " != *" $1 "* ]] && current="$1"
}

# hash_of WORDS FILE...: of the words and of what is in the files.
hash_of() { (echo "$1" && cat /dev/null "${@:2}") | sha256sum; }

# once MARKER INPUT... -- COMMAND...: run COMMAND, unless the same command with the same contents
# of INPUT came to its end before. MARKER is written last. What stands before "python" is no part
# of "the same": another number of jobs makes no other result.
once() {
    local marker="$1" inputs=() words now
    shift
    while [ "$1" != -- ]; do
        [ -s "$1" ] || die "$1 is missing or empty; run the stages before ${current} first"
        inputs+=("$1")
        shift
    done
    shift
    words=" $*"
    now="$(hash_of "python${words#* python}" "${inputs[@]}")"
    if [ -f "${marker}" ] && [ "$(<"${marker}")" == "${now}" ]; then
        log "  whole already: ${marker%/*}"
        return
    fi
    rm -f "${marker}"
    JOB_KEY="${now}" "$@" || failed
    mkdir -p "${marker%/*}"
    echo "${now}" >"${marker}.tmp" && mv "${marker}.tmp" "${marker}"
}

failed() { die "stage ${current} failed, see above; once mended, go on with --stage ${current}"; }

# alone LOCK COMMAND...: one at a time; what is left of a killed run ends first.
alone() {
    mkdir -p "${1%/*}"
    setpriv --pdeathsig TERM flock --no-fork "$@"
}

# in_jobs RUNNER NUMBER LOGS python -m MODULE...: MODULE's work in NUMBER jobs, then their merge.
in_jobs() {
    local runner="$1" jobs="$2" logs="$3"
    shift 3
    if ((jobs > 1)); then
        ${runner} JOB=1:"${jobs}" "${logs}/job.JOB.log" "$@" --job JOB --num_jobs "${jobs}" &&
            ${train_cmd} "${logs}/all.log" "$@" --num_jobs "${jobs}" --merge
    else
        ${runner} "${logs}/all.log" "$@"
    fi
}

# collect_stats DIR python -m MODULE...: the features' mean and variance, by jobs over the data.
collect_stats() {
    local dir="$1" jobs parts=() i
    shift
    mkdir -p "${dir}/parts" || return 1
    jobs="$(wc -l <"${valid}/wav.scp")"
    jobs=$((jobs < nj ? jobs : nj))
    for split in train valid; do
        awk -v jobs="${jobs}" -v dir="${dir}/parts/${split}" \
            '{ print > (dir "." NR % jobs + 1 ".scp") }' "${!split}/wav.scp" ||
            return 1
    done
    ${train_cmd} JOB=1:"${jobs}" "${dir}/parts/JOB.log" "$@" --collect_stats true --ngpu 0 \
        --train_shape_file "${dir}/parts/train.JOB.scp" \
        --valid_shape_file "${dir}/parts/valid.JOB.scp" --output_dir "${dir}/parts/JOB" || return 1
    for ((i = 1; i <= jobs; i++)); do parts+=(--input_dir "${dir}/parts/${i}"); done
    ${train_cmd} "${dir}/aggregate.log" python -m espnet2.bin.aggregate_stats_dirs \
        "${parts[@]}" --output_dir "${dir}"
}
