"""Stages 4 and 8: the lengths by which utterances are put into batches."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.lengths import count_pieces, count_words, write_lengths
from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="directory of stage 2, e.g. dump/train")
    parser.add_argument("--output", required=True, help="directory of the shape files")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--bpemodel", help="count the pieces of the transcripts: text_shape")
    target.add_argument(
        "--responses", help="count the tokens of this table of stage 7: response_shape"
    )
    parser.add_argument(
        "--num_threads", type=int, help="threads that encode (default: this process's processors)"
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    data = Path(args.data)
    if args.bpemodel:
        target, name = data / "text", "text"
        count = count_pieces(args.bpemodel, args.num_threads)
    else:
        target, name, count = args.responses, "response", count_words
    done = write_lengths(data / "utt2num_samples", target, count, args.output, name)
    print(f"{args.output}: speech_shape and {name}_shape of {done} utterances")
    return 0


if __name__ == "__main__":
    main()
