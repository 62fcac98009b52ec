"""Stage 12: a trained AudioLLM as a directory in Hugging Face form, for others.

The weights as safetensors, settings as JSON, and a model card with the figures of results.json; no
code and no pickle. The frozen LLM is not in it: config.json names it as --llm did (a Hugging Face
id means more to others than a directory) with its fingerprint, and loading compares. The directory
of a pretrained encoder is named likewise. `espnet_audiollm.load(DIRECTORY, llm=...)` answers with
it; bin/chat, bin/serve and bin/respond take it in place of an experiment.

A speech LM (--speech_llm) is packed with all of its parts, its LLM included.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .cli import AVERAGE, new_parser, user_errors

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
    "augment",
    "specaug",
    "ngpu",
)
KEPT_CTC = (*KEPT, "token_list", "token_type")  # of a recogniser, the encoder of units
KEPT_BESTRQ = (*KEPT, "mask", "quantiser")  # of an encoder that saw no transcripts
KEPT_VOCODER = ("vocoder", "unit_set", "voice", "speakers")


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--exp", help="experiment of stage 9")
    add("--checkpoint", default=AVERAGE, help="file in --exp")
    add("--output", required=True, help="directory to make, e.g. exp/audiollm/packed")
    add("--results", help="results.json of stage 11, for the model card")
    add("--licence", default="unknown", help="of the weights, as the Hub names it: cc-by-4.0, ...")
    add("--data", default="", help="the training data in a sentence, for the model card")
    add("--upload", metavar="REPO", help="then upload it there (Hugging Face Hub)")
    from . import pack_speech

    pack_speech.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    args = get_parser().parse_args(argv)
    from ..store import hub
    from . import pack_speech

    if bool(args.exp) == bool(args.speech_llm):
        raise ValueError("give --exp (an AudioLLM) or --speech_llm (a speech LM), one of them")
    if args.upload:
        hub.check(args.upload)  # before minutes of work
    pack = pack_speech.pack if args.speech_llm else pack_audiollm
    pack(args)
    files = [file for file in Path(args.output).rglob("*") if file.is_file()]
    print(f"{args.output}: {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    if args.upload:
        print(hub.upload(args.output, args.upload))
    return 0


def pack_audiollm(args: argparse.Namespace) -> None:
    """Write the directory of an AudioLLM."""
    from ..store import model_directory
    from ..train import checkpoints
    from ..train.loading import read_config

    config = portable(vars(read_config(args.exp, "llm", "chat_template", "system_prompt")))
    state = checkpoints.load(Path(args.exp) / args.checkpoint)
    template = read_template(config["chat_template"])
    card = write_card(args, config, state)
    model_directory.write(args.output, config, state, card, template)
    print(f"{args.output}: its LLM is {config['llm']}")


def portable(config: dict, names: tuple[str, ...] = KEPT) -> dict:
    """The options that describe the model, without the ones of its training."""
    kept = {
        key: value
        for key, value in config.items()
        if key in names or key.removesuffix("_conf") in names
    }
    stats = (kept.get("normalize_conf") or {}).get("stats_file")
    if stats:
        raise ValueError(
            f"the model reads its normalisation from {stats}, which a pack does not hold: "
            "train with --normalize utterance_mvn"
        )
    if kept.get("ctc_tokens"):  # the model has its weights; only a training reads their file
        tokens = kept["ctc_tokens"].items()
        kept["ctc_tokens"] = {k: None if k == "bpemodel" else value for k, value in tokens}
    unused = {name: None for name in ("augment", "specaug")}
    return {**kept, **unused, **{f"{name}_conf": {} for name in unused}, "ngpu": 0}


def read_template(chat_template: str | None) -> str | None:
    """The text of --chat_template, which is a file or the text itself."""
    path = Path(chat_template or "")
    is_text = not chat_template or "{" in chat_template
    return chat_template if is_text else path.read_text(encoding="utf-8")


def write_card(args: argparse.Namespace, config: dict[str, Any], state: dict[str, Any]) -> str:
    """The model card; and the fingerprint of the LLM goes from the weights into `config`.

    stderr says where the results have no figures of this checkpoint.

    Errors (ValueError): no checkpoint of stage 9; results of another LLM."""
    from ..report.model_card import About, model_card, own_system
    from ..store.json_files import read_object

    belongs = state.get("_extra_state")
    if belongs is None:
        raise ValueError(f"{args.exp}/{args.checkpoint} names no LLM: give one of stage 9")
    config["llm_fingerprint"] = belongs["llm_fingerprint"]
    results = read_object(args.results, "run stage 11 again") if args.results else None
    about = About(
        name=Path(args.exp).resolve().name,
        checkpoint=args.checkpoint,
        llm=config["llm"],
        llm_fingerprint=config["llm_fingerprint"],
        llm_id=_hub_id(config["llm"]),
        licence=args.licence,
        parameters=sum(value.numel() for value in state.values() if hasattr(value, "numel")),
        system_prompt=config["system_prompt"],
        data=args.data,
    )
    card = model_card(about, results)
    if results is not None and own_system(about, results) is None:
        print(
            f"{args.results}: none of its {len(results['systems'])} systems is {about.name} with "
            f"{about.checkpoint}, so the card says that it is not scored; run stages 10 and 11 of "
            "it first, and pack it again",
            file=sys.stderr,
        )
    return card


def _hub_id(llm: str) -> str | None:
    """The LLM's name on the Hub; None: it is a directory."""
    is_id = llm.count("/") == 1 and llm[0] not in "/.~" and not Path(llm).exists()
    return llm if is_id and not llm.startswith("exp/") else None


if __name__ == "__main__":
    sys.exit(main())
