"""Stage 10: what one system answers to a set of dialogues, and the nats of the reference responses.

A set is a formatted data directory, whose utterances are dialogues of one spoken turn, or a file of
dialogues (espnet_audiollm/data/dialogues.py). Where there may be several turns, the last one is
also answered without those before it.

reference: reads the transcripts. cascade: reads a recogniser's hypotheses (--hyp, of stage 6).
audiollm: takes the audio itself (--exp, of stage 9). no_prompt: an empty prompt. speechlm: takes
the audio's units (--llm, --quantiser, --tasks, of speechlm1); its likelihoods are of a choice among
the tokens of text.

One process answers for several systems and sets, so that LLM and encoders are loaded once: --run
ends the options of each, and what stands behind the last one is for all.

    respond --system reference ... --run --system audiollm ... --run --llm exp/llm
"""

from __future__ import annotations

import argparse
import itertools
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.dialogues import (
    count,
    has_context,
    iter_dialogues,
    iter_recordings,
    name_of,
    recordings_state,
)
from ..store import responses, runs
from ..store.kinds import KINDS
from ..store.model_directory import files_of
from ..store.parts import Parts, hash_files, made_from
from ..store.shards import Record
from ..text.casing import AS_IS, CASINGS, caser
from ..types import Audio, Dialogue, Turns, Units, Utterance
from . import engine, split
from .cli import new_parser, user_errors
from .several import parse_runs, whose

if TYPE_CHECKING:
    from ..infer.systems import Answer, Item, Loaders, Speech, System

TABLES = ("wav.scp", "text", "utt2dur", ".done")  # of a data directory; .done: of stage 2
SPEECH_LM = ("quantiser", "tasks")  # options that a speech LM needs


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--system", required=True, choices=tuple(KINDS))
    add("--label", help="row of the tables (default: made of the model and its checkpoint)")
    add("--llm", required=True, help="Hugging Face id or local directory")
    add("--chat_template", help="jinja file, when the LLM has none")
    add("--system_prompt", help='system turn of dialogues without one ("": an empty one)')
    add("--prompt_casing", default=AS_IS, choices=CASINGS, help="form in which speech is read")
    add("--casing_text", help="truecase: text from which it learns")
    add("--data", required=True, help="set: e.g. dump/test, or a file of dialogues")
    add("--references", required=True, help="its response store, of stage 7")
    add("--output", required=True, help="run directory")
    add("--exp", help="experiment: cascade of stage 5, audiollm of stage 9, speechlm's training")
    add("--checkpoint", default="valid.loss.ave.pth", help="file in --exp")
    add("--hyp", help="cascade: hypotheses of stage 6")
    add("--quantiser", help="speechlm: what makes its units, of bin/learn_units")
    add("--tasks", help="speechlm: the set's examples of bin/prepare_tasks")
    add("--beam", type=int, default=1, help="1: greedy; the paper: 10")
    add(
        "--max_tokens_factor",
        type=float,
        default=4.0,
        help="tokens of an answer / of its prompt in text",
    )
    add("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", default="cpu", help="cpu or cuda")
    add("--num_embeddings", type=int, default=6, help="recordings whose embeddings are kept")
    engine.add_options(parser)
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Answer the sets, or this job's part of them."""
    wanted = parse_runs(get_parser(), sys.argv[1:] if argv is None else argv)
    several = len(wanted) > 1
    with split.named(wanted[0]):
        for args in wanted:
            with named(args, several):
                check_options(args)
        opened = []
        for args in wanted:
            with named(args, several):
                parts = open_parts(args)
                opened.append((args, parts, not args.merge and is_left(args, parts)))
        work(by_model(opened), several)
    return 0


def work(opened: Sequence[tuple[argparse.Namespace, Parts, bool]], several: bool) -> None:
    """Answer and merge run after run; the third of each says whether something is left of it."""
    loaders = None
    if any(left for *_, left in opened):  # else nothing heavy is imported
        from ..infer.systems import Loaders

        loaders = Loaders()
    with engine.kept(any(left and takes_audio(args) for args, _, left in opened)) as answering:
        for args, parts, left in opened:
            with named(args, several):
                if left:
                    answer(args, parts, loaders, answering)
                if split.merges(args):
                    merge(args, parts)


def by_model(opened: Sequence[tuple[argparse.Namespace, Parts, bool]]) -> list:
    """Runs of the same model one after the other, which is loaded once then."""
    models = [(args.exp, args.checkpoint) for args, *_ in opened]
    first = [models.index(model) for model in models]
    return [run for _, run in sorted(zip(first, opened, strict=True), key=lambda pair: pair[0])]


def named(args: argparse.Namespace, several: bool) -> AbstractContextManager:
    """Put before an error whose it is, where there are several runs."""
    return whose(f"{args.system} and the set {name_of(args.data)} ({args.output})", several)


def check_options(args: argparse.Namespace) -> None:
    """Errors (ValueError): an option that the system needs is missing."""
    needed = {"hypothesis": ("hyp",), "audio": ("exp",), "units": SPEECH_LM}
    for name in needed.get(KINDS[args.system].input, ()):
        if getattr(args, name) is None:
            raise ValueError(f"--system {args.system} needs --{name}")
    split.check(args)
    engine.check(args)
    engine.check_same(args, made_from(args.output).get("options", {}), args.output)


def contexts(args: argparse.Namespace) -> tuple[str, ...]:
    """In which contexts the set is answered."""
    return runs.CONTEXTS if has_context(args.data) else (runs.FULL,)


def open_parts(args: argparse.Namespace) -> Parts:
    """The shards that belong to the contents of set, references, hypotheses and checkpoint. The LLM
    counts by its fingerprint in the references' store, which it must have."""
    data, store = Path(args.data), Path(args.references)
    files = [data / name for name in TABLES] if data.is_dir() else [data]
    files += [store / name for name in ("store.json", "response_ids")]
    files += [file for file in (args.hyp, args.chat_template, args.casing_text) if file]
    if args.exp and args.system != "speechlm":
        files += files_of(args.exp, args.checkpoint)
    options = split.options(args)
    if KINDS[args.system].input == "units":
        files += [Path(args.quantiser) / "quantiser.json", Path(args.tasks) / "tasks.json"]
        files += [Path(args.llm) / "unit_vocabulary.json"]
    else:  # their runs are what they were before there were speech LMs
        options = {name: value for name, value in options.items() if name not in SPEECH_LM}
    inputs: dict[str, object] = {"options": options, "contents": hash_files(*files)}
    if not data.is_dir():
        inputs["recordings"] = recordings_state(data)
    if KINDS[args.system].input == "units":
        from ..model.llm import weight_files

        inputs["weights"] = weight_files(args.llm)
    inputs["format"] = runs.FORMAT
    made = runs.files_of(KINDS[args.system])
    made += [f"{runs.LAST_TURN}/{runs.RUN}"] * (runs.LAST_TURN in contexts(args))
    return Parts(args.output, inputs, count(data), runs.FIELDS, 10, made, args.shard_size)


def items(args: argparse.Namespace) -> Iterator[Item]:
    """Dialogues and references side by side. Errors (ValueError): a dialogue without reference."""
    from ..infer.systems import Item

    stored = responses.iter_responses(args.references)
    for dialogue in iter_dialogues(args.data):
        reference = next((response for response in stored if response.id >= dialogue.id), None)
        if reference is None or reference.id != dialogue.id:
            raise ValueError(_without_reference(args))
        yield Item(dialogue, reference.response_ids)


def _without_reference(args: argparse.Namespace) -> str:
    ids = [dialogue.id for dialogue in iter_dialogues(args.data)]
    known = {response.id for response in responses.iter_responses(args.references)}
    missing = sorted(set(ids) - known)
    return (
        f"{args.references}: {len(missing)} of {len(ids)} dialogues have no response "
        f"(first: {missing[0]}); rerun stage 7"
    )


def check_examples(args: argparse.Namespace) -> None:
    """Refuse (ValueError) a speech LM whose examples answer these utterances in other words than
    the references: it was trained on other responses."""
    from ..data.unit_tokens import read_vocabulary
    from ..model.llm import load_tokenizer
    from ..score.speech_examples import check_references

    store = responses.read_about(args.references)
    if read_vocabulary(args.llm).llm != store["fingerprint"]:
        raise ValueError(
            f"{args.llm} was made of another LLM than that of the references in "
            f"{args.references}: compare systems of one LLM, or rerun stages 6 to 9 of speechlm1"
        )
    references = {each.id: each for each in responses.iter_responses(args.references)}
    tokenizer = load_tokenizer(args.llm)
    if others := check_references(args.tasks, references, tokenizer):
        split.log(
            f"{args.tasks}: {others} of {len(references)} references are the same text in other "
            "tokens than the LLM wrote; its own are those that are measured"
        )


def read_hypotheses(args: argparse.Namespace) -> dict[str, str]:
    """The table of stage 6, by recording. Errors (ValueError): recordings without a hypothesis."""
    from ..data.kaldi_dir import read_dict

    hyps, ids = read_dict(args.hyp), [each.id for each in iter_recordings(args.data)]
    missing = [id_ for id_ in ids if id_ not in hyps]
    if missing or len(hyps) != len(ids):
        first = f", first: {missing[0]}" if missing else ""
        raise ValueError(
            f"{args.hyp} has {len(hyps)} hypotheses for {len(ids)} recordings "
            f"({len(missing)} missing{first}): rerun stage 6"
        )
    return hyps


def takes_audio(args: argparse.Namespace) -> bool:
    """Whether the system takes the audio itself."""
    return KINDS[args.system].input == "audio"


def recordings_of(item: Item) -> list[str]:
    """The recordings of a dialogue."""
    return [audio.path for audio in item.dialogue.recordings().values() if audio.path]


def embeds(args: argparse.Namespace, parts: Parts) -> bool:
    """Whether embeddings are left to keep; job 1 does."""
    return takes_audio(args) and args.job == 1 and not (parts.directory / runs.EMBEDDINGS).exists()


def is_left(args: argparse.Namespace, parts: Parts) -> bool:
    """Whether this job has something to do. What is wrong with references and hypotheses is found
    here, before the LLM is loaded."""
    if parts.whole or not (embeds(args, parts) or parts.shards.left(args.job, args.num_jobs)):
        split.log(f"{args.output}: nothing left for job {args.job} of {args.num_jobs}")
        return False
    for _ in items(args):
        pass
    if KINDS[args.system].input == "units":
        check_examples(args)
    if args.hyp:
        read_hypotheses(args)
    return True


def answer(
    args: argparse.Namespace, parts: Parts, loaders: Loaders | None, answering: engine.Answering
) -> None:
    """Fill this job's shards; job 1 keeps the embeddings too."""
    parts.begin()
    from ..infer.batches import in_halves

    hyps = read_hypotheses(args) if args.hyp else {}
    system = load(args, loaders)
    plan = partial(system.batches, seconds=args.batch_seconds)
    what = f"respond ({args.system})"
    if parts.shards.left(args.job, args.num_jobs):
        asked = answering(args, system)
        run = partial(in_halves, partial(answer_batch, args, asked, hyps))
        paths = recordings_of if takes_audio(args) else None
        for _ in split.fill(args, parts.shards, items(args), plan, run, what, paths):
            pass
    if embeds(args, parts):
        runs.write_embeddings(parts.directory, embeddings(args, system))


def load(args: argparse.Namespace, loaders: Loaders | None) -> System:
    """The system; its LLM, template, system turn and casing must be those of the references."""
    if KINDS[args.system].input == "units":
        return load_speech_lm(args)
    from ..infer.systems import load_system

    case = caser(args.prompt_casing, args.casing_text)
    system = load_system(
        args.system,
        args.llm,
        args.exp,
        args.checkpoint,
        hyp=args.hyp,
        chat_template=args.chat_template,
        system_prompt=args.system_prompt,
        casing=case,
        dtype=args.dtype,
        device=args.device,
        loaders=loaders,
    )
    if system.system_prompt != args.system_prompt:
        raise ValueError(
            f"{args.exp} was trained with the system prompt {system.system_prompt!r}, and "
            f"--system_prompt is {args.system_prompt!r}: give it the same"
        )
    llm = system.llm
    about = (llm.fingerprint, llm.chat_template_hash, system.system_prompt, case.name)
    responses.check_origin(args.references, *about)
    return system


def load_speech_lm(args: argparse.Namespace) -> System:
    """A speech LM of the parts that were named. Its system turn is that of its training."""
    from ..infer.speech_lm import load_parts

    store = responses.read_about(args.references)
    system = load_parts(args.llm, args.quantiser, args.tasks, None, args.dtype, args.device)
    about = (store["fingerprint"], system.llm.chat_template_hash, store["system_prompt"])
    responses.check_origin(args.references, *about)
    return system


def answer_batch(
    args: argparse.Namespace, system: System, hyps: dict[str, str], batch: Sequence[Item]
) -> list[Record]:
    """The records of one batch: every context, with the same speech."""
    speech = system.speech([item.dialogue for item in batch])
    ask = partial(
        system.answer,
        max_tokens_factor=args.max_tokens_factor,
        beam=args.beam,
        speech=speech,
    )
    full = dict(zip([item.id for item in batch], ask(batch), strict=True))
    last: dict[str, Answer] = {}
    if runs.LAST_TURN in contexts(args):
        last = last_turns(ask, batch, full)
    return [
        {
            "id": item.id,
            runs.FULL: to_record(full[item.id]),
            runs.LAST_TURN: to_record(last[item.id]) if last else None,
            "recordings": recordings(args, system, item.dialogue, speech, hyps),
        }
        for item in batch
    ]


def last_turns(ask: Callable, batch: Sequence[Item], full: dict[str, Answer]) -> dict[str, Answer]:
    """The answers to the last turns without those before; those of `full` where there are none."""
    from dataclasses import replace

    shorter = [replace(item, dialogue=item.dialogue.last_turn_only()) for item in batch]
    asked = [s for s, item in zip(shorter, batch, strict=True) if s.dialogue != item.dialogue]
    return full | dict(zip([i.id for i in asked], ask(asked) if asked else (), strict=True))


def to_record(given: Answer) -> Record:
    """An answer as it stands in a shard."""
    several = [turn for turn in given.turns if turn.role != "system"][1:]
    turns = to_turns(given.turns) if several else None
    return runs.answer_record(given.response, given.nats, given.token_nats, turns)


def to_turns(turns: Turns) -> list[dict]:
    """role and text of each turn; where it is spoken, the audio too."""
    made = []
    for turn in turns:
        path = turn.audio and turn.audio.path
        made.append({"role": turn.role, "text": turn.text} | ({"audio": path} if path else {}))
    return made


def recordings(
    args: argparse.Namespace,
    system: System,
    dialogue: Dialogue,
    speech: Mapping[Audio, Speech],
    hyps: Mapping[str, str],
) -> dict[str, str | dict | None]:
    """By recording: a cascade's hypothesis; how audio embeddings align with the transcript."""
    found = dialogue.recordings().items()
    if system.kind.input == "hypothesis":
        return {id_: hyps[id_] for id_, _ in found}
    if system.kind.input != "audio":
        return {}
    case = caser(args.prompt_casing, args.casing_text)
    return {
        id_: similarity(system, id_, audio.text and case(audio.text), speech[audio])
        for id_, audio in found
    }


def similarity(system: System, id_: str, text: str | None, audio_PD: Speech) -> dict | None:
    """How the audio (P, D) aligns with the transcript; None: there is no transcript."""
    from ..infer.embeddings import embed_transcript, word_starts
    from ..score.alignment import alignment_numbers, to_record

    if not (text or "").strip():
        return None
    assert not isinstance(audio_PD, str | Units)
    ids, text_TD = embed_transcript(system.llm, text, system.system_prompt)
    text_TD, audio_PD = (x.float().cpu().numpy() for x in (text_TD, audio_PD))
    seed = zlib.crc32(id_.encode())
    return to_record(alignment_numbers(text_TD, audio_PD, word_starts(ids, system.llm), seed))


def embeddings(args: argparse.Namespace, system: System) -> dict:
    """Of the first recordings: audio (P, D), text (T, D) and its tokens, by recording."""
    import numpy as np

    from ..infer.embeddings import embed_transcript, spell

    case = caser(args.prompt_casing, args.casing_text)
    arrays = {}
    few: Iterator[Utterance] = itertools.islice(iter_recordings(args.data), args.num_embeddings)
    for each in few:
        (audio_PD,) = system.read([each])
        assert not isinstance(audio_PD, str | Units)
        ids, text_TD = embed_transcript(system.llm, case(each.text or ""), system.system_prompt)
        arrays[f"{each.id}/audio"] = audio_PD.float().cpu().numpy()
        arrays[f"{each.id}/text"] = text_TD.float().cpu().numpy()
        arrays[f"{each.id}/tokens"] = np.array(spell(ids, system.llm))
    return arrays


def merge(args: argparse.Namespace, parts: Parts) -> None:
    """The run directories from the shards."""
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        if takes_audio(args):
            runs.copy_embeddings(parts.directory, parts.output)
        for context in reversed(contexts(args)):
            place = parts.output if context == runs.FULL else parts.output / context
            say_lost(place, runs.write_run(place, info(args, context), parts.shards.records()))
    parts.finish()


def say_lost(place: Path, lost: Sequence[str]) -> None:
    """Name the dialogues that were not answered."""
    if lost:
        split.log(
            f"{place}: {len(lost)} dialogues do not fit the LLM's context with an answer, and "
            f"count as not answered (first: {lost[0]}): shorten them (a smaller --max_audio in "
            "stage 2), or take an LLM with a longer context"
        )


def info(args: argparse.Namespace, context: str) -> runs.RunInfo:
    """What the run says of itself. The references' store says which LLM answers."""
    from ..infer.labels import label_of

    store = responses.read_about(args.references)
    answered = ((r.id, r.response_ids) for r in responses.iter_responses(args.references))
    return runs.RunInfo(
        kind=args.system,
        label=args.label or label_of(KINDS[args.system], args.exp, args.checkpoint, args.hyp),
        model=Path(args.exp).resolve().name if args.exp else "",
        set=name_of(args.data),
        context=context,
        beam=args.beam,
        llm_fingerprint=store["fingerprint"],
        chat_template_hash=store["chat_template_hash"],
        system_prompt=store["system_prompt"],
        prompt_casing=store["prompt_casing"],
        references=runs.references_hash(answered),
    )


if __name__ == "__main__":
    sys.exit(main())
