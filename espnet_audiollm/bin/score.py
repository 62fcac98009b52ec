"""Stage 11: score the systems of stage 10 and write the tables, the pictures and the report."""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
from pathlib import Path

from .cli import user_errors

TABLES = {  # of a data directory, by the field of TestSet
    "texts": "text",
    "answers": "answers",
    "categories": "category",
    "speakers": "utt2spk",
    "seconds": "utt2dur",
    "translations": "translation",
    "summaries": "summary",
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="score",
        description="Score system directories; write RESULTS.md, results.json, report.html and "
        "images/ under --output, and print the table. For several test sets give --data (and "
        "--references) once for each; a system says in its system.json, or by the name of its "
        "parent directory (respond_<test set>), which one it belongs to.",
    )
    parser.add_argument("systems", nargs="+", metavar="SYSTEM_DIR", help="left by stage 10")
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="DIR",
        help="dump/<test set>: text, answers, category, utt2dur if any",
    )
    parser.add_argument(
        "--references",
        action="append",
        default=[],
        metavar="DIR",
        help="its response store (default: DATA/responses)",
    )
    parser.add_argument("--recipe", required=True, help="name of the recipe, for the reports")
    parser.add_argument("--llm", required=True, help="the LLM, for the reports")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--train_dirs",
        nargs="*",
        action="extend",
        default=[],
        metavar="DIR",
        help="experiments whose train.log gives a loss curve (end with --)",
    )
    parser.add_argument(
        "--conversations",
        nargs="*",
        action="extend",
        default=[],
        metavar="DIR",
        help="systems' answers to conversations, left by converse (end with --)",
    )
    parser.add_argument(
        "--command", metavar="STRING", help="the command RESULTS.md opens with (default: this one)"
    )
    parser.add_argument(
        "--success_rule",
        default="contains",
        metavar="NAME",
        help="how accepted answers are looked for: contains, exact, triviaqa, … (score/success.py)",
    )
    parser.add_argument(
        "--target_lang", metavar="CODE", help="language of the tables translation and summary (de)"
    )
    parser.add_argument(
        "--normalizer", default="basic", metavar="NAME", help="of transcripts (text/normalize.py)"
    )
    parser.add_argument(
        "--listed", type=int, default=500, help="most utterances of a test set in report.html"
    )
    parser.add_argument(
        "--max_audio_mb",
        type=float,
        default=10.0,
        help="most megabytes of recordings in report.html, all test sets together (0: none); where "
        "the systems differ most comes first",
    )
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    from ..report import contents, results_files
    from ..report import tables as report
    from ..report.page.pictures import draw
    from ..score.results import score
    from ..store.atomic import remove_asides

    everything = [
        score(test_set, systems, args.resamples, args.seed) for test_set, systems in _read(args)
    ]
    output = Path(args.output)
    remove_asides(output, "results*.json", "utterances*.npz", "RESULTS.md", "report.html")
    remove_asides(output / "images", "*.png")
    made = report.origin(args.command or _command(argv), args.recipe, args.llm)
    scored = _conversations(args)
    parts = _parts(everything, scored, args)
    drawn = draw(contents.pictures(parts), output / "images")
    _write(output / "report.html", _page(everything, made, parts, drawn, args))
    _write(output / "RESULTS.md", f"{report.head(made)}\n\n{contents.markdown(parts)}\n")
    results_files.write(output, everything, scored, _stores(args), args.recipe, args.llm)
    print(report.screen(everything))
    print(f"\nwritten: {output}/RESULTS.md, results.json, report.html, images/")
    return 0


def _read(args: argparse.Namespace) -> list[tuple]:
    """(test set, its systems) for each data directory."""
    from ..score.success import rule_named
    from ..score.systems import read_system
    from ..text.normalize import normalizer

    data, references = args.data, args.references
    if references and len(references) != len(data):
        raise ValueError(
            f"{len(data)} --data but {len(references)} --references; give one for each, or none"
        )
    names = [Path(directory).name for directory in data]
    how = {
        "normalize": normalizer(args.normalizer),
        "rule": rule_named(args.success_rule).name,
        "target_lang": args.target_lang,
    }
    systems = [read_system(directory, names) for directory in args.systems]
    return [
        (_test_set(Path(directory), store, how), [s for s in systems if s.test_set == name])
        for directory, store, name in zip(data, _stores(args), names, strict=True)
    ]


def _test_set(data: Path, store: str, how: dict):
    from ..data.kaldi_dir import read_dict
    from ..score.noisy import read_noisy
    from ..score.results import TestSet
    from ..score.systems import read_references

    if not data.is_dir():
        raise ValueError(f"{data}: there is no such data directory; run stages 1 and 2 first")
    tables = {
        field: {sys.intern(id): value for id, value in read_dict(data / file).items()}
        for field, file in TABLES.items()
        if (data / file).is_file()
    }
    if "seconds" in tables:
        tables["seconds"] = {id: float(value) for id, value in tables["seconds"].items()}
    return TestSet(data.name, read_references(store), **tables, **how, noisy=read_noisy(data))


def _conversations(args: argparse.Namespace) -> list:
    from ..score import conversations

    if not args.conversations:
        return []
    systems = conversations.read(args.conversations)
    return conversations.score(systems, args.resamples, args.seed)


def _parts(everything: list, scored: list, args: argparse.Namespace) -> list:
    """What the report consists of, in its order."""
    from ..report import conversations as conversation_report
    from ..report import sections
    from ..report import sweep as sweep_report
    from ..report.plots import read_losses

    tags = ["", *(f".{results.test_set.name}" for results in everything[1:])]
    of_sets = [
        (results.test_set.noisy, sections.of_test_set(results, tag))
        for results, tag in zip(everything, tags, strict=True)
    ]
    parts = [part for noisy, part in of_sets if noisy is None]
    parts += sweep_report.parts(everything)
    parts += conversation_report.parts(scored)
    parts += [part for noisy, part in of_sets if noisy is not None]
    if args.train_dirs:
        parts.append(sections.of_trainings([read_losses(path) for path in args.train_dirs]))
    return parts


def _page(everything: list, made, parts: list, drawn: dict, args: argparse.Namespace) -> str:
    from ..report.page.document import page
    from ..report.sections import headline

    limit = args.max_audio_mb / len(everything)
    browsables = [
        _browsable(results, Path(data), args.listed, limit)
        for results, data in zip(everything, args.data, strict=True)
    ]
    return page(made, headline(everything[0]), parts, drawn, browsables)


def _browsable(results, data: Path, listed: int, limit: float):
    from ..data.audio import read_mono_16k
    from ..data.kaldi_dir import read_dict
    from ..report.page import sounds, utterances
    from ..report.page.document import Browsable

    ids = results.test_set.references.ids
    spread_N = utterances.spread(results)
    chosen = utterances.choose(spread_N, listed)
    heard = {}
    if limit > 0 and (data / "wav.scp").is_file():
        first = [ids[place] for place in utterances.by_spread(spread_N, chosen)]
        heard = sounds.encode(first, read_dict(data / "wav.scp"), read_mono_16k, limit)
    return Browsable(utterances.listing(results, chosen, list(heard)), heard)


def _write(path: Path, text: str) -> None:
    from ..store.atomic import atomic_write

    with atomic_write(path) as out:
        out.write(text)


def _stores(args: argparse.Namespace) -> list[str]:
    return args.references or [f"{directory}/responses" for directory in args.data]


def _command(argv: list[str] | None) -> str:
    arguments = sys.argv[1:] if argv is None else argv
    return shlex.join(["python", "-m", "espnet_audiollm.bin.score", *arguments])


if __name__ == "__main__":
    gc.set_threshold(100_000)  # most objects live to the end: looking through them finds nothing
    sys.exit(main())
