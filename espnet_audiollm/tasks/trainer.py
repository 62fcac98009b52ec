"""ESPnet's training loop, with checkpoints that survive a kill.

`train_one_epoch` and `validate_one_epoch` are ESPnet's own. What is replaced is what surrounds
them: ESPnet saves twice an epoch in place, so that a kill during the save loses the only
checkpoint; unpickles what it loads; and scales losses under bfloat16, which needs no scaling.
On a processor with bfloat16 instructions, `--use_amp true` works without a GPU as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from espnet2.schedulers.abs_scheduler import AbsEpochStepScheduler, AbsValEpochStepScheduler
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from espnet2.train.reporter import Reporter
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass

from ..progress import progress
from . import checkpoints
from .loading import load_state

UNSUPPORTED = ("sharded_ddp", "use_adapter", "use_wandb")


@dataclass
class AudioTrainerOptions(TrainerOptions):
    keep_epochs: list[int] = field(default_factory=list)


class AudioTrainer(Trainer):
    """The trainer of both tasks."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--keep_epochs",
            type=int,
            nargs="*",
            default=[],
            help="Epochs whose checkpoints are kept beside the n best",
        )

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> AudioTrainerOptions:
        return build_dataclass(AudioTrainerOptions, args)

    @classmethod
    def run(
        cls,
        model,
        optimizers,
        schedulers,
        train_iter_factory,
        valid_iter_factory,
        plot_attention_iter_factory,
        trainer_options: AudioTrainerOptions,
        distributed_option,
    ) -> None:
        """Train up to `max_epoch`, resuming from `checkpoint.pth` where there is one."""
        options = trainer_options
        refused = [name for name in UNSUPPORTED if getattr(options, name)]
        if refused:
            raise ValueError(f"--{refused[0]} is not supported by this trainer")
        session = _Session(model, optimizers, schedulers, build_scaler(options), options)
        if options.resume:
            session.resume()
        is_main = not distributed_option.distributed or distributed_option.dist_rank == 0
        writers = tensorboard_writers(options) if is_main else (None, None)
        dp_model = wrap_autocast(wrap_distributed(model, options, distributed_option), options)
        reporter = session.reporter
        epochs = range(reporter.get_epoch() + 1, options.max_epoch + 1)
        if is_main:
            epochs = progress(epochs, len(epochs), "training", "epoch", every=0)
        for epoch in epochs:
            if stopped_early(reporter, options):
                break
            set_all_random_seed(options.seed + epoch)
            reporter.set_epoch(epoch)
            with reporter.observe("train") as sub_reporter:
                nothing_learned = cls.train_one_epoch(
                    model=dp_model,
                    optimizers=optimizers,
                    schedulers=schedulers,
                    iterator=train_iter_factory.build_iter(epoch),
                    reporter=sub_reporter,
                    scaler=session.scaler,
                    summary_writer=writers[0],
                    options=options,
                    distributed_option=distributed_option,
                )
            with reporter.observe("valid") as sub_reporter:
                cls.validate_one_epoch(
                    model=dp_model,
                    iterator=valid_iter_factory.build_iter(epoch),
                    reporter=sub_reporter,
                    options=options,
                    distributed_option=distributed_option,
                )
            step_schedulers(schedulers, reporter, options)
            if is_main:
                report(reporter, options, writers)
                session.save()
            if nothing_learned:
                raise ValueError(
                    f"every gradient of epoch {epoch} was infinite or not a number; "
                    "lower the learning rate, or look for broken audio"
                )
        if is_main:
            session.average()


@dataclass
class _Session:
    """What a checkpoint holds, and where it goes."""

    model: torch.nn.Module
    optimizers: list
    schedulers: list
    scaler: torch.amp.GradScaler | None
    options: AudioTrainerOptions
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def directory(self) -> Path:
        return Path(self.options.output_dir)

    @property
    def criteria(self) -> list[tuple[str, str, str]]:
        wanted = self.options.best_model_criterion
        return [(phase, key, mode) for phase, key, mode in wanted if self.reporter.has(phase, key)]

    @property
    def nbest(self) -> list[int]:
        keep = self.options.keep_nbest_models
        return [keep] if isinstance(keep, int) else list(keep) or [1]

    def resume(self) -> None:
        path = self.directory / "checkpoint.pth"
        if not path.exists():
            return
        device = "cuda" if self.options.ngpu > 0 else "cpu"
        states = checkpoints.load(path, map_location=device)
        load_state(self.model, states["model"], path)
        self.reporter.load_state_dict(states["reporter"])
        for optimizer, state in zip(self.optimizers, states["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for scheduler, state in zip(self.schedulers, states["schedulers"], strict=True):
            if scheduler is not None:
                scheduler.load_state_dict(state)
        if self.scaler is not None and states["scaler"] is not None:
            self.scaler.load_state_dict(states["scaler"])
        logging.info(f"Resumed after epoch {self.reporter.get_epoch()} from {path}")

    def save(self) -> None:
        """The epoch's weights first, `checkpoint.pth` after them, clean-up last."""
        epoch = self.reporter.get_epoch()
        weights = self.model.state_dict()
        checkpoints.save(weights, self.directory / f"{epoch}epoch.pth")
        checkpoints.save(
            {
                "model": weights,
                "reporter": plain(self.reporter.state_dict()),
                "optimizers": [o.state_dict() for o in self.optimizers],
                "schedulers": [s and s.state_dict() for s in self.schedulers],
                "scaler": self.scaler and self.scaler.state_dict(),
            },
            self.directory / "checkpoint.pth",
        )
        checkpoints.link(f"{epoch}epoch.pth", self.directory / "latest.pth")
        for phase, key, mode in self.criteria:
            if self.reporter.get_best_epoch(phase, key, mode) == epoch:
                checkpoints.link(f"{epoch}epoch.pth", self.directory / f"{phase}.{key}.best.pth")
                logging.info(f"Best {phase}.{key} so far: epoch {epoch}")
        self.prune(epoch)

    def prune(self, epoch: int) -> None:
        kept = {epoch, *self.options.keep_epochs}
        for phase, key, mode in self.criteria:
            kept.update(self.reporter.sort_epochs(phase, key, mode)[: max(self.nbest)])
        for old in range(1, epoch):
            if old not in kept:
                (self.directory / f"{old}epoch.pth").unlink(missing_ok=True)

    def average(self) -> None:
        for phase, key, mode in self.criteria:
            best = self.reporter.sort_epochs(phase, key, mode)
            for n in sorted(self.nbest):
                checkpoints.save_average(best[:n], self.directory, f"{phase}.{key}")


def build_scaler(options: TrainerOptions) -> torch.amp.GradScaler | None:
    """None without mixed precision on a GPU; a scaler that scales for float16 alone."""
    if not options.use_amp or options.ngpu == 0:
        return None
    return torch.cuda.amp.GradScaler(enabled=not torch.cuda.is_bf16_supported())


class CPUAutocast(torch.nn.Module):
    """bfloat16 on the CPU, for one forward pass at a time.

    Without the cache of cast weights: it lives until the outermost autocast is left, which may be
    after an update of the weights."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, **batch):
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            return self.module(**batch)


def wrap_autocast(model: torch.nn.Module, options: TrainerOptions) -> torch.nn.Module:
    """`CPUAutocast` when it is asked for and the processor has the instructions."""
    fast = options.use_amp and options.ngpu == 0 and torch.cpu._is_avx512_bf16_supported()
    return CPUAutocast(model) if fast else model


def wrap_distributed(model, options: TrainerOptions, distributed_option):
    """DistributedDataParallel where there are several processes.

    The LLM is no submodule: it is neither broadcast nor waited for."""
    if not distributed_option.distributed:
        return model
    devices = [torch.cuda.current_device()] if distributed_option.ngpu > 0 else None
    return torch.nn.parallel.DistributedDataParallel(
        model, device_ids=devices, find_unused_parameters=options.unused_parameters
    )


def tensorboard_writers(options: TrainerOptions):
    if not options.use_tensorboard:
        return None, None
    from torch.utils.tensorboard import SummaryWriter

    directory = Path(options.output_dir) / "tensorboard"
    return SummaryWriter(str(directory / "train")), SummaryWriter(str(directory / "valid"))


def step_schedulers(schedulers, reporter: Reporter, options: TrainerOptions) -> None:
    for scheduler in schedulers:
        if isinstance(scheduler, AbsValEpochStepScheduler):
            scheduler.step(reporter.get_value(*options.val_scheduler_criterion))
        elif isinstance(scheduler, AbsEpochStepScheduler):
            scheduler.step()


def report(reporter: Reporter, options: TrainerOptions, writers) -> None:
    logging.info(reporter.log_message())
    if options.use_matplotlib:
        reporter.matplotlib_plot(Path(options.output_dir) / "images")
    for phase, writer in zip(("train", "valid"), writers, strict=True):
        if writer is not None:
            reporter.tensorboard_add_scalar(writer, key1=phase)
            writer.flush()


def stopped_early(reporter: Reporter, options: TrainerOptions) -> bool:
    if options.patience is None or reporter.get_epoch() == 0:
        return False
    return reporter.check_early_stopping(options.patience, *options.early_stopping_criterion)


def plain(values):
    """The same nested values with numpy's scalars turned into Python's."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if dataclasses.is_dataclass(values):
        return plain(dataclasses.asdict(values))
    return values.item() if hasattr(values, "item") else values
