"""ESPnet task of stages 4 and 5: CTC pretraining of the speech encoder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from espnet2.utils.types import str2bool, str_or_none

from ..data.recordings import read_list
from ..model.ctc import CTCESPnetModel
from ..text.tokens import TOKEN_TYPES, Tokenizer, read_token_list
from ..types import SAMPLE_RATE
from .base import SpeechTask
from .choices import (
    add_speech_encoder_arguments,
    build_speech_encoder,
)

SUBSAMPLING = 8  # the conformer's, where encoder_conf says nothing
SAMPLE = 2000  # utterances looked at before the training


class TokenIds:
    """Turns the transcript of a sample into token ids. Picklable, for data-loading workers."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, uid: str, data: dict) -> dict:
        """The sample with token ids (int64) as its text, where it has one. Of several recordings
        (`texts`) they lie end to end, `recording_tokens` says how many are each one's."""
        if "texts" in data:
            data = dict(data)
            rows = [self.tokenizer.ids(text) for text in read_list(data.pop("texts"))]
            counts = np.array([len(row) for row in rows], dtype=np.int64)
            return {**data, "text": _array(sum(rows, [])), "recording_tokens": counts}
        return (
            {**data, "text": _array(self.tokenizer.ids(data["text"]))} if "text" in data else data
        )


def _array(ids: list[int]) -> np.ndarray:
    return np.array(ids, dtype=np.int64)


class CTCTask(SpeechTask):
    """Options, model and data of stages 4 and 5."""

    target = "text"
    tag = "--ctc_tag"
    target_padding = -1

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        required = parser.get_default("required")
        required += ["token_list"]
        group = parser.add_argument_group("CTC")
        group.add_argument("--token_list", type=str_or_none, help="tokens.txt of stage 3")
        group.add_argument("--token_type", choices=TOKEN_TYPES, default="bpe")
        group.add_argument(
            "--bpemodel",
            type=str_or_none,
            help="bpe: bpe.model of stage 3; llm: its tokenizer.json",
        )
        group.add_argument("--use_preprocessor", type=str2bool, default=True)
        add_speech_encoder_arguments(parser)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """Text to token ids. ValueError: see `check_lengths`."""
        if train and args.encoder == "conformer":
            subsampling = args.encoder_conf.get("subsampling", SUBSAMPLING)
            check_lengths(args.train_shape_file or (), 10 * subsampling)
        return TokenIds(tokenizer(args))

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> CTCESPnetModel:
        """The model of `args`, which gets the tokens themselves in place of their file."""
        args.token_list = _token_list(args)
        return CTCESPnetModel(build_speech_encoder(args), args.token_list)


def tokenizer(args: argparse.Namespace, bpemodel: str | None = None) -> Tokenizer:
    """Of an experiment's configuration; bpemodel: where its model lies now."""
    return Tokenizer(args.token_type, _token_list(args), bpemodel or args.bpemodel)


def check_lengths(shape_files: Sequence[str], frame_ms: float) -> None:
    """Refuse (ValueError) tokens that are too small for the encoder's frames.

    CTC cannot align more tokens than frames, and learns nothing from such an utterance. Of the
    first ones of the training set more than half may not be so.

    shape_files: of speech (samples) and text (tokens), as stage 4 writes them; else nothing is
    looked at."""
    if len(shape_files) != 2:
        return
    with open(shape_files[0]) as speech, open(shape_files[1]) as text:
        rows = [(a.split(), b.split()) for a, b in islice(zip(speech, text, strict=False), SAMPLE)]
    lengths = [
        (id_, int(tokens), int(1000 * int(samples) / SAMPLE_RATE / frame_ms))
        for (id_, samples), (_, tokens) in rows
    ]
    bad = [(id_, tokens, frames) for id_, tokens, frames in lengths if tokens > frames]
    if 2 * len(bad) > len(lengths):
        id_, tokens, frames = bad[0]
        raise ValueError(
            f"{len(bad)} of the first {len(lengths)} utterances of {shape_files[1]} have more "
            f"tokens than the encoder has frames of {frame_ms:g} ms (first: {id_}, {tokens} "
            f"tokens, {frames} frames), and CTC learns nothing from these: set a smaller "
            "subsampling in encoder_conf (4 or 2), or take larger tokens (--token_type bpe, "
            "--vocab_size)"
        )


def _token_list(args: argparse.Namespace) -> list[str]:
    """The tokens: config.yaml holds them, the command line names their file."""
    if isinstance(args.token_list, str | Path):
        return read_token_list(args.token_list)
    return list(args.token_list)
