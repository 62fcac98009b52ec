"""ESPnet task of bin/bestrq_train: the speech encoder learns from audio without transcripts."""

from __future__ import annotations

import argparse
from pathlib import Path

from espnet2.utils.nested_dict_action import NestedDictAction

from ..model.bestrq import BestRQESPnetModel
from ..model.conformer import ConformerEncoder
from ..model.frontend import Filterbank
from ..model.random_quantiser import RandomQuantiser
from . import directories
from .base import SpeechTask
from .choices import add_speech_encoder_arguments, build_part, build_speech_encoder

KINDS = ("data",)


class BestRQTask(SpeechTask):
    """Options, model and data of BEST-RQ."""

    target = "speech"  # audio is all there is
    target_padding = 0
    tag = "--output_dir"

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        directories.add_arguments(parser, KINDS)
        group = parser.add_argument_group("BEST-RQ")
        for name, what in (
            ("quantiser", "the random quantiser: codebooks, codes, width, seed"),
            ("mask", "the masks: mask_prob, mask_frames, noise"),
        ):
            group.add_argument(
                f"--{name}_conf", action=NestedDictAction, default={}, help=f"Options of {what}"
            )
        add_speech_encoder_arguments(parser)

    @classmethod
    def set_up(cls, args: argparse.Namespace) -> None:
        """The data, from the directories that are given.

        Errors (ValueError): directories or tables that are missing."""
        directories.check_given(args, KINDS)
        for split in directories.SPLITS:
            data = Path(getattr(args, f"{split}_data"))
            directories.set_tables(args, split, {"speech": (data / "wav.scp", "sound")})

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of what a sample must have."""
        return ("speech",)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> BestRQESPnetModel:
        """The model of `args`.

        ValueError: an option that is not known; SpecAugment or noise beside the masks; another
        encoder than our conformer behind `fbank`."""
        for name in ("augment", "specaug"):
            if getattr(args, name):
                raise ValueError(
                    f"--{name} {getattr(args, name)}: BEST-RQ has masks of its own, leave it out"
                )
        speech_encoder = build_speech_encoder(args)
        encoder, frontend = speech_encoder.encoder, speech_encoder.frontend
        if not isinstance(encoder, ConformerEncoder) or not isinstance(frontend, Filterbank):
            raise ValueError(
                f"--encoder {args.encoder} with --frontend {args.frontend}: BEST-RQ trains our "
                "conformer, give --encoder conformer --frontend fbank"
            )
        sizes = {"bands": frontend.n_mels, "subsampling": encoder.subsampling}
        quantiser = build_part("quantiser", RandomQuantiser, args.quantiser_conf, **sizes)
        parts = {"speech_encoder": speech_encoder, "quantiser": quantiser}
        return build_part("mask", BestRQESPnetModel, args.mask_conf, **parts)
