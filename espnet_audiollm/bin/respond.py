"""Stage 10: what one system answers on a test set, and the nats of the reference responses.

reference: the transcript as prompt. cascade: a recogniser's transcript (--hyp). no_prompt: an empty
prompt. audiollm: the audio itself (--exp, --checkpoint).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli import user_errors

SYSTEMS = ("reference", "cascade", "audiollm", "no_prompt")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--system", required=True, choices=SYSTEMS)
    parser.add_argument("--label", help="row of the table (default: made of the other options)")
    parser.add_argument("--llm", required=True, help="Hugging Face id or local directory")
    parser.add_argument("--chat_template", help="jinja file, when the LLM has none")
    parser.add_argument("--system_prompt", help="text of a system turn (default: no such turn)")
    parser.add_argument("--data", required=True, help="e.g. dump/test")
    parser.add_argument("--references", required=True, help="store of stage 7")
    parser.add_argument("--output", required=True, help="system directory")
    parser.add_argument("--exp", help="audiollm: experiment of stage 9")
    parser.add_argument(
        "--checkpoint", default="valid.loss.ave.pth", help="audiollm: file in --exp"
    )
    parser.add_argument("--hyp", help="cascade: transcripts of stage 6")
    parser.add_argument("--beam", type=int, default=1, help="1: greedy; the paper: 10")
    parser.add_argument("--max_tokens_factor", type=float, default=4.0)
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--num_embeddings", type=int, default=6, help="utterances whose embeddings are kept"
    )
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    check_options(args)
    from ..data.kaldi_dir import load_utterances
    from ..data.responses import check_origin, read_responses
    from ..infer import system_dir

    utterances = load_utterances(args.data)
    references = read_responses(args.references)
    check_references(args, utterances, references)
    texts = prompt_texts(args, utterances)
    output = Path(args.output)
    system_dir.begin(output)
    model, llm = load_models(args)
    check_origin(args.references, llm.fingerprint, llm.chat_template_hash, args.system_prompt)
    system_dir.write_answers(output, ask(args, llm, model, utterances, texts, references))
    if args.system == "cascade":
        system_dir.write_transcripts(output, texts)
    if model is not None:
        few = utterances[: args.num_embeddings]
        system_dir.write_embeddings(output, model, few, args.system_prompt, args.device)
    system_dir.finish(output, about(args, utterances, texts))
    return 0


def check_options(args: argparse.Namespace) -> None:
    needed = {"cascade": "hyp", "audiollm": "exp"}.get(args.system)
    if needed and getattr(args, needed) is None:
        raise ValueError(f"--system {args.system} needs --{needed}")


def check_references(args, utterances, references) -> None:
    missing = [utt.id for utt in utterances if utt.id not in references]
    if missing:
        raise ValueError(
            f"{args.references}: {len(missing)} of {len(utterances)} utterances have no response "
            f"(first: {missing[0]}); rerun stage 7"
        )


def load_models(args):
    """The AudioLLM (or None) and the LLM. The AudioLLM was trained with a system prompt of its own,
    which takes the place of --system_prompt."""
    from ..model import llm as llms

    if args.system != "audiollm":
        return None, llms.load(args.llm, args.chat_template, args.dtype, args.device)
    from ..tasks.audiollm import AudioLLMTask
    from ..tasks.loading import load_weights, read_config

    config = read_config(args.exp)
    template = args.chat_template or config.chat_template
    llm = llms.load(args.llm, template, args.dtype, args.device)
    config.train_data_path_and_name_and_type = config.valid_data_path_and_name_and_type = None
    model = AudioLLMTask.build_model(config, llm).to(args.device)
    load_weights(model, Path(args.exp) / args.checkpoint, args.device)
    args.system_prompt = config.system_prompt
    return model, llm


def prompt_texts(args, utterances) -> dict[str, str]:
    """What each system reads as {id: text}; nothing for AudioLLM, which hears."""
    if args.system == "audiollm":
        return {}
    if args.system == "no_prompt":
        return {utt.id: "" for utt in utterances}
    if args.system == "reference":
        return {utt.id: utt.text or "" for utt in utterances}
    from ..data.kaldi_dir import read_dict

    hyps = read_dict(args.hyp)
    missing = [utt.id for utt in utterances if utt.id not in hyps]
    if missing or len(hyps) != len(utterances):
        raise ValueError(
            f"{args.hyp} has {len(hyps)} transcripts for {len(utterances)} utterances "
            f"({len(missing)} missing{', first: ' + missing[0] if missing else ''}): rerun stage 6"
        )
    return hyps


def ask(args, llm, model, utterances, texts, references) -> list:
    """The answers of the system to all utterances."""
    from ..infer.respond import answers, audio_prompts, text_prompts
    from ..progress import progress

    if model is not None:
        prompts = audio_prompts(model, utterances, args.batch_seconds, args.device)
    else:
        prompts = text_prompts(llm, texts, args.system_prompt)
    batches = answers(
        llm,
        prompts,
        references,
        lambda id_: texts.get(id_, ""),
        args.max_tokens_factor,
        args.beam,
    )
    shown = progress(batches, len(utterances), f"respond ({args.system})", size=len)
    return [answer for batch in shown for answer in batch]


def about(args, utterances, texts):
    from ..infer.system_dir import About
    from ..score.wer import word_errors

    wer = None
    if args.system in ("reference", "cascade"):
        wer = word_errors({u.id: u.text for u in utterances}, texts).rate
    where = f" ({Path(args.exp or args.hyp).name})" if args.exp or args.hyp else ""
    label = args.label or f"{args.system}{where}"
    return About(args.system, label, wer, Path(args.data).resolve().name, args.beam)


if __name__ == "__main__":
    sys.exit(main())
