"""Stage 7: the frozen LLM answers every transcript of a data directory.

Kill it at any moment: the same command goes on from the last finished batch. With several jobs,
each takes every n-th shard, and the last one to end writes the index; --merge writes it alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..data import responses
from ..data.kaldi_dir import read_dict
from ..progress import progress
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
    add("--max_tokens_factor", type=float, default=4.0,
        help="an answer has at most this times its prompt's tokens (default: %(default)s)")
    add("--beam", type=int, default=1, help="1 is greedy (default: %(default)s)")
    add("--batch_size", type=int, default=32, help="prompts in a batch (default: %(default)s)")
    add("--shard_size", type=int, default=responses.SHARD_SIZE,
        help="answers in a shard (default: %(default)s)")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", help="default: cuda where there is a GPU, else cpu")
    add("--job", type=int, default=1, help="this job's number, from 1 (default: %(default)s)")
    add("--num_jobs", type=int, default=1, help="number of jobs (default: %(default)s)")
    add("--merge", action="store_true", help="only write the index of finished shards")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    if args.merge:
        count = responses.merge(args.output)
        return _log(f"{args.output}: index of {count} responses")
    _check(args)
    generate_all(args)


def generate_all(args: argparse.Namespace) -> None:
    """Fill this job's shards of the store, and write the index if they were the last."""
    from ..model import llm as llms

    texts = read_dict(Path(args.data) / "text")
    tokenizer = llms.load_tokenizer(args.llm, args.chat_template)
    files = llms.weight_files(args.llm)
    settings = partial(
        responses.Settings,
        chat_template_hash=llms.chat_template_hash(tokenizer),
        system_prompt=args.system_prompt,
        max_tokens_factor=args.max_tokens_factor,
        beam=args.beam,
        shard_size=args.shard_size,
        num_prompts=len(texts),
        prompts_hash=responses.hash_prompts(texts),
    )
    if _is_finished(args.output, settings, files):
        return _log(f"{args.output}: {len(texts)} responses are there already")
    requests = responses.plan(texts, tokenizer, args.system_prompt)
    model = llms.load_llm(args.llm, args.dtype, _device(args.device))
    llm = llms.wrap(model, tokenizer, args.llm)
    about = {"llm": args.llm, "dtype": str(model.dtype), "weight_files": files}
    store = responses.ResponseStore(args.output, settings(fingerprint=llm.fingerprint), about)
    _fill(store.shards(requests, args.job, args.num_jobs), requests, llm, args)
    if store.finish():
        _log(f"{args.output}: {len(requests)} responses")
    else:
        _log(f"{args.output}: job {args.job} of {args.num_jobs} is done, others are not yet")


def _fill(shards: list[responses.Shard], requests: list, llm, args: argparse.Namespace) -> None:
    from ..infer.answers import answer_texts, check_context

    check_context(llm, requests)
    answer = partial(
        answer_texts,
        llm,
        system_prompt=args.system_prompt,
        max_tokens_factor=args.max_tokens_factor,
        beam=args.beam,
    )
    total = sum(len(shard.requests) for shard in shards)
    batches = (batch for shard in shards for batch in _fill_one(shard, answer, args.batch_size))
    for _ in progress(batches, total, "responses", size=lambda batch: len(batch[0])):
        pass


def _fill_one(shard: responses.Shard, answer, batch_size: int) -> Iterator[tuple]:
    """Fill one shard, then say how fast it was."""
    start, count, tokens = time.monotonic(), 0, 0
    for batch in shard.fill(answer, batch_size):
        count += len(batch[0])
        tokens += sum(len(response.response_ids) for response in batch[1])
        yield batch
    seconds = max(time.monotonic() - start, 1e-6)
    _log(
        f"{shard.path.name}: {count} responses ({count / seconds:.1f} utt/s), "
        f"{tokens} tokens ({tokens / seconds:.0f} tokens/s)"
    )


def _is_finished(directory: str, settings: partial, files: str | None) -> bool:
    """Whether this very store is there already. Spares a rerun the loading of the LLM when its
    weight files are those of the first run."""
    if files is None or not (Path(directory) / responses.INDEX).exists():
        return False
    about = responses.read_about(directory)
    if about.get("weight_files") != files:
        return False
    responses.check_settings(directory, settings(fingerprint=about["fingerprint"]))
    return True


def _check(args: argparse.Namespace) -> None:
    if not args.llm or not args.data:
        raise ValueError("--llm and --data are needed (only --merge does without)")
    if not 1 <= args.job <= args.num_jobs:
        raise ValueError(f"--job {args.job} is not one of 1 to --num_jobs {args.num_jobs}")
    for name in ("batch_size", "shard_size", "beam", "max_tokens_factor"):
        if getattr(args, name) <= 0:
            raise ValueError(f"--{name} {getattr(args, name)} is not positive")


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
