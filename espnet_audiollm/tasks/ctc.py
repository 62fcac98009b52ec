"""ESPnet task of stages 4 and 5: CTC pretraining of the speech encoder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from espnet2.utils.types import str2bool, str_or_none

from ..model.ctc import CTCESPnetModel
from .base import SpeechTask
from .choices import (
    add_speech_encoder_arguments,
    build_speech_encoder,
)
from .loading import read_token_list


class PieceIds:
    """Turns the transcript of a sample into piece ids. Picklable, for data-loading workers."""

    def __init__(self, bpemodel: str, token_list: list[str]):
        self.bpemodel, self.processor = bpemodel, None
        self.id_of = {piece: i for i, piece in enumerate(token_list)}

    def __call__(self, uid: str, data: dict) -> dict:
        if "text" not in data:
            return data
        if self.processor is None:
            from sentencepiece import SentencePieceProcessor

            self.processor = SentencePieceProcessor(model_file=self.bpemodel)
        unknown = self.id_of["<unk>"]
        pieces = self.processor.encode(data["text"], out_type=str)
        ids = [self.id_of.get(piece, unknown) for piece in pieces]
        return {**data, "text": np.array(ids, dtype=np.int64)}

    def __getstate__(self):
        return {**self.__dict__, "processor": None}


class CTCTask(SpeechTask):
    target = "text"
    target_padding = -1

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        required = parser.get_default("required")
        required += ["token_list", "bpemodel"]
        group = parser.add_argument_group("CTC")
        group.add_argument("--token_list", type=str_or_none, help="tokens.txt of stage 3")
        group.add_argument("--bpemodel", type=str_or_none, help="bpe.model of stage 3")
        group.add_argument("--use_preprocessor", type=str2bool, default=True)
        add_speech_encoder_arguments(parser)

    @classmethod
    def build_preprocess_fn(cls, args, train: bool) -> Callable | None:
        return PieceIds(args.bpemodel, _token_list(args))

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> CTCESPnetModel:
        args.token_list = _token_list(args)
        return CTCESPnetModel(build_speech_encoder(args), args.token_list)


def _token_list(args: argparse.Namespace) -> list[str]:
    """The pieces: config.yaml holds them, the command line names their file."""
    if isinstance(args.token_list, str | Path):
        return read_token_list(args.token_list)
    return list(args.token_list)
