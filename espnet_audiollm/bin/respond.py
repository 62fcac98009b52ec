"""Stage 10: what one system answers on a test set, and the nats of the reference responses.

reference: the transcript as prompt. cascade: a recogniser's transcript (--hyp). no_prompt: an empty
prompt. audiollm: the audio itself (--exp, --checkpoint).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..store.responses import SYSTEM_FIELDS, check_origin, iter_responses
from ..store.parts import Parts, hash_files
from ..text.casing import AS_IS, CASINGS, caser
from ..text.normalize import normalizer
from . import split
from .cli import user_errors

if TYPE_CHECKING:
    from ..data.kaldi_dir import Row
    from ..infer.respond import Question
    from ..types import Utterance

SYSTEMS = ("reference", "cascade", "audiollm", "no_prompt")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--system", required=True, choices=SYSTEMS)
    parser.add_argument("--label", help="row of the table (default: made of the other options)")
    parser.add_argument("--llm", required=True, help="Hugging Face id or local directory")
    parser.add_argument("--chat_template", help="jinja file, when the LLM has none")
    parser.add_argument("--system_prompt", help="text of a system turn (default: no such turn)")
    parser.add_argument(
        "--prompt_casing", default=AS_IS, choices=CASINGS, help="form in which texts are asked"
    )
    parser.add_argument("--casing_text", help="truecase: text from which it learns")
    parser.add_argument("--normalizer", default="basic", help="form in which texts are compared")
    parser.add_argument("--data", required=True, help="e.g. dump/test")
    parser.add_argument("--references", required=True, help="store of stage 7")
    parser.add_argument("--output", required=True, help="system directory")
    parser.add_argument("--exp", help="audiollm: experiment of stage 9")
    parser.add_argument(
        "--checkpoint", default="valid.loss.ave.pth", help="audiollm: file in --exp"
    )
    parser.add_argument("--hyp", help="cascade: transcripts of stage 6")
    parser.add_argument("--beam", type=int, default=1, help="1: greedy; the paper: 10")
    parser.add_argument("--max_tokens_factor", type=float, default=4.0)
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--num_embeddings", type=int, default=6, help="utterances whose embeddings are kept"
    )
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    check_options(args)
    with split.named(args):
        parts = open_parts(args)
        if not args.merge:
            ask(args, parts)
        if split.merges(args):
            merge(args, parts)
    return 0


def check_options(args: argparse.Namespace) -> None:
    needed = {"cascade": "hyp", "audiollm": "exp"}.get(args.system)
    if needed and getattr(args, needed) is None:
        raise ValueError(f"--system {args.system} needs --{needed}")
    normalizer(args.normalizer)
    split.check(args)


def open_parts(args: argparse.Namespace) -> Parts:
    """The shards that belong to the contents of data, references, transcripts and checkpoint. The
    LLM counts by its fingerprint in the references' store, which it must have."""
    from ..data.kaldi_dir import count_utterances

    data, store = Path(args.data), Path(args.references)
    files = [data / name for name in ("wav.scp", "text", "utt2dur")]
    files += [store / name for name in ("store.json", "response_ids")]
    files += [file for file in (args.hyp, args.chat_template) if file]
    if args.system == "audiollm":
        files += [Path(args.exp) / name for name in ("config.yaml", args.checkpoint)]
    options = {name: value for name, value in split.options(args).items() if name != "normalizer"}
    inputs = {"options": options, "contents": hash_files(*files)}
    inputs["fields"] = SYSTEM_FIELDS
    made = ["system.json", "nats", "token_nats", "responses.jsonl"]
    heard = ["embeddings.npz", "similarity"]
    made += {"cascade": ["hyp"], "audiollm": heard}.get(args.system, [])
    count = count_utterances(data)
    return Parts(args.output, inputs, count, SYSTEM_FIELDS, 10, made, args.shard_size)


def load_models(args):
    """The AudioLLM (or None) and the LLM. The AudioLLM was trained with a system prompt of its own,
    which takes the place of --system_prompt."""
    from ..model import llm as llms

    if args.system != "audiollm":
        return None, llms.load(args.llm, args.chat_template, args.dtype, args.device)
    from ..tasks.audiollm import AudioLLMTask
    from ..train.loading import load_weights, read_config

    config = read_config(args.exp)
    template = args.chat_template or config.chat_template
    llm = llms.load(args.llm, template, args.dtype, args.device)
    config.train_data_path_and_name_and_type = config.valid_data_path_and_name_and_type = None
    model = AudioLLMTask.build_model(config, llm).to(args.device)
    load_weights(model, Path(args.exp) / args.checkpoint, args.device)
    args.system_prompt = config.system_prompt
    return model, llm


def utterances(args: argparse.Namespace) -> Iterator[Utterance]:
    """The test set, its transcripts in the form in which they are asked."""
    from ..data.kaldi_dir import iter_utterances

    case = caser(args.prompt_casing, args.casing_text)
    for utt in iter_utterances(args.data):
        yield replace(utt, text=utt.text and case(utt.text))


def texts(args: argparse.Namespace) -> Iterator[Row]:
    """What a system reads as (id, text), in order of ids; for AudioLLM, which hears, no text."""
    from ..data.kaldi_dir import read_table

    if args.system == "cascade":
        case = caser(args.prompt_casing, args.casing_text)
        yield from ((id_, case(text)) for id_, text in read_table(args.hyp))
        return
    for utt in utterances(args):
        yield utt.id, (utt.text or "") if args.system == "reference" else ""


def questions(args: argparse.Namespace) -> Iterator[Question]:
    """Utterances, texts and references side by side. Errors (ValueError): not the same ids."""
    from ..infer.respond import Question

    stored = iter_responses(args.references)
    for utt, row in itertools.zip_longest(utterances(args), texts(args)):
        if utt is None or row is None or utt.id != row[0]:
            raise ValueError(unlike(args))
        reference = next((response for response in stored if response.id >= utt.id), None)
        if reference is None or reference.id != utt.id:
            raise ValueError(unanswered(args))
        yield Question(utt.id, row[1], reference.response_ids, utt)


def unlike(args: argparse.Namespace) -> str:
    from ..data.kaldi_dir import iter_utterances, read_dict

    hyps, ids = read_dict(args.hyp), [utt.id for utt in iter_utterances(args.data)]
    missing = [id_ for id_ in ids if id_ not in hyps]
    return (
        f"{args.hyp} has {len(hyps)} transcripts for {len(ids)} utterances "
        f"({len(missing)} missing{', first: ' + missing[0] if missing else ''}): rerun stage 6"
    )


def unanswered(args: argparse.Namespace) -> str:
    from ..data.kaldi_dir import iter_utterances

    ids = [utt.id for utt in iter_utterances(args.data)]
    missing = sorted(set(ids) - {response.id for response in iter_responses(args.references)})
    return (
        f"{args.references}: {len(missing)} of {len(ids)} utterances have no response "
        f"(first: {missing[0]}); rerun stage 7"
    )


def ask(args: argparse.Namespace, parts: Parts) -> None:
    """Fill this job's shards; job 1 keeps the embeddings too."""
    embeds = args.system == "audiollm" and args.job == 1
    embeds = embeds and not (parts.directory / "embeddings.npz").exists()
    if parts.whole or not (embeds or parts.shards.left(args.job, args.num_jobs)):
        return split.log(f"{args.output}: nothing left for job {args.job} of {args.num_jobs}")
    for _ in questions(args):  # what is wrong with them is found before the LLM is loaded
        pass
    parts.begin()
    model, llm = load_models(args)
    casing = caser(args.prompt_casing, args.casing_text).name
    about_llm = (llm.fingerprint, llm.chat_template_hash, args.system_prompt)
    check_origin(args.references, *about_llm, casing)
    plan, answer = asker(args, llm, model)
    what = f"respond ({args.system})"
    for _ in split.fill(args, parts.shards, questions(args), plan, answer, what):
        pass
    if embeds:
        from ..infer.system_dir import write_embeddings

        few = itertools.islice(utterances(args), args.num_embeddings)
        write_embeddings(parts.directory, model, few, args.system_prompt, args.device)


def asker(args: argparse.Namespace, llm, model) -> tuple[Callable, Callable]:
    """How the questions of a shard become batches, and a batch its records."""
    from ..infer import respond
    from ..infer.batches import in_halves
    from ..infer.system_dir import to_record

    def answer(batch, prompts):
        return respond.answer(llm, batch, prompts, args.max_tokens_factor, args.beam)

    def read(batch):
        prompts = respond.text_prompts(llm, batch, args.system_prompt)
        return [to_record(one) for one in answer(batch, prompts)]

    def hear(batch):
        audios = respond.hear(model, batch, args.device)
        answers = answer(batch, respond.prompts_around(model, audios))
        similarities = [
            similarity(llm, question.utterance, audio_PD, args.system_prompt)
            for question, audio_PD in zip(batch, audios, strict=True)
        ]
        return list(map(to_record, answers, similarities))

    if model is None:
        plan = partial(respond.text_batches, llm, system_prompt=args.system_prompt)
        return plan, partial(in_halves, read)
    return partial(respond.audio_batches, seconds=args.batch_seconds), partial(in_halves, hear)


def similarity(llm, utterance: Utterance, audio_PD, system_prompt: str | None) -> dict | None:
    """How the audio goes along with the transcript; None: there is no transcript."""
    from ..infer.respond import embed_transcript, word_starts
    from ..score.alignment import alignment_numbers, to_record

    if not (utterance.text or "").strip():
        return None
    ids, text_TD = embed_transcript(llm, utterance.text, system_prompt)
    text_TD, audio_PD = (x.float().cpu().numpy() for x in (text_TD, audio_PD))
    seed = zlib.crc32(utterance.id.encode())
    return to_record(alignment_numbers(text_TD, audio_PD, word_starts(ids, llm), seed))


def merge(args: argparse.Namespace, parts: Parts) -> None:
    """The system directory from the shards."""
    from ..data.kaldi_dir import read_table
    from ..infer import system_dir

    output = Path(args.output)
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        if args.system == "audiollm":
            system_dir.copy_embeddings(output, parts)
            system_dir.write_similarity(output, parts)
        system_dir.write_answers(output, parts)
        if args.system == "cascade":
            system_dir.write_transcripts(output, read_table(args.hyp))
    system_dir.finish(output, about(args))
    parts.finish()


def about(args: argparse.Namespace):
    from ..data.kaldi_dir import iter_utterances
    from ..infer.system_dir import About
    from ..score.wer import word_errors

    wer = None
    if args.system in ("reference", "cascade"):
        spoken = {utt.id: utt.text or "" for utt in iter_utterances(args.data)}
        wer = word_errors(spoken, dict(texts(args)), normalizer(args.normalizer)).rate
    where = f" ({Path(args.exp or args.hyp).name})" if args.exp or args.hyp else ""
    label = args.label or f"{args.system}{where}"
    return About(args.system, label, wer, Path(args.data).resolve().name, args.beam)


if __name__ == "__main__":
    sys.exit(main())
