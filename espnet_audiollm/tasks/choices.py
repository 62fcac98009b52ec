"""The speech encoder's parts by name: `--encoder conformer --encoder_conf output_size=144`.

ESPnet's own classes are reached by their ESPnet names, those that run here. Each is imported only
when it is named: importing all of them (`espnet2.tasks.asr`) takes 13 s and tries to fetch
dictionaries.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str_or_none

from ..model.speech_encoder import SpeechEncoder

PRETRAINED = "pretrained"
PARTS = ("frontend", "specaug", "normalize", "encoder")  # of which CTC and alignment have the same

FRONTENDS = {
    "fbank": "espnet_audiollm.model.frontend:Filterbank",
    "default": "espnet2.asr.frontend.default:DefaultFrontend",
}
AUGMENTATIONS = {"noise": "espnet_audiollm.model.augmentation:NoiseAugment"}
SPECAUGS = {"specaug": "espnet2.asr.specaug.specaug:SpecAug"}
NORMALIZERS = {
    "global_mvn": "espnet2.layers.global_mvn:GlobalMVN",
    "utterance_mvn": "espnet_audiollm.model.normalize:UtteranceMVN",
}
ENCODERS = {
    "conformer": "espnet_audiollm.model.conformer:ConformerEncoder",
    PRETRAINED: "espnet_audiollm.model.pretrained_encoder:PretrainedEncoder",
    "espnet_conformer": "espnet2.asr.encoder.conformer_encoder:ConformerEncoder",
    "branchformer": "espnet2.asr.encoder.branchformer_encoder:BranchformerEncoder",
    "e_branchformer": "espnet2.asr.encoder.e_branchformer_encoder:EBranchformerEncoder",
    "transformer": "espnet2.asr.encoder.transformer_encoder:TransformerEncoder",
    "linear": "espnet2.asr.encoder.linear_encoder:LinearEncoder",
}


def get_class(table: dict[str, str], option: str, name: str | None) -> type | None:
    """The class called `name`; None for None. ValueError: unknown, with what there is."""
    if name is None:
        return None
    if name not in table:
        raise ValueError(f"--{option} {name}: unknown; choose one of {', '.join(table)}")
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)


def build_part(option: str, cls: type, conf: dict, **given: object) -> Any:
    """`cls(**given, **conf)`; a wrong option name is an error that names it."""
    try:
        return cls(**given, **conf)
    except TypeError as error:
        raise ValueError(f"--{option}_conf {conf}: {error}") from error


def add_choice(
    group: argparse._ArgumentGroup, option: str, table: Mapping, default: str | None
) -> None:
    """Add --<option>, a name of `table`, and --<option>_conf."""
    group.add_argument(
        f"--{option}",
        type=str_or_none,
        default=default,
        help=f"One of: {', '.join(table)}",
    )
    group.add_argument(
        f"--{option}_conf", action=NestedDictAction, default={}, help=f"Options of the {option}"
    )


def add_speech_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every part of the speech encoder."""
    group = parser.add_argument_group("Speech encoder")
    add_choice(group, "augment", AUGMENTATIONS, None)
    add_choice(group, "frontend", FRONTENDS, "fbank")
    add_choice(group, "specaug", SPECAUGS, None)
    add_choice(group, "normalize", NORMALIZERS, "utterance_mvn")
    add_choice(group, "encoder", ENCODERS, "conformer")
    group.add_argument(
        "--model_conf", action=NestedDictAction, default=None, help="Set by the task itself"
    )


def prepare_statistics(args: argparse.Namespace) -> None:
    """What `--collect_stats` has to build: nothing, when only lengths are wanted.

    Only `global_mvn` reads statistics of the features. They are collected before it: the model is
    built without it, since its file is what is being made."""
    if not args.collect_stats:
        return
    if args.normalize == "global_mvn":
        args.normalize = None
    else:
        args.model_conf = {"extract_feats_in_collect_stats": False}


def build_speech_encoder(args: argparse.Namespace) -> SpeechEncoder:
    """The speech encoder that the options describe.

    ValueError: a name or an option that is not known; parts before a pretrained encoder, which
    reads samples."""

    def part(option: str, table: dict[str, str], **given: object) -> Any:
        name = getattr(args, option, None)  # an older experiment has no `augment`
        cls = get_class(table, option, name)
        return cls and build_part(option, cls, getattr(args, f"{option}_conf"), **given)

    frontend = part("frontend", FRONTENDS)
    if args.encoder is None:
        raise ValueError(f"--encoder none: choose one of {', '.join(ENCODERS)}")
    before = [f"--{name} none" for name in PARTS[:-1] if getattr(args, name)]
    if args.encoder == PRETRAINED and before:
        raise ValueError(f"--encoder {PRETRAINED} reads samples: give it {', '.join(before)}")
    width = {"input_size": frontend.output_size()} if frontend else {}
    return SpeechEncoder(
        frontend=frontend,
        specaug=part("specaug", SPECAUGS),
        normalize=part("normalize", NORMALIZERS),
        encoder=part("encoder", ENCODERS, **width),
        augment=part("augment", AUGMENTATIONS),
    )
