"""One table of systems of one LLM on one test set of spoken questions: perplexity of the same
reference responses, success in text and in speech, what an answer and what the training costs.

Systems are runs of stage 10 (bin/respond), those of speech LMs among them. Runs of another LLM,
test set or other responses are refused. Answers are measured here, one by one, each system in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import add_bootstrap_options, check_bootstrap, command_line, new_parser, user_errors

if TYPE_CHECKING:
    from ..infer.answer_cost import AnswerCost, SystemParts
    from ..score.systems import System
    from ..store.runs import Run
    from ..units.sources import Source

NAME = "comparison"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="directories of bin/respond, a system each")
    add("--data", required=True, help="the test set, e.g. dump/test")
    add("--references", help="its response store, of stage 7 (default: DATA/responses)")
    add("--against", help="label of the system that others are set against (default: the cascade)")
    add("--success_rule", default="contains", help="how accepted answers are found")
    add("--measure", type=int, default=20, help="questions that are timed; 0: none")
    add("--device", default="cpu", help="cpu or cuda, of what is timed")
    add("--recipe", default="speechlm", help="name in the results")
    add("--command", default="", help="what made them (default: this command)")
    add("--output", required=True, help="directory for comparison.md, .json and .html")
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Compare, write the files, print the table; the exit status."""
    args = get_parser().parse_args(argv)
    check_bootstrap(args)
    if args.measure < 0:
        raise ValueError(f"--measure {args.measure}: give a number of questions, 0 for none")
    from ..report import systems as report
    from ..score.systems import chosen_questions, compare, read_runs
    from ..score.test_set import read_test_set

    test_set = read_test_set(args.data, args.references, args.success_rule)
    runs = read_runs(args.runs, test_set)
    results, systems = compare(test_set, runs, args.against, args.resamples, args.seed)
    ids = chosen_questions(test_set.references.ids, args.measure)
    lines = [report.Line(each, answer_cost(args, each, ids), trainings(each)) for each in systems]
    command = args.command or command_line("compare_systems", argv)
    write(args, report.Compared(results, tuple(lines)), command)
    return 0


def answer_cost(args: argparse.Namespace, system: System, ids: Sequence[str]) -> AnswerCost | None:
    """What its answers cost on this machine; None: that is not asked."""
    if not ids:
        return None
    from ..infer.answer_cost import measure_apart

    print(f"measuring {system.row.label}: {len(ids)} questions", file=sys.stderr, flush=True)
    return measure_apart(parts_of(system.row.run, args.device), args.data, ids)


def parts_of(run: Run, device: str) -> SystemParts:
    """How the system of a run is loaded, by what its inputs.json says."""
    from ..infer.answer_cost import SystemParts
    from ..store.origins import find
    from ..store.parts import made_from

    here, info = run.directory, run.info
    options = made_from(here).get("options")
    if not options:
        raise ValueError(
            f"{here}: inputs.json is missing or damaged, so nobody knows how to load this system "
            "again: rerun stage 10, or give --measure 0"
        )
    paths = {
        name: find(options[name], here) if options.get(name) else None
        for name in ("exp", "quantiser", "tasks", "chat_template", "casing_text")
    }
    encoder = None
    if paths["quantiser"]:
        directory = source_of(paths["quantiser"]).directory
        encoder = find(directory, Path(paths["quantiser"])) if directory else None
    return SystemParts(
        info.kind,
        find(options["llm"], here),
        checkpoint=options.get("checkpoint") or "",
        encoder=encoder,
        system_prompt=info.system_prompt,
        casing=info.prompt_casing,
        dtype=options.get("dtype", "auto"),
        device=device,
        max_tokens_factor=options.get("max_tokens_factor", 4.0),
        beam=info.beam,
        **paths,
    )


def source_of(quantiser: str) -> Source:
    """What a quantiser's frames come from."""
    from ..units.quantiser import read_quantiser
    from ..units.sources import Source

    return Source.parse(read_quantiser(quantiser).source)


def trainings(system: System) -> dict:
    """{the last two parts of a training's directory: its cost, None if not known} of all that the
    system was trained by, first what it begins from."""
    from ..store.origins import find, training_directories
    from ..store.parts import made_from
    from ..store.training_cost import read_cost

    here = system.row.run.directory
    options = made_from(here).get("options", {})
    first = [find(options["exp"], here)] if options.get("exp") else []
    if options.get("quantiser"):
        quantiser = find(options["quantiser"], here)
        if directory := source_of(quantiser).directory:
            first.insert(0, find(directory, Path(quantiser)))
    found = training_directories(first)
    return {"/".join(path.parts[-2:]): read_cost(path) for path in found}


def write(args: argparse.Namespace, compared, command: str) -> None:
    """comparison.md, .json and .html; the table on the screen."""
    from ..report import contents
    from ..report import systems as report
    from ..report.page.document import page
    from ..report.tables import head, origin
    from ..store.atomic import atomic_write

    made = origin(command, args.recipe, report.llm_of(compared))
    parts = report.parts(compared)
    texts = {
        "md": f"{head(made)}\n\n{contents.markdown(parts)}\n",
        "json": json.dumps(report.as_dict(compared, args.recipe), indent=2) + "\n",
        "html": page(made, (), parts, {}, ()),
    }
    for suffix, text in texts.items():
        with atomic_write(Path(args.output) / f"{NAME}.{suffix}") as out:
            out.write(text)
    print(report.screen(compared))


if __name__ == "__main__":
    sys.exit(main())
