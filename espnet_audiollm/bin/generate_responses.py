"""Stage 7: the frozen LLM answers every dialogue of a set, its speech given by the transcripts.

A set is a data directory, whose table `text` is answered, or a file of dialogues. With
--behaviours each utterance of a directory is asked in contexts of that file. Kill it at any
moment: the same command goes on from the last finished batch. Several jobs fill the shards of one
store, and --merge writes the index of all answers; one job does both. What an alignment may learn
from beside the answers is made from them (store/teacher.py), of a store that is complete as well.

One process answers several sets, so that the LLM is loaded once: --run ends the options of each,
and what stands behind the last one is for all.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.behaviours import Behaviours, Corpus, read_behaviours
from ..data.dialogues import has_context, iter_transcripts, spell
from ..data.recordings import write_recordings
from ..store import responses
from ..store.shards import Record, Shards, shard_size
from ..text.casing import AS_IS, CASINGS, caser
from ..types import Dialogue, Response, Turns
from . import engine, split, teacher
from .cli import user_errors
from .several import parse_runs, whose

BATCHES = (
    8  # so many times the prompts, in this process: those that wait take the rows that are free
)

if TYPE_CHECKING:
    from ..infer.systems import System
    from ..model.llm import LLM


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="generate_responses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--llm", help="Hugging Face id or directory of a chat LLM (needed except with --merge)")
    add("--data", help="set to answer: data directory or file of dialogues (not with --merge)")
    add("--output", required=True, help="the response store (a directory)")
    add("--chat_template", help="jinja file, for an LLM without a chat template of its own")
    add("--system_prompt", help='the system turn ("" is an empty one); default: no system turn')
    add(
        "--prompt_casing",
        default=AS_IS,
        choices=CASINGS,
        help="form in which transcripts are asked (default: %(default)s)",
    )
    add("--casing_text", help="truecase: text from which it learns how words are written")
    add(
        "--behaviours",
        help="file of contexts that utterances are asked in (default: without context)",
    )
    add(
        "--behaviours_per_utterance",
        type=int,
        default=1,
        metavar="N",
        help="contexts that each utterance draws, none twice (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of drawing them (default: %(default)s)")
    add(
        "--max_tokens_factor",
        type=float,
        default=4.0,
        help="an answer has at most this times its prompt's tokens, open turns empty "
        "(default: %(default)s)",
    )
    add("--beam", type=int, default=1, help="1 is greedy (default: %(default)s)")
    add(
        "--batch_size",
        type=int,
        default=32,
        help="hypotheses that are written at the same time (default: %(default)s)",
    )
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", help="default: cuda where there is a GPU, else cpu")
    teacher.add_options(parser)
    engine.add_options(parser)
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> None:
    """Answer the sets, or this job's part of them."""
    wanted = parse_runs(get_parser(), sys.argv[1:] if argv is None else argv)
    several = len(wanted) > 1
    with split.named(wanted[0]):
        for args in wanted:
            with whose(args.output, several):
                _check(args)
        load_llm = lru_cache(maxsize=1)(_load_llm)
        with engine.kept(audio=False) as answering:
            for args in wanted:
                with whose(args.output, several):
                    if not args.merge:
                        generate(args, load_llm, answering)
                    if split.merges(args):
                        merge(args)


def merge(args: argparse.Namespace) -> None:
    """The index of all answers, and the teacher's files."""
    count = responses.merge(args.output, args.num_jobs)
    teacher.merge(args)
    if args.behaviours:
        write_recordings(args.data, args.output)
    split.log(f"{args.output}: {count} responses")


def _load_llm(name: str, chat_template: str | None, dtype: str, device: str) -> LLM:
    from ..model import llm as llms

    return llms.load(name, chat_template, dtype, device)


def generate(
    args: argparse.Namespace, load_llm: Callable[..., LLM], answering: engine.Answering
) -> None:
    """Fill this job's shards of the store, and of the teacher's files."""
    from ..infer.systems import load_system
    from ..model import llm as llms

    case = caser(args.prompt_casing, args.casing_text)
    behaviours = _behaviours(args)
    ask = _asked(args, behaviours)
    prompts = responses.survey((d.id, spell(d)) for d in ask())
    size = args.shard_size or shard_size(prompts.num)
    if (args.job - 1) * size >= prompts.num:
        return _nothing_left(args)  # more jobs than shards
    tokenizer = llms.load_tokenizer(args.llm, args.chat_template)
    files = llms.weight_files(args.llm)
    settings = partial(
        responses.Settings,
        chat_template_hash=llms.chat_template_hash(tokenizer),
        system_prompt=args.system_prompt,
        max_tokens_factor=args.max_tokens_factor,
        beam=args.beam,
        shard_size=size,
        num_prompts=prompts.num,
        prompts_hash=prompts.hash,
        prompt_casing=case.name,
        behaviours=str(behaviours or ""),
        engine=args.llm_engine,
    )
    if _is_done(args, settings, files):
        return _nothing_left(args)
    llm = load_llm(args.llm, args.chat_template, args.dtype, _device(args.device))
    about = {"llm": args.llm, "dtype": str(llm.model.dtype), "weight_files": files}
    shards = responses.open_store(args.output, settings(fingerprint=llm.fingerprint), about)
    system = load_system("reference", llm, system_prompt=args.system_prompt, casing=case)
    if shards.left(args.job, args.num_jobs):
        _fill(shards, answering(args, system, args.batch_size), ask, args)
    teacher.fill(args, shards, system, ask())


def _behaviours(args: argparse.Namespace) -> Behaviours | None:
    if not args.behaviours:
        return None
    return read_behaviours(args.behaviours, args.behaviours_per_utterance, args.seed)


def _asked(
    args: argparse.Namespace, behaviours: Behaviours | None
) -> Callable[[], Iterator[Dialogue]]:
    """Gives what is asked, in order of ids, each time from the start."""
    if behaviours is None:
        return partial(iter_transcripts, args.data)
    if has_context(args.data):
        raise ValueError(
            f"--behaviours: {args.data} is no directory of utterances; a file of dialogues has "
            "contexts of its own: leave --behaviours out"
        )
    responses.survey((d.id, spell(d)) for d in iter_transcripts(args.data))  # none is empty
    return partial(Corpus(Path(args.data)).examples, behaviours)


def _fill(
    shards: Shards,
    system: System,
    ask: Callable[[], Iterator[Dialogue]],
    args: argparse.Namespace,
) -> None:
    """Answer shard by shard, then say how fast it was."""
    from ..infer.batches import in_halves
    from ..infer.systems import check_context

    check_context(system, ask())
    run = partial(_answer, system, args)
    times = BATCHES if args.llm_engine == engine.DEFAULT else 1
    plan = partial(_plan, system, times * args.batch_size)
    dialogues = ask()
    start, count, tokens = time.monotonic(), 0, 0
    for records in split.fill(args, shards, dialogues, plan, partial(in_halves, run), "responses"):
        count += len(records)
        tokens += sum(len(record["response_ids"]) for record in records)
    seconds = max(time.monotonic() - start, 1e-6)
    split.log(
        f"{args.output}: job {args.job} of {args.num_jobs}: {count} responses "
        f"({count / seconds:.1f} utt/s), {tokens} tokens ({tokens / seconds:.0f} tokens/s)"
    )


def _plan(system: System, size: int, dialogues: Sequence[Dialogue]) -> list[list[Dialogue]]:
    """Batches of prompts of like length."""
    lengths = {dialogue.id: system.num_positions(dialogue) for dialogue in dialogues}
    ordered = sorted(dialogues, key=lambda each: (lengths[each.id], each.id))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def _answer(system: System, args: argparse.Namespace, batch: Sequence[Dialogue]) -> list[Record]:
    """The records of one batch; a dialogue may bring its reference response."""
    open_ = [dialogue for dialogue in batch if dialogue.reference is None]
    said = system.converse(open_, args.max_tokens_factor, args.beam) if open_ else []
    if args.behaviours:
        return [{**responses.to_record(r), **_as_asked(system, turns)} for turns, r in said]
    found = {response.id: response for _, response in said}
    return [responses.to_record(found.get(each.id) or _given(system, each)) for each in batch]


def _as_asked(system: System, turns: Turns) -> Record:
    """What a training needs to put the audio where the transcripts stood."""
    from ..data.prompt import encode

    utterances = [turn.audio.utterance for turn in turns if turn.audio]
    return {"prompt_ids": encode(turns, system.llm.tokenizer), "utterances": utterances}


def _given(system: System, dialogue: Dialogue) -> Response:
    from ..data.prompt import decode
    from ..infer.systems import reference_ids

    assert dialogue.reference is not None
    ids = reference_ids(system.llm, dialogue.reference)
    text = decode(ids, system.llm.tokenizer)
    return Response(dialogue.id, dialogue.turns[-1].text or "", text, ids, "stop")


def _nothing_left(args: argparse.Namespace) -> None:
    split.log(f"{args.output}: nothing left for job {args.job} of {args.num_jobs}")


def _is_done(args: argparse.Namespace, settings: partial, files: str | None) -> bool:
    """Whether this job's part of this very store is there already. Spares a rerun the loading of
    the LLM when its weight files are those of the first run."""
    if files is None or not (Path(args.output) / "store.json").exists():
        return False
    about = responses.read_about(args.output)
    if about.get("weight_files") != files:
        return False
    responses.check_settings(args.output, settings(fingerprint=about.get("fingerprint")))
    if responses.open_shards(args.output).left(args.job, args.num_jobs):
        return False
    return not teacher.left(args)


def _check(args: argparse.Namespace) -> None:
    split.check(args)
    engine.check(args)
    if args.behaviours and not args.data:
        raise ValueError("--behaviours needs --data, whose recordings it names (with --merge, too)")
    if args.merge:
        return
    if not args.llm or not args.data:
        raise ValueError("--llm and --data are needed (only --merge does without)")
    teacher.check(args)
    for name in ("batch_size", "beam", "max_tokens_factor"):
        if getattr(args, name) <= 0:
            raise ValueError(f"--{name} {getattr(args, name)} is not positive")


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
