"""Stage 6: hypotheses for a set's recordings from one CTC checkpoint, and their word error rate.

A set is a formatted data directory or a file of dialogues (espnet_audiollm/data/dialogues.py).
Greedy, or by a beam (--ctc_beam) with a language model (--lm_weight): n-grams of the recogniser's
tokens in an ARPA file (--lm_arpa), or the LLM (--llm) where the tokens are its own.

One process decodes several sets with several checkpoints: --run ends the options of each, and what
stands behind the last one is for all.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.dialogues import (
    count_recordings,
    has_transcripts,
    iter_recordings,
    recordings_state,
)
from ..store.parts import Parts, hash_files
from ..store.yaml_files import read_options
from ..text.arpa import arpa_order
from ..text.normalize import normalizer
from ..types import Utterance
from . import split
from .cli import new_parser, user_errors
from .several import parse_runs, whose

if TYPE_CHECKING:
    from espnet.nets.scorer_interface import BatchScorerInterface

TABLES = ("wav.scp", "text", "utt2dur", ".done")  # of a data directory; .done: of stage 2
SEARCH = (
    "ctc_beam",
    "lm_weight",
    "lm_arpa",
    "llm",
    "chat_template",
    "system_prompt",
)  # options of it
SECONDS = (2, 4, 6, 8, 10, 15)  # where the groups of utterance lengths meet


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--exp", required=True, help="experiment of stage 5, e.g. exp/ctc")
    parser.add_argument("--checkpoint", default="valid.loss.ave.pth", help="file in --exp")
    parser.add_argument("--data", required=True, help="e.g. dump/test, or a file of dialogues")
    parser.add_argument("--output", required=True, help="directory for hyp, wer.json, errors.txt")
    parser.add_argument("--bpemodel", help="SentencePiece model (the one trained with)")
    parser.add_argument("--normalizer", default="basic", help="form in which texts are compared")
    parser.add_argument("--batch_seconds", type=float, default=120.0, help="audio in one batch (s)")
    parser.add_argument("--ctc_beam", type=int, default=1, help="hypotheses kept (1: greedy)")
    parser.add_argument("--lm_weight", type=float, default=0.0, help="of the language model")
    parser.add_argument("--lm_arpa", help="the language model: ARPA file of the tokens' n-grams")
    parser.add_argument("--llm", help="the language model: Hugging Face id or directory")
    parser.add_argument("--chat_template", help="jinja file, when the LLM has none")
    parser.add_argument("--system_prompt", help="of the conversation that the LLM reads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Decode the sets, or this job's part of them."""
    wanted = parse_runs(get_parser(), sys.argv[1:] if argv is None else argv)
    several = len(wanted) > 1
    with split.named(wanted[0]):
        opened = []
        for args in wanted:
            with whose(args.output, several):
                split.check(args)
                check_search(args)
                normalizer(args.normalizer)
                opened.append((args, open_parts(args)))
        for args, parts in opened:
            with whose(args.output, several):
                if not args.merge:
                    recognise(args, parts)
                if split.merges(args):
                    merge(args, parts)
    return 0


def check_search(args: argparse.Namespace) -> None:
    """Errors (ValueError): a beam or a weight that cannot be; none or two language models for
    a weight, one without a weight; tokens that the LLM lacks."""
    if args.ctc_beam < 1:
        raise ValueError(f"--ctc_beam {args.ctc_beam}: give 1 (greedy) or more")
    if not 0 <= args.lm_weight < float("inf"):
        raise ValueError(f"--lm_weight {args.lm_weight}: give 0 (no language model) or more")
    if args.lm_arpa and not Path(args.lm_arpa).is_file():
        raise ValueError(f"--lm_arpa {args.lm_arpa} does not exist: give an ARPA file")
    if not args.lm_weight:
        if args.lm_arpa:
            raise ValueError(
                f"--lm_arpa {args.lm_arpa} does nothing without --lm_weight: give both"
            )
        return
    if bool(args.llm) == bool(args.lm_arpa):
        given = "and there are two, give one of" if args.llm else "the language model:"
        raise ValueError(f"--lm_weight {args.lm_weight:g} needs {given} --lm_arpa or --llm")
    if args.lm_arpa:
        return
    config = read_options(Path(args.exp) / "config.yaml", "give an experiment of stage 5")
    if (kind := config.get("token_type")) != "llm":
        raise ValueError(
            f"--lm_weight {args.lm_weight:g}: the tokens of {args.exp} are of the type {kind}, and "
            "the language model is the LLM, which scores only its own tokens: train the recogniser "
            "with --token_type llm, or give an n-gram model of its tokens (--lm_arpa)"
        )


def search_of(args: argparse.Namespace) -> dict:
    """What inputs.json says of the search; empty if it is greedy."""
    if args.ctc_beam == 1 and not args.lm_weight:
        return {}
    found: dict[str, object] = {"ctc_beam": args.ctc_beam, "lm_weight": args.lm_weight}
    if args.lm_arpa:
        found |= {"lm_order": arpa_order(args.lm_arpa), "contents": hash_files(args.lm_arpa)}
    elif args.lm_weight:
        from ..model.llm import weight_files

        found |= {name: getattr(args, name) for name in ("llm", "system_prompt")}
        found["weight_files"] = weight_files(args.llm)
    return found


def open_parts(args: argparse.Namespace) -> Parts:
    """The shards that belong to the contents of data, configuration, checkpoint and pieces."""
    exp, data = Path(args.exp), Path(args.data)
    files = [
        exp / "config.yaml",
        exp / args.checkpoint,
        *([args.bpemodel] if args.bpemodel else []),
    ]
    files += [data / name for name in TABLES] if data.is_dir() else [data]
    search = search_of(args)
    files += [args.chat_template] if "llm" in search and args.chat_template else []
    elsewhere = ("normalizer", *SEARCH)
    options = {name: value for name, value in split.options(args).items() if name not in elsewhere}
    inputs: dict[str, object] = {"options": options, "contents": hash_files(*files)}
    if not data.is_dir():
        inputs["recordings"] = recordings_state(data)
    inputs |= {"search": search} if search else {}
    made = ["hyp"] + ["errors.txt", "wer.json"] * has_transcripts(data)
    size = args.shard_size
    return Parts(args.output, inputs, count_recordings(data), ("id", "hyp"), 6, made, size)


def recognise(args: argparse.Namespace, parts: Parts) -> None:
    """Fill this job's shards."""
    if split.nothing_left(args, parts):
        return
    parts.begin()
    from ..infer.batches import audio_batches, audio_of, in_halves
    from ..infer.recognise import beam_search, load_recogniser

    search = beam_search(args.ctc_beam, args.lm_weight, partial(load_lm, args))
    run = load_recogniser(args.exp, args.checkpoint, args.bpemodel, args.device, search)
    plan = partial(audio_batches, seconds=args.batch_seconds)

    def answer(batch):
        rows = zip(batch, in_halves(run, batch), strict=True)
        return [{"id": utt.id, "hyp": text} for utt, text in rows]

    recordings = iter_recordings(args.data)
    for _ in split.fill(args, parts.shards, recordings, plan, answer, "ctc_decode", audio_of):
        pass


def load_lm(args: argparse.Namespace, token_list: list[str]) -> BatchScorerInterface:
    """The language model of a recogniser's tokens."""
    if args.lm_arpa:
        from ..infer.ngram_scorer import NGramScorer

        return NGramScorer(args.lm_arpa, token_list)
    from ..infer.beam_search import LLMScorer
    from ..model import llm as llms

    llm = llms.load(args.llm, args.chat_template, device=args.device)
    return LLMScorer(llm, token_list, args.system_prompt)


def merge(args: argparse.Namespace, parts: Parts) -> None:
    """hyp, wer.json and errors.txt from the shards; the word error rate on the screen."""
    from ..store.tables import write_table

    output = Path(args.output)
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        rows = ((record["id"], record["hyp"]) for record in parts.shards.records())
        write_table(output / "hyp", rows, presorted=True)
    if not parts.whole or read_wer(output).get("normalizer") != args.normalizer:
        write_wer(args, output)
    parts.finish()
    if wer := read_wer(output):
        words = f"{wer['errors']} / {wer['reference_words']}"
        print(f"{output}: WER {wer['wer']:.2f} % ({words}), normalizer {wer['normalizer']}")


def read_wer(output: Path) -> dict:
    """wer.json; empty where there is none."""
    path = output / "wer.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_wer(args: argparse.Namespace, output: Path) -> None:
    """wer.json and errors.txt, where there are references."""
    from ..data.kaldi_dir import read_dict
    from ..score.wer import write_aligned
    from ..store.atomic import atomic_write
    from ..store.json_files import write_json

    if not has_transcripts(args.data):  # these are of other data
        for name in ("wer.json", "errors.txt"):
            (output / name).unlink(missing_ok=True)
        return
    found = {each.id: each for each in iter_recordings(args.data)}
    texts = {id_: each.text or "" for id_, each in found.items()}
    hyps, form = read_dict(output / "hyp"), normalizer(args.normalizer)
    with atomic_write(output / "errors.txt") as out:
        write_aligned(out, texts, hyps, form)
    write_json(output / "wer.json", counts(args, found, hyps))


def counts(args: argparse.Namespace, found: dict[str, Utterance], hyps: dict[str, str]) -> dict:
    """What wer.json says: errors of words, in all and by groups, and of characters."""
    from ..score import wer

    form = normalizer(args.normalizer)
    texts = {id_: each.text or "" for id_, each in found.items()}
    each = wer.utterance_errors(texts, hyps, form)
    made = {
        "checkpoint": args.checkpoint,
        "normalizer": args.normalizer,
        "normalization": form.sentence,
        **wer.total(each.values()).as_dict(),
        "characters": wer.character_errors(texts, hyps, form).as_dict(),
    }
    if all(utt.speaker for utt in found.values()):
        speakers = wer.group(each, {id_: utt.speaker for id_, utt in found.items()})
        made["by_speaker"] = {name: errors.as_dict() for name, errors in sorted(speakers.items())}
    seconds = {id_: utt.duration for id_, utt in found.items() if utt.duration is not None}
    if len(seconds) == len(found):
        groups = wer.group_by_length(each, seconds, SECONDS)
        made["by_seconds"] = {label: errors.as_dict() for label, errors in groups}
    return made


if __name__ == "__main__":
    sys.exit(main())
