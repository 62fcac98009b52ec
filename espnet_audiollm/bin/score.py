"""Stage 11: score the runs of stage 10 and write the tables, the pictures and the report."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from . import sets
from .cli import add_bootstrap_options, check_bootstrap, command_line, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="score",
        description="Score the runs of stage 10 on test sets; write RESULTS.md, results.json, "
        "report.html and images/ under --output, and print the tables. A run says in its run.json "
        "which set it is of; runs of other sets are left out.",
    )
    sets.add_options(parser)
    parser.add_argument("--recipe", required=True, help="name of the recipe, for the reports")
    parser.add_argument("--llm", required=True, help="the LLM, for the reports")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--train_dirs",
        nargs="*",
        action="extend",
        default=[],
        metavar="DIR",
        help="experiments whose train.log gives a loss curve",
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
    add_bootstrap_options(parser)
    parser.add_argument(
        "--resample_by",
        metavar="TABLE",
        help="what the bootstrap draws: the values of a table of the sets (utt2spk), or of the "
        "table at this path (default: utterances)",
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Score the runs, write the reports, print the tables."""
    args = get_parser().parse_args(argv)
    check_bootstrap(args)
    from ..report import contents, results_files
    from ..report import tables as report
    from ..report.page.pictures import draw
    from ..score.conversations import compare_contexts
    from ..score.find import find
    from ..score.results import score
    from ..store.atomic import remove_asides

    how = (args.resamples, args.seed)
    compared = (args.success_rule, args.normalizer, args.target_lang)
    test_sets = sets.read(args, *compared, args.resample_by)
    found = find(args.runs, test_sets)
    everything = [score(each.test_set, each.runs, *how) for each in found]
    talks = [
        compare_contexts(results, each, *how)
        for results, each in zip(everything, found, strict=True)
        if each.test_set.dialogues is not None
    ]
    output = Path(args.output)
    remove_asides(output, "results*.json", "utterances*.npz", "RESULTS.md", "report.html")
    remove_asides(output / "images", "*.png")
    made = report.origin(args.command or command_line("score", argv), args.recipe, args.llm)
    parts = _parts(everything, talks, args)
    drawn = draw(contents.pictures(parts), output / "images")
    _write(output / "report.html", _page(everything, made, parts, drawn, args))
    _write(output / "RESULTS.md", f"{report.head(made)}\n\n{contents.markdown(parts)}\n")
    results_files.write(output, everything, talks, args.recipe, args.llm)
    print(report.screen(everything))
    print(f"\nwritten: {output}/RESULTS.md, results.json, report.html, images/")
    return 0


def _parts(everything: list, talks: list, args: argparse.Namespace) -> list:
    """What the report consists of, in its order: test sets, noise, dialogues, noisy copies."""
    from ..report import conversations, sections, sweep
    from ..report.plots import read_losses

    of_dialogues = {each.results.test_set.name: each for each in talks}
    clean: list = []
    dialogues: list = []
    noisy: list = []
    for place, results in enumerate(everything):
        test_set, tag = results.test_set, f".{results.test_set.name}" if place else ""
        if test_set.name in of_dialogues:
            dialogues.append(conversations.part(of_dialogues[test_set.name], tag))
        else:
            (noisy if test_set.noisy else clean).append(sections.of_test_set(results, tag))
    parts = [*clean, *sweep.parts(everything), *dialogues, *noisy]
    if args.train_dirs:
        parts.append(sections.of_trainings([read_losses(path) for path in args.train_dirs]))
    return parts


def _page(everything: list, made, parts: list, drawn: dict, args: argparse.Namespace) -> str:
    from ..report.page.document import page
    from ..report.sections import headline

    limit = args.max_audio_mb / len(everything)
    browsables = [
        _browsable(results, Path(path), args.listed, limit)
        for results, path in zip(everything, args.sets, strict=True)
    ]
    return page(made, headline(everything[0]), parts, drawn, browsables)


def _browsable(results, path: Path, listed: int, limit: float):
    from ..data.audio import read_mono_16k
    from ..report.page import sounds, utterances
    from ..report.page.document import Browsable

    ids = results.test_set.references.ids
    spread_N = utterances.spread(results)
    chosen = utterances.choose(spread_N, listed)
    found = {}
    recordings = _recordings(results.test_set, path) if limit > 0 else {}
    if recordings:
        first = [ids[place] for place in utterances.by_spread(spread_N, chosen)]
        found = sounds.encode(first, recordings, read_mono_16k, limit)
    return Browsable(utterances.listing(results, chosen, list(found)), found)


def _recordings(test_set, path: Path) -> dict[str, list[str]]:
    """{id: paths of its audio}, of what is spoken."""
    from ..data.kaldi_dir import read_dict

    if test_set.dialogues is not None:
        audios = {id: d.recordings().values() for id, d in test_set.dialogues.items()}
        return {id: [audio.path for audio in found] for id, found in audios.items() if found}
    if not (path / "wav.scp").is_file():
        return {}
    return {id: [place] for id, place in read_dict(path / "wav.scp").items()}


def _write(path: Path, text: str) -> None:
    from ..store.atomic import atomic_write

    with atomic_write(path) as out:
        out.write(text)


if __name__ == "__main__":
    gc.set_threshold(100_000)  # most objects live to the end: looking through them finds nothing
    sys.exit(main())
