"""What the two ESPnet tasks have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from espnet2.tasks.abs_task import AbsTask
from espnet2.train.collate_fn import CommonCollateFn

from . import checkpoints, iterators
from .choices import prepare_statistics
from .trainer import AudioTrainer


class SpeechTask(AbsTask):
    """Speech and one target; `target` is its data name, `target_padding` fills its batches."""

    num_optimizers = 1
    class_choices_list = []
    trainer = AudioTrainer
    target: str
    target_padding: int

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        prepare_statistics(args)
        for init in args.init_param:  # ESPnet unpickles these files: first see that they are safe
            checkpoints.load(Path(init.split(":")[0]))
        super().main_worker(args)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=cls.target_padding)

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable | None:
        return None

    @classmethod
    def build_iter_options(cls, args: argparse.Namespace, distributed_option, mode: str):
        iterators.check_options(args)
        return super().build_iter_options(args, distributed_option, mode)

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options, mode: str
    ) -> iterators.BatchIterFactory:
        return iterators.build(cls, args, iter_options, mode)

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ("speech",) if inference else ("speech", cls.target)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ()
