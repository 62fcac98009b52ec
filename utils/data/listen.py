#!/usr/bin/env python3
"""A page with a sample of utterances, their recordings and their text, to open in a browser.

It is one file that holds the audio and fetches nothing. Utterances can be marked; the list of
their ids can be saved, for utils/data/subset.py --ids."""

import argparse
from pathlib import Path

import _start  # noqa: F401

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import listening
from espnet_audiollm.data import kaldi_dir, pipes
from espnet_audiollm.data.audio import AudioError
from espnet_audiollm.report.embed import audio_uri
from espnet_audiollm.report.listen.page import Item, page
from espnet_audiollm.store.atomic import atomic_write
from espnet_audiollm.types import SAMPLE_RATE

EXAMPLE = "example: utils/data/listen.py data/train --output listen.html --choose outliers"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("directory", metavar="DIR", help="data directory, e.g. data/train")
    parser.add_argument("--output", default="listen.html", help="the page (default: listen.html)")
    parser.add_argument(
        "--choose",
        choices=("random", "outliers"),
        default="random",
        help="by chance, or the longest, shortest and least plausible (default: random)",
    )
    parser.add_argument("--number", type=int, default=30, help="of utterances (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of chance (default: 0)")
    parser.add_argument("--ids", nargs="+", metavar="ID", help="these, instead")
    parser.add_argument("--id_list", type=Path, metavar="FILE", help="those in a file, instead")
    parser.add_argument(
        "--longest", type=float, default=60.0, help="seconds of a recording shown (default: 60)"
    )
    pipes.add_option(parser)
    return parser


def choose(args: argparse.Namespace) -> tuple[list[listening.Chosen], str]:
    """The utterances, and how they were chosen."""
    if args.ids or args.id_list:
        ids = list(args.ids or [])
        if args.id_list:
            lines = args.id_list.read_text(encoding="utf-8-sig").splitlines()
            ids += [line.split()[0] for line in lines if line.strip()]
        return listening.by_ids(args.directory, dict.fromkeys(ids)), "asked for"
    if args.choose == "outliers":
        found = listening.outliers(args.directory, args.number, args.allow_pipes == "true")
        return found, "that stick out"
    found = listening.by_chance(args.directory, args.number, args.seed)
    return found, f"by chance, seed {args.seed}"


def show(chosen: listening.Chosen, args: argparse.Namespace) -> Item:
    """Read an utterance, for its card on the page; what cannot be read says why."""
    text = chosen.values.get("text")
    uri, seconds, trouble = "", 0.0, ""
    peaks: tuple[int, ...] = ()
    facts: tuple[str, ...] = ()
    try:
        excerpt = listening.read(chosen.source, args.longest, text, args.allow_pipes == "true")
        uri, peaks, facts = audio_uri(excerpt.samples, "mp3"), excerpt.peaks, excerpt.facts
        seconds = len(excerpt.samples) / SAMPLE_RATE
    except AudioError as error:
        trouble = str(error)
    more = {n: v for n, v in chosen.values.items() if n not in listening.KNOWN}
    speaker = chosen.values["utt2spk"]
    return Item(chosen.id, speaker, text, uri, peaks, facts, seconds, chosen.reason, trouble, more)


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    if args.longest <= 0:
        raise ValueError(f"--longest {args.longest:g}: seconds, more than none")
    chosen, how = choose(args)
    if not chosen:
        raise ValueError(f"{args.directory}: there is no utterance to listen to")
    items = [show(one, args) for one in chosen]
    bad = [item for item in items if item.trouble]
    if len(bad) == len(items):
        raise ValueError(
            f"{args.directory}: none of {len(bad)} recordings can be read (first: {bad[0].trouble})"
        )
    total = kaldi_dir.count_lines(f"{args.directory}/utt2spk")
    about = f"{len(items):,} of {total:,} utterances, {how}"
    with atomic_write(args.output) as out:
        out.write(page(items, f"{args.directory}", about))
    unread = f"; {len(bad)} cannot be read (first: {bad[0].trouble})" if bad else ""
    print(f"{args.output}: {about}{unread}; open it in a browser")
    return 0


if __name__ == "__main__":
    main()
