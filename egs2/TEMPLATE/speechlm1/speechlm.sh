#!/usr/bin/env bash
# From units of speech to a language model of text and units that is heard: tasks by tags, in thirteen
# stages. The data, the recogniser and the text LLM are those of the same corpus's audiollm1.
# shellcheck disable=SC2034,SC2154 # Options are used and runners set in the files sourced below.
set -euo pipefail
# shellcheck source=utils/platform.sh
. utils/platform.sh || exit 1

## Stages
stage=1        # First stage to run.
stop_stage=13  # Last stage to run.
skip_stages="" # Stages to leave out ("1 2 3": what audiollm1 has is taken as it is).

## Machine
ngpu=0                       # GPUs of a training or LLM job, on each node (0: the processor).
num_nodes=1                  # Nodes of a training.
num_procs=1                  # Processes of a training on a node without GPUs.
nj="$(nproc)"                # Parallel jobs of the stages that work on the processor.
inference_nj=1               # Parallel jobs of stages 5, 9 and 11; each loads its model.
cmd_backend=local            # Where jobs run: local or slurm (see cmd.sh).
slurm_config=conf/slurm.yaml # The cluster's partitions, accounts, ways to ask for GPUs.

## What audiollm1 makes (stages 1 to 3)
recipe="$(basename "$(dirname "${PWD}")")" # Name in the results.
audiollm=../audiollm1                      # The corpus's other recipe.
audiollm_args=""                           # More options for its run.sh.
local_data_opts=""                         # Its options for local/data.sh.
ctc_config=""                              # Its recogniser's training configuration (empty: its own).
train_set=train                            # Split to learn from.
valid_set=valid                            # Split to choose checkpoints by.
test_set="test"                            # Split to report on.
llm=""                                     # Text LLM: a Hugging Face id, a directory, conf/llm/NAME.yaml.

## Languages (stage 7)
language=""             # Code of the language spoken (fr), where the tasks have {language}.
translation_language="" # Code for {translation_language} (en).

## Answers and translations in speech (stage 4)
spoken_translations=false # The corpus has recordings of the translations (table translation_audio).
translation_speaker=""    # One name for their voice (empty: that of each utterance's speaker).
min_audio=0.1             # Shortest of them kept (seconds).
max_audio=20              # Longest of them kept (seconds).
drop_bad_audio=false      # Leave out recordings that are damaged (false: name them, and stop).
answer_voice=""           # Voice of espeak-ng that speaks the LLM's answers (en-us+edward); empty: none does.
answer_speed=160          # Its words per minute.

## Units (stages 5 and 6)
unit_source=""        # ctc:EXP:LAYER, hf:DIR:LAYER, fbank, fbank:FRAMES (see docs/speechlm.md).
unit_size=200         # Units in the vocabulary.
unit_hours=1          # Hours of speech that they are learned from.
answer_unit_source="" # Answers and translations are spoken in units of this source (empty: in the same).
answer_unit_size=500  # Units in the vocabulary of these.
merge_repeats=false   # Write a repeated unit once.
base_llm=""           # LLM that they are added to (empty: --llm, whose answers are learned).
unit_init=mean        # How the units' rows begin: mean, normal, centroid, zero.

## Tasks and training (stages 7 and 8)
tasks=conf/tasks.yaml              # Sources, tasks and their weight.
test_tasks=""                      # What is asked of the test set (empty: the same tasks); others were held out.
train_share=1                      # Share of the training utterances that the tasks are made of (0.25).
lm_config=conf/train_speechlm.yaml # Training configuration.
lm_stages=""                       # In place of both: a directory of several trainings, in order of names.
lm_tag=""                          # Name of exp/speechlm_TAG (empty: from the configuration).
lm_args=""                         # More options for the training.

## Answers and scores (stages 9 and 12)
inference_checkpoint=valid.loss.ave.pth # Checkpoint of the training.
max_tokens=200                          # Longest answer (tokens).
success_rule=contains                   # How accepted answers are found.
answers_of="spoken"                     # Sources whose accepted answers are the test set's table.

## Speech (stages 10 and 11)
vocoder=train                          # train, patches (nothing is trained) or none (nothing is spoken).
vocoder_config=conf/train_vocoder.yaml # Training configuration.
vocoder_args=""                        # More options for its training.
vocoder_utterances=2000                # It learns from so many: of the answers' speech, else the corpus's.
speaker=""                             # Who speaks, of the corpus (empty: of whom there is most).
judged_utterances=150                  # Of the test set, by chance: so many are spoken and judged.
listen=8                               # Of these, so many are on the pages to listen to.

## Comparison (stage 13)
align_tag="" # Train audiollm1's alignment on this recogniser under this name (empty: take what is there).
timed=20     # Questions that each system is timed with, one by one (0: none).

## Places
dumpdir=dump # Units and examples.
expdir=exp   # Models, logs and results.

# shellcheck source=egs2/TEMPLATE/common/stages.sh
. ./stages.sh

_given=("$@")
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
command="./run.sh$(printf ' %q' "${_given[@]}")"
[ $# -eq 0 ] || die "'$1' stands behind --, which takes nothing here"
check_stages 13

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
    name_of_units() { echo "$(tr -c 'a-zA-Z0-9\n' _ <<<"${1#*exp/}")_$2"; }
    units="$(name_of_units "${unit_source}" "${unit_size}")"
    quantiser="${expdir}/units/${units}"
    if [ -z "${answer_unit_source}" ]; then # Answers are spoken in the units that are read.
        spoken="${units}" sets="${units}"
    else
        [ -n "${answer_voice}" ] || "${spoken_translations}" || die "--answer_unit_source has units" \
            "of what is spoken, and nothing is: give --answer_voice NAME or --spoken_translations true"
        spoken="spoken_$(name_of_units "${answer_unit_source}" "${answer_unit_size}")"
        sets="${units}_${spoken}"
    fi
    spoken_quantiser="${expdir}/units/${spoken}"
    [ "${merge_repeats}" == false ] || units+="_merged" spoken+="_merged" sets+="_merged"
    if [ -n "${base_llm}" ]; then sets+="_$(basename "${base_llm%.yaml}" | tr -c 'a-zA-Z0-9\n' _)"; fi
    joint="${expdir}/joint_${sets}"
    lm_exp="${expdir}/$(name_of speechlm "${lm_config}")_${sets}"
    configs=("${lm_config}") mixtures=("${tasks}") test_mixture="${tasks}"
    if [ -n "${lm_stages}" ]; then # DIR/NAME.yaml, with DIR/NAME_tasks.yaml beside each.
        lm_exp="${expdir}/speechlm_$(basename "${lm_stages}")_${sets}"
        configs=() mixtures=()
        for config in "${lm_stages}"/*.yaml; do
            [ -s "${config%.yaml}_tasks.yaml" ] || continue
            configs+=("${config}") mixtures+=("${config%.yaml}_tasks.yaml")
        done
        ((${#configs[@]})) || die "--lm_stages ${lm_stages}: there is no training (NAME.yaml with" \
            "NAME_tasks.yaml beside it); conf/speechgpt has three"
        test_mixture="${lm_stages}/test_tasks.yaml"
        [ -s "${test_mixture}" ] || test_mixture="${mixtures[-1]}"
    fi
    test_mixture="${test_tasks:-${test_mixture}}"
    [[ ${train_share} =~ ^(1|0?\.[0-9]+)$ ]] || die "--train_share ${train_share} is no share: give 1 or, say, 0.25"
    shared="${train_share#0}" # In the names of places.
    [ "${train_share}" != 1 ] || shared=""
    shared="${shared/./_share}"
    lm_exp+="${shared}"
    [ -z "${lm_tag}" ] || lm_exp="${expdir}/speechlm_${lm_tag}_${sets}"
    device=cpu
    ((ngpu == 0)) || device=cuda
    training="${cuda_cmd} --gpu ${ngpu} --num_nodes ${num_nodes}"
    training+=" --num_procs $((ngpu > 0 ? ngpu : num_procs))"
    inference="${cuda_cmd} --gpu $((ngpu > 0))"
    splits="${train_set} ${valid_set} ${test_set}" translated="" # Splits with spoken translations.
    ! "${spoken_translations}" || translated="${splits}"
    case "${vocoder}" in train | patches | none) ;; *)
        die "--vocoder ${vocoder}: train, patches or none"
        ;;
    esac
    allow_pipes=false # Of the recordings of translations.
    said="answers_$(tr -c 'a-zA-Z0-9\n' _ <<<"${answer_voice}")"
    units_of() { echo "${dumpdir}/$1/units_${units}"; }
    spoken_answers() { echo "${dumpdir}/$1/${said}"; }
    answer_units() { echo "${dumpdir}/$1/${said}_units_${spoken}"; }
    translations() { echo "${dumpdir}/$1/translations"; }
    translation_units() { echo "${dumpdir}/$1/translations_units_${spoken}"; }
    # examples_of SPLIT TASKS: conf/tasks.yaml's are in tasks_UNITS.
    examples_of() {
        local name="${2%.yaml}"
        name="$(tr -c 'a-zA-Z0-9_\n' _ <<<"${name#conf/}")"
        [ "$1" != "${train_set}" ] || name+="${shared}"
        echo "${dumpdir}/$1/${name}_${sets}"
    }
    # training_of NUMBER: the directory of the configuration of this number, from 0 on.
    training_of() {
        if [ -z "${lm_stages}" ]; then echo "${lm_exp}"; else echo "${lm_exp}/$(basename "${configs[$1]}" .yaml)"; fi
    }
    last="$(training_of $((${#configs[@]} - 1)))"

    # others FIRST LAST OPTIONS...: stages of the other recipe. Without behaviours: an answer to each
    # transcript.
    others() {
        local more=("${@:3}" --slurm_config "$(from_there "${slurm_config}")") tag
        [ "${test_set}" == test ] || more+=(--test_sets "${test_set}")
        [ -z "${local_data_opts}" ] || more+=(--local_data_opts "${local_data_opts}")
        if [ -n "${ctc_config}" ]; then # Tokens are not in the name: --unit_source has to know it.
            tag="$(name_of ctc "${ctc_config}")"
            more+=(--ctc_config "$(from_there "${ctc_config}")" --ctc_tag "${tag#ctc_}")
        fi
        [ -z "${llm}" ] || more+=(--llm "$(from_there "${llm}")")
        # shellcheck disable=SC2086
        (cd "${audiollm}" && ./run.sh --behaviours "" --stage "$1" --stop_stage "$2" --ngpu "${ngpu}" \
            --num_nodes "${num_nodes}" --num_procs "${num_procs}" --nj "${nj}" --inference_nj "${inference_nj}" \
            --cmd_backend "${cmd_backend}" --train_set "${train_set}" --valid_set "${valid_set}" \
            --drop_bad_audio "${drop_bad_audio}" "${more[@]}" ${audiollm_args}) || failed
    }
    # from_there PATH: a path as the other recipe says it; what is none stays as it is.
    from_there() {
        if [[ $1 == ../* || (-e $1 && $1 != /*) ]]; then
            realpath -sm --relative-to="${audiollm}" "$1"
        else
            echo "$1"
        fi
    }
    # asks_for WORD: whether a mixture has it.
    asks_for() { cat "${mixtures[@]}" "${test_mixture}" 2>/dev/null | grep -v '^ *#' | grep -qF -- "$1"; }
    for number in 3 6; do
        if runs "${number}"; then
            [ -n "${llm}" ] || { [ -n "${base_llm}" ] && ((number == 6)); } || die "stage ${number} needs --llm ID_OR_DIRECTORY; conf/llm/*.yaml are known ones"
        fi
    done
    shopt -s nullglob
    base="${base_llm:-${llm}}"
    base_files=("${base}"/*.json "${base}"/*.safetensors) # None of a Hugging Face id.
    shopt -u nullglob

    if runs 1; then
        log "Stage 1: the data, by ${audiollm}"
        others 1 2
    fi

    if runs 2; then
        log "Stage 2: the recogniser that units come from, by ${audiollm}"
        if [[ ${unit_source} == ctc:* || ${answer_unit_source} == ctc:* ]]; then others 3 5; fi
    fi

    if runs 3; then
        log "Stage 3: the text LLM's answers, by ${audiollm}"
        if [ -n "${answer_voice}" ] || asks_for /responses; then others 7 7; else
            log "  none: no task has answers"
        fi
    fi

    if runs 4; then
        log "Stage 4: the answers in speech${answer_voice:+, by ${answer_voice}}"
        [ -n "${answer_voice}" ] || log "  none: --answer_voice is empty"
        for split in ${answer_voice:+${splits}}; do
            out="$(spoken_answers "${split}")"
            once "${out}.log/.done" "${data}/${split}/responses/response_ids" -- \
                ${train_cmd} "${out}.log/synthesise.log" utils/anew.sh "${out}" \
                python -m espnet_audiollm.bin.synthesise --text "${data}/${split}/responses" \
                --voice "${answer_voice}" --speed "${answer_speed}" --nj "${nj}" --output "${out}"
        done
        "${spoken_translations}" || log "  no translations: --spoken_translations is false"
        for split in ${translated}; do
            out="$(translations "${split}")"
            once "${out}.log/.done" "${data}/${split}"/{translation,translation_audio,utt2spk} -- \
                ${train_cmd} "${out}.log/list.log" utils/anew.sh "${out}.given" \
                python -m espnet_audiollm.bin.spoken_translations "${data}/${split}" "${out}.given" \
                --speaker "${translation_speaker}"
            format_data "${out}.given" "${out}"
        done
    fi

    # learn_units QUANTISER SOURCE SIZE DATA...: a quantiser of these recordings, by this encoder.
    learn_units() {
        local sources=("${@:4}") marks encoder file
        marks_of "${sources[@]}"
        if [[ $2 =~ ^(ctc|bestrq):(.+)$ ]]; then
            encoder="$(sed -E 's/:[0-9]+$//' <<<"${BASH_REMATCH[2]}")"
            for file in "${encoder}"/{valid.loss.ave.pth,model.safetensors}; do # Trained here, or packed.
                [ ! -s "${file}" ] || marks+=("${file}")
            done
        fi
        # shellcheck disable=SC2086
        once "$1.log/.done" "${marks[@]}" -- \
            ${inference} "$1.log/learn.log" utils/anew.sh "$1" \
            python -m espnet_audiollm.bin.learn_units --source "$2" \
            --data "${sources[@]}" --size "$3" --max_hours "${unit_hours}" \
            --device "${device}" --output "$1"
    }

    # extract QUANTISER DATA OUTPUT: units of a data directory.
    extract() {
        local marks
        marks_of "$2"
        once "$3/.done" "${marks[@]}" "$1/quantiser.json" -- \
            in_jobs "${inference}" "${inference_nj}" "$3/log" \
            python -m espnet_audiollm.bin.extract_units --quantiser "$1" \
            --data "$2" --merge_repeats "${merge_repeats}" --device "${device}" --output "$3"
    }

    if runs 5; then
        log "Stage 5: units of speech: ${unit_source}${answer_unit_source:+, spoken: ${answer_unit_source}}"
        recorded=("${data}/${train_set}") uttered=()
        ! "${spoken_translations}" || uttered+=("$(translations "${train_set}")")
        if [ -z "${answer_unit_source}" ]; then
            learn_units "${quantiser}" "${unit_source}" "${unit_size}" "${recorded[@]}" "${uttered[@]}"
        else # Each from what it is for.
            [ -z "${answer_voice}" ] || uttered+=("$(spoken_answers "${train_set}")")
            learn_units "${quantiser}" "${unit_source}" "${unit_size}" "${recorded[@]}"
            learn_units "${spoken_quantiser}" "${answer_unit_source}" "${answer_unit_size}" "${uttered[@]}"
        fi
        for split in ${splits}; do
            extract "${quantiser}" "${data}/${split}" "$(units_of "${split}")"
            [ -z "${answer_voice}" ] || extract "${spoken_quantiser}" \
                "$(spoken_answers "${split}")" "$(answer_units "${split}")"
        done
        for split in ${translated}; do
            extract "${spoken_quantiser}" "$(translations "${split}")" "$(translation_units "${split}")"
        done
        out="$(units_of "${test_set}")"
        once "${out}/report/.done" "${out}/units" "${data}/${test_set}/text" -- \
            ${train_cmd} "${out}/report/report.log" \
            python -m espnet_audiollm.bin.report_units "${out}" --data "${data}/${test_set}" \
            --output "${expdir}/units.json"
        grep -vE '^(#|$)' "${out}/report/report.log" || true
    fi

    if runs 6; then
        log "Stage 6: ${joint}, the text LLM with units in its vocabulary"
        quantisers=("${quantiser}")
        [ -z "${answer_unit_source}" ] || quantisers+=("${spoken_quantiser}")
        once "${joint}.log/.done" "${quantisers[@]/%//quantiser.json}" "${base_files[@]}" -- \
            ${train_cmd} "${joint}.log/extend.log" utils/anew.sh "${joint}" \
            python -m espnet_audiollm.bin.extend_llm --llm "${base}" --quantiser "${quantisers[@]}" \
            --init "${unit_init}" --output "${joint}"
    fi

    # prepare SPLIT TASKS: the examples of a mixture.
    prepare() {
        local out answers share=() split="$1" mixture="$2"
        out="$(examples_of "${split}" "${mixture}")"
        mkdir -p "${out}.log"
        sed "s|{split}|${split}|g; s|{data}|${data}|g; s|{units}|$(units_of "${split}")|g
            s|{answer_units}|$(answer_units "${split}")|g
            s|{translation_units}|$(translation_units "${split}")|g" "${mixture}" >"${out}.log/tasks.yaml"
        answers=("${data}/${split}/responses/response_ids")
        [ -s "${answers[0]}" ] || answers=() # No task may need them.
        [ -z "${answer_voice}" ] || answers+=("$(answer_units "${split}")/units")
        ! "${spoken_translations}" || answers+=("$(translation_units "${split}")/units")
        [ ! -s "${data}/${split}/translation" ] || answers+=("${data}/${split}/translation")
        for file in conf/instructions/*.yaml; do [ ! -s "${file}" ] || answers+=("${file}"); done
        [ "${split}" != "${train_set}" ] || [ "${train_share}" == 1 ] || share=(--share "${train_share}")
        once "${out}.log/.done" "${out}.log/tasks.yaml" "$(units_of "${split}")/units" \
            "${data}/${split}/text" "${answers[@]}" "${joint}/unit_vocabulary.json" -- \
            ${train_cmd} "${out}.log/prepare.log" utils/anew.sh "${out}" \
            python -m espnet_audiollm.bin.prepare_tasks --mixture "${out}.log/tasks.yaml" \
            --llm "${joint}" "${languages[@]}" "${share[@]}" --output "${out}"
    }

    if runs 7; then
        log "Stage 7: tasks as token ids: ${mixtures[*]}"
        for mixture in "${mixtures[@]}" "${test_mixture}"; do
            [ -s "${mixture}" ] ||
                die "the tasks ${mixture} are missing or empty (--tasks, --test_tasks); conf/tasks.yaml is one"
            [ -n "${answer_voice}" ] || ! grep -q '{answer_units}' "${mixture}" ||
                die "${mixture} has answers in speech: --answer_voice NAME says who speaks them"
            "${spoken_translations}" || ! grep -q '{translation_units}' "${mixture}" ||
                die "${mixture} has spoken translations: --spoken_translations true, with a corpus that has them"
        done
        languages=()
        [ -z "${language}" ] || languages+=(--language "${language}")
        [ -z "${translation_language}" ] || languages+=(--translation_language "${translation_language}")
        for mixture in "${mixtures[@]}"; do
            prepare "${train_set}" "${mixture}"
            prepare "${valid_set}" "${mixture}"
        done
        prepare "${test_set}" "${test_mixture}"
    fi

    # export_lm EXP: an ordinary LLM directory of a training.
    export_lm() {
        local made="$1/llm_${inference_checkpoint%.pth}"
        once "${made}.log/.done" "$1/${inference_checkpoint}" -- \
            ${train_cmd} "${made}.log/export.log" utils/anew.sh "${made}" \
            python -m espnet_audiollm.bin.export_llm --exp "$1" \
            --checkpoint "${inference_checkpoint}" --output "${made}"
    }

    if runs 8; then
        begun="${joint}" before="${joint}/unit_vocabulary.json"
        for number in "${!configs[@]}"; do
            exp="$(training_of "${number}")"
            log "Stage 8: train the speech LM: ${exp}"
            train_examples="$(examples_of "${train_set}" "${mixtures[number]}")"
            valid_examples="$(examples_of "${valid_set}" "${mixtures[number]}")"
            # shellcheck disable=SC2086
            once "${exp}/.done" "${configs[number]}" "${before}" \
                "${train_examples}"/{prompt_ids,response_ids,tasks.json} \
                "${valid_examples}"/{prompt_ids,response_ids,tasks.json} -- \
                ${training} "${exp}/train.log" \
                python -m espnet_audiollm.bin.speechlm_train --config "${configs[number]}" \
                --llm "${begun}" --train_tasks "${train_examples}" \
                --valid_tasks "${valid_examples}" --resume true --ngpu "${ngpu}" \
                --output_dir "${exp}" ${lm_args}
            [ "${exp}" != "${last}" ] || break
            export_lm "${exp}" # The next one begins with it.
            begun="${exp}/llm_${inference_checkpoint%.pth}"
            before="${begun}.log/.done"
        done
    fi

    out="${lm_exp}/respond_${test_set}"
    made="${last}/llm_${inference_checkpoint%.pth}"
    if runs 9; then
        log "Stage 9: an ordinary LLM directory of it, and its answers to ${test_set}"
        export_lm "${last}"
        examples="$(examples_of "${test_set}" "${test_mixture}")"
        once "${out}/.done" "${made}/unit_vocabulary.json" "${made}.log/.done" \
            "${examples}"/{prompt_ids,response_ids} -- \
            in_jobs "${inference}" "${inference_nj}" "${out}/log" \
            python -m espnet_audiollm.bin.respond_tasks --llm "${made}" \
            --tasks "${examples}" --max_tokens "${max_tokens}" \
            --device "${device}" --output "${out}"
    fi

    # What the vocoder learns from, and what is judged: the translations' speech, the answers', or the
    # corpus's own. Where translations are spoken, so is only their language: TTS is theirs. Where
    # answers have units of their own, it is that of the answers (judged_as).
    # true_speech FIELD SPLIT, true_units FIELD SPLIT: recordings of an output, and their units.
    true_speech() {
        if [ "$1" == answer_audio ]; then
            spoken_answers "$2"
        elif "${spoken_translations}"; then translations "$2"; else echo "${data}/$2"; fi
    }
    true_units() {
        if [ "$1" == answer_audio ]; then
            answer_units "$2"
        elif "${spoken_translations}"; then translation_units "$2"; else units_of "$2"; fi
    }
    judged_as() {
        if [ "$1" == audio ] && [ -n "${answer_unit_source}" ] && ! "${spoken_translations}"; then
            echo answer_audio
        else
            echo "$1"
        fi
    }
    voiced=audio
    [ -z "${answer_voice}" ] || voiced=answer_audio
    ! "${spoken_translations}" || voiced=translation_audio
    vocoder_exp="${expdir}/vocoder_${voiced}_${spoken}"
    [ "${vocoder}" == train ] || vocoder_exp="${expdir}/patches_${voiced}_${spoken}"

    # part_of DATA OUTPUT NUMBER: so many of its utterances by chance; all where there are no more.
    part_of() {
        local number marks
        number="$(wc -l <"$1/utt2spk")"
        marks_of "$1"
        once "$2.log/.done" "${marks[@]}" "$1/text" -- ${train_cmd} "$2.log/subset.log" utils/anew.sh "$2" \
            python utils/data/subset.py "$1" "$2" --random "$(($3 < number ? $3 : number))"
    }

    if runs 10; then
        log "Stage 10: the vocoder: ${vocoder}"
        vocoder_data="$(true_speech "${voiced}" "${train_set}")"
        marks_of "${vocoder_data}"
        if [ "${vocoder}" == patches ]; then
            once "${vocoder_exp}.log/.done" "${marks[@]}" "$(true_units "${voiced}" "${train_set}")/units" -- \
                ${train_cmd} "${vocoder_exp}.log/patches.log" utils/anew.sh "${vocoder_exp}" \
                python -m espnet_audiollm.bin.mean_patches --data "${vocoder_data}" \
                --units "$(true_units "${voiced}" "${train_set}")" --output "${vocoder_exp}"
        elif [ "${vocoder}" == train ]; then
            part="${vocoder_exp}.data"
            part_of "${vocoder_data}" "${part}" "${vocoder_utterances}"
            extract "${spoken_quantiser}" "${part}" "${part}.units" # Tables of a training have the same ids.
            marks_of "${part}" "$(true_speech "${voiced}" "${valid_set}")"
            # shellcheck disable=SC2086
            once "${vocoder_exp}/.done" "${vocoder_config}" "${marks[@]}" "${part}.units/units" \
                "$(true_units "${voiced}" "${valid_set}")/units" -- \
                ${training} "${vocoder_exp}/train.log" \
                python -m espnet_audiollm.bin.vocoder_train --config "${vocoder_config}" \
                --train_data "${part}" --train_units "${part}.units" \
                --valid_data "$(true_speech "${voiced}" "${valid_set}")" \
                --valid_units "$(true_units "${voiced}" "${valid_set}")" \
                --resume true --ngpu "${ngpu}" --output_dir "${vocoder_exp}" ${vocoder_args}
        fi
    fi

    # speak UNITS ONLY OUTPUT OPTIONS...: those units that the table ONLY names.
    speak() {
        local voice=()
        if [ "${voiced}" != answer_audio ] && [ "${vocoder}" == train ]; then
            [ -n "${speaker}" ] || speaker="$(most_frequent "${vocoder_exp}.data/utt2spk")"
            voice=("--voice=${speaker}") # It may begin with a dash.
        fi
        once "$3/.done" "$1/units" "$2" "${vocoder_exp}/valid.loss.ave.pth" -- \
            in_jobs "${inference}" "${inference_nj}" "$3/log" \
            python -m espnet_audiollm.bin.speak --vocoder "${vocoder_exp}" --units "$1" \
            --only "$2" "${voice[@]}" --device "${device}" "${@:4}" --output "$3"
    }
    most_frequent() { # most_frequent UTT2SPK: the first of those that come most often.
        awk '{ n[$2]++ } END { for (s in n) print n[s], s }' "$1" | sort -k1,1nr -k2,2 |
            awk 'NR == 1 { print $2 }'
    }
    shares_ids() { [ -n "$(join <(cut -d' ' -f1 "$1") <(cut -d' ' -f1 "$2"))" ]; }

    # judge FIELD PLACE INPUT... -- NAME=DIR...: what is understood of an output. INPUT: files that are
    # other ones where the speech is.
    judge() {
        local field="$1" place="$2" texts=() inputs=("${sample}/text") options=() split
        shift 2
        while [ "$1" != -- ]; do inputs+=("$1") && shift; done
        shift
        for split in ${splits}; do texts+=("$(true_speech "${field}" "${split}")/text"); done
        if [ "${field}" == answer_audio ] && [ -s "${data}/${test_set}/answers" ]; then
            inputs+=("${data}/${test_set}/answers")
            options=(--answers "${data}/${test_set}/answers" --success_rule "${success_rule}")
        fi
        once "${place}/.done" "${inputs[@]}" "${texts[@]}" -- \
            ${train_cmd} "${place}/judge.log" python -m espnet_audiollm.bin.judge_speech "$@" "${options[@]}" \
            --text "${sample}/text" --leave_out_unknown true --lm_text "${texts[@]}" --nj "${nj}" --output "${place}"
    }

    # controls FIELD: true speech, resynthesised true units and shuffled ones, judged once for all LMs.
    controls() {
        sample="${dumpdir}/${test_set}/judged_$1_${said}"
        part_of "$(true_speech "$1" "${test_set}")" "${sample}" "${judged_utterances}"
        control="${vocoder_exp}/${test_set}_$1"
        speak "$(true_units "$1" "${test_set}")" "${sample}/text" "${control}/units"
        speak "$(true_units "$1" "${test_set}")" "${sample}/text" "${control}/shuffled" --shuffle true
        judge "$1" "${control}/judged" "${control}"/{units,shuffled}/.done -- \
            true="${sample}" units="${control}/units" shuffled="${control}/shuffled"
    }

    if runs 11 && [ "${vocoder}" != none ]; then
        log "Stage 11: the answers are spoken and judged"
        for table in "${out}"/*/{audio,answer_audio,translation_audio}/units; do
            [ -f "${table}" ] || continue
            field="$(basename "$(dirname "${table}")")"
            block="$(dirname "$(dirname "${table}")")"
            if [ "${field}" == answer_audio ] && [ -z "${answer_voice}" ]; then continue; fi
            if [ "${field}" == translation_audio ] && ! "${spoken_translations}"; then continue; fi
            beside="$(judged_as "${field}")"
            controls "${beside}"
            wavs="${block}/spoken/${field}" judged="${block}/judged/${field}"
            durations=known
            [ "${merge_repeats}" == false ] || durations=predicted
            if shares_ids "${table}" "${sample}/text"; then
                speak "${table%/units}" "${sample}/text" "${wavs}" --durations "${durations}"
            else
                log "  ${block##*/} has no answer in speech"
                rm -rf "${wavs}"
            fi
            given=("${control}/judged/speech.json")
            [ ! -f "${wavs}/.done" ] || given+=("${wavs}/.done")
            judge "${beside}" "${judged}" "${given[@]}" -- \
                answered="${wavs}" --beside "${control}/judged" --missing_is_silence true
            python -m espnet_audiollm.bin.listen_speech answered="${wavs}" true="${sample}" \
                units="${control}/units" --text "${sample}/text" --judged "${judged}" \
                --number "${listen}" --title "${block##*/}" --output "${block}/listen.html" || failed
        done
    fi

    if runs 12; then
        log "Stage 12: scores"
        accepted=()
        for source in ${answers_of}; do
            [ ! -s "${data}/${test_set}/answers" ] ||
                accepted+=(--answers "${source}=${data}/${test_set}/answers")
        done
        # score DIR NAME=ANSWERS...: the systems side by side.
        score() {
            python -m espnet_audiollm.bin.score_tasks "${@:2}" "${accepted[@]}" \
                --success_rule "${success_rule}" --recipe "${recipe}" --command "${command}" \
                --output "$1" || failed
        }
        score "${lm_exp}" "$(basename "${lm_exp}")=${out}" >/dev/null
        systems=()
        for each in "${expdir}"/*/respond_"${test_set}"/.done; do
            each="${each%/.done}"
            systems+=("$(basename "${each%/*}")=${each}")
        done
        score "${expdir}" "${systems[@]}"
    fi

    # respond_text OUTPUT EXAMPLES: the run of the speech LM, as bin/respond writes one of each system.
    respond_text() {
        local style=AudioPaLM-style
        [ -z "${lm_stages}" ] || style=SpeechGPT-style
        once "$1/.done" "${made}.log/.done" "$2"/{response_ids,tasks.json} \
            "${data}/${test_set}/responses/response_ids" -- \
            in_jobs "${inference}" "${inference_nj}" "$1/log" \
            python -m espnet_audiollm.bin.respond --system speechlm --label "${style}" \
            --llm "${made}" --exp "${last}" --quantiser "${quantiser}" --tasks "$2" \
            --data "${data}/${test_set}" --references "${data}/${test_set}/responses" \
            --device "${device}" --output "$1"
    }

    # trained_since MARKER EXP: whether a speech LM in EXP was exported after MARKER was written.
    trained_since() { [ ! -f "$1" ] || [ -n "$(find "$2" -path '*/llm_*.log/.done' -newer "$1")" ]; }

    if runs 13; then
        log "Stage 13: ${expdir}/comparison.md"
        examples="$(examples_of "${test_set}" "${test_mixture}")"
        if grep -qE '"tag": "\[(ASR )?SQA [A-Za-z_]+\]"' "${examples}/tasks.json"; then
            best="${inference_checkpoint%.pth}" compared=() aligned='*'
            if [ -n "${align_tag}" ]; then # Of this test set only, and one cascade.
                aligned="audiollm_${align_tag}_*"
                others 6 10 --align_tag "${align_tag}" --ctc_checkpoints "${inference_checkpoint}" \
                    --noises "" --conversations ""
            fi
            respond_text "${out}/run" "${examples}"
            touch "${out}/run/.done" # Later than the export, which may have been made again.
            for run in "${audiollm}"/exp/*/respond_"${test_set}"/{reference,"cascade_${best}"}/run.json \
                "${audiollm}"/exp/${aligned}/respond_"${test_set}/${best}"/run.json \
                "${expdir}"/*/respond_"${test_set}"/run/run.json; do
                [ -s "${run}" ] || continue
                each="${run%/respond_*}"
                if [[ ${run} == "${expdir}"/* ]] && trained_since "${run%/*}/.done" "${each}"; then
                    log "  left out: ${each} was trained again since its last stage 13: run that first"
                else
                    compared+=("${run%/run.json}")
                fi
            done
            answered="$({ cat /dev/null "${compared[@]/%//answers.jsonl}" 2>/dev/null || true; } | sha256sum)"
            JOB_KEY="$(hash_of "${answered}" "${compared[@]/%//run.json}")" \
                ${inference} "${expdir}/comparison.log" python -m espnet_audiollm.bin.compare_systems \
                "${compared[@]}" --data "${data}/${test_set}" --measure "${timed}" --device "${device}" \
                --success_rule "${success_rule}" --recipe "${recipe}" --command "${command}" \
                --output "${expdir}" || failed
            cat "${expdir}/comparison.md"
        else
            log "  ${test_mixture} has no spoken question that is answered in text: nothing is compared"
        fi
    fi
    log "done: stages ${stage} to ${stop_stage}"
    exit # Before bash reads on, in a file that may be another one by now.
}

main
