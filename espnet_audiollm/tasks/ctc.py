"""ESPnet task of stages 4 and 5: CTC pretraining of the speech encoder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from espnet2.utils.types import str2bool, str_or_none

from ..model.ctc import CTCESPnetModel
from ..text.tokens import TOKEN_TYPES, Tokenizer, read_token_list
from .base import SpeechTask
from .choices import (
    add_speech_encoder_arguments,
    build_speech_encoder,
)


class TokenIds:
    """Turns the transcript of a sample into token ids. Picklable, for data-loading workers."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, uid: str, data: dict) -> dict:
        if "text" not in data:
            return data
        return {**data, "text": np.array(self.tokenizer.ids(data["text"]), dtype=np.int64)}


class CTCTask(SpeechTask):
    target = "text"
    target_padding = -1

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        required = parser.get_default("required")
        required += ["token_list"]
        group = parser.add_argument_group("CTC")
        group.add_argument("--token_list", type=str_or_none, help="tokens.txt of stage 3")
        group.add_argument("--token_type", choices=TOKEN_TYPES, default="bpe")
        group.add_argument("--bpemodel", type=str_or_none, help="bpe: bpe.model of stage 3")
        group.add_argument("--use_preprocessor", type=str2bool, default=True)
        add_speech_encoder_arguments(parser)

    @classmethod
    def build_preprocess_fn(cls, args, train: bool) -> Callable | None:
        return TokenIds(tokenizer(args))

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> CTCESPnetModel:
        args.token_list = _token_list(args)
        return CTCESPnetModel(build_speech_encoder(args), args.token_list)


def tokenizer(args: argparse.Namespace, bpemodel: str | None = None) -> Tokenizer:
    """Of an experiment's configuration; bpemodel: where its model lies now."""
    token_type = getattr(args, "token_type", "bpe")  # older configurations know pieces only
    return Tokenizer(token_type, _token_list(args), bpemodel or args.bpemodel)


def _token_list(args: argparse.Namespace) -> list[str]:
    """The tokens: config.yaml holds them, the command line names their file."""
    if isinstance(args.token_list, str | Path):
        return read_token_list(args.token_list)
    return list(args.token_list)
