"""Stage 7's second half: the LLM reads its answers again, for what an alignment learns from them.

Works on finished shards of responses: of a store that was complete before, too, and anew where
another --teacher_top_k is given."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..progress import progress
from ..store import responses
from ..store import teacher as store
from ..store.parts import Parts
from ..store.shards import Record, Shard, Shards, read_records
from ..types import Dialogue

if TYPE_CHECKING:
    from ..infer.systems import System


@dataclass(frozen=True)
class Answered:
    """A dialogue and the token ids of its response."""

    dialogue: Dialogue
    ids: list[int]

    @property
    def id(self) -> str:
        """The dialogue's id."""
        return self.dialogue.id


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is kept beside the answers."""
    add = parser.add_argument_group(
        "teacher", "What training needs for its --distribution_weight and --hidden_weight."
    ).add_argument
    add(
        "--teacher_top_k",
        type=int,
        default=0,
        metavar="K",
        help="keep the K most probable tokens for each response token, with their "
        "log-probabilities, and the prompts (default: 0, nothing)",
    )
    add("--prompt_ids", action="store_true", help="keep the token ids of the text prompts")


def check(args: argparse.Namespace) -> None:
    """ValueError for a number of tokens that cannot be."""
    if args.teacher_top_k < 0:
        raise ValueError(f"--teacher_top_k {args.teacher_top_k}: from 0 (keep nothing) on")


def left(args: argparse.Namespace) -> int:
    """Answers that this job still has to read; a store of responses is there."""
    parts = _parts(args)
    return 0 if parts is None or parts.whole else parts.shards.left(args.job, args.num_jobs)


def fill(
    args: argparse.Namespace, shards: Shards, system: System, dialogues: Iterable[Dialogue]
) -> None:
    """Read the answers of this job's shards, which are finished.

    dialogues: all that were answered, in order of ids, their speech given by transcripts."""
    from ..infer.batches import in_halves

    parts = _parts(args)
    if parts is None or not left(args):
        return
    parts.begin()
    read = partial(in_halves, partial(_read, args, system))

    def batches() -> Iterator[list[Record]]:
        for shard in parts.shards.windows(dialogues, args.job, args.num_jobs):
            answered = _answered(shards, shard)
            yield from answered.fill(_plan(answered.items, args.batch_size), read)

    for _ in progress(batches(), left(args), "teacher", size=len):
        pass


def merge(args: argparse.Namespace) -> None:
    """Write the final files from the jobs' shards."""
    if parts := _parts(args):
        store.merge(parts, args.num_jobs)


def _parts(args: argparse.Namespace) -> Parts | None:
    """None: nothing is to be kept."""
    if not (args.prompt_ids or args.teacher_top_k):
        return None
    return store.open_parts(args.output, args.teacher_top_k)


def _answered(shards: Shards, shard: Shard[Dialogue]) -> Shard[Answered]:
    """The shard with the answers of the finished one of the same number.

    Errors (ValueError): a damaged one."""
    path = shards.directory / shard.path.name
    records = read_records(path, shards.fields, responses.STAGE)
    ids = {record["id"]: record["response_ids"] for record in records}
    missing = [dialogue.id for dialogue in shard.items if not ids.get(dialogue.id)]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(shard.items)} answers are missing "
            f"(first: {missing[0]}); delete the file and rerun stage 7"
        )
    items = [Answered(dialogue, ids[dialogue.id]) for dialogue in shard.items]
    return Shard(shard.path, items, shard.fields)


def _plan(items: Sequence[Answered], size: int) -> list[list[Answered]]:
    """Batches of answers of like length."""
    ordered = sorted(items, key=lambda each: (len(each.ids), each.id))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def _read(args: argparse.Namespace, system: System, batch: Sequence[Answered]) -> list[Record]:
    """The records of one batch."""
    from ..infer.teacher import top_k

    dialogues = [each.dialogue for each in batch]
    prompts = system.prompt_ids(dialogues, args.max_tokens_factor, args.beam)
    if not args.teacher_top_k:
        return [store.to_record(each.id, p) for each, p in zip(batch, prompts, strict=True)]
    kept = top_k(system.llm, prompts, [each.ids for each in batch], args.teacher_top_k)
    rows = zip(batch, prompts, kept, strict=True)
    return [store.to_record(each.id, prompt, *found) for each, prompt, found in rows]
