"""Have an LLM judge the responses of systems that stage 10 left: yes or no, beside the rule.

Writes SYSTEM_DIR/judge/judge.jsonl and judge.json (the judge, and its prompt), which stage 11
shows. Kill it at any moment: the same command goes on from the last whole batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("systems", nargs="+", metavar="SYSTEM_DIR", help="left by stage 10")
    add("--llm", required=True, help="the judge: Hugging Face id or local directory")
    add("--chat_template", help="jinja file, for an LLM without a chat template of its own")
    add("--data", required=True, help="dump/<test set>: text, and answers if any")
    add("--references", help="its response store (default: DATA/responses)")
    add("--batch_size", type=int, default=32, help="prompts in a batch (default: %(default)s)")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", default="cpu", help="cpu or cuda")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.batch_size < 1:
        raise ValueError(f"--batch_size {args.batch_size} is not positive")
    everything = _cases(args)  # what is wrong with them is found before the LLM is loaded
    llm = None
    for directory, cases in everything.items():
        parts = _parts(args, directory, len(cases))
        if not parts.whole:
            llm = llm or _load(args)
            _judge(args, llm, directory, cases, parts)
        _tell(directory)
    return 0


def _cases(args: argparse.Namespace) -> dict[Path, list]:
    """What is to be judged of each system, in order of ids."""
    from ..data.kaldi_dir import read_dict
    from ..infer.judge import Case
    from ..score.systems import check_system, read_references, read_system
    from ..store.tables import check_known_ids, check_same_ids

    data = Path(args.data)
    references = read_references(args.references or data / "responses")
    questions = read_dict(data / "text")
    answers = read_dict(data / "answers") if (data / "answers").is_file() else {}
    stages = "prepare and format this test set again (stages 1, 2)"
    check_same_ids(references.ids, questions, f"{data}: text", stages)
    check_known_ids(references.ids, answers, f"{data}: answers", stages)
    found = {}
    for directory in map(Path, args.systems):
        system = read_system(directory, [data.name], judged=False)
        check_system(system, references)
        if system.responses is None:
            raise ValueError(f"{directory}: there are no responses to judge; rerun stage 10")
        found[directory] = [
            Case(id, questions[id], _accepted(answers.get(id), references.responses[id]), response)
            for id, response in sorted(system.responses.items())
        ]
    return found


def _accepted(answers: str | None, reference: str) -> str:
    """The accepted answers of a line "Paris | the city of Paris", else the reference response."""
    return " or ".join(alias.strip() for alias in answers.split("|")) if answers else reference


def _parts(args: argparse.Namespace, directory: Path, count: int):
    """The shards that belong to this judge, its prompt, and the contents of all that it reads."""
    from ..infer.judge import FIELDS, PROMPT
    from ..model import llm as llms
    from ..score.judged import DIRECTORY
    from ..store.parts import Parts, hash_files

    data = Path(args.data)
    store = Path(args.references or data / "responses")
    files = [data / "text", data / "answers", *sorted(store.glob("shard.*.jsonl"))]
    files += [directory / "responses.jsonl", *([args.chat_template] if args.chat_template else [])]
    inputs = {
        "llm": args.llm,
        "weight_files": llms.weight_files(args.llm),
        "dtype": args.dtype,
        "batch_size": args.batch_size,
        "prompt": PROMPT,
        "contents": hash_files(*files),
    }
    made = ("judge.json", "judge.jsonl")
    return Parts(directory / DIRECTORY, inputs, count, FIELDS, "10, then judge", made)


def _load(args: argparse.Namespace):
    from ..model import llm as llms

    return llms.load(args.llm, args.chat_template, args.dtype, args.device)


def _judge(args: argparse.Namespace, llm, directory: Path, cases: list, parts) -> None:
    """Fill the shards, and make the final files of them."""
    from functools import partial

    from ..infer.batches import in_halves
    from ..infer.judge import PROMPT, verdicts
    from ..progress import progress
    from ..score.judged import hash_of
    from ..store.atomic import atomic_write
    from ..store.shards import to_line

    parts.begin()
    size = args.batch_size
    batches = (
        records
        for shard in parts.shards.windows(cases)
        for records in shard.fill(
            [shard.items[i : i + size] for i in range(0, len(shard.items), size)],
            partial(in_halves, partial(verdicts, llm)),
        )
    )
    for _ in progress(batches, parts.shards.left(), f"judge ({directory.name})", size=len):
        pass
    about = {"llm": args.llm, "fingerprint": llm.fingerprint, "prompt": PROMPT}
    about["responses"] = hash_of(directory / "responses.jsonl")
    with atomic_write(parts.output / "judge.json") as out:
        json.dump(about, out, indent=2, ensure_ascii=False)
        out.write("\n")
    with atomic_write(parts.output / "judge.jsonl") as out:
        out.writelines(map(to_line, parts.shards.records()))
    parts.finish()


def _tell(directory: Path) -> None:
    from ..score.judged import read_judged

    judged = read_judged(directory)
    yes, total = sum(judged.successes.values()), len(judged.verdicts)
    no = total - yes - judged.unparsable
    print(f"{directory}: {total} responses: {yes} yes, {no} no, {judged.unparsable} not parsable")


if __name__ == "__main__":
    sys.exit(main())
