"""Add the units of a quantiser to the vocabulary of a Hugging Face Llama, or those of two: units
that are read and units that are spoken. One table of text and units; what comes out is an ordinary
directory that transformers loads."""

from __future__ import annotations

import argparse
import sys

from .cli import new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--llm", required=True, help="Hugging Face id, or directory, of a text LLM")
    add("--chat_template", help="jinja file, for an LLM without a chat template")
    add(
        "--quantiser",
        required=True,
        nargs="+",
        metavar="DIR",
        help="directory of bin/learn_units, e.g. exp/units/ctc200; a second one, if answers are "
        "spoken in other units than those that are read",
    )
    add("--output", required=True, help="directory of the LLM with units, e.g. exp/joint")
    add("--init", default="mean", help="how the new rows begin: mean, normal, centroid or zero")
    add("--seed", type=int, default=0, help="of rows that are drawn")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Write the directory; its exit status."""
    args = get_parser().parse_args(argv)
    from ..data.unit_tokens import FACTS
    from ..model import llm as llms
    from ..model.joint_vocabulary import extend
    from ..units.codec_units import load_quantiser

    quantisers = [load_quantiser(each) for each in args.quantiser]
    llm = llms.load(args.llm, args.chat_template, llms.stored_dtype(args.llm))
    before = len(llm.tokenizer)
    vocabulary = extend(llm, quantisers, args.init, args.seed)
    llms.save(llm, args.output, {FACTS: vocabulary.as_text()})
    added = " and ".join(f"{each.size} units of {each.source}" for each in quantisers)
    print(
        f"{args.output}: {before} tokens of {args.llm}, {len(llm.tokenizer) - before} more for "
        f"{added} ({args.init})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
