"""Stage 10: what a system answers in conversations of several turns, with context and without.

text: the transcripts are read; run it first, the others are measured on its references. audiollm:
spoken turns are heard (--exp, --checkpoint of stage 9). cascade: spoken turns are transcribed, then
read (--exp, --checkpoint of stage 5). The form of a set: espnet_audiollm/data/conversations.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..store.parts import Parts, hash_files
from ..text.casing import AS_IS, CASINGS, caser
from . import split
from .cli import user_errors

SYSTEMS = ("text", "audiollm", "cascade")
CONTEXTS = ("full", "none")  # all turns | the last one, after the system turn if there is one
FIELDS = ("id", "category", "expected", "reference", "reference_ids", "answers")
SAME = ("llm_fingerprint", "chat_template_hash", "system_prompt", "prompt_casing")  # in a set


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--system", required=True, choices=SYSTEMS)
    parser.add_argument("--label", help="row of the table (default: made of the other options)")
    parser.add_argument("--conversations", required=True, help="set, a file of JSON lines")
    parser.add_argument("--context", nargs="+", choices=CONTEXTS, default=list(CONTEXTS))
    parser.add_argument("--references", help="audiollm, cascade: directory of --system text")
    parser.add_argument("--output", required=True, help="system directory")
    parser.add_argument("--llm", required=True, help="Hugging Face id or local directory")
    parser.add_argument("--chat_template", help="jinja file, when the LLM has none")
    parser.add_argument(
        "--system_prompt", help="system turn of the conversations that have none (default: none)"
    )
    parser.add_argument(
        "--prompt_casing", default=AS_IS, choices=CASINGS, help="form in which speech is read"
    )
    parser.add_argument("--casing_text", help="truecase: text from which it learns")
    parser.add_argument("--exp", help="audiollm: experiment of stage 9; cascade: of stage 5")
    parser.add_argument("--checkpoint", default="valid.loss.ave.pth", help="file in --exp")
    parser.add_argument("--bpemodel", help="cascade: SentencePiece model (the one trained with)")
    parser.add_argument("--beam", type=int, default=1, help="1: greedy")
    parser.add_argument("--max_tokens_factor", type=float, default=4.0)
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    check_options(args)
    with split.named(args):
        dialogues = read(args)
        parts = open_parts(args, len(dialogues))
        if not args.merge:
            ask(args, parts, dialogues)
        if split.merges(args):
            merge(parts)
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Errors (ValueError): an option that the system needs is missing, or one it cannot use."""
    for name in ("exp", "references"):
        if args.system != "text" and getattr(args, name) is None:
            raise ValueError(f"--system {args.system} needs --{name}")
        if args.system == "text" and getattr(args, name) is not None:
            raise ValueError(f"--system text has no use for --{name}")
    if args.system == "text" and "full" not in args.context:
        raise ValueError("--system text needs --context full: its answers are the references")
    split.check(args)


def read(args: argparse.Namespace) -> list:
    """The dialogues, each with a system turn if one was asked for."""
    from dataclasses import replace

    from ..data.conversations import SpokenTurn, read_conversations

    found = read_conversations(args.conversations)
    if args.system_prompt is None:
        return found
    system = SpokenTurn("system", args.system_prompt)
    return [
        d if d.turns[0].role == "system" else replace(d, turns=(system, *d.turns)) for d in found
    ]


def open_parts(args: argparse.Namespace, count: int) -> Parts:
    """The shards that belong to the contents of set, references, checkpoint and LLM."""
    from ..model.llm import weight_files

    files = [args.conversations]
    files += [file for file in (args.chat_template, args.casing_text) if file]
    if args.references:
        files.append(Path(args.references) / "answers.jsonl")
    if args.exp:
        files += [Path(args.exp) / name for name in ("config.yaml", args.checkpoint)]
    inputs = {
        "options": split.options(args),
        "contents": hash_files(*files),
        "llm": weight_files(args.llm),
    }
    made = ["system.json", "answers.jsonl"]
    return Parts(args.output, inputs, count, FIELDS, 10, made, args.shard_size)


def ask(args: argparse.Namespace, parts: Parts, dialogues: list) -> None:
    """Fill this job's shards."""
    if parts.whole or not parts.shards.left(args.job, args.num_jobs):
        return split.log(f"{args.output}: nothing left for job {args.job} of {args.num_jobs}")
    stored = read_references(args, dialogues) if args.references else None
    parts.begin()
    from ..infer import converse
    from ..infer.batches import in_halves

    questions = [converse.Question(d, None, converse.measure(d)) for d in dialogues]
    llm, listen = load(args, parts)
    plan = partial(converse.batches, seconds=args.batch_seconds)
    run = partial(answer_batch, args, llm, listen, stored)
    what = f"converse ({args.system})"
    for _ in split.fill(
        args, parts.shards, questions, plan, lambda batch: in_halves(run, batch), what
    ):
        pass


def read_references(args: argparse.Namespace, dialogues: list) -> dict[str, tuple[int, ...]]:
    """{id: tokens} of what the text system left. Errors (ValueError): not of these dialogues."""
    answers = Path(args.references) / "answers.jsonl"
    step = "rerun stage 10 (--system text comes first)"
    if not answers.is_file():
        raise ValueError(f"{answers} is missing: {step}")
    with open(answers, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    found = {record["id"]: tuple(record["reference_ids"]) for record in records}
    missing = [dialogue.id for dialogue in dialogues if dialogue.id not in found]
    if missing:
        raise ValueError(
            f"{answers}: {len(missing)} of {len(dialogues)} conversations have no reference "
            f"(first: {missing[0]}): {step}"
        )
    return found


def load(args: argparse.Namespace, parts: Parts) -> tuple:
    """The LLM, and how a batch of dialogues is heard (see `infer.converse.Heard`)."""
    from ..infer import converse
    from .respond import load_models

    asked, case = args.system_prompt, caser(args.prompt_casing, args.casing_text)
    model, llm = load_models(args)
    if args.system_prompt != asked:
        raise ValueError(
            f"{args.exp} was trained with the system prompt {args.system_prompt!r}, and "
            f"--system_prompt is {asked!r}: give it the same"
        )
    about = {
        "llm_fingerprint": llm.fingerprint,
        "chat_template_hash": llm.chat_template_hash,
        "system_prompt": args.system_prompt,
        "prompt_casing": case.name,
    }
    if args.references:
        check_same_llm(Path(args.references), about)
    write_about(args, parts, about)
    if args.system == "audiollm":
        return llm, partial(converse.hear, model, device=args.device)
    return llm, reader(args, case)


def reader(args: argparse.Namespace, case: Callable[[str], str]) -> Callable:
    """What is read where a turn is spoken: its transcript, or what a recogniser makes of it."""
    from ..infer import converse
    from . import ctc_decode

    def transcripts(spoken: list) -> list[str]:
        return [utt.text for utt in spoken]

    run = ctc_decode.load(args) if args.system == "cascade" else transcripts

    def read_aloud(dialogues: list) -> dict[str, str]:
        spoken = converse.utterances(dialogues)
        texts = run(spoken) if spoken else []
        return {utt.audio: case(text) for utt, text in zip(spoken, texts, strict=True)}

    return read_aloud


def check_same_llm(references: Path, about: dict) -> None:
    """Errors (ValueError): the references were made with another LLM, template or system turn."""
    made = json.loads((references / "system.json").read_text(encoding="utf-8"))
    other = [name for name in SAME if made[name] != about[name]]
    if other:
        raise ValueError(
            f"{references} was made with another {' and '.join(other)}: rerun stage 10 with one "
            "LLM, template and system prompt for all systems"
        )


def answer_batch(
    args: argparse.Namespace, llm, listen: Callable, stored, batch: list
) -> list[dict]:
    """The records of one batch of questions: both contexts, heard once."""
    from dataclasses import replace

    from ..infer import converse

    heard = listen([question.dialogue for question in batch])
    ask = partial(
        converse.converse,
        llm,
        heard=heard,
        max_tokens_factor=args.max_tokens_factor,
        beam=args.beam,
    )
    wanted = [replace(q, reference_ids=reference(llm, q.dialogue, stored)) for q in batch]
    replies = {}
    if "full" in args.context:
        replies["full"] = ask(wanted)
        ids = [reply.reference_ids for reply in replies["full"]]
        wanted = [replace(q, reference_ids=i) for q, i in zip(wanted, ids, strict=True)]
    if "none" in args.context:
        alone = [replace(q, dialogue=q.dialogue.without_context()) for q in wanted]
        replies["none"] = answer_changed(ask, wanted, alone, replies.get("full"))
    hyps = heard if args.system == "cascade" else {}
    return [
        to_record(llm, question.dialogue, hyps, {name: each[i] for name, each in replies.items()})
        for i, question in enumerate(batch)
    ]


def answer_changed(ask: Callable, before: list, after: list, replies: list | None) -> list:
    """The replies to `after`: those of `before` where the question is the same."""
    if replies is None:
        return ask(after)
    same = {q.id: reply for q, a, reply in zip(before, after, replies, strict=True) if q == a}
    asked = [question for question in after if question.id not in same]
    return [*map((same | {r.id: r for r in ask(asked)}).get, (q.id for q in after))]


def reference(llm, dialogue, stored: dict | None) -> tuple[int, ...] | None:
    from ..infer import converse

    if stored is not None:
        return stored[dialogue.id]
    return None if dialogue.reference is None else converse.reference_ids(llm, dialogue.reference)


def to_record(llm, dialogue, hyps: dict, replies: dict) -> dict:
    from ..data.prompt import decode

    ids = next(iter(replies.values())).reference_ids
    answers = {
        context: {
            "response": reply.response,
            "response_ids": list(reply.response_ids),
            "token_nats": [round(nats, 6) for nats in reply.token_nats],
            "turns": [to_turn(turn, hyps) for turn in reply.turns],
        }
        for context, reply in replies.items()
    }
    return {
        "id": dialogue.id,
        "category": dialogue.category,
        "expected": list(dialogue.expected),
        "reference": decode(ids, llm.tokenizer),
        "reference_ids": list(ids),
        "answers": answers,
    }


def to_turn(turn, hyps: dict) -> dict:
    """role and text; where it was spoken, the audio, and what a recogniser made of it."""
    made = {"role": turn.role, "text": turn.text}
    if turn.audio:
        made["audio"] = turn.audio
    if turn.audio in hyps:
        made["hyp"] = hyps[turn.audio]
    return made


def write_about(args: argparse.Namespace, parts: Parts, about: dict) -> None:
    """system.json among the shards: the merge, which loads no LLM, puts it into its place."""
    from ..store.atomic import atomic_write

    where = f" ({Path(args.exp).name})" if args.exp else ""
    with atomic_write(parts.directory / "system.json") as out:
        label = args.label or f"{args.system}{where}"
        name = Path(args.conversations).stem
        fields = {"name": args.system, "label": label, "set": name, "beam": args.beam, **about}
        json.dump(fields, out, indent=2, ensure_ascii=False)


def merge(parts: Parts) -> None:
    """The system directory from the shards."""
    from ..store.atomic import atomic_write
    from ..store.shards import to_line

    if not parts.whole:
        parts.shards.check_whole()
        with atomic_write(parts.output / "answers.jsonl") as out:
            out.writelines(map(to_line, parts.shards.records()))
        about = (parts.directory / "system.json").read_text(encoding="utf-8")
        with atomic_write(parts.output / "system.json") as out:
            out.write(about)
    parts.finish()


if __name__ == "__main__":
    sys.exit(main())
