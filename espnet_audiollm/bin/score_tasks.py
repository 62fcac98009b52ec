"""Score the answers of bin/respond_tasks, task by task: word and character error rates, BLEU and
chrF, success, the shares of answers without an end or in the wrong modality, and what a judge
(bin/judge_speech) understood of speech, where it lies beside the answers. Systems stand side by
side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import (
    add_bootstrap_options,
    check_bootstrap,
    command_line,
    named,
    new_parser,
    user_errors,
)

if TYPE_CHECKING:
    from ..score.speech_tasks import Measure

HEADER = ("Task", "output", "measure")


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        "replies",
        nargs="+",
        metavar="[NAME=]DIR",
        help="directories of bin/respond_tasks, a system each (default name: the directory's)",
    )
    add("--output", required=True, help="directory for results.json and RESULTS.md")
    add(
        "--answers",
        action="append",
        default=[],
        metavar="SOURCE=TABLE",
        help="accepted answers of a source of the mixture (id Paris | the city of Paris)",
    )
    add("--success_rule", default="contains", help="how accepted answers are looked for")
    add("--normalizer", default="", help="of transcripts (default: that of the task's language)")
    add("--recipe", default="speechlm", help="name in the results")
    add("--command", default="", help="what made them (default: this command)")
    add_bootstrap_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Score, write the reports, print the table; the exit status."""
    args = get_parser().parse_args(argv)
    check_bootstrap(args)
    from ..data.task_replies import read_facts
    from ..report import tables as report
    from ..score.speech_tasks import How, check_sources, of_sources, score_replies
    from ..store.atomic import atomic_write
    from ..store.json_files import write_json

    how = How(args.success_rule, args.normalizer, args.resamples, args.seed)
    accepted = dict(_pair(each) for each in args.answers)
    places = named([each if "=" in each else f"{Path(each).name}={each}" for each in args.replies])
    facts = {name: read_facts(path) for name, path in places.items()}
    check_sources([block for blocks, _ in facts.values() for block in blocks], accepted)
    systems = {
        name: score_replies(path, of_sources(facts[name][0], accepted), how)
        for name, path in places.items()
    }
    llms = {name: about["llm"] for name, (_, about) in facts.items()}
    table = report.Table((*HEADER, *systems), tuple(side_by_side(systems)))
    command = args.command or command_line("score_tasks", argv)
    made = report.origin(command, args.recipe, ", ".join(dict.fromkeys(llms.values())))
    output = Path(args.output)
    items = [
        {
            "name": "speechlm",
            "label": name,
            "llm": llms[name],
            "measures": [each.as_dict() for each in measures],
        }
        for name, measures in systems.items()
    ]
    write_json(output / "results.json", {"recipe": args.recipe, "task_systems": items})
    with atomic_write(output / "RESULTS.md") as out:
        out.write(f"{report.head(made)}\n\n{table.markdown()}\n")
    print(table.screen())
    return 0


def _pair(text: str) -> tuple[str, str]:
    source, equals, table = text.partition("=")
    if not (source and equals and table):
        raise ValueError(f"--answers {text}: give SOURCE=TABLE, such as mini=dump/test/answers")
    return source, table


def side_by_side(systems: Mapping[str, Sequence[Measure]]) -> Iterator[tuple[str, ...]]:
    """The rows of the table: a figure of each system, in the order in which they first come."""
    from ..report.tables import NONE, within

    cells = {
        name: {
            (each.block, each.step, each.name): (
                f"{within(each.value, each.ci95, 1)} ({each.counts})"
            )
            for each in measures
        }
        for name, measures in systems.items()
    }
    blocks = dict.fromkeys(key[0] for found in cells.values() for key in found)
    for block in blocks:
        keys = [key for found in cells.values() for key in found if key[0] == block]
        for key in dict.fromkeys(keys):
            yield (*key, *(found.get(key, NONE) for found in cells.values()))


if __name__ == "__main__":
    sys.exit(main())
