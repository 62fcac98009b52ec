"""Stage 7: the frozen LLM answers every transcript of a data directory.

Kill it at any moment: the same command goes on from the last whole batch. Several jobs fill the
shards of one store, and --merge writes the index of all answers; one job alone does both.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from ..data import responses
from ..data.kaldi_dir import read_table
from ..store.shards import Shards, shard_size
from ..text.casing import AS_IS, CASINGS, Caser, caser
from . import split
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="generate_responses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--llm", help="Hugging Face id or directory of a chat LLM (needed except with --merge)")
    add("--data", help="data directory whose `text` is answered (needed except with --merge)")
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
        "--max_tokens_factor",
        type=float,
        default=4.0,
        help="an answer has at most this times its prompt's tokens (default: %(default)s)",
    )
    add("--beam", type=int, default=1, help="1 is greedy (default: %(default)s)")
    add("--batch_size", type=int, default=32, help="prompts in a batch (default: %(default)s)")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", help="default: cuda where there is a GPU, else cpu")
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    _check(args)
    with split.named(args):
        if not args.merge:
            generate(args)
        if split.merges(args):
            count = responses.merge(args.output, args.num_jobs)
            split.log(f"{args.output}: {count} responses")


def generate(args: argparse.Namespace) -> None:
    """Fill this job's shards of the store."""
    from ..model import llm as llms

    case = caser(args.prompt_casing, args.casing_text)
    prompts = responses.survey(read_table(Path(args.data) / "text"))
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
    )
    if _is_done(args, settings, files):
        return _nothing_left(args)
    model = llms.load_llm(args.llm, args.dtype, _device(args.device))
    llm = llms.wrap(model, tokenizer, args.llm)
    about = {"llm": args.llm, "dtype": str(model.dtype), "weight_files": files}
    shards = responses.open_store(args.output, settings(fingerprint=llm.fingerprint), about)
    _fill(shards, llm, case, args)


def _fill(shards: Shards, llm, case: Caser, args: argparse.Namespace) -> None:
    """Answer shard by shard, then say how fast it was."""
    from ..infer.answers import answer_texts, check_context
    from ..infer.batches import in_halves

    def texts():
        rows = read_table(Path(args.data) / "text")
        return ((id_, case(text)) for id_, text in rows)

    check_context(llm, texts(), args.system_prompt)
    run = partial(
        answer_texts,
        llm,
        system_prompt=args.system_prompt,
        max_tokens_factor=args.max_tokens_factor,
        beam=args.beam,
    )

    def plan(rows):
        requests = responses.plan(dict(rows), llm.tokenizer, args.system_prompt)
        return [requests[i : i + args.batch_size] for i in range(0, len(rows), args.batch_size)]

    def answer(batch):
        return [responses.to_record(response) for response in in_halves(run, batch)]

    start, count, tokens = time.monotonic(), 0, 0
    for records in split.fill(args, shards, texts(), plan, answer, "responses"):
        count += len(records)
        tokens += sum(len(record["response_ids"]) for record in records)
    seconds = max(time.monotonic() - start, 1e-6)
    split.log(
        f"{args.output}: job {args.job} of {args.num_jobs}: {count} responses "
        f"({count / seconds:.1f} utt/s), {tokens} tokens ({tokens / seconds:.0f} tokens/s)"
    )


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
    return not responses.open_shards(args.output).left(args.job, args.num_jobs)


def _check(args: argparse.Namespace) -> None:
    split.check(args)
    if args.merge:
        return
    if not args.llm or not args.data:
        raise ValueError("--llm and --data are needed (only --merge does without)")
    for name in ("batch_size", "beam", "max_tokens_factor"):
        if getattr(args, name) <= 0:
            raise ValueError(f"--{name} {getattr(args, name)} is not positive")


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
