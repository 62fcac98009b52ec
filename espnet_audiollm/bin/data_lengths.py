"""Stages 4 and 8: the lengths by which utterances are put into batches."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.lengths import CountTokens, count_words, write_lengths
from ..text.tokens import TOKEN_TYPES
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="directory of stage 2, e.g. dump/train")
    parser.add_argument("--output", required=True, help="directory of the shape files")
    parser.add_argument(
        "--responses", help="count the tokens of this table of stage 7: response_shape"
    )
    parser.add_argument(
        "--samples", help="table of samples of each utterance (default: DATA/utt2num_samples)"
    )
    parser.add_argument(
        "--token_type", choices=TOKEN_TYPES, default="bpe", help="tokens of the transcripts"
    )
    parser.add_argument("--token_list", help="not bpe: count these in the transcripts")
    parser.add_argument(
        "--bpemodel",
        help="bpe.model, or an LLM's tokenizer.json: count in the transcripts: text_shape",
    )
    parser.add_argument(
        "--num_threads", type=int, help="threads that encode (default: this process's processors)"
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    needed = "bpemodel" if args.token_type == "bpe" else "token_list"
    if bool(args.responses) == bool(getattr(args, needed)):
        raise ValueError(f"give either --{needed} (transcripts) or --responses")
    data = Path(args.data)
    samples = args.samples or data / "utt2num_samples"
    if args.responses:
        done = write_lengths(samples, args.responses, count_words, args.output, "response")
        print(f"{args.output}: speech_shape and response_shape of {done} utterances")
        return 0
    count = CountTokens(args.token_type, args.token_list, args.bpemodel, args.num_threads)
    done = write_lengths(samples, data / "text", count, args.output, "text")
    print(f"{args.output}: speech_shape and text_shape of {done} utterances; {count}")
    return 0


if __name__ == "__main__":
    main()
