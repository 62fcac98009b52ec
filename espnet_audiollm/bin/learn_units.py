"""Learn discrete units of speech: k-means over the frames of an encoder, or of log mel energies; of
several levels, residual k-means. A codec has learned them already: this names those of it."""

from __future__ import annotations

import argparse
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import iter_utterances, load_utterances
from ..progress import progress
from ..types import Utterance
from .cli import add_flag, new_parser, user_errors

if TYPE_CHECKING:
    import numpy as np

    from ..units.quantiser import Quantiser
    from ..units.sources import Source


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        "--source",
        required=True,
        help="ctc:EXP[:LAYER], bestrq:EXP[:LAYER], hf:DIR:LAYER, fbank[:FRAMES]",
    )
    add("--checkpoint", default="valid.loss.ave.pth", help="file in EXP")
    add("--data", nargs="+", help="directories of stage 2, e.g. dump/train (not for a codec)")
    add("--output", required=True, help="directory of the quantiser, e.g. exp/units/ctc200")
    add("--size", type=int, default=200, help="number of units (of each level)")
    add("--levels", type=int, default=1, help="units of a frame; of a codec: its first codebooks")
    add("--max_hours", type=float, default=2.0, help="learn from about so much of the audio (h)")
    add_flag(parser, "--normalize", "bring each dimension of the frames to mean 0, variance 1")
    add("--seed", type=int, default=0, help="of the choice of audio, and of k-means")
    add("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    add("--device", default="cpu", help="cpu or cuda")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Learn a quantiser."""
    args = get_parser().parse_args(argv)
    if args.size < 2 or args.max_hours <= 0:
        raise ValueError(f"--size {args.size} and --max_hours {args.max_hours:g}: 2, and above 0")
    from ..units.sources import Source

    source = Source.parse(args.source)
    if source.kind == "codec":
        return name_codec(source, args)
    if not args.data:
        raise ValueError(f"--source {source} needs --data: a directory of stage 2 to learn from")
    total = sum(map(check_durations, args.data))
    from ..infer.unit_frames import choose, load_frames, stacked
    from ..units.quantiser import Quantiser, learn

    frames = load_frames(source, args.checkpoint, args.device)
    share = min(1.0, 3600 * args.max_hours / total)
    utterances = chain.from_iterable(map(iter_utterances, args.data))
    chosen = choose(utterances, share, args.seed)
    frames_NC = stacked(all_frames(frames, chosen, args.batch_seconds))
    learned = (
        f"{len(frames_NC)} frames of {len(chosen)} utterances of {' and '.join(args.data)}, "
        f"seed {args.seed}, normalize {args.normalize}"
    )
    quantiser = Quantiser(
        frames.source,
        frames.checkpoint,
        frames.encoder,
        frames.frames_per_second,
        **learn(frames_NC, args.size, args.seed, args.normalize == "true", args.levels),
        learned=learned,
    )
    quantiser.save(args.output)
    print(
        f"{args.output}: {args.size} units of {frames.source} at {frames.frames_per_second:g} a "
        f"second, from {learned}"
    )
    print_levels(quantiser, frames_NC)
    return 0


def name_codec(source: Source, args: argparse.Namespace) -> int:
    """Write the quantiser that a codec is; the exit status."""
    from ..infer.unit_levels import describe
    from ..model.codec import load_codec

    units = describe(load_codec(source.directory, args.device), source.directory, args.levels)
    units.save(args.output)
    print(
        f"{args.output}: {units.levels} x {units.size} units of {source} at "
        f"{units.frames_per_second:g} a second, {units.learned}"
    )
    return 0


def print_levels(quantiser: Quantiser, frames_NC: np.ndarray) -> None:
    """What each of several levels leaves of the frames that they were learned from."""
    import torch

    if quantiser.levels == 1:
        return
    for level, share in enumerate(quantiser.error_by_level(torch.from_numpy(frames_NC)), 1):
        print(f"  level {level}: {100 * share:.1f} % of the frames' variance is left")


def check_durations(data: str | Path) -> float:
    """The seconds of audio in a directory. Errors (ValueError): they are not known, or none."""
    total = sum(utt.duration or 0.0 for utt in iter_utterances(data))
    if not total:
        load_utterances(data)
        raise ValueError(f"{data} has no utt2dur, or all is silent: run stage 2 first")
    return total


def all_frames(frames, utterances: list[Utterance], seconds: float):
    """Yield the frames of each utterance, batches of like length."""
    from ..infer.batches import audio_batches, in_halves

    batches = audio_batches(utterances, seconds)
    for batch in progress(batches, len(utterances), "learn_units", size=len):
        yield from in_halves(frames, batch)


if __name__ == "__main__":
    sys.exit(main())
