"""Stage 10: what one system answers on a test set, and the nats of the reference responses.

reference: the transcript as prompt. cascade: a recogniser's transcript (--hyp). no_prompt: an empty
prompt. audiollm: the audio itself (--exp, --checkpoint).
"""

from __future__ import annotations

import argparse
import json
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

    utterances = load_utterances(args.data)
    references = read_responses(args.references)
    check_references(args, utterances, references)
    output = Path(args.output)
    (output / "system.json").unlink(missing_ok=True)  # written last: its presence means whole
    if args.system == "audiollm":
        texts, model = {}, load_audiollm(args)
        llm = model.llm
    else:
        from ..model import llm as llms

        texts, model = prompt_texts(args, utterances), None
        llm = llms.load(args.llm, args.chat_template, args.dtype, args.device)
    check_origin(args.references, llm.fingerprint, llm.chat_template_hash, args.system_prompt)
    write_answers(args, llm, model, utterances, texts, references)
    if model is not None:
        write_embeddings(args, model, utterances[: args.num_embeddings])
    write_about(args, utterances, texts)
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


def load_audiollm(args):
    from ..model import llm as llms
    from ..tasks.audiollm import AudioLLMTask
    from ..tasks.loading import load_weights, read_config

    config = read_config(args.exp)
    template = args.chat_template or config.chat_template
    llm = llms.load(args.llm, template, args.dtype, args.device)
    model = AudioLLMTask.build_model(config, llm).to(args.device)
    load_weights(model, Path(args.exp) / args.checkpoint, args.device)
    args.system_prompt = config.system_prompt
    return model


def prompt_texts(args, utterances) -> dict[str, str]:
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


def write_answers(args, llm, model, utterances, texts, references) -> None:
    from ..atomic import atomic_write
    from ..data.kaldi_dir import write_table
    from ..data.responses import to_json
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
    done = [
        answer
        for batch in progress(batches, len(utterances), f"respond ({args.system})", size=len)
        for answer in batch
    ]
    output = Path(args.output)
    done.sort(key=lambda answer: answer.response.id)
    with atomic_write(output / "responses.jsonl") as out:
        out.writelines(to_json(answer.response) + "\n" for answer in done)
    rows = ((a.response.id, f"{a.reference_nats:.6f} {a.reference_tokens}") for a in done)
    write_table(output / "nats", rows)
    if args.system == "cascade":
        write_table(output / "hyp", texts.items())


def write_embeddings(args, model, utterances) -> None:
    import numpy as np

    from ..atomic import atomic_write
    from ..infer.respond import audio_and_text_embeddings

    arrays = {}
    for utt in utterances:
        audio_PD, text_TD, tokens = audio_and_text_embeddings(
            model, utt, args.system_prompt, args.device
        )
        arrays[f"{utt.id}/audio"] = audio_PD.float().cpu().numpy()
        arrays[f"{utt.id}/text"] = text_TD.float().cpu().numpy()
        arrays[f"{utt.id}/tokens"] = np.array(tokens)
    with atomic_write(Path(args.output) / "embeddings.npz", "wb") as out:
        np.savez(out, **arrays)


def write_about(args, utterances, texts) -> None:
    from ..atomic import atomic_write
    from ..score.wer import word_errors

    wer = None
    if args.system in ("reference", "cascade"):
        wer = word_errors({u.id: u.text for u in utterances}, texts).rate
    where = f" ({Path(args.exp or args.hyp).name})" if args.exp or args.hyp else ""
    about = {
        "name": args.system,
        "label": args.label or f"{args.system}{where}",
        "prompt_wer": wer,
        "test_set": Path(args.data).resolve().name,
        "beam": args.beam,
    }
    with atomic_write(Path(args.output) / "system.json") as out:
        json.dump(about, out, indent=2)


if __name__ == "__main__":
    sys.exit(main())
