"""Judge generated speech by what a recogniser hears in it: ASR-WER, ASR-BLEU, success.

The judge is PocketSphinx with a bigram of the texts that could be said (--lm_text), or any
recogniser whose hypotheses are given. Give true speech and resynthesised units beside the systems:
their figures are the ceilings, those of shuffled units the floor. With --speaker_encoder voices are
compared, too: with a reference, and the first half of each recording with the rest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import existing, iter_utterances, read_dict, read_table
from ..progress import progress
from ..store.atomic import atomic_write
from ..store.json_files import write_json
from ..store.tables import check_same_ids, write_table
from ..types import Utterance
from . import judged_voices
from .cli import add_bootstrap_options, add_flag, check_bootstrap, named, new_parser, user_errors

if TYPE_CHECKING:
    from ..report.tables import Table
    from ..score.speech_output import RecognisedSpeech

HEADER = (
    "Speech",
    "ASR-WER % [95 % CI]",
    "ASR-BLEU [95 % CI]",
    "without error %",
    "success %",
    "nothing heard",
    "utterances",
)
HYPOTHESES, RESULTS, WAVS = "hypotheses", "speech.json", "wav.scp"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
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
    add("--success_rule", default="contains", help="how accepted answers are found")
    add("--hypotheses", help="another judge: its tables are HYPOTHESES/NAME, nothing is recognised")
    add("--beside", help="a directory of this command, of the same texts: its rows come along")
    add_flag(parser, "--missing_is_silence", "true: missing speech counts as silence")
    add_flag(
        parser,
        "--leave_out_unknown",
        "true: texts with words that the judge's lexicon lacks are left out, and counted",
    )
    add("--nj", type=int, default=1, help="processes of the judge")
    judged_voices.add_options(parser)
    add("--output", required=True, help="directory: hypotheses/NAME, speech.json, SPEECH.md")
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Judge the directories and print the table."""
    args = get_parser().parse_args(argv)
    check_bootstrap(args)
    if args.nj < 1:
        raise ValueError(f"--nj {args.nj}: at least 1")
    systems = named(args.speech)
    texts = judged_texts(args, read_dict(existing(Path(args.text))))
    accepted = read_accepted(args, texts)
    output = Path(args.output)
    utterances = spoken_by(args, systems, texts)
    voices = judged_voices.judge_voices(args, utterances)
    if not args.hypotheses:
        recognise(args, utterances, output / HYPOTHESES)
    own = Path(args.hypotheses or output / HYPOTHESES)
    tables = tables_beside(args.beside, systems) | {name: own / name for name in systems}
    write(output, score(args, texts, accepted, tables), voices)
    return 0


def judged_texts(args: argparse.Namespace, texts: dict[str, str]) -> dict[str, str]:
    """Those that the judge can recognise, where the others are to be left out."""
    if args.leave_out_unknown != "true" or args.hypotheses:
        return texts
    from ..infer.sphinx import recognisable

    found = recognisable(texts)
    if left := [id_ for id_ in texts if id_ not in found]:
        print(
            f"{args.text}: {len(left)} of {len(texts)} texts (first: {left[0]}) have words that "
            "the judge's lexicon lacks, and are left out",
            file=sys.stderr,
        )
    return found


def tables_beside(directory: str | None, systems: Iterable[str]) -> dict[str, Path]:
    """{name: recognised text} of an earlier judgement. ValueError: a name that is judged here."""
    if directory is None:
        return {}
    places = sorted((existing(Path(directory) / RESULTS).parent / HYPOTHESES).iterdir())
    tables = {place.name: place for place in places}
    if twice := sorted(tables.keys() & set(systems)):
        raise ValueError(
            f"{twice[0]} is in --beside {directory}, too: give this speech another name"
        )
    return tables


def read_accepted(args: argparse.Namespace, texts: dict[str, str]) -> dict | None:
    """Accepted answers of the utterances; None: no table is given. ValueError: no such rule."""
    from ..score.success import rule_named, split_answers

    rule_named(args.success_rule)
    if args.answers is None:
        return None
    rows = read_table(existing(Path(args.answers)))
    return {id_: split_answers(value) for id_, value in rows if id_ in texts}


def score(
    args: argparse.Namespace, texts: dict[str, str], accepted: dict | None, tables: dict
) -> dict[str, RecognisedSpeech]:
    """What each table of recognised text scores."""
    from ..score.speech_output import score_speech

    how = accepted, args.success_rule, args.resamples, args.seed
    return {
        name: score_speech(texts, read_dict(existing(table)), *how)
        for name, table in tables.items()
    }


def spoken_by(args: argparse.Namespace, systems: dict, texts: dict) -> dict[str, dict]:
    """The utterances of each system whose audio is needed."""
    if args.hypotheses and not args.speaker_encoder:
        return {name: {} for name in systems}
    silence = args.missing_is_silence == "true"
    return {name: spoken(name, systems[name], texts, silence) for name in systems}


def recognise(args: argparse.Namespace, utterances: dict[str, dict], output: Path) -> None:
    """Write what is recognised of each system, one table after the other."""
    from ..infer.sphinx import recognise as by_sphinx

    asked = [utterance for each in utterances.values() for utterance in each.values()]
    said = list(progress(by_sphinx(asked, could_be_said(args), args.nj), len(asked), "judging"))
    for name, each in utterances.items():
        own, said = said[: len(each)], said[len(each) :]
        write_table(output / name, zip(each, own, strict=True), presorted=True)


def could_be_said(args: argparse.Namespace) -> Iterator[str]:
    """The texts of the judge's language model."""
    for path in args.lm_text or [args.text]:
        yield from judged_texts(args, read_dict(existing(Path(path)))).values()


def spoken(
    name: str, directory: str, texts: dict[str, str], silence: bool
) -> dict[str, Utterance | None]:
    """The utterances of `texts` in a directory; None: there is no speech, and it counts as silence.

    Errors (ValueError): it lacks some of them, and that does not count as silence."""
    if silence and not (Path(directory) / WAVS).exists():
        return dict.fromkeys(texts)
    found = {utt.id: utt for utt in iter_utterances(directory) if utt.id in texts}
    if not silence:
        next_step = "speak all of --text, or give less of it"
        check_same_ids(texts, found, f"{name} ({directory})", next_step)
    return {id_: found.get(id_) for id_ in texts}


def write(output: Path, found: dict, voices: judged_voices.JudgedVoices | None) -> None:
    """speech.json and SPEECH.md, and voices.json where voices were compared; the table on the
    screen."""
    from ..report.tables import Table

    table = Table(HEADER, tuple(row(name, each) for name, each in found.items()))
    (output / judged_voices.RESULTS).unlink(missing_ok=True)  # of an earlier call
    if voices:
        voices.write(output)
        table = with_voices(table, voices)
    write_json(output / RESULTS, {name: each.as_dict() for name, each in found.items()})
    with atomic_write(output / "SPEECH.md") as out:
        out.write(table.markdown() + "\n")
    print(table.screen())


def with_voices(table: Table, voices: judged_voices.JudgedVoices) -> Table:
    """The table with the columns of voices, and their ceiling and floor."""
    cells = judged_voices.cells
    rows = [row + cells(voices.systems.get(row[0])) for row in table.rows]
    none = ("–",) * (len(HEADER) - 1)
    rows += [(name, *none, *cells(each)) for name, each in voices.controls.items()]
    return type(table)(HEADER + judged_voices.HEADER, tuple(rows))


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
