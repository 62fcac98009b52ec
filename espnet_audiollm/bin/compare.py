"""Put experiments beside each other: their tables, and which differences are more than chance."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli import add_bootstrap_options, check_bootstrap, command_line, user_errors

SUFFIXES = (".html", ".json", ".md")


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="compare",
        description="Read results.json of several experiments on one test set, and print their "
        "systems beside each other. Where test set, LLM and reference responses are the same, "
        "differences have paired bootstrap intervals and p-values; where not, it says why. "
        "utterances.<test set>.npz must lie beside each results.json.",
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS_JSON", help="or its directory")
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="of the experiments (default: from the paths)"
    )
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="FILE",
        help="also write it as .html, .json or .md; may be given several times",
    )
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    wrong = [name for name in args.output if Path(name).suffix not in SUFFIXES]
    if wrong:
        raise ValueError(f"--output {wrong[0]}: give a file that ends in {', '.join(SUFFIXES)}")
    check_bootstrap(args)
    from ..report import comparison as report
    from ..score.comparison.experiments import read_experiments

    experiments = read_experiments(args.results, args.names)
    compared = report.compare(experiments, args.resamples, args.seed)
    command = command_line("compare", argv)
    for name in args.output:
        _write(Path(name), compared, command)
    print(report.screen(compared))
    return 0


def _write(path: Path, compared, command: str) -> None:
    from ..report import comparison as report
    from ..report import contents
    from ..report.page.document import page
    from ..report.tables import head, origin
    from ..store.atomic import atomic_write
    from ..store.json_files import write_json

    if path.suffix == ".json":
        write_json(path, report.as_dict(compared), allow_nan=False)
        return
    names = " and ".join(experiment.name for experiment in compared.experiments)
    llms = dict.fromkeys(experiment.results["llm"] for experiment in compared.experiments)
    made = origin(command, names, ", ".join(llms))
    if path.suffix == ".md":
        text = f"{head(made)}\n\n{contents.markdown(report.parts(compared))}\n"
    else:
        text = page(made, (), report.parts(compared), {}, ())
    with atomic_write(path) as out:
        out.write(text)


if __name__ == "__main__":
    sys.exit(main())
