"""ESPnet task of a discrete speech LM: examples of bin/prepare_tasks, an LLM of bin/extend_llm."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str2bool, str_or_none

from ..data.drawn_batches import Draw
from ..data.kaldi_dir import existing
from ..data.task_examples import LENGTHS, PROMPTS, RESPONSES, read_about
from ..data.unit_tokens import UnitVocabulary, read_vocabulary, unit_names
from ..model import llm as llms
from ..model.dropout import drop_in_layers
from ..model.recompute import recompute_layers
from ..model.speechlm import SpeechLMESPnetModel
from ..model.tuning import Tuning
from .base import SpeechTask
from .choices import build_part

STARTS = ("llm", "scratch")
TRAINED = ("all", "lora", "rows")
SPLITS = ("train", "valid")


class SpeechLMTask(SpeechTask):
    """Options, model and data of the training of a speech LM."""

    target = "response"
    tag = "--lm_tag"
    matrices = "model.model.layers"
    target_padding = 0

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook."""
        required = parser.get_default("required")
        required += ["llm", "train_tasks", "valid_tasks"]
        add = parser.add_argument_group("Speech LM").add_argument
        add("--llm", type=str_or_none, help="directory of bin/extend_llm, e.g. exp/joint")
        for split in SPLITS:
            add(f"--{split}_tasks", type=str_or_none, help="directory of bin/prepare_tasks")
        add(
            "--epoch_examples",
            type=int,
            help="examples of an epoch, dealt out by the tasks' weights (default: as many as are)",
        )
        add("--init", choices=STARTS, default="llm", help="scratch: random weights, same shape")
        add("--trained", choices=TRAINED, default="all", help="rows: those of the units alone")
        add(
            "--tuning_conf",
            action=NestedDictAction,
            default={},
            help="Of LoRA: lora_rank, lora_alpha, lora_dropout, lora_targets, seed",
        )
        add(
            "--llm_dropout",
            type=float,
            default=0.0,
            help="Of what each attention and feed-forward network adds (AudioPaLM: 0.1)",
        )
        add("--packed", type=str2bool, default=True, help="No padding inside the LLM")
        add(
            "--llm_activation_checkpointing",
            type=str2bool,
            default=False,
            help="Compute activations again in the backward pass: less memory, more time",
        )

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Train with `args`, or with the options of the command line `cmd`."""
        args = args or cls.get_parser().parse_args(cmd)
        cls.check_required_command_args(args)
        set_data(args)
        super().main(args=args)

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of what a sample must have."""
        return ("prompt", "response")

    @classmethod
    def draw(cls, args: argparse.Namespace, mode: str) -> Draw | None:
        """Training draws by weight, validation goes through every task by itself."""
        about = read_about(getattr(args, "train_tasks" if mode == "train" else "valid_tasks"))
        sizes = tuple(block.size for block in about.blocks)
        if mode != "train":
            return Draw(sizes, apart=True)
        return Draw(sizes, about.alpha, args.seed, args.epoch_examples)

    @classmethod
    def build_model(
        cls, args: argparse.Namespace, llm: llms.LLM | None = None
    ) -> SpeechLMESPnetModel:
        """The model of `args`. llm: as it is in --llm (None: it is loaded).

        Errors (ValueError): options that do not go together, an LLM without units."""
        vocabulary = read_vocabulary(args.llm)
        tuning = build_tuning(args, vocabulary)
        llm = llm or llms.load(args.llm, dtype="float32")
        if args.init == "scratch":
            llm = llms.at_random(llm, args.seed)
        llms.tune_loaded(llm, tuning)
        if args.llm_dropout:
            drop_in_layers(llm.model, args.llm_dropout)
        if args.llm_activation_checkpointing:
            recompute_layers(llm.model)
        return SpeechLMESPnetModel(llm, made_of(llm, vocabulary), args.packed)


def made_of(llm: llms.LLM, vocabulary: UnitVocabulary) -> dict[str, str]:
    """What a checkpoint says of itself. The fingerprint is that of --llm, before it was tuned."""
    made = {"llm": llm.fingerprint, "quantiser": vocabulary.input.quantiser}
    if len(vocabulary.sets) > 1:
        made["output_quantiser"] = vocabulary.output.quantiser
    return made


def build_tuning(args: argparse.Namespace, vocabulary: UnitVocabulary) -> Tuning:
    """What of the LLM is trained.

    Errors (ValueError): an option that does not exist; frozen weights that are random."""
    if args.init == "scratch" and args.trained != "all":
        raise ValueError(
            f"--init scratch --trained {args.trained}: random weights would stay as they are; "
            "train all, or begin with the LLM (--init llm)"
        )
    conf = {key: tuple(v) if isinstance(v, list) else v for key, v in args.tuning_conf.items()}
    names = unit_names(vocabulary.size)
    return build_part("tuning", Tuning, conf, train=args.trained, added_tokens=names)


def set_data(args: argparse.Namespace) -> None:
    """The tables that ESPnet reads, from the directories of examples.

    Errors (ValueError): no examples there; examples of another vocabulary than the LLM's; options
    that a mixture does not have."""
    if args.collect_stats:
        raise ValueError("--collect_stats true: bin/prepare_tasks has counted, leave it out")
    if args.num_iters_per_epoch is not None:
        raise ValueError(
            f"--num_iters_per_epoch {args.num_iters_per_epoch}: a mixture's epoch is measured in "
            "examples, use --epoch_examples"
        )
    if args.epoch_examples is not None and args.epoch_examples < 1:
        raise ValueError(f"--epoch_examples {args.epoch_examples}: at least 1")
    vocabulary = read_vocabulary(args.llm)
    for split in SPLITS:
        tasks = Path(getattr(args, f"{split}_tasks"))
        read_about(tasks).check_vocabulary(vocabulary, tasks, args.llm)
        tables = {"prompt": PROMPTS, "response": RESPONSES}
        rows = [(str(existing(tasks / file)), name, "text_int") for name, file in tables.items()]
        setattr(args, f"{split}_data_path_and_name_and_type", rows)
        setattr(args, f"{split}_shape_file", [str(existing(tasks / LENGTHS))])
