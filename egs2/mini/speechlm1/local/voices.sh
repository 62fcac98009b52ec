#!/usr/bin/env bash
# Speech in the voice of a prompt, on top of a finished main job: SoundStorm and AudioLM's two stages learn from
# sentences of one speaker behind one another, and speak test sentences in the voice of another recording of
# their speaker, in another speaker's voice, and without a prompt. A recogniser and a speaker encoder judge
# them: exp/voices/table.md (docs/speechlm.md). Nobody's voice is cloned: the speakers are variants of espeak's.
# shellcheck disable=SC2034,SC2154 # Options are used and runners set in the files sourced below.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
# shellcheck source=utils/platform.sh
. utils/platform.sh || exit 1

## Stages
stage=1        # First: 1 data and units, 2 patches and speaker encoder, 3 SoundStorm, 4 AudioLM, 5 speak, 6 judge.
stop_stage=6   # Last stage.
skip_stages="" # Stages to leave out.

## What is trained and spoken
kinds="soundstorm audiolm"         # Ways to speak: either or both.
quantiser=exp/units/ctc_long_6_500 # Of the semantic units: those that the speech LM reads.
level_source=fbank:4               # Frames that the levels' units are learned from.
levels=4                           # Of them.
level_size=200                     # Units of a level.
seconds=6                          # Longest recording of sentences behind one another.
train_args="--max_epoch 6"         # Options of the trainings of stages 3 and 4.
speaker_args=""                    # Options of the speaker encoder's training.
sentences=100                      # Of the test set, by chance: so many are spoken and judged.

## Places
audiollm=../audiollm1 # The recipe with the data.
configs=conf          # Directory of train_soundstorm.yaml, train_audiolm_*.yaml, train_speaker.yaml.
dumpdir=dump/voices   # Recordings and units.
expdir=exp/voices     # Models, speech and the table.

## Machine
nj="$(nproc)"     # Parallel jobs of the stages that work on the processor.
inference_nj=1    # Parallel jobs that load a model.
cmd_backend=local # Where jobs run: local or slurm (see cmd.sh).
slurm_config=conf/slurm.yaml

# shellcheck source=egs2/TEMPLATE/common/stages.sh
. ./stages.sh
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
check_stages 6

# shellcheck source=egs2/TEMPLATE/common/cmd.sh
. ./cmd.sh
# shellcheck source=egs2/TEMPLATE/common/path.sh
. ./path.sh
training="${cuda_cmd} --gpu 0 --num_nodes 1 --num_procs 1"
data="${audiollm}/dump"
rvq="${expdir}/units_levels" patches="${expdir}/patches" encoder="${expdir}/speaker"
min_audio=0.1 max_audio=60 allow_pipes=false drop_bad_audio=false # Of format_data.
for kind in ${kinds}; do
    [[ ${kind} =~ ^(soundstorm|audiolm)$ ]] || die "--kinds ${kind}: soundstorm and audiolm are the kinds"
done

# extract QUANTISER DATA OUTPUT
extract() {
    local marks
    marks_of "$2"
    once "$3/.done" "${marks[@]}" "$1/quantiser.json" -- \
        in_jobs "${train_cmd}" "${inference_nj}" "$3/log" \
        python -m espnet_audiollm.bin.extract_units --quantiser "$1" --data "$2" --output "$3"
}

# train NAME COMMAND OPTION...: a training of conf/train_NAME.yaml on the joined recordings.
train() {
    local name="$1" split given=(--train_levels "${dumpdir}/train/levels" --valid_levels "${dumpdir}/valid/levels")
    for split in train valid; do
        given+=("--${split}_data" "${dumpdir}/${split}")
        [ "${name}" == audiolm_fine ] || given+=("--${split}_units" "${dumpdir}/${split}/units")
    done
    # shellcheck disable=SC2086
    once "${expdir}/${name}/.done" "${configs}/train_${name}.yaml" \
        "${dumpdir}"/{train,valid}/{units,levels}/units{,.json} -- \
        ${training} "${expdir}/${name}/train.log" \
        python -m "espnet_audiollm.bin.$2" --config "${configs}/train_${name}.yaml" "${given[@]}" \
        --resume true --output_dir "${expdir}/${name}" ${train_args}
}

# speak NAME UNITS INPUT... -- OPTION...: the sample's units. INPUT: files that are other ones where the
# speech is.
speak() {
    local name="$1" units="$2" inputs=()
    shift 2
    while [ "$1" != -- ]; do inputs+=("$1") && shift; done
    shift
    once "${expdir}/spoken/${name}/.done" "${sample}/text" "${units}/units" "${patches}.log/.done" "${inputs[@]}" -- \
        ${cuda_cmd} "${expdir}/spoken/${name}/log" python -m espnet_audiollm.bin.speak --vocoder "${patches}" \
        --units "${units}" --only "${sample}/text" --output "${expdir}/spoken/${name}" "$@"
}

# judge NAME REFERENCES OPTION... -- SPEECH...: exp/voices/judged/NAME.
judge() {
    local place="${expdir}/judged/$1" options=() references="$2"
    shift 2
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    JOB_KEY="$(hash_of "$*" "${expdir}"/spoken/*/.done)" \
        ${cuda_cmd} "${place}/log" python -m espnet_audiollm.bin.judge_speech "$@" "${options[@]}" \
        --nj "${nj}" --text "${sample}/text" --speaker_encoder "${encoder}" --voice_references "${references}" \
        --output "${place}" || failed
}

main() { # Read before it runs: an edit of this file during a run does no harm.
    local split kind whose prompts model trained marks sample="${dumpdir}/sample"
    local said=(true="${sample}" levels="${expdir}/spoken/levels") own=() other=()
    if runs 1; then
        log "Stage 1: sentences of a speaker behind one another, and their units"
        marks_of "${data}/train"
        once "${rvq}.log/.done" "${marks[@]}" -- \
            ${train_cmd} "${rvq}.log/learn.log" utils/anew.sh "${rvq}" \
            python -m espnet_audiollm.bin.learn_units --source "${level_source}" --data "${data}/train" \
            --size "${level_size}" --levels "${levels}" --max_hours 1 --output "${rvq}"
        for split in train valid test; do
            marks_of "${data}/${split}"
            once "${dumpdir}/${split}.log/.done" "${marks[@]}" "${data}/${split}"/{text,utt2spk} -- \
                ${train_cmd} "${dumpdir}/${split}.log/join.log" utils/anew.sh "${dumpdir}/${split}.parts" \
                python utils/data/segments.py join "${data}/${split}" "${dumpdir}/${split}.parts" \
                --seconds "${seconds}" --gap 0.1
            once "${dumpdir}/${split}.log/.joined" "${dumpdir}/${split}.log/.done" -- \
                utils/anew.sh "${dumpdir}/${split}.given" python local/voices.py joined "${dumpdir}/${split}"{.parts,.given}
            format_data "${dumpdir}/${split}.given" "${dumpdir}/${split}"
            if [ "${split}" != test ]; then
                extract "${quantiser}" "${dumpdir}/${split}" "${dumpdir}/${split}/units"
                extract "${rvq}" "${dumpdir}/${split}" "${dumpdir}/${split}/levels"
            fi
        done
    fi

    if runs 2; then
        log "Stage 2: what speaks the levels, and what compares voices"
        once "${patches}.log/.done" "${dumpdir}/train/levels"/{.done,units.json} -- \
            ${train_cmd} "${patches}.log/patches.log" utils/anew.sh "${patches}" \
            python -m espnet_audiollm.bin.mean_patches --levels true --data "${dumpdir}/train" \
            --units "${dumpdir}/train/levels" --output "${patches}"
        marks_of "${data}"/{train,valid}
        # shellcheck disable=SC2086
        once "${encoder}/.done" "${configs}/train_speaker.yaml" "${marks[@]}" -- \
            ${training} "${encoder}/train.log" \
            python -m espnet_audiollm.bin.speaker_train --config "${configs}/train_speaker.yaml" \
            --train_data "${data}/train" --valid_data "${data}/valid" --resume true \
            --output_dir "${encoder}" ${speaker_args}
        once "${encoder}/verified/.done" "${encoder}/valid.loss.ave.pth" "${data}/test/wav.scp" -- \
            ${cuda_cmd} "${encoder}/verified/log" python -m espnet_audiollm.bin.speaker_verify \
            --exp "${encoder}" --data "${data}/test" --output "${encoder}/verified"
    fi

    if runs 3 && [[ ${kinds} == *soundstorm* ]]; then
        log "Stage 3: SoundStorm"
        train soundstorm soundstorm_train
    fi

    if runs 4 && [[ ${kinds} == *audiolm* ]]; then
        log "Stage 4: AudioLM's coarse and fine stages"
        train audiolm_coarse audiolm_train
        train audiolm_fine audiolm_train
    fi

    for kind in ${kinds}; do
        for whose in own other none; do said+=("${kind}_${whose}=${expdir}/spoken/${kind}_${whose}"); done
        own+=("${kind}_own=${expdir}/spoken/${kind}_own")
        other+=("${kind}_other=${expdir}/spoken/${kind}_other")
    done

    if runs 5; then
        log "Stage 5: test sentences in their speaker's voice, in another's, and without a prompt"
        marks_of "${data}/test"
        once "${sample}.log/.done" "${marks[@]}" -- \
            ${train_cmd} "${sample}.log/subset.log" utils/anew.sh "${sample}" \
            python utils/data/subset.py "${data}/test" "${sample}" --random "${sentences}"
        extract "${quantiser}" "${sample}" "${dumpdir}/units"
        extract "${rvq}" "${sample}" "${dumpdir}/levels"
        for whose in own other; do
            prompts="${dumpdir}/prompts_${whose}"
            once "${prompts}.log/.done" "${sample}/utt2spk" "${dumpdir}/test.log/.done" -- \
                utils/anew.sh "${prompts}" python local/voices.py prompts "${sample}/utt2spk" "${dumpdir}/test.parts" \
                "${prompts}" --whose "${whose}"
        done
        speak levels "${dumpdir}/levels" --
        for kind in ${kinds}; do
            model=(--acoustic "${expdir}/soundstorm") trained=("${expdir}/soundstorm/.done")
            if [ "${kind}" == audiolm ]; then
                model=(--acoustic "${expdir}/audiolm_coarse" --fine "${expdir}/audiolm_fine")
                trained=("${expdir}"/audiolm_{coarse,fine}/.done)
            fi
            speak "${kind}_none" "${dumpdir}/units" "${trained[@]}" -- "${model[@]}"
            for whose in own other; do
                speak "${kind}_${whose}" "${dumpdir}/units" "${trained[@]}" \
                    "${dumpdir}/prompts_${whose}.log/.done" -- "${model[@]}" --voice_prompts "${dumpdir}/prompts_${whose}/wav.scp" --allow_voice_cloning true \
                    --quantiser "${quantiser}" --level_quantiser "${rvq}"
            done
        done
    fi

    if runs 6; then
        log "Stage 6: ${expdir}/table.md"
        judge true "${data}/test" --lm_text "${data}"/{train,valid,test}/text -- "${said[@]}"
        judge own "${dumpdir}/prompts_own" --hypotheses "${expdir}/judged/true/hypotheses" -- "${own[@]}"
        judge other "${dumpdir}/prompts_other" --hypotheses "${expdir}/judged/true/hypotheses" -- "${other[@]}"
        python local/voices.py table "${expdir}/judged" | tee "${expdir}/table.md"
    fi
    exit # Before bash reads on, in a file that may be another one by now.
}

main
