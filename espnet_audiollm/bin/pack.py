"""Stage 12: a trained AudioLLM as a zip for others: weights, configuration, the LLM's name.

The frozen LLM is not in it. `config.yaml` names it as --llm did (a Hugging Face id means more to
others than a directory), the weights hold its fingerprint, and loading compares. The directory of a
pretrained encoder is named likewise. Nothing in the zip is code. Unpacked, it is an experiment
directory: `respond --exp DIR --checkpoint model.pth`.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from .cli import user_errors

KEPT = (  # options that say what the model is; all others say how it was trained
    "frontend",
    "normalize",
    "encoder",
    "audio_adapter",
    "ctc_tokens",
    "ctc_weight",
    "normalize_audio",
    "llm",
    "chat_template",
    "system_prompt",
    "llm_dtype",
    "packed",
    "specaug",
    "ngpu",
)


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--exp", required=True, help="experiment of stage 9")
    parser.add_argument("--checkpoint", default="valid.loss.ave.pth", help="file in --exp")
    parser.add_argument("--output", required=True, help="e.g. exp/audiollm/packed.zip")
    parser.add_argument("--results", help="RESULTS.md to put beside the weights")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    from ..store.atomic import atomic_write, remove_asides
    from ..train import checkpoints
    from ..train.loading import read_config

    config = portable(vars(read_config(args.exp, "llm", "chat_template", "system_prompt")))
    weights = Path(args.exp) / args.checkpoint
    checkpoints.load(weights)  # a damaged checkpoint is not packed
    output = Path(args.output)
    remove_asides(output.parent, output.name)
    with (
        atomic_write(args.output, "wb") as out,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack,
    ):
        write_config(pack, config)
        pack.write(weights, "model.pth")
        template = config["chat_template"]
        if template and Path(template).is_file():
            pack.write(template, "chat_template.jinja")
        if args.results:
            pack.write(args.results, "RESULTS.md")
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB; LLM: {config['llm']}")
    return 0


def portable(config: dict) -> dict:
    """The options that describe the model, without the ones of its training."""
    kept = {
        key: value
        for key, value in config.items()
        if key in KEPT or key.removesuffix("_conf") in KEPT
    }
    stats = (kept.get("normalize_conf") or {}).get("stats_file")
    if stats:
        raise ValueError(
            f"the model reads its normalisation from {stats}, which a pack does not hold: "
            "train with --normalize utterance_mvn"
        )
    return {**kept, "ngpu": 0, "specaug": None, "specaug_conf": {}}


def write_config(pack: zipfile.ZipFile, config: dict) -> None:
    """Add config.yaml to the pack."""
    import yaml

    pack.writestr("config.yaml", yaml.safe_dump(config, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
