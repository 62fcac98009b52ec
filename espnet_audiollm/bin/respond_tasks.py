"""Let a speech LM do tasks: greedy answers to the examples of bin/prepare_tasks, read as text and
units (espnet_audiollm/data/task_replies.py says what is written)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..store.parts import Parts, hash_files
from . import split
from .cli import new_parser, user_errors

if TYPE_CHECKING:
    from ..data.task_examples import About

FIELDS = ("id", "response_ids", "finish_reason")
HEADER = (
    "Task",
    "examples",
    "no end",
    "wrong modality",
    "broken units",
    "wrong units",
    "too few",
    "too many",
)


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--llm", required=True, help="directory of bin/export_llm (or of bin/extend_llm)")
    add("--tasks", required=True, help="examples of bin/prepare_tasks, e.g. dump/tasks_test")
    add("--output", required=True, help="directory for the answers")
    add("--max_tokens", type=int, default=512, help="of an answer; the LLM's context is another")
    add("--batch_tokens", type=int, default=8192, help="prompts in a batch, padding counted")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", default="cpu", help="cpu or cuda")
    split.add_options(parser)
    return parser


@dataclass(frozen=True)
class Example:
    """One example of a task."""

    id: str
    prompt: list[int]
    response: list[int]


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Answer the examples, or this job's part of them; the exit status."""
    args = get_parser().parse_args(argv)
    split.check(args)
    if args.max_tokens < 1 or args.batch_tokens < 1:
        raise ValueError("--max_tokens and --batch_tokens: at least 1")
    from ..data.task_examples import read_about
    from ..data.unit_tokens import read_vocabulary

    with split.named(args):
        about = read_about(args.tasks)
        about.check_vocabulary(read_vocabulary(args.llm), args.tasks, args.llm)
        check_answerable(args.tasks, about)
        parts = open_parts(args, about)
        if not args.merge:
            answer(args, parts)
        if split.merges(args):
            merge(args, about, parts)
    return 0


def check_answerable(tasks: str, about: About) -> None:
    """Refuse (ValueError) examples in which nothing is asked."""
    from ..data.speech_tasks import Task

    silent = [block.name for block in about.blocks if Task.parse(block.tag).given is None]
    if silent:
        raise ValueError(
            f"{tasks}: {len(silent)} of {len(about.blocks)} tasks (first: {silent[0]}) ask "
            "nothing, so there is no answer: prepare a mixture without them (bin/prepare_tasks)"
        )


def open_parts(args: argparse.Namespace, about: About) -> Parts:
    """The shards that belong to these examples and this LLM."""
    from ..data.task_examples import PROMPTS, RESPONSES
    from ..data.task_replies import ANSWERS, REPLIES
    from ..model.llm import weight_files

    inputs = {
        "options": split.options(args),
        "weights": weight_files(args.llm),
        "contents": hash_files(*(Path(args.tasks) / name for name in (PROMPTS, RESPONSES))),
    }
    number = sum(block.size for block in about.blocks)
    made = [ANSWERS, REPLIES]
    return Parts(args.output, inputs, number, FIELDS, "of the answers", made, args.shard_size)


def examples(args: argparse.Namespace) -> Iterator[Example]:
    """The examples in order of ids, streamed."""
    from ..data.kaldi_dir import read_table
    from ..data.task_examples import PROMPTS, RESPONSES
    from ..data.task_replies import example_tables

    tables = (read_table(Path(args.tasks) / name) for name in (PROMPTS, RESPONSES))
    return (Example(*row) for row in example_tables(*tables))


def answer(args: argparse.Namespace, parts: Parts) -> None:
    """Fill this job's shards."""
    if parts.whole or not parts.shards.left(args.job, args.num_jobs):
        return split.log(f"{args.output}: nothing left for job {args.job} of {args.num_jobs}")
    from ..infer.batches import by_length, in_halves
    from ..infer.generate import Fitting
    from ..model import llm as llms

    llm = llms.load(args.llm, dtype=args.dtype, device=args.device)
    parts.begin()
    generate = Fitting()

    def run(batch: Sequence[Example]) -> list[dict]:
        prompts = [example.prompt for example in batch]
        names = [example.id for example in batch]
        made = generate(llm, prompts, args.max_tokens, names=names)
        return [
            {"id": id_, "response_ids": list(each.ids), "finish_reason": each.finish_reason}
            for id_, each in zip(names, made, strict=True)
        ]

    def plan(items: list[Example]) -> list[list[Example]]:
        return list(by_length(items, lambda item: len(item.prompt), args.batch_tokens))

    do = partial(in_halves, run)
    for _ in split.fill(args, parts.shards, examples(args), plan, do, "respond_tasks"):
        pass


def merge(args: argparse.Namespace, about: About, parts: Parts) -> None:
    """The tables from the shards."""
    from ..data.task_replies import ANSWERS, BlockReplies, write_facts

    blocks = [BlockReplies(block.name, block.tag, block.size) for block in about.blocks]
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        faults = write_tables(args, about, blocks, parts)
        from ..store.atomic import atomic_write
        from ..store.shards import to_line

        with atomic_write(parts.output / ANSWERS) as out:
            out.writelines(map(to_line, parts.shards.records()))
        how = {"llm": args.llm, "max_tokens": args.max_tokens, "faults": faults}
        write_facts(parts.output, blocks, how)
        show(blocks, faults)
    parts.finish()


def write_tables(
    args: argparse.Namespace, about: About, blocks: list, parts: Parts
) -> dict[str, dict[str, int]]:
    """A directory for each block; its faults."""
    from ..data.task_replies import Answer, Reader, write_replies
    from ..data.unit_tables import UnitSet
    from ..model.llm import load_tokenizer

    facts, tokenizer = about.vocabulary.output, load_tokenizer(args.llm)
    unit_set = UnitSet(facts.quantiser, facts.size, facts.frames_per_second, False)
    reader = Reader(tokenizer, about.vocabulary.tokens(tokenizer), unit_set)
    pairs = zip(examples(args), parts.shards.records(), strict=True)
    answers = (
        Answer(e.id, tuple(r["response_ids"]), r["finish_reason"], tuple(e.response))
        for e, r in pairs
    )
    return write_replies(parts.output, blocks, answers, reader)


def show(blocks: list, faults: dict[str, dict[str, int]]) -> None:
    """Print how many answers of each task are faulty."""
    from ..report.tables import Table

    rows = (
        (b.name, str(b.size), *(str(faults[b.name].get(fault, 0)) for fault in HEADER[2:]))
        for b in blocks
    )
    print(Table(HEADER, tuple(rows)).screen())


if __name__ == "__main__":
    sys.exit(main())
