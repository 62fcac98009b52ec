"""What casing and punctuation of prompts do to an LLM's answers: the table of docs/casing.md.

    python test/bench/bench_casing.py --llm exp/llm --data dump/test --work DIR \\
        [--hyp NAME=exp/ctc/decode_.../hyp]... [--forms asis upper sentence]

Of each form: how many responses to the transcripts differ from those to the first form (in words:
case and punctuation of the answers do not count), their success, their perplexity under the prompt
that made them, the perplexity of the first form's responses under this form's prompts, and the same
for cascades, whose references are the responses to transcripts in the same form. Stages 7 and 10
do the work; what lies in --work is used again.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_audiollm.bin import generate_responses, respond
from espnet_audiollm.data.kaldi_dir import read_dict, write_table
from espnet_audiollm.score import success
from espnet_audiollm.score.perplexity import compare
from espnet_audiollm.score.test_set import References, read_references
from espnet_audiollm.store.runs import Run, read_run
from espnet_audiollm.text.casing import AS_IS, CASINGS, caser
from espnet_audiollm.text.normalize import normalize


@dataclass
class Form:
    """All that was measured with prompts of one form."""

    name: str
    references: References  # responses to the transcripts
    own: Run  # the transcripts again, on these references
    firsts: Run  # the transcripts, on the references of the first form
    cascades: dict[str, Run]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llm", required=True)
    parser.add_argument("--data", required=True, help="test set with text and answers")
    parser.add_argument("--work", required=True, type=Path, help="directory for all that is made")
    parser.add_argument("--hyp", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--forms", nargs="+", choices=CASINGS, default=[AS_IS, "upper", "sentence"])
    parser.add_argument("--casing_text", help="truecase: text from which it learns")
    parser.add_argument("--device", default="cpu")
    return parser


def main(argv: list[str] | None = None) -> str:
    args = get_parser().parse_args(argv)
    if args.forms[0] != AS_IS:
        raise ValueError(f"the first form is {AS_IS}: the others are measured against it")
    forms = [measure(args, name) for name in args.forms]
    print(found := table(args, forms))
    return found


def measure(args: argparse.Namespace, name: str) -> Form:
    work, first = args.work / name, args.work / args.forms[0]
    common = ["--llm", args.llm, "--data", args.data, "--device", args.device]
    casing = ["--prompt_casing", name] + (
        ["--casing_text", args.casing_text] * bool(args.casing_text)
    )
    generate_responses.main([*common, *casing, "--output", f"{work}/responses"])

    def ask(out: str, store: Path, *more: str) -> Run:
        where = ["--references", f"{store}/responses", "--output", f"{work}/{out}"]
        respond.main([*common, *where, *more])
        return read_run(work / out)

    case, texts = caser(name, args.casing_text), read_dict(Path(args.data) / "text")
    write_table(work / "prompts", ((id, case(text)) for id, text in texts.items()))
    return Form(
        name,
        read_references(work / "responses"),
        ask("reference", work, "--system", "reference", *casing),
        ask("firsts", first, "--system", "cascade", "--hyp", f"{work}/prompts"),
        {
            label: ask(f"cascade_{label}", work, "--system", "cascade", *casing, "--hyp", hyp)
            for label, hyp in (item.split("=", 1) for item in args.hyp)
        },
    )


def table(args: argparse.Namespace, forms: list[Form]) -> str:
    """Markdown."""
    head = ["prompts", "responses that differ", "success", "p", "perplexity"]
    head += ["of the first's", "p of this"]
    for label in forms[0].cascades:
        head += [f"{label}: success", f"{label}: perplexity"]
    rows = [head, ["---"] * len(head)]
    answers = read_dict(Path(args.data) / "answers")
    for form in forms:
        rows.append(row(form, forms[0], answers))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def row(form: Form, first: Form, answers: dict[str, str]) -> list[str]:
    accepted = success.normalize_all(
        {id: success.split_answers(line) for id, line in answers.items()}
    )
    asked = first.references.responses
    verdicts, before = (
        success.judge(one.references.responses, asked, accepted) for one in (form, first)
    )
    differ = sum(normalize(form.references.responses[id]) != normalize(asked[id]) for id in asked)
    firsts = compare([nats(first.own), nats(form.firsts)], first.references.tokens_N)
    same = form is first
    cells = [
        form.name,
        "" if same else f"{differ} / {len(asked)} ({100 * differ / len(asked):.1f} %)",
        rate(success.count(verdicts)),
        "" if same else f"{success.p_value(verdicts, before):.2g}",
        ppl(form.own, form.references),
        ppl(form.firsts, first.references),
        "" if same else f"{firsts.p_value(0, 1):.2g}",
    ]
    for run in form.cascades.values():
        found = success.judge(run.responses, asked, accepted)
        cells += [rate(success.count(found)), ppl(run, form.references)]
    return cells


def nats(run: Run) -> np.ndarray:
    return np.array(list(run.nats.values()))


def rate(count: success.SuccessCount) -> str:
    low, high = count.ci95
    return f"{count.rate:.1f} % [{low:.1f}, {high:.1f}]"


def ppl(run: Run, references: References) -> str:
    found = compare([nats(run)], references.tokens_N).perplexities[0]
    return f"{found.value:.3f} [{found.ci95[0]:.3f}, {found.ci95[1]:.3f}]"


if __name__ == "__main__":
    main()
