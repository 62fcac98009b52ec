# shellcheck shell=bash disable=SC2154
# What the stages of all kinds of recipes are made of: run one thing once, with a lock, or in jobs;
# and stages 1 and 2, which all have. To be sourced by audiollm.sh, whose options and variables
# (stage, stop_stage, nj, train_cmd, train_set, dumpdir, ...) are read here.

log() { echo "$(date '+%H:%M:%S') $*"; }
die() {
    echo "${0##*/}: $*" >&2
    exit 1
}
runs() { # runs N: is stage N to run? Remembers it for messages.
    ((stage <= $1 && $1 <= stop_stage)) && [[ " ${skip_stages} " != *" $1 "* ]] && current="$1"
}

# name_of PREFIX CONFIG: PREFIX_small for conf/train_ctc_small.yaml, PREFIX for conf/train_ctc.yaml.
name_of() {
    local name
    name="$(basename "$2" .yaml | sed -E 's/^train_//; s/^(ctc|align|speechlm)(_|$)//')"
    echo "$1${name:+_${name}}"
}

# check_stages LAST: the stages asked for are whole numbers from 1 to LAST, in this order.
check_stages() {
    local option number
    for option in stage stop_stage skip_stages; do
        for number in ${!option}; do
            if [[ ! ${number} =~ ^[1-9][0-9]{0,3}$ ]] || ((number > $1)); then
                die "--${option} '${!option}': stages are whole numbers from 1 to $1"
            fi
        done
    done
    ((stage <= stop_stage)) || die "--stop_stage ${stop_stage} comes before --stage ${stage}"
}

# hint_at_gpus DEVICE...: that this machine has GPUs, to who did not say whether to use them.
hint_at_gpus() {
    [ -e "$1" ] && [ "${cmd_backend}" == local ] && [ -n "${CUDA_VISIBLE_DEVICES-all}" ] || return 0
    [[ " ${_given[*]-}" == *" --ngpu"* ]] ||
        log "this machine has $# GPU(s), and none is used: --ngpu 1 takes one, --ngpu 0 ends this hint"
}

# state_of FILE DIR: writes names, sizes and times of files in DIR, whose names come line by line.
state_of() {
    local found
    mkdir -p "${1%/*}"
    found="$(cd "$2" && sort -u | { xargs -r -d '\n' stat -L -c '%n %s %Y' -- 2>&1 || true; })"
    echo "${found:-none}" >"$1.$$.tmp" && mv "$1.$$.tmp" "$1"
}

# hash_of WORDS FILE...: of the words and of what is in the files.
hash_of() { (echo "$1" && cat /dev/null "${@:2}") | sha256sum; }

# The form of what stages leave for each other: another number when a stage cannot use, or would
# count otherwise, what an earlier version left. (2: version 0.2; 0.1 had none.)
FORMAT=2

# same_words COMMAND...: the words that decide what comes out: from "python" on (another number of
# jobs makes no other result), without those that say which device or server computes it.
same_words() {
    local words=" $*"
    sed -E 's/ --(device|ngpu|nj|vllm_url) [^ ]+//g' <<<"python${words#* python}"
}

# outdated MARKER INPUT... -- COMMAND...: whether the same command with the same contents of INPUT has
# not come to its end before, in this FORMAT, or DIR is gone where MARKER is DIR.log/.done. Sets `now`,
# which `finished` writes into MARKER.
outdated() {
    local marker="$1" inputs=()
    shift
    while [ "$1" != -- ]; do
        [ -s "$1" ] || die "$1 is missing or empty; run the stages before ${current} first"
        inputs+=("$1")
        shift
    done
    shift
    now="$(hash_of "format ${FORMAT} $(same_words "$@")" "${inputs[@]}")"
    if [ -f "${marker}" ] && [ "$(<"${marker}")" == "${now}" ] && [ -e "${marker%.log/.done}" ]; then
        log "  up to date: ${marker%/*}"
        return 1
    fi
    rm -f "${marker}"
}

# finished MARKER NOW: to be called last.
finished() {
    mkdir -p "${1%/*}"
    echo "$2" >"$1.$$.tmp" && mv "$1.$$.tmp" "$1"
}

# once MARKER INPUT... -- COMMAND...: run COMMAND, if it is outdated.
once() {
    local marker="$1" now
    outdated "$@" || return 0
    while [ "$1" != -- ]; do shift; done
    shift
    JOB_KEY="${now}" "$@" || failed
    finished "${marker}" "${now}"
}

# marks_of DATA...: sets `marks`, files of data directories that are other ones where the recordings are.
# (The paths in wav.scp stay the same when they are made again.) Of a file of conversations: the file,
# and the state of its recordings.
marks_of() {
    local data file
    marks=()
    for data; do
        if [ -f "${data}" ]; then
            file="${dumpdir}/dialogues/$(basename "${data}" .jsonl).state"
            if grep -qE '"audio": *"[^"]*[\]' "${data}"; then # Names that JSON writes otherwise.
                mkdir -p "${file%/*}"
                python -c 'import sys; from espnet_audiollm.data import dialogues
print(dialogues.recordings_state(sys.argv[1]))' "${data}" >"${file}.$$.tmp" && mv "${file}.$$.tmp" "${file}"
            else
                sed -E 's/"audio": *"/\n&/g' "${data}" | sed -nE 's/^"audio": *"([^"\\]+)".*/\1/p' |
                    state_of "${file}" "$(dirname "${data}")"
            fi
            marks+=("${data}" "${file}")
            continue
        fi
        marks+=("${data}/wav.scp")
        for file in "${data}"/{utt2num_samples,.done} "${data}.log/.done"; do
            [ ! -s "${file}" ] || marks+=("${file}")
        done
    done
}

failed() { die "stage ${current} failed, see above; once fixed, go on with --stage ${current}"; }

# with_lock LOCK COMMAND...: one at a time; what is left of a killed run ends first.
with_lock() { utils/with_lock.py "$@"; }

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

# Runs of one module that are left for `together`: their words, places and keys.
runs_left=() outs_left=() keys_left=()

# later OUT KEY WORD...: one of them.
later() { outs_left+=("$1") keys_left+=("$2") runs_left+=("${@:3}" --run); }

# together MODULE: all of them by one process (a job), whose log is in the first one's OUT; then each is
# finished.
together() {
    ((${#outs_left[@]})) || return 0
    local i logs="${outs_left[0]}/log" before=0
    [ ! -f "${logs}/all.log" ] || before="$(wc -c <"${logs}/all.log")"
    log "  ${#outs_left[@]} runs, with their log in ${logs}"
    JOB_KEY="$(hash_of "${keys_left[*]}")" in_jobs "${inference}" "${inference_nj}" "${logs}" \
        python -m "espnet_audiollm.bin.$1" "${runs_left[@]}" || failed
    for i in "${!outs_left[@]}"; do finished "${outs_left[i]}/.done" "${keys_left[i]}"; done
    tail -c "+$((before + 1))" "${logs}/all.log" | { grep 'not answered' || true; } |
        while read -r line; do log "  ${line}"; done
    runs_left=() outs_left=() keys_left=()
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

# prepare_data: stage 1, the data directories of ${splits}, by the recipe; then all of them validated.
prepare_data() {
    local learned tested
    # shellcheck disable=SC2086
    with_lock data/.lock local/data.sh ${local_data_opts} ||
        die "stage 1: local/data.sh failed, see above"
    learned=("data/${train_set}" "data/${valid_set}")
    read -ra tested <<<"data/${test_sets// / data/}"
    once data/.valid "${learned[@]/%//wav.scp}" "${learned[@]/%//text}" -- \
        python utils/data/validate.py "${learned[@]}" --require_text true \
        --allow_pipes "${allow_pipes}"
    once data/.valid_test "${tested[@]/%//wav.scp}" -- \
        python utils/data/validate.py "${tested[@]}" --allow_pipes "${allow_pipes}"
}

# format_data DATA OUTPUT: stage 2, a data directory as 16 kHz mono.
format_data() {
    JOB_KEY="$(hash_of "$2 ${drop_bad_audio}" "$1/wav.scp")" \
        in_jobs "${train_cmd}" "${nj}" "$2/log/format" \
        python -m espnet_audiollm.bin.format_data "$1" "$2" \
        --min_audio "${min_audio}" --max_audio "${max_audio}" \
        --allow_pipes "${allow_pipes}" --drop_bad_audio "${drop_bad_audio}" || failed
}

# add_noise SPLIT NOISE COPY: stage 2, a formatted split with noise ("babble:10").
add_noise() {
    local out="${dumpdir}/$3" place
    local inputs=("${dumpdir}/$1"/{.done,wav.scp})
    if [[ $2 == files:* ]]; then
        place="${2#files:}"
        place="${place%:*}"
        [ -d "${place}" ] || die "--noises $2: ${place} is no directory"
        find -L "${place}/" -type f -printf '%P\n' | state_of "${out}.state" "${place}"
        inputs+=("${out}.state")
    fi
    once "${out}/.done" "${inputs[@]}" -- \
        in_jobs "${train_cmd}" "${nj}" "${out}/log/noise" \
        python -m espnet_audiollm.bin.add_noise --data "${dumpdir}/$1" \
        --noise "$2" --output "${out}"
}
