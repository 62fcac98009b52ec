"""Add the units of a quantiser to the vocabulary of a Hugging Face Llama: one table of text and
units. What comes out is an ordinary directory that transformers loads."""

from __future__ import annotations

import argparse
import sys

from .cli import user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--llm", required=True, help="Hugging Face id, or directory, of a text LLM")
    add("--chat_template", help="jinja file, for an LLM without a chat template")
    add("--quantiser", required=True, help="directory of bin/learn_units, e.g. exp/units/ctc200")
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

    quantiser = load_quantiser(args.quantiser)
    llm = llms.load(args.llm, args.chat_template, llms.stored_dtype(args.llm))
    before = len(llm.tokenizer)
    vocabulary = extend(llm, quantiser, args.init, args.seed)
    llms.save(llm, args.output, {FACTS: vocabulary.as_text()})
    print(
        f"{args.output}: {before} tokens of {args.llm}, {len(llm.tokenizer) - before} more for "
        f"{quantiser.size} units of {quantiser.source} ({args.init})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
