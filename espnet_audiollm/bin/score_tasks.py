"""Score the answers of bin/respond_tasks, task by task: word and character error rates, BLEU and
chrF, success, and the shares of answers without an end or in the wrong modality."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from .cli import add_bootstrap_options, check_bootstrap, user_errors

HEADER = ("System", "task", "output", "measure", "value [95 % CI]", "counts")


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("replies", nargs="+", help="directories of bin/respond_tasks, a system each")
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
    from ..score.speech_tasks import How, score_replies
    from ..store.atomic import atomic_write

    how = How(args.success_rule, args.normalizer, args.resamples, args.seed)
    accepted = dict(_pair(each) for each in args.answers)
    systems = {path: score_replies(path, accepted, how) for path in args.replies}
    llms = {path: read_facts(path)[1]["llm"] for path in args.replies}
    rows = [_row(path, each) for path, measures in systems.items() for each in measures]
    table = report.Table(HEADER, tuple(rows))
    words = sys.argv[1:] if argv is None else argv
    command = args.command or shlex.join(
        ["python", "-m", "espnet_audiollm.bin.score_tasks", *words]
    )
    made = report.origin(command, args.recipe, ", ".join(dict.fromkeys(llms.values())))
    output = Path(args.output)
    items = [
        {
            "name": "speechlm",
            "label": Path(path).name,
            "llm": llms[path],
            "measures": [each.as_dict() for each in measures],
        }
        for path, measures in systems.items()
    ]
    with atomic_write(output / "results.json") as out:
        json.dump({"recipe": args.recipe, "task_systems": items}, out, indent=2)
        out.write("\n")
    with atomic_write(output / "RESULTS.md") as out:
        out.write(f"{report.head(made)}\n\n{table.markdown()}\n")
    print(table.screen())
    return 0


def _pair(text: str) -> tuple[str, str]:
    source, equals, table = text.partition("=")
    if not (source and equals and table):
        raise ValueError(f"--answers {text}: give SOURCE=TABLE, such as mini=dump/test/answers")
    return source, table


def _row(path: str, measure) -> tuple[str, ...]:
    from ..report.tables import within

    figure = within(measure.value, measure.ci95, 1)
    return (
        Path(path).name,
        measure.block,
        measure.step,
        measure.name,
        figure,
        measure.counts,
    )


if __name__ == "__main__":
    sys.exit(main())
