"""A page with players: generated speech beside true speech, what it should say, and what a judge
understood. One file that holds its audio and fetches nothing."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from ..data.kaldi_dir import existing, read_dict
from ..store.atomic import atomic_write
from ..types import SAMPLE_RATE
from .cli import named, new_parser, user_errors
from .judge_speech import HYPOTHESES, WAVS

LONGEST = 60.0  # seconds of a recording on the page
MISSING = "nothing was spoken"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("speech", nargs="+", metavar="NAME=DIR", help="data directories, as for bin/judge_speech")
    add("--text", required=True, help="table of what they should say")
    add("--judged", help="directory of bin/judge_speech: what was understood is shown, too")
    add("--number", type=int, default=10, help="of utterances, by chance")
    add("--seed", type=int, default=0, help="of chance")
    add("--title", default="Generated speech", help="of the page")
    add("--output", required=True, help="the page, e.g. exp/listen.html")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Write the page; the exit status."""
    args = get_parser().parse_args(argv)
    if args.number < 1:
        raise ValueError(f"--number {args.number}: at least one utterance is needed")
    from ..report.listen.page import page

    systems = named(args.speech)
    texts = read_dict(existing(Path(args.text)))
    drawn = sorted(random.Random(args.seed).sample(sorted(texts), min(args.number, len(texts))))
    items = list(cards(args, systems, {id_: texts[id_] for id_ in drawn}))
    about = f"{len(drawn)} of {len(texts)} utterances, by chance, seed {args.seed}"
    with atomic_write(args.output) as out:
        out.write(page(items, args.title, about))
    print(f"{args.output}: {about}; open it in a browser")
    return 0


def cards(args: argparse.Namespace, systems: dict[str, str], texts: dict[str, str]) -> Iterator:
    """The cards of the page: each utterance in all systems, one after the other."""
    recognised: dict[str, dict[str, str]] = {}
    recordings: dict[str, dict[str, str]] = {}
    for name, directory in systems.items():
        table = Path(directory) / WAVS
        recordings[name] = read_dict(table) if table.exists() else {}
        judged = Path(args.judged or "") / HYPOTHESES / name
        recognised[name] = read_dict(judged) if args.judged and judged.exists() else {}
    for id_, text in texts.items():
        for name, sources in recordings.items():
            more = {"understood": recognised[name][id_]} if id_ in recognised[name] else {}
            yield card(f"{id_} {name}", name, text, sources.get(id_), more)


def card(id_: str, name: str, text: str, source: str | None, more: dict[str, str]):
    """One recording; None: there is none, and the card says so."""
    from ..corpus import listening
    from ..data.audio import AudioError
    from ..report.embed import audio_uri
    from ..report.listen.page import Item

    if source is None:
        return Item(id_, name, text, "", (), (), trouble=MISSING, more=more)
    try:
        found = listening.read(source, LONGEST, text, allow_pipes=False)
    except AudioError as error:
        return Item(id_, name, text, "", (), (), trouble=str(error), more=more)
    seconds = len(found.samples) / SAMPLE_RATE
    uri = audio_uri(found.samples, "mp3")
    return Item(id_, name, text, uri, found.peaks, found.facts, seconds, more=more)


if __name__ == "__main__":
    sys.exit(main())
