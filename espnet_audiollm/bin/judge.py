"""Have an LLM judge the responses of stage 10's runs: yes or no, beside the rule.

Writes RUN/judge/judge.jsonl and judge.json (the judge, and its prompt), which stage 11 shows. Kill
it at any moment: the same command goes on from the last complete batch.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from . import engine, sets
from .cli import user_errors

if TYPE_CHECKING:
    from ..infer.generate import Generate
    from ..model.llm import LLM

Judge: TypeAlias = "tuple[LLM, Generate]"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets.add_options(parser)
    add = parser.add_argument
    add("--llm", required=True, help="the judge: Hugging Face id or local directory")
    add("--chat_template", help="jinja file, for an LLM without a chat template of its own")
    add("--batch_size", type=int, default=32, help="prompts in a batch (default: %(default)s)")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", default="cpu", help="cpu or cuda")
    engine.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Judge every run that lacks verdicts."""
    args = get_parser().parse_args(argv)
    if args.batch_size < 1:
        raise ValueError(f"--batch_size {args.batch_size} is not positive")
    engine.check(args)
    from ..score.find import find

    found = find(args.runs, sets.read(args), judged=False)
    everything = {  # what is wrong with them is found before the LLM is loaded
        run.directory: _cases(run, each.test_set) for each in found for run in each.runs
    }
    with ExitStack() as stack:
        judge: Judge | None = None
        for directory, cases in everything.items():
            parts = _parts(args, directory, cases)
            if not parts.whole:
                judge = judge or _load(args, stack)
                _judge(args, judge, directory, cases, parts)
            _report(directory)
    return 0


def _cases(run, test_set) -> list:
    """What is to be judged of a run, in order of ids."""
    from ..infer.judge import Case

    references, accepted = test_set.references.responses, test_set.accepted or {}
    return [
        Case(
            id,
            _question(run.turns[id]) if id in run.turns else test_set.question(id),
            " or ".join(accepted.get(id, ())) or references[id],
            run.responses[id],
        )
        for id in sorted(run.responses)
    ]


def _question(turns: list[dict]) -> str:
    """A dialogue of several turns, a line each."""
    return "".join(f"\n{turn['role']}: {turn['text']}" for turn in turns)


def _parts(args: argparse.Namespace, directory: Path, cases: list):
    """The shards that belong to this judge, its prompt, and all that it reads."""
    import hashlib
    from dataclasses import astuple

    from ..infer.judge import FIELDS, PROMPT
    from ..model import llm as llms
    from ..store.parts import Parts, hash_files, made_from

    inputs = {
        "llm": args.llm,
        "weight_files": llms.weight_files(args.llm),
        "dtype": args.dtype,
        "batch_size": args.batch_size,
        "prompt": PROMPT,
        "cases": hashlib.sha256(repr([*map(astuple, cases)]).encode()).hexdigest(),
        "contents": hash_files(*([args.chat_template] if args.chat_template else [])),
    }
    inputs |= engine.settings({"llm_engine": args.llm_engine})
    engine.check_same(args, made_from(directory / "judge"), directory / "judge")
    made = ("judge.json", "judge.jsonl")
    return Parts(directory / "judge", inputs, len(cases), FIELDS, "10, then judge", made)


def _load(args: argparse.Namespace, stack: ExitStack) -> Judge:
    """The judge and what decodes for it, until the stack is left."""
    from ..model import llm as llms

    llm = llms.load(args.llm, args.chat_template, args.dtype, args.device)
    log = Path(args.runs[0]) / "log" / "judge"
    return llm, stack.enter_context(engine.loaded(args, llm, log, audio=False))


def _judge(args: argparse.Namespace, judge: Judge, directory: Path, cases: list, parts) -> None:
    """Fill the shards, and make the final files of them."""
    from functools import partial

    from ..infer.batches import in_halves
    from ..infer.judge import PROMPT, verdicts
    from ..progress import progress
    from ..store.runs import responses_hash, write_judged

    parts.begin()
    llm, generate = judge
    size = args.batch_size
    batches = (
        records
        for shard in parts.shards.windows(cases)
        for records in shard.fill(
            [shard.items[i : i + size] for i in range(0, len(shard.items), size)],
            partial(in_halves, partial(verdicts, llm, engine=generate)),
        )
    )
    for _ in progress(batches, parts.shards.left(), f"judge ({directory.name})", size=len):
        pass
    about = {"llm": args.llm, "fingerprint": llm.fingerprint, "prompt": PROMPT}
    about["responses"] = responses_hash(directory)
    write_judged(parts.output, about, parts.shards.records())
    parts.finish()


def _report(directory: Path) -> None:
    from ..store.runs import read_judged

    judged = read_judged(directory)
    assert judged is not None
    yes, total = sum(judged.successes.values()), len(judged.verdicts)
    no = total - yes - judged.unparsable
    print(f"{directory}: {total} responses: {yes} yes, {no} no, {judged.unparsable} not parsable")


if __name__ == "__main__":
    sys.exit(main())
