#!/usr/bin/env bash
# From units of speech to a language model of text and units: tasks by tags, in nine stages. The
# data, the recogniser and the text LLM are those of the same corpus's audiollm1.
# shellcheck disable=SC2034,SC2154 # Options are used and runners set in the files sourced below.
set -euo pipefail
# shellcheck source=utils/platform.sh
. utils/platform.sh || exit 1

## Stages
stage=1        # First stage to run.
stop_stage=9   # Last stage to run.
skip_stages="" # Stages to leave out ("1 2 3": what audiollm1 has is taken as it is).

## Machine
ngpu=0                       # GPUs of a training or LLM job, on each node (0: the processor).
num_nodes=1                  # Nodes of a training.
num_procs=1                  # Processes of a training on a node without GPUs.
nj="$(nproc)"                # Parallel jobs of the stages that work on the processor.
inference_nj=1               # Parallel jobs of stages 4 and 8; each loads its model.
cmd_backend=local            # Where jobs run: local or slurm (see cmd.sh).
slurm_config=conf/slurm.yaml # The cluster's partitions, accounts, ways to ask for GPUs.

## What audiollm1 makes (stages 1 to 3)
recipe="$(basename "$(dirname "${PWD}")")" # Name in the results.
audiollm=../audiollm1                      # The corpus's other recipe.
audiollm_args=""                           # More options for its run.sh.
train_set=train                            # Split to learn from.
valid_set=valid                            # Split to choose checkpoints by.
test_set="test"                            # Split to report on.
llm=../audiollm1/exp/llm                   # Text LLM: a Hugging Face id or directory.

## Units (stages 4 and 5)
unit_source=""      # ctc:EXP:LAYER, hf:DIR:LAYER, fbank, fbank:FRAMES (see docs/speechlm.md).
unit_size=200       # Units in the vocabulary.
unit_hours=1        # Hours of speech that they are learned from.
merge_repeats=false # Write a repeated unit once.
unit_init=mean      # How the units' rows begin: mean, normal, centroid, zero.

## Tasks and training (stages 6 and 7)
tasks=conf/tasks.yaml              # Sources, tasks and their weight.
lm_config=conf/train_speechlm.yaml # Training configuration.
lm_tag=""                          # Name of exp/speechlm_TAG (empty: from the configuration).
lm_args=""                         # More options for the training.

## Answers and scores (stages 8 and 9)
inference_checkpoint=valid.loss.ave.pth # Checkpoint of the training.
max_tokens=200                          # Longest answer (tokens).
success_rule=contains                   # How accepted answers are found.
answers_of="spoken"                     # Sources whose accepted answers are the test set's table.

## Places
dumpdir=dump # Units and examples.
expdir=exp   # Models, logs and results.

# shellcheck source=egs2/TEMPLATE/common/stages.sh
. ./stages.sh

_given=("$@")
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
command="./run.sh$(printf ' %q' "${_given[@]}")"
[ $# -eq 0 ] || die "'$1' is no option: options begin with two dashes (--help lists them)"
check_stages 9

main() { # Read before it runs: an edit of this file during a run does no harm.
    # shellcheck source=egs2/TEMPLATE/common/cmd.sh
    . ./cmd.sh
    export install_environment=true # Where there is none; path.sh by itself does not.
    # shellcheck source=egs2/TEMPLATE/common/path.sh
    . ./path.sh
    hint_at_gpus /dev/nvidia[0-9]*

    [ -n "${unit_source}" ] || die "--unit_source SOURCE says what units are made of, such as" \
        "ctc:${audiollm}/exp/ctc:3 (a layer of its recogniser)"
    data="${audiollm}/dump"
    units="$(tr -c 'a-zA-Z0-9\n' _ <<<"${unit_source#*exp/}")_${unit_size}"
    [ "${merge_repeats}" == false ] || units+="_merged"
    quantiser="${expdir}/units/${units%_merged}"
    joint="${expdir}/joint_${units}"
    lm_exp="${expdir}/$(name_of speechlm "${lm_config}")_${units}"
    [ -z "${lm_tag}" ] || lm_exp="${expdir}/speechlm_${lm_tag}_${units}"
    device=cpu
    ((ngpu == 0)) || device=cuda
    training="${cuda_cmd} --gpu ${ngpu} --num_nodes ${num_nodes}"
    training+=" --num_procs $((ngpu > 0 ? ngpu : num_procs))"
    inference="${cuda_cmd} --gpu $((ngpu > 0))"
    splits="${train_set} ${valid_set} ${test_set}"
    units_of() { echo "${dumpdir}/$1/units_${units}"; }
    examples_of() { echo "${dumpdir}/$1/tasks_${units}"; }

    # anew DIR COMMAND...: a directory that COMMAND makes, and does not write over.
    # shellcheck disable=SC2329 # once calls it.
    anew() {
        rm -rf "$1"
        "${@:2}"
    }

    # others FIRST LAST: stages of the other recipe. Without behaviours: an answer to each transcript.
    others() {
        # shellcheck disable=SC2086
        (cd "${audiollm}" && ./run.sh --behaviours "" --stage "$1" --stop_stage "$2" \
            --ngpu "${ngpu}" --cmd_backend "${cmd_backend}" ${audiollm_args}) || failed
    }
    shopt -s nullglob
    llm_files=("${llm}"/*.json "${llm}"/*.safetensors) # None of a Hugging Face id.
    shopt -u nullglob

    if runs 1; then
        log "Stage 1: the data, by ${audiollm}"
        others 1 2
    fi

    if runs 2; then
        log "Stage 2: the recogniser that units come from, by ${audiollm}"
        if [[ ${unit_source} == ctc:* ]]; then others 3 5; fi
    fi

    if runs 3; then
        log "Stage 3: the text LLM's answers, by ${audiollm}"
        others 7 7
    fi

    if runs 4; then
        log "Stage 4: units of speech: ${unit_source}"
        # shellcheck disable=SC2086
        once "${quantiser}.log/.done" "${data}/${train_set}/wav.scp" -- \
            anew "${quantiser}" ${inference} "${quantiser}.log/learn.log" \
            python -m espnet_audiollm.bin.learn_units --source "${unit_source}" \
            --data "${data}/${train_set}" --size "${unit_size}" --max_hours "${unit_hours}" \
            --device "${device}" --output "${quantiser}"
        for split in ${splits}; do
            out="$(units_of "${split}")"
            once "${out}/.done" "${data}/${split}/wav.scp" "${quantiser}/quantiser.json" -- \
                in_jobs "${inference}" "${inference_nj}" "${out}/log" \
                python -m espnet_audiollm.bin.extract_units --quantiser "${quantiser}" \
                --data "${data}/${split}" --merge_repeats "${merge_repeats}" \
                --device "${device}" --output "${out}"
        done
        out="$(units_of "${test_set}")"
        once "${out}/report/.done" "${out}/units" "${data}/${test_set}/text" -- \
            ${train_cmd} "${out}/report/report.log" \
            python -m espnet_audiollm.bin.report_units "${out}" --data "${data}/${test_set}" \
            --output "${expdir}/units.json"
        grep -vE '^(#|$)' "${out}/report/report.log" || true
    fi

    if runs 5; then
        log "Stage 5: ${joint}, the text LLM with units in its vocabulary"
        once "${joint}.log/.done" "${quantiser}/quantiser.json" "${llm_files[@]}" -- \
            anew "${joint}" ${train_cmd} "${joint}.log/extend.log" \
            python -m espnet_audiollm.bin.extend_llm --llm "${llm}" --quantiser "${quantiser}" \
            --init "${unit_init}" --output "${joint}"
    fi

    if runs 6; then
        log "Stage 6: tasks as token ids: ${tasks}"
        [ -s "${tasks}" ] || die "--tasks ${tasks} is missing or empty; conf/tasks.yaml is one"
        for split in ${splits}; do
            out="$(examples_of "${split}")"
            mkdir -p "${out}.log"
            sed "s|{split}|${split}|g; s|{data}|${data}|g; s|{units}|$(units_of "${split}")|g" \
                "${tasks}" >"${out}.log/tasks.yaml"
            answers=("${data}/${split}/responses/response_ids")
            [ -s "${answers[0]}" ] || answers=() # No task may need them.
            once "${out}.log/.done" "${out}.log/tasks.yaml" "$(units_of "${split}")/units" \
                "${data}/${split}/text" "${answers[@]}" "${joint}/unit_vocabulary.json" -- \
                anew "${out}" ${train_cmd} "${out}.log/prepare.log" \
                python -m espnet_audiollm.bin.prepare_tasks --mixture "${out}.log/tasks.yaml" \
                --llm "${joint}" --output "${out}"
        done
    fi

    if runs 7; then
        log "Stage 7: train the speech LM: ${lm_exp}"
        # shellcheck disable=SC2086
        once "${lm_exp}/.done" "${lm_config}" "${joint}/unit_vocabulary.json" \
            "$(examples_of "${train_set}")"/{prompt_ids,response_ids,tasks.json} \
            "$(examples_of "${valid_set}")"/{prompt_ids,response_ids,tasks.json} -- \
            ${training} "${lm_exp}/train.log" \
            python -m espnet_audiollm.bin.speechlm_train --config "${lm_config}" \
            --llm "${joint}" --train_tasks "$(examples_of "${train_set}")" \
            --valid_tasks "$(examples_of "${valid_set}")" --resume true --ngpu "${ngpu}" \
            --output_dir "${lm_exp}" ${lm_args}
    fi

    out="${lm_exp}/respond_${test_set}"
    made="${lm_exp}/llm_${inference_checkpoint%.pth}"
    if runs 8; then
        log "Stage 8: an ordinary LLM directory of it, and its answers to ${test_set}"
        once "${made}.log/.done" "${lm_exp}/${inference_checkpoint}" -- \
            anew "${made}" ${train_cmd} "${made}.log/export.log" \
            python -m espnet_audiollm.bin.export_llm --exp "${lm_exp}" \
            --checkpoint "${inference_checkpoint}" --output "${made}"
        once "${out}/.done" "${made}/model.safetensors" \
            "$(examples_of "${test_set}")"/{prompt_ids,response_ids} -- \
            in_jobs "${inference}" "${inference_nj}" "${out}/log" \
            python -m espnet_audiollm.bin.respond_tasks --llm "${made}" \
            --tasks "$(examples_of "${test_set}")" --max_tokens "${max_tokens}" \
            --device "${device}" --output "${out}"
    fi

    if runs 9; then
        log "Stage 9: scores"
        accepted=()
        for source in ${answers_of}; do
            [ ! -s "${data}/${test_set}/answers" ] ||
                accepted+=(--answers "${source}=${data}/${test_set}/answers")
        done
        python -m espnet_audiollm.bin.score_tasks "${out}" "${accepted[@]}" \
            --success_rule "${success_rule}" --recipe "${recipe}" --command "${command}" \
            --output "${lm_exp}" || failed
    fi
    log "done: stages ${stage} to ${stop_stage}"
    exit # Before bash reads on, in a file that may be another one by now.
}

main
