#!/usr/bin/env bash
# From a corpus to the perplexity table: a frozen LLM gets an audio encoder, in twelve stages.
# shellcheck disable=SC2034,SC2154 # Options are used and runners set in the files sourced below.
set -euo pipefail
# shellcheck source=utils/platform.sh
. utils/platform.sh || exit 1

## Stages
stage=1        # First stage to run.
stop_stage=11  # Last stage to run (12 packs the trained model for others).
skip_stages="" # Stages to leave out ("4 5").

## Machine
ngpu=0                       # GPUs of a training or LLM job, on each node (0: the processor).
num_nodes=1                  # Nodes of a training.
num_procs=1                  # Processes of a training on a node without GPUs.
nj="$(nproc)"                # Parallel jobs of the stages that work on the processor.
inference_nj=1               # Parallel jobs of stages 6, 7 and 10; each loads its model.
cmd_backend=local            # Where jobs run: local or slurm (see cmd.sh).
slurm_config=conf/slurm.yaml # The cluster's partitions, accounts, ways to ask for GPUs.

## Data (stages 1 and 2)
recipe="$(basename "$(dirname "${PWD}")")" # Name in the results.
local_data_opts=""                         # Options for local/data.sh.
train_set=train                            # Split to learn from.
valid_set=valid                            # Split to choose checkpoints by.
test_sets="test"                           # Splits to report on; exp/results.json is the first one's.
min_audio=0.1                              # Shortest utterance kept (seconds).
max_audio=20                               # Longest utterance kept (seconds).
allow_pipes=false                          # Run the commands in wav.scp (sox, ffmpeg, sph2pipe, flac).
drop_bad_audio=false                       # Leave out recordings that are damaged (false: name them, and stop).

## Tokens of the recogniser (stage 3)
token_type=bpe   # bpe (SentencePiece pieces), char (characters), word, or llm (the LLM's own tokens).
bpe_type=unigram # SentencePiece model: unigram or bpe.
vocab_size=1500  # Tokens (char, word, llm: at most; 0: all).
min_count=1      # char, word, llm: what comes less often is <unk>.

## CTC pretraining and decoding (stages 4 to 6)
ctc_config=conf/train_ctc.yaml       # Training configuration.
ctc_tag=""                           # Name of exp/ctc_TAG (empty: from the configuration).
ctc_args=""                          # More options for the training.
ctc_checkpoints="valid.loss.ave.pth" # The cascades' recognisers (empty: no cascades).
ctc_beam=1                           # Above 1: cascades that decode with this beam, beside the greedy ones.
lm_weight=0                          # Weight of their language model: the n-grams' below, or (--token_type llm) the LLM's.
lm_order=0                           # Tokens of the longest n-grams, learned from the training transcripts (0: none).
lm_text=""                           # Text to learn the n-grams from instead, one sentence a line.
lm_arpa=""                           # Instead of --lm_order: an ARPA file of n-grams of the recogniser's tokens.
normalizer=basic                     # Form in which texts are compared: basic, en, de+numbers, ...

## LLM and alignment (stages 7 to 9)
llm=""                                 # Hugging Face id or directory of the LLM; stays as it is.
chat_template=""                       # Jinja file, for an LLM whose tokenizer brings no chat template.
system_prompt=none                     # System message before every request (none; "": an empty one).
prompt_casing=asis                     # Form of transcripts as prompts: asis, lower, sentence, truecase.
casing_text=""                         # truecase: a text that shows how words are written.
teacher_top_k=0                        # Tokens of the LLM's distribution kept for each response token (0: none).
teacher_prompts=false                  # Keep the text prompts, for the training's --hidden_weight.
llm_engine=transformers                # What decodes in stages 7, 10 and for the judge: transformers or vllm.
vllm_url=""                            # vllm: a server of --llm that runs (empty: each job starts its own).
behaviours=""                          # Contexts to ask utterances in: conf/behaviours/*.yaml (empty: without context).
behaviours_per_utterance=1             # Contexts that each utterance draws.
align_configs=conf/train_align.yaml    # Training configurations, one system each.
align_tag=""                           # Goes before the configuration's name in exp/audiollm_TAG_NAME.
align_args=""                          # More options for the training.
init_checkpoint=CTC/valid.loss.ave.pth # CTC checkpoint the encoder starts from; CTC/: stage 5's (empty: none).

## Inference and scoring (stages 10 to 12)
inference_checkpoint=valid.loss.ave.pth # Checkpoint of the alignment.
inference_args=""                       # More options for respond.
beam=1                                  # Beam of the LLM (1: greedy; the paper: 10).
success_rule=contains                   # How accepted answers are found: contains, exact, triviaqa, numeric, ...
judge_llm=""                            # LLM that judges the answers as well (empty: none).
target_lang=""                          # Language of the translations ("de"): BLEU splits words by it.
resample_by=""                          # Table by which intervals are drawn, e.g. utt2spk (empty: utterances).
noises=""                               # Noisy copies of the first test set ("babble:10 white:0 room").
noise_checkpoints=""                    # Those of ctc_checkpoints that decode them (empty: all).
conversations=""                        # Conversation sets (JSON lines; the last of ctc_checkpoints decodes them).

## Packing (stage 12)
licence=unknown # Of the packed weights, as the Hugging Face Hub names it (cc-by-4.0, ...).

## Places
dumpdir=dump                  # Formatted data.
expdir=exp                    # Models, logs and results.
resultsdir=""                 # Where stage 11 writes (empty: --expdir).
token_listdir=data/token_list # SentencePiece models.

# shellcheck source=egs2/TEMPLATE/common/stages.sh
. ./stages.sh

_given=("$@")
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
command="./run.sh$(printf ' %q' "${_given[@]}")"
[ $# -eq 0 ] || die "'$1' stands behind --, which takes nothing here"
check_stages 12

main() { # Read before it runs: an edit of this file during a run does no harm.
    # shellcheck source=egs2/TEMPLATE/common/cmd.sh
    . ./cmd.sh
    export install_environment=true # Where there is none; path.sh by itself does not.
    # shellcheck source=egs2/TEMPLATE/common/path.sh
    . ./path.sh
    hint_at_gpus /dev/nvidia[0-9]*

    train="${dumpdir}/${train_set}"
    valid="${dumpdir}/${valid_set}"
    splits="${train_set} ${valid_set} ${test_sets}"
    kind="${token_type}${vocab_size}" # Of tokens, in the names of places.
    tokens="${token_listdir}/${kind}"
    if [ "${token_type}" == bpe ]; then
        kind="${bpe_type}${vocab_size}" tokens="${token_listdir}/bpe_${bpe_type}${vocab_size}"
    elif [ "${token_type}" == llm ]; then
        kind="llm_$(basename "${llm}")_${vocab_size}" tokens="${token_listdir}/${kind}"
    fi
    ctc_name="$(name_of ctc "${ctc_config}")_${kind}"
    [ -z "${ctc_tag}" ] || ctc_name="ctc_${ctc_tag}"
    ctc_exp="${expdir}/${ctc_name}"
    ctc_stats="${expdir}/ctc_stats_${kind}"
    init_checkpoint="${init_checkpoint/#CTC\//${ctc_exp}/}"
    [ -n "${ctc_checkpoints}${init_checkpoint}" ] || skip_stages+=" 3 4 5 6" # No recogniser is needed.
    # With behaviours training has responses, statistics and models of its own, named after the file.
    drawn="$(basename "${behaviours%.*}")"
    drawn="${drawn:+_${drawn}}"
    align_stats="${expdir}/audiollm_stats${drawn}"
    device=cpu
    ((ngpu == 0)) || device=cuda
    training="${cuda_cmd} --gpu ${ngpu} --num_nodes ${num_nodes}"
    training+=" --num_procs $((ngpu > 0 ? ngpu : num_procs))"
    inference="${cuda_cmd} --gpu $((ngpu > 0))"
    searches=("")     # How recognisers decode, in the names of places; "": greedily.
    arpa="${lm_arpa}" # n-grams, if they are the language model.
    [[ ${lm_order} =~ ^(0|[1-9][0-9]?)$ ]] || die "--lm_order ${lm_order} is no number from 0 (none) to 99"
    [ -z "${lm_text}" ] || [ "${lm_order}" != 0 ] || die "--lm_text ${lm_text} needs --lm_order, say 4"
    if [ "${lm_order}" != 0 ]; then
        [ -z "${lm_arpa}" ] || die "--lm_order ${lm_order} and --lm_arpa ${lm_arpa} are two language models: give one"
        ngrams="${lm_order}gram${lm_text:+_$(basename "${lm_text%.*}")}"
        arpa="${tokens}/${ngrams}/lm.arpa"
    elif [ -n "${lm_arpa}" ]; then
        [ -s "${lm_arpa}" ] || die "--lm_arpa ${lm_arpa} is missing or empty"
        ngrams="$(basename "${lm_arpa%.gz}" .arpa)"
    fi
    if [ -n "${arpa}" ]; then
        given="$([ -n "${lm_arpa}" ] && echo "--lm_arpa ${lm_arpa}" || echo "--lm_order ${lm_order}")"
        [ "${ctc_beam}" != 1 ] || die "${given} needs a beam: give --ctc_beam, say 10"
        [ "${lm_weight}" != 0 ] || die "${given} does nothing without a weight: give --lm_weight, say 0.3"
        searches+=("_beam${ctc_beam}_${ngrams}_lm${lm_weight}")
    elif [ "${lm_weight}" != 0 ]; then
        [ "${token_type}" == llm ] || die "--lm_weight ${lm_weight} needs a language model: n-grams (--lm_order 4) or," \
            "with --token_type llm, the LLM; leave it out for a --ctc_beam without one"
        searches+=("_beam${ctc_beam}_lm${lm_weight}")
    elif [ "${ctc_beam}" != 1 ]; then
        searches+=("_beam${ctc_beam}")
    fi
    keep="$(grep -oE '(^| )[0-9]+epoch' <<<"${ctc_checkpoints}" | tr -dc '0-9 \n' || true)"
    llm_opts=(--llm "${llm}")
    [ -z "${chat_template}" ] || llm_opts+=(--chat_template "${chat_template}")
    [ "${system_prompt}" == none ] || llm_opts+=(--system_prompt "${system_prompt}")
    engine_opts=() judge_engine=() # Of the default there is no word: what was made before stays up to date.
    if [ "${llm_engine}" != transformers ]; then
        [ "${llm_engine}" == vllm ] || die "--llm_engine ${llm_engine} is neither transformers nor vllm"
        [ "${beam}" == 1 ] || die "--beam ${beam} needs --llm_engine transformers: vLLM decodes greedily here"
        judge_engine=(--llm_engine "${llm_engine}")
        engine_opts=("${judge_engine[@]}" ${vllm_url:+--vllm_url "${vllm_url}"})
    elif [ -n "${vllm_url}" ]; then
        die "--vllm_url is for --llm_engine vllm: give both, or neither"
    fi
    casing_opts=()
    [ "${prompt_casing}" == asis ] || casing_opts+=(--prompt_casing "${prompt_casing}")
    [ -z "${casing_text}" ] || casing_opts+=(--casing_text "${casing_text}")
    teacher_opts=() teacher_data=() # What stage 7 keeps beside the responses: FILE,NAME,TYPE of training.
    if [ "${teacher_top_k}" != 0 ]; then
        teacher_opts+=(--teacher_top_k "${teacher_top_k}")
        teacher_data+=("top_k,teacher,top_k")
    fi
    if [ "${teacher_prompts}" == true ]; then
        teacher_opts+=(--prompt_ids)
        teacher_data+=("prompt_ids,text_prompt,text_int")
    fi
    comparing=()
    [ "${normalizer}" == basic ] || comparing+=(--normalizer "${normalizer}")
    for number in {7..12}; do
        if runs "${number}"; then [ -n "${llm}" ] || die "stage ${number} needs --llm ID_OR_DIRECTORY"; fi
    done

    token_opts=(--token_type "${token_type}" --token_list "${tokens}/tokens.txt")
    [ "${token_type}" != bpe ] || token_opts+=(--bpemodel "${tokens}/bpe.model")
    token_llm=()
    if [ "${token_type}" == llm ]; then
        [ -n "${llm}" ] || die "--token_type llm needs --llm ID_OR_DIRECTORY, whose tokens they are"
        token_opts+=(--bpemodel "${tokens}/tokenizer.json")
        token_llm=(--llm "${llm}" ${chat_template:+--chat_template "${chat_template}"})
    fi
    ctc_data=("${token_opts[@]}")
    align_data=("${llm_opts[@]}") align_text=() taught=()
    asked=() # With behaviours: what is learnt besides the responses.
    for split in train valid; do
        flag="--${split}_data_path_and_name_and_type"
        ctc_data+=("${flag}" "${!split}/wav.scp,speech,sound" "${flag}" "${!split}/text,text,text")
        store="${!split}/responses${drawn}"
        if [ -z "${behaviours}" ]; then
            align_data+=("${flag}" "${!split}/wav.scp,speech,sound")
            align_text+=("${flag}" "${!split}/text,text,text")
        else
            align_data+=("${flag}" "${store}/recordings,speech,recordings"
                "${flag}" "${store}/recording_samples,recording_samples,text_int"
                "${flag}" "${store}/prompt_ids,prompt,text_int")
            align_text+=("${flag}" "${store}/recording_texts,texts,text")
            asked+=("${store}"/{prompt_ids,recordings})
        fi
        align_data+=("${flag}" "${store}/response_ids,response,text_int")
        for table in "${teacher_data[@]}"; do
            align_data+=("${flag}" "${store}/teacher/${table}")
            taught+=("${store}/teacher/${table%%,*}")
        done
    done
    clean="${test_sets%% *}" noisy="" # Names of its noisy copies, whose reference responses are its own.
    declare -A noise_of=()
    for noise in ${noises}; do
        copy="${noise/:/}"
        copy="${clean}_${copy//[^A-Za-z0-9.-]/_}"
        [ -z "${noise_of[${copy}]:-}" ] || die "--noises: two of them would be called ${copy}"
        noise_of["${copy}"]="${noise}" noisy+=" ${copy}"
    done
    # What is tested: test sets, their noisy copies, and files of dialogues, each by its path.
    sets=()
    for split in ${test_sets}${noisy}; do sets+=("${dumpdir}/${split}"); done
    # shellcheck disable=SC2206
    sets+=(${conversations})
    set_name() { basename "$1" .jsonl; }
    twice="$(for set in "${sets[@]}"; do set_name "${set}"; done | sort | uniq -d | head -n 1)"
    [ -z "${twice}" ] || die "two sets of --test_sets, --noises and --conversations are called ${twice}, and would" \
        "have one place for their answers: rename a file of conversations, or a directory of data/"
    references_of() { # The store of the reference responses to a set.
        local name
        name="$(set_name "$1")"
        [ -z "${noise_of[${name}]:-}" ] || name="${clean}"
        if [ -f "$1" ]; then name="dialogues/${name}"; fi
        echo "${dumpdir}/${name}/responses"
    }
    checkpoints_of() { # The recognisers of the cascades that answer a set.
        local checkpoints="${ctc_checkpoints}"
        [ -z "${noise_of[$(set_name "$1")]:-}" ] || checkpoints="${noise_checkpoints:-${checkpoints}}"
        [ ! -f "$1" ] || checkpoints="${checkpoints##* }"
        echo "${checkpoints}"
    }
    align_exp() { echo "${expdir}/$(name_of "audiollm${align_tag:+_${align_tag}}${drawn}" "$1")"; }

    if runs 1; then
        log "Stage 1: prepare data/{${splits// /,}}"
        prepare_data
    fi

    if runs 2; then
        log "Stage 2: 16 kHz mono, ${min_audio} to ${max_audio} s"
        for split in ${splits}; do format_data "data/${split}" "${dumpdir}/${split}"; done
        for copy in ${noisy}; do add_noise "${clean}" "${noise_of[${copy}]}" "${copy}"; done
    fi

    if runs 3; then
        log "Stage 3: the token list ${tokens}"
        vocabulary=("${train}/text")
        if [ "${token_type}" == llm ] && [ -s "${llm}/tokenizer.json" ]; then vocabulary+=("${llm}/tokenizer.json"); fi
        # shellcheck disable=SC2086
        once "${tokens}/.done" "${vocabulary[@]}" -- ${train_cmd} "${tokens}/train.log" \
            python -m espnet_audiollm.bin.tokenize_text --text "${train}/text" \
            --token_type "${token_type}" "${token_llm[@]}" --bpe_type "${bpe_type}" --vocab_size "${vocab_size}" \
            --min_count "${min_count}" --output "${tokens}"
        log "  $(tail -n 3 "${tokens}/train.log" | grep "^${tokens}: " || true)"
    fi

    mvn_stats=() # global_mvn: where the features' mean and variance are.
    if runs 4 || runs 5; then
        # shellcheck disable=SC2086
        normalize="$(python utils/config_value.py "${ctc_config}" normalize ${ctc_args})"
        [ "${normalize}" != global_mvn ] || mvn_stats=("${ctc_stats}/train/feats_stats.npz")
    fi
    if runs 4; then
        log "Stage 4: statistics for CTC pretraining"
        if ((${#mvn_stats[@]})); then
            marks_of "${train}" "${valid}"
            # shellcheck disable=SC2086
            once "${ctc_stats}/.done" "${ctc_config}" "${marks[@]}" \
                "${train}/text" "${valid}/text" "${tokens}/tokens.txt" -- \
                collect_stats "${ctc_stats}" python -m espnet_audiollm.bin.ctc_train \
                --config "${ctc_config}" "${ctc_data[@]}" ${ctc_args}
        fi
        for split in train valid; do
            once "${ctc_stats}/${split}/.done" "${!split}"/{utt2num_samples,text} "${tokens}/tokens.txt" -- \
                ${train_cmd} "${ctc_stats}/${split}/lengths.log" \
                python -m espnet_audiollm.bin.data_lengths --data "${!split}" \
                "${token_opts[@]}" --output "${ctc_stats}/${split}"
            log "  $(tail -n 3 "${ctc_stats}/${split}/lengths.log" | grep ' unknown ' || true)"
        done
    fi

    if runs 5; then
        log "Stage 5: pretrain the encoder with CTC: ${ctc_exp}"
        marks_of "${train}" "${valid}"
        # shellcheck disable=SC2086
        once "${ctc_exp}/.done" "${ctc_config}" "${tokens}/tokens.txt" "${token_opts[@]:5}" \
            "${marks[@]}" "${train}/text" "${valid}/text" \
            "${ctc_stats}"/{train,valid}/{speech,text}_shape "${mvn_stats[@]}" -- \
            ${training} "${ctc_exp}/train.log" \
            python -m espnet_audiollm.bin.ctc_train --config "${ctc_config}" "${ctc_data[@]}" \
            --train_shape_file "${ctc_stats}/train/speech_shape" \
            --train_shape_file "${ctc_stats}/train/text_shape" \
            --valid_shape_file "${ctc_stats}/valid/speech_shape" \
            --valid_shape_file "${ctc_stats}/valid/text_shape" \
            --resume true --ngpu "${ngpu}" \
            "${mvn_stats[@]/#/--normalize_conf=stats_file=}" \
            --output_dir "${ctc_exp}" ${keep:+--keep_epochs ${keep}} ${ctc_args}
    fi

    # wer_of DECODED: what stage 6 says of it.
    wer_of() {
        [ -s "$1/wer.json" ] || { echo "no reference" && return; }
        sed -nE 's/^  "(wer|errors|reference_words|normalizer)": "?([^",]*)"?,?$/\1 \2/p' "$1/wer.json" | awk '
            { if (!($1 in found)) found[$1] = $2 }
            END { printf "WER %.2f %% (%d / %d), normalizer %s\n",
                  found["wer"], found["errors"], found["reference_words"], found["normalizer"] }'
    }

    if runs 6; then
        log "Stage 6: transcripts and word error rates of ${ctc_checkpoints}"
        if [ "${lm_order}" != 0 ]; then
            lm_source=(--text "${train}/text")
            [ -z "${lm_text}" ] || lm_source=(--sentences "${lm_text}")
            once "${arpa%/*}/.done" "${lm_source[1]}" "${valid}/text" "${tokens}/tokens.txt" "${token_opts[@]:5}" -- \
                ${train_cmd} "${arpa%/*}/train.log" python -m espnet_audiollm.bin.ngram_train "${lm_source[@]}" \
                --valid_text "${valid}/text" --order "${lm_order}" "${token_opts[@]}" --output "${arpa}"
            tail -n 3 "${arpa%/*}/train.log" | { grep "^${arpa}: " || true; } | while read -r line; do log "  ${line}"; done
        fi
        decoded=()
        for set in "${sets[@]}"; do
            for checkpoint in $(checkpoints_of "${set}"); do
                for search in "${searches[@]}"; do
                    searching=()
                    [ -z "${search}" ] || searching+=(--ctc_beam "${ctc_beam}")
                    lm=() lm_files=()
                    if [[ ${search} == *_lm* ]]; then
                        lm=(--lm_weight "${lm_weight}" "${llm_opts[@]}")
                        [ -z "${arpa}" ] || lm=(--lm_weight "${lm_weight}" --lm_arpa "${arpa}") lm_files=("${arpa}")
                    fi
                    out="${ctc_exp}/decode_${checkpoint%.pth}${search}_$(set_name "${set}")"
                    decoded+=("${out}")
                    marks_of "${set}"
                    read_by=("${ctc_exp}/${checkpoint}" "${marks[@]}")
                    decode=(--exp "${ctc_exp}" --checkpoint "${checkpoint}" --data "${set}" --output "${out}"
                        --device "${device}" "${comparing[@]}" "${searching[@]}" "${lm[@]}")
                    if [[ ${search} == *_lm* ]] && [ -z "${arpa}" ]; then # It looks itself whether the LLM is another one.
                        later "${out}" "$(hash_of "${out}" "${read_by[@]}")" "${decode[@]}"
                    elif outdated "${out}/.done" "${read_by[@]}" "${lm_files[@]}" -- \
                        python -m espnet_audiollm.bin.ctc_decode "${decode[@]}"; then
                        later "${out}" "${now}" "${decode[@]}"
                    fi
                done
            done
        done
        together ctc_decode
        for out in "${decoded[@]}"; do log "  ${out}: $(wer_of "${out}")"; done
    fi

    # answer SET OUT FILE... -- OPTION...: stage 7, the LLM's responses to a set; FILE: what they depend on.
    answer() {
        local set="$1" out="$2" files=()
        shift 2
        while [ "$1" != -- ]; do
            files+=("$1")
            shift
        done
        shift
        later "${out}" "$(hash_of "${out}" "${files[@]}")" "${llm_opts[@]}" "${casing_opts[@]}" \
            --data "${set}" --output "${out}" --device "${device}" "${engine_opts[@]}" "$@"
    }

    if runs 7; then
        log "Stage 7: the LLM answers every transcript"
        plain="${splits}"
        if [ -n "${behaviours}" ]; then
            [ -s "${behaviours}" ] || die "--behaviours ${behaviours} is missing or empty; conf/behaviours has some"
            plain="${test_sets}"
            for set in "${train}" "${valid}"; do
                answer "${set}" "${set}/responses${drawn}" "${set}/text" "${behaviours}" -- \
                    --behaviours "${behaviours}" --behaviours_per_utterance "${behaviours_per_utterance}" \
                    "${teacher_opts[@]}"
            done
        fi
        for split in ${plain}; do
            kept=()
            case "${split}" in "${train_set}" | "${valid_set}") kept=("${teacher_opts[@]}") ;; esac
            answer "${dumpdir}/${split}" "${dumpdir}/${split}/responses" "${dumpdir}/${split}/text" -- \
                "${kept[@]}"
        done
        for set in ${conversations}; do answer "${set}" "$(references_of "${set}")" "${set}" --; done
        together generate_responses
    fi

    if runs 8; then
        log "Stage 8: statistics for the alignment"
        for split in train valid; do
            store="${!split}/responses${drawn}" samples="${!split}/utt2num_samples" counted=()
            if [ -n "${behaviours}" ]; then
                samples="${store}/recording_samples" counted=(--samples "${store}/recording_samples")
            fi
            once "${align_stats}/${split}/.done" "${samples}" "${store}/response_ids" -- \
                ${train_cmd} "${align_stats}/${split}/lengths.log" \
                python -m espnet_audiollm.bin.data_lengths --data "${!split}" \
                --responses "${store}/response_ids" --output "${align_stats}/${split}" "${counted[@]}"
        done
    fi

    if runs 9; then
        init=(${init_checkpoint:+--init_ctc "${init_checkpoint}"})
        for config in ${align_configs}; do
            exp="$(align_exp "${config}")"
            log "Stage 9: align the encoder with the frozen LLM: ${exp}"
            # shellcheck disable=SC2086
            ctc_weight="$(python utils/config_value.py "${config}" ctc_weight ${align_args})"
            text=()
            case "${ctc_weight}" in "" | 0 | 0.0) ;; *) text=("${align_text[@]}") ;; esac
            marks_of "${train}" "${valid}"
            # shellcheck disable=SC2086
            once "${exp}/.done" "${config}" "${init[@]:1}" ${text[@]+"${train}/text" "${valid}/text"} \
                "${marks[@]}" {"${train}","${valid}"}"/responses${drawn}/response_ids" "${asked[@]}" "${taught[@]}" \
                "${align_stats}"/{train,valid}/{speech,response}_shape -- \
                ${training} "${exp}/train.log" \
                python -m espnet_audiollm.bin.audiollm_train --config "${config}" "${align_data[@]}" "${text[@]}" \
                --train_shape_file "${align_stats}/train/speech_shape" \
                --train_shape_file "${align_stats}/train/response_shape" \
                --valid_shape_file "${align_stats}/valid/speech_shape" \
                --valid_shape_file "${align_stats}/valid/response_shape" \
                "${init[@]}" --resume true --ngpu "${ngpu}" \
                --output_dir "${exp}" ${align_args}
        done
    fi

    # respond SET OUT SYSTEM INPUT... -- OPTION...: one system is to answer one set, if it has not.
    respond() {
        local set="$1" out="$2" system="$3" now references words inputs=() marks
        shift 3
        while [ "$1" != -- ]; do
            inputs+=("$1")
            shift
        done
        shift
        references="$(references_of "${set}")"
        # shellcheck disable=SC2206
        words=(--system "${system}" "${llm_opts[@]}"
            --data "${set}" --references "${references}" --output "${out}" --beam "${beam}"
            --device "${device}" "${casing_opts[@]}" "${engine_opts[@]}" "$@" ${inference_args})
        marks_of "${set}"
        outdated "${out}/.done" "${marks[@]}" "${references}/response_ids" \
            ${inputs[@]+"${inputs[@]}"} -- python -m espnet_audiollm.bin.respond "${words[@]}" || return 0
        later "${out}" "${now}" "${words[@]}"
    }

    if runs 10; then
        log "Stage 10: responses by text, cascades and audio to ${sets[*]}"
        for set in "${sets[@]}"; do
            name="$(set_name "${set}")"
            if [ -z "${noise_of[${name}]:-}" ]; then # What takes no audio takes no noise.
                for system in reference no_prompt; do
                    [ "${system}" == reference ] || [ ! -f "${set}" ] || continue
                    respond "${set}" "${expdir}/text/respond_${name}/${system}" "${system}" --
                done
            fi
            for checkpoint in $(checkpoints_of "${set}"); do
                for search in "${searches[@]}"; do
                    hyp="${ctc_exp}/decode_${checkpoint%.pth}${search}_${name}/hyp"
                    respond "${set}" "${ctc_exp}/respond_${name}/cascade_${checkpoint%.pth}${search}" cascade \
                        "${hyp}" -- --hyp "${hyp}" --exp "${ctc_exp}" --checkpoint "${checkpoint}"
                done
            done
            for config in ${align_configs}; do
                exp="$(align_exp "${config}")"
                respond "${set}" "${exp}/respond_${name}/${inference_checkpoint%.pth}" audiollm \
                    "${exp}/${inference_checkpoint}" -- --exp "${exp}" \
                    --checkpoint "${inference_checkpoint}"
            done
        done
        together respond
    fi

    if runs 11; then
        results="${resultsdir:-${expdir}}"
        log "Stage 11: ${results}/RESULTS.md"
        references=() train_dirs=(${ctc_checkpoints:+"${ctc_exp}"})
        for set in "${sets[@]}"; do references+=("$(references_of "${set}")"); done
        for config in ${align_configs}; do train_dirs+=("$(align_exp "${config}")"); done
        scored=(--sets "${sets[@]}" --references "${references[@]}" --runs "${expdir}")
        # shellcheck disable=SC2086
        [ -z "${judge_llm}" ] || ${inference} "${expdir}/judge.log" python -m espnet_audiollm.bin.judge \
            --llm "${judge_llm}" "${scored[@]}" --device "${device}" "${judge_engine[@]}" || die "stage 11 failed, see above"
        [ -z "${target_lang}" ] || scored+=(--target_lang "${target_lang}")
        [ -z "${resample_by}" ] || scored+=(--resample_by "${resample_by}")
        with_lock "${results}/.lock" python -m espnet_audiollm.bin.score "${scored[@]}" --recipe "${recipe}" --llm "${llm}" \
            --success_rule "${success_rule}" "${comparing[@]}" --train_dirs "${train_dirs[@]}" \
            --output "${results}" --command "${command}" || die "stage 11 failed, see above"
    fi

    if runs 12; then
        figures=() results="${resultsdir:-${expdir}}/results.json"
        [ ! -f "${results}" ] || figures=(--results "${results}")
        for config in ${align_configs}; do
            exp="$(align_exp "${config}")"
            log "Stage 12: ${exp}/packed"
            python -m espnet_audiollm.bin.pack --exp "${exp}" --checkpoint "${inference_checkpoint}" \
                --output "${exp}/packed" --licence "${licence}" "${figures[@]}" || die "stage 12 failed, see above"
        done
    fi
    log "done: stages ${stage} to ${stop_stage}"
    exit # Before bash reads on, in a file that may be another one by now.
}

main
