"""Turn a mixture of speech tasks into token ids for training (espnet_audiollm/data/task_mixture.py
says what the YAML file holds)."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from .cli import new_parser, user_errors

HEADER = (
    "Task",
    "examples",
    "share of an epoch %",
    "predicted tokens",
    "too long, left out",
    "incomplete, left out",
)


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--mixture", required=True, help="YAML file of sources, tasks and their weight")
    add("--llm", required=True, help="directory of bin/extend_llm, e.g. exp/joint")
    add("--output", required=True, help="directory for the examples, e.g. dump/tasks_train")
    add("--language", help="code of the language spoken, for {language} in the mixture: fr")
    add("--translation_language", help="code for {translation_language} in the mixture: en")
    add("--system_prompt", help="text of a system turn (default: that of the mixture, else none)")
    add(
        "--share",
        type=float,
        default=1.0,
        help="of the utterances, by chance, the same in all tasks",
    )
    add("--max_tokens", type=int, help="leave longer examples out (default: the LLM's context)")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Write the examples; its exit status."""
    args = get_parser().parse_args(argv)
    if args.max_tokens is not None and args.max_tokens < 1:
        raise ValueError(f"--max_tokens {args.max_tokens}: at least 1")
    if not 0 < args.share <= 1:
        raise ValueError(f"--share {args.share}: above 0, up to 1")
    from ..data.task_examples import Encoder, write_examples
    from ..data.task_mixture import read_mixture
    from ..data.unit_tokens import read_vocabulary
    from ..model import llm as llms
    from ..report.tables import Table

    mixture = read_mixture(args.mixture, (args.language, args.translation_language))
    mixture = replace(mixture, share=args.share)
    vocabulary = read_vocabulary(args.llm)
    mixture.check_units(vocabulary, args.llm)
    tokenizer, config = llms.load_tokenizer(args.llm), llms.load_config(args.llm)
    units = vocabulary.tokens(tokenizer)
    system = mixture.system_prompt if args.system_prompt is None else args.system_prompt
    encoder = Encoder(tokenizer, units, [tokenizer.eos_token_id], system)
    context = args.max_tokens or config.max_position_embeddings
    blocks = write_examples(args.output, mixture, encoder, vocabulary, context, system)
    rows = (
        (
            b.name,
            str(b.size),
            f"{100 * b.weight:.1f}",
            *map(str, (b.tokens, b.left_out, b.incomplete)),
        )
        for b in blocks
    )
    print(Table(HEADER, tuple(rows)).screen())
    return 0


if __name__ == "__main__":
    sys.exit(main())
