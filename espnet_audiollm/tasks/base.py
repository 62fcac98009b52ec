"""What the ESPnet tasks have in common."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from espnet2.tasks.abs_task import AbsTask, IteratorOptions, optim_classes
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.train.distributed_utils import DistributedOption

from ..data.drawn_batches import Draw
from ..data.position_bound import PositionBound
from ..train import checkpoints, identity, iterators, muon, supervision
from ..train.trainer import AudioTrainer
from .choices import prepare_statistics

optim_classes["muon"] = muon.Muon  # beside ESPnet's


class SpeechTask(AbsTask):
    """Speech and one target; `target` is its data name, `target_padding` fills its batches."""

    num_optimizers = 1
    class_choices_list: list = []
    trainer = AudioTrainer
    target: str
    target_padding: int
    matrices = muon.MATRICES  # the part whose matrices `--optim muon` moves
    tag: str  # the recipe's option that gives a training a directory of its own

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """ESPnet's options and the task's own; a mistake is a ValueError."""
        parser = super().get_parser()
        parser.error = refuse
        return parser

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Train with `args`, or with the options of the command line `cmd`."""
        args = args or cls.get_parser().parse_args(cmd)
        cls.set_up(args)
        take_place(args)
        super().main(args=args)

    @classmethod
    def set_up(cls, args: argparse.Namespace) -> None:
        """Check the task's own options, and set those that it finds out from its data."""

    @classmethod
    def check_required_command_args(cls, args: argparse.Namespace) -> None:
        """ValueError: a required option has no value."""
        missing = [f"--{name}" for name in args.required if getattr(args, name) is None]
        if missing:
            refuse(f"the following arguments are required: {', '.join(missing)}")

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """One process's training."""
        prepare_statistics(args)
        for init in args.init_param:  # ESPnet unpickles these files: first see that they are safe
            checkpoints.load(Path(init.split(":")[0]))
        if supervision.rank() == 0 and not args.collect_stats:
            identity.check(args, cls.tag)
        super().main_worker(args)

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """ESPnet's; `muon` is for the matrices inside `cls.matrices`, with AdamW for all else."""
        if args.optim != "muon":
            return super().build_optimizers(args, model)
        return [muon.Muon(muon.groups(model.named_parameters(), cls.matrices), **args.optim_conf)]

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Samples to a batch: speech is padded with 0, the target with `target_padding`."""
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=cls.target_padding)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        """What is done to each sample (None: nothing)."""
        return None

    @classmethod
    def build_iter_options(
        cls, args: argparse.Namespace, distributed_option: DistributedOption, mode: str
    ) -> IteratorOptions:
        """ESPnet's; ValueError: options that our batches do not have."""
        iterators.check_options(args)
        return super().build_iter_options(args, distributed_option, mode)

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> iterators.BatchIterFactory:
        """The batches of the mode ("train" or "valid")."""
        return iterators.build(cls, args, iter_options, mode)

    @classmethod
    def draw(cls, args: argparse.Namespace, mode: str) -> Draw | None:
        """How the examples of an epoch are drawn (None: each epoch has all of them)."""
        return None

    @classmethod
    def position_bound(
        cls, args: argparse.Namespace, options: IteratorOptions
    ) -> PositionBound | None:
        """How many positions of an LLM a batch of these data may have (None: any number)."""
        return None

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of what a sample must have."""
        return ("speech",) if inference else ("speech", cls.target)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Nothing else is read."""
        return ()


def refuse(message: str) -> NoReturn:
    """Instead of ESPnet's and argparse's way, which every rank would go: usage, then exit."""
    raise ValueError(f"{message} (--help lists all options)")


def take_place(args: argparse.Namespace) -> None:
    """One process for each GPU, or for a share of the processors: torchrun started them, and ESPnet
    reads their ranks from its environment. `--ngpu` is a node's."""
    if args.multiprocessing_distributed:
        raise ValueError(
            "--multiprocessing_distributed: processes are started by utils/launch.py --num_procs N"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os.environ.setdefault("NCCL_DEBUG", "WARN")  # ESPnet's choice fills the log
        args.dist_backend = "nccl" if args.ngpu > 0 else "gloo"
        if args.ngpu == 0:  # ESPnet counts the GPUs named there, of which it uses none
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(["-1"] * int(os.environ["WORLD_SIZE"]))
        args.ngpu = min(args.ngpu, 1)
    elif args.ngpu > 1:
        raise ValueError(
            f"--ngpu {args.ngpu}: a process drives one GPU; "
            f"let utils/launch.py --num_procs {args.ngpu} start them"
        )
