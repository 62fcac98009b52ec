"""Make an ordinary Hugging Face directory of a trained speech LM: safetensors, tokenizer and
unit_vocabulary.json, what LoRA learned merged into the weights. transformers and vLLM load it, and
bin/respond_tasks takes it as its --llm."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli import AVERAGE, new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, help="experiment of bin/speechlm_train")
    add("--checkpoint", default=AVERAGE, help="file in --exp")
    add("--llm", help="directory of bin/extend_llm (default: where it lay in the training)")
    add("--output", required=True, help="directory to make, e.g. exp/speechlm/llm")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Write the directory; its exit status."""
    args = get_parser().parse_args(argv)
    from ..data.unit_tokens import FACTS, read_vocabulary
    from ..model import llm as llms
    from ..tasks.speechlm import SpeechLMTask
    from ..train.loading import load_weights, read_config

    config = read_config(args.exp, "llm", "init", "trained", "tuning_conf")
    config.llm = args.llm or config.llm
    model = SpeechLMTask.build_model(config)
    load_weights(model, Path(args.exp) / args.checkpoint)
    llms.save(model.llm, args.output, {FACTS: read_vocabulary(config.llm).as_text()})
    print(f"{args.output}: {args.exp}/{args.checkpoint} ({config.trained} of {config.llm} trained)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
