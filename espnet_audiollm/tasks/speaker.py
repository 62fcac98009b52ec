"""ESPnet task of bin/speaker_train: a speaker encoder learns from recordings with utt2spk."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from espnet2.utils.nested_dict_action import NestedDictAction

from ..model.speaker_encoder import AngularMargin, SpeakerEncoder, SpeakerESPnetModel
from . import directories
from .base import SpeechTask
from .choices import build_part

KINDS = ("data",)
ELSEWHERE = (
    "validate on other recordings of the training's speakers (utils/data/subset.py), and test "
    "unseen ones with bin/speaker_verify"
)


class SpeakerTask(SpeechTask):
    """Options, model and data of the speaker encoder."""

    target = "speaker"
    target_padding = 0
    matrices = "encoder"
    tag = "--output_dir"

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        directories.add_arguments(parser, KINDS)
        group = parser.add_argument_group("Speaker encoder")
        group.add_argument(
            "--crop_seconds", type=float, default=2.0, help="of each recording in training (s)"
        )
        for name, what in (
            ("speaker_encoder", "the encoder: channels, groups, blocks, pooled, width, stride"),
            ("margin", "the loss: margin (radians), scale"),
        ):
            group.add_argument(
                f"--{name}_conf", action=NestedDictAction, default={}, help=f"Options of {what}"
            )
        directories.add_set_by_task(parser, {})
        group.add_argument("--speakers", nargs="*", default=[], help="Set by the task")

    @classmethod
    def set_up(cls, args: argparse.Namespace) -> None:
        """The data and the speakers, from the directories that are given.

        Errors (ValueError): directories or tables that are missing; a single speaker; a speaker of
        the validation that the training does not have."""
        directories.check_given(args, KINDS)
        args.speakers = directories.speakers_of(args.train_data)
        if len(args.speakers) < 2:
            raise ValueError(
                f"{args.train_data}/utt2spk has {len(args.speakers)} speakers (first: "
                f"{''.join(args.speakers[:1]) or 'none'}): to tell speakers apart takes at least "
                "2, better hundreds"
            )
        directories.check_speakers(args.valid_data, args.speakers, ELSEWHERE)
        for split in directories.SPLITS:
            data = Path(getattr(args, f"{split}_data"))
            tables = {"speech": (data / "wav.scp", "sound"), "speaker": (data / "utt2spk", "text")}
            directories.set_tables(args, split, tables)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """Speakers as numbers."""
        return directories.SpeakerNumber(args.speakers)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> SpeakerESPnetModel:
        """The model of `args`. ValueError: an option of the parts that is not known."""
        encoder = build_part("speaker_encoder", SpeakerEncoder, args.speaker_encoder_conf)
        sizes = {"width": encoder.out[-1].out_features, "speakers": len(args.speakers)}
        head = build_part("margin", AngularMargin, args.margin_conf, **sizes)
        return SpeakerESPnetModel(encoder, head, args.crop_seconds)
