"""Human evaluation (the paper's Tables 3 and 4): a page for raters, and scores of what they say."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .cli import add_bootstrap_options, check_bootstrap, command_line, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="human_eval", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    _add_page(
        commands.add_parser(
            "page",
            help="draw utterances and write rate.html (for raters) and key.json (not for them)",
            description="Draw utterances by the cascade's word error rate, and write two files "
            "under --output: rate.html, one page with everything in it for raters, and key.json, "
            "which says whose answers they are and stays here.",
        )
    )
    _add_score(
        commands.add_parser(
            "score",
            help="read the key and the raters' files; write human_eval.md and human_eval.json",
            description="Read the key and the files that raters exported; print the success rates "
            "and write human_eval.md and human_eval.json under --output.",
        )
    )
    return parser


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more of stage 10")
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="dump/<test set>: wav.scp, text, any answers"
    )
    parser.add_argument(
        "--references", metavar="DIR", help="its response store (default: DATA/responses)"
    )
    parser.add_argument(
        "--cascade",
        metavar="RUN",
        help="the cascade whose word error rate makes the levels; need not be rated itself "
        "(default: the only one of the systems)",
    )
    parser.add_argument("--items", type=int, default=50, help="of each level (default: 50)")
    parser.add_argument(
        "--bounds",
        type=float,
        nargs="*",
        default=[10.0, 20.0],
        metavar="WER",
        help="between levels, %% (default: 10 20, three levels; none: one level)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw and the order of answers")
    parser.add_argument(
        "--audio",
        choices=("mp3", "wav"),
        default="mp3",
        help="in the page: small, or exact (default: %(default)s)",
    )
    parser.add_argument("--title", help="of the page")
    parser.add_argument("--brief", metavar="FILE", help="plain text for raters, in place of ours")
    parser.add_argument("--output", required=True, metavar="DIR")


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ratings", nargs="+", metavar="RATINGS_JSON", help="one for each rater")
    parser.add_argument("--key", required=True, metavar="FILE", help="key.json of the page")
    add_bootstrap_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR")


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    command = command_line("human_eval", argv)
    return _page(args, command) if args.what == "page" else _score(args, command)


# --- the page -------------------------------------------------------------------------------------


def _page(args: argparse.Namespace, command: str) -> int:
    from ..report.human import page
    from ..score.human import study
    from ..score.test_set import read_test_set
    from ..score.wer import utterance_errors

    if args.items < 1:
        raise ValueError(f"--items {args.items}: give 1 or more")
    levels = study.levels(args.bounds)
    brief = Path(args.brief).read_text(encoding="utf-8") if args.brief else page.BRIEF
    test_set = read_test_set(args.data, args.references)
    if test_set.texts is None or test_set.dialogues is not None:
        raise ValueError(f"{args.data}: not a data directory with a text; run stages 1 and 2 first")
    runs, cascades = _read_runs(args, test_set)
    words = {run.info.label: utterance_errors(test_set.texts, run.hyp) for run in cascades}
    of_levels = words[cascades[0].info.label]
    chosen, available = study.draw(of_levels, levels, args.items, args.seed)
    shown, items = _items(args, test_set, runs, words, chosen)
    made = study.Study(
        page.page_id(shown),
        test_set.name,
        args.seed,
        cascades[0].info.label,
        tuple(run.info.label for run in runs),
        levels,
        available,
        tuple(items),
    )
    output = Path(args.output)
    _check_other_key(output / "key.json", made.page)
    _write(output / "key.json", _json({**made.as_dict(), "made": _made(command)}))
    _write(output / "rate.html", page.page(shown, args.title or page.TITLE, brief))
    _tell(made, output, args.items)
    return 0


def _read_runs(args: argparse.Namespace, test_set) -> tuple[list, list]:
    """The runs to rate, and the cascades with the one that makes the levels first."""
    from ..score.find import labels_of, read_labelled
    from ..score.human.study import MOST_SYSTEMS
    from ..store.runs import read_info

    paths = [Path(path) for path in (*args.runs, *([args.cascade] if args.cascade else []))]
    named = labels_of({path: read_info(path) for path in paths})
    found = {path: read_labelled(path, named[path], test_set) for path in paths}
    runs = [found[Path(path)] for path in args.runs]
    labels = [run.info.label for run in runs]
    if not 2 <= len(runs) <= MOST_SYSTEMS or len(set(labels)) < len(labels):
        raise ValueError(
            f"give two to {MOST_SYSTEMS} systems with different labels; these are "
            f"{len(runs)}: {', '.join(labels)}"
        )
    cascades = [run for run in runs if run.hyp is not None]
    if args.cascade is not None:
        first = found[Path(args.cascade)]
        if first.hyp is None:
            raise ValueError(f"--cascade {args.cascade}: there is no hyp, so it is no cascade")
        return runs, [first, *(run for run in cascades if run is not first)]
    if len(cascades) != 1:
        raise ValueError(
            f"{len(cascades)} of {len(runs)} systems are cascades; say with --cascade whose "
            "word error rate makes the levels"
        )
    return runs, cascades


def _items(args, test_set, runs: list, words, chosen) -> tuple[list, list]:
    """What raters see of each item, and what the key says of it, in the order of the page."""
    from ..data.audio import read_mono_16k
    from ..data.kaldi_dir import read_dict
    from ..report.embed import audio_uri
    from ..report.human.page import Shown
    from ..score.human.study import Item, blind
    from ..store.tables import check_same_ids

    scp = Path(args.data) / "wav.scp"
    if not scp.is_file():
        raise ValueError(f"{args.data}: there is no wav.scp; run stages 1 and 2 first")
    recordings = read_dict(scp)
    stages = "prepare and format this test set again (stages 1, 2)"
    check_same_ids(test_set.references.ids, recordings, str(scp), stages)
    shown, items = [], []
    for id, level in chosen:
        answers = blind(id, {run.info.label: run.responses[id] for run in runs}, args.seed)
        shown.append(
            Shown(
                audio_uri(read_mono_16k(recordings[id]), args.audio),
                test_set.texts[id],
                test_set.references.responses[id],
                (test_set.accepted or {}).get(id, ()),
                tuple(answer for answer, _ in answers),
            )
        )
        of_item = {label: errors[id] for label, errors in words.items()}
        items.append(Item(id, level, of_item, tuple(labels for _, labels in answers)))
    return shown, items


def _check_other_key(path: Path, page: str) -> None:
    from ..score.human.ratings import read_study

    if path.exists() and read_study(path).page != page:
        raise ValueError(
            f"{path} is the key of another page, whose ratings would be lost with it; give another "
            "--output, or delete it"
        )


def _tell(study, output: Path, wanted: int) -> None:
    counts = [sum(item.level == i for item in study.items) for i in range(len(study.levels))]
    print(f"page {study.page}: {len(study.items)} items of {study.test_set}")
    for level, count, available in zip(study.levels, counts, study.available, strict=True):
        fewer = f"; {wanted} were wanted" if count < wanted else ""
        print(f"  {study.cascade}, {level}: {count} of {available} utterances{fewer}")
    size = (output / "rate.html").stat().st_size / 1e6
    print(f"written: {output}/rate.html ({size:.1f} MB): send this to raters")
    print(f"written: {output}/key.json: keep it; it says which answers are whose")


# --- the score ------------------------------------------------------------------------------------


def _score(args: argparse.Namespace, command: str) -> int:
    check_bootstrap(args)
    from ..report.human import tables as report
    from ..score.human.ratings import read_raters, read_study

    study = read_study(args.key)
    raters = read_raters(args.ratings, study)
    found = report.evaluate(study, raters, args.resamples, args.seed)
    made, output = _made(command), Path(args.output)
    _write(output / "human_eval.json", _json(report.as_dict(found, made)))
    _write(output / "human_eval.md", report.markdown(found, made))
    print(report.screen(found))
    print(f"\nwritten: {output}/human_eval.md, human_eval.json")
    return 0


def _made(command: str) -> dict[str, str]:
    from ..report.tables import origin

    made = origin(command, "", "")
    return {name: getattr(made, name) for name in ("command", "versions", "commit", "date")}


def _json(item: dict) -> str:
    return json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    from ..store.atomic import atomic_write

    with atomic_write(path) as out:
        out.write(text)


if __name__ == "__main__":
    sys.exit(main())
