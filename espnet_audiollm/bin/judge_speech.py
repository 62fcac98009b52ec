"""Judge generated speech by what a recogniser hears in it: ASR-WER, ASR-BLEU, success.

The judge is PocketSphinx with a bigram of the texts that could be said (--lm_text), or any
recogniser whose hypotheses are given. Give true speech and resynthesised units beside the systems:
their figures are the ceilings, those of shuffled units the floor."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ..data.kaldi_dir import existing, iter_utterances, read_dict, read_table
from ..progress import progress
from ..store.atomic import atomic_write
from ..store.tables import check_same_ids, write_table
from ..types import Utterance
from .cli import add_bootstrap_options, check_bootstrap, user_errors

HEADER = (
    "Speech",
    "ASR-WER % [95 % CI]",
    "ASR-BLEU [95 % CI]",
    "without error %",
    "success %",
    "nothing heard",
    "utterances",
)
HYPOTHESES = "hypotheses"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "speech",
        nargs="+",
        metavar="NAME=DIR",
        help="data directories of speech, e.g. 'true=dump/test' 'units=exp/spoken'",
    )
    add("--text", required=True, help="table of what they should say: of all of these utterances")
    add("--lm_text", nargs="+", help="tables of what could be said (default: --text)")
    add("--answers", help="table of accepted answers: success of spoken answers is counted")
    add("--hypotheses", help="another judge: its tables are HYPOTHESES/NAME, nothing is recognised")
    add("--output", required=True, help="directory: hypotheses/NAME, speech.json, SPEECH.md")
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Judge the directories and print the table."""
    args = get_parser().parse_args(argv)
    check_bootstrap(args)
    systems = named(args.speech)
    texts = read_dict(existing(Path(args.text)))
    accepted = read_accepted(args.answers, texts)
    output = Path(args.output)
    if not args.hypotheses:
        recognise(args, systems, texts, output / HYPOTHESES)
    from ..score.speech_output import score_speech

    found = {}
    for name in systems:
        heard = read_dict(existing(Path(args.hypotheses or output / HYPOTHESES) / name))
        found[name] = score_speech(texts, heard, accepted, args.resamples, args.seed)
    write(output, found)
    return 0


def named(speech: list[str]) -> dict[str, str]:
    """{name: directory}. ValueError: one without a name, or a name that comes twice."""
    systems: dict[str, str] = {}
    for each in speech:
        name, _, directory = each.partition("=")
        if not directory or not name or "/" in name or name in systems:
            raise ValueError(f"{each}: give NAME=DIR, each name once and without a slash")
        systems[name] = directory
    return systems


def read_accepted(path: str | None, texts: dict[str, str]) -> dict | None:
    """Accepted answers of the utterances; None: no table is given."""
    if path is None:
        return None
    from ..score.success import split_answers

    rows = read_table(existing(Path(path)))
    return {id_: split_answers(value) for id_, value in rows if id_ in texts}


def recognise(args: argparse.Namespace, systems: dict, texts: dict, output: Path) -> None:
    """Write what is heard of each system, one table after the other."""
    utterances = {name: list(spoken(name, systems[name], texts)) for name in systems}
    from ..infer.sphinx import Sphinx

    tables = args.lm_text or [args.text]
    judge = Sphinx(text for path in tables for _, text in read_table(existing(Path(path))))
    for name, each in utterances.items():
        judged = progress(((u.id, judge([u])[0]) for u in each), len(each), f"judging {name}")
        write_table(output / name, judged, presorted=True)


def spoken(name: str, directory: str, texts: dict[str, str]) -> Iterator[Utterance]:
    """The utterances of `texts` in a directory. ValueError: it lacks some of them."""
    found = {utt.id: utt for utt in iter_utterances(directory) if utt.id in texts}
    check_same_ids(texts, found, f"{name} ({directory})", "speak all of --text, or give less of it")
    yield from (found[id_] for id_ in texts)


def write(output: Path, found: dict) -> None:
    """speech.json and SPEECH.md; the table on the screen."""
    from ..report.tables import Table

    table = Table(HEADER, tuple(row(name, each) for name, each in found.items()))
    with atomic_write(output / "speech.json") as out:
        json.dump({name: each.as_dict() for name, each in found.items()}, out, indent=2)
        out.write("\n")
    with atomic_write(output / "SPEECH.md") as out:
        out.write(table.markdown() + "\n")
    print(table.screen())


def row(name: str, found) -> tuple[str, ...]:
    """A row of the table."""

    def interval(value: float, ci95: tuple[float, float]) -> str:
        return f"{value:.1f} [{ci95[0]:.1f}, {ci95[1]:.1f}]"

    def share(count) -> str:
        return f"{count.rate:.1f} ({count.successes}/{count.total})" if count else "–"

    return (
        name,
        f"{interval(found.errors.rate, found.wer_ci95)} "
        f"({found.errors.errors}/{found.errors.reference_words})",
        interval(found.bleu.bleu, found.bleu.bleu_ci95),
        share(found.exact),
        share(found.success),
        str(found.empty),
        str(found.utterances),
    )


if __name__ == "__main__":
    sys.exit(main())
