"""ESPnet's training loop, which goes on where it was killed.

`train_one_epoch` and `validate_one_epoch` are ESPnet's own. What is replaced is what surrounds
them: ESPnet saves twice an epoch in place, so that a kill during the save loses the only
checkpoint; unpickles what it loads; and begins the epoch again.

A training that was interrupted and one that was not end with the same weights and figures: see
`epoch.py` (between two batches), `session.py` (checkpoints) and `snapshot.py` (what is in them).
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from espnet2.schedulers.abs_scheduler import AbsEpochStepScheduler, AbsValEpochStepScheduler
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass

from ..progress import progress
from . import supervision
from .epoch import Batches, Watch
from .predicted_memory import log_memory
from .ranks import Ranks
from .session import AudioTrainerOptions, Reporter, Session
from .shares import UpdateShares
from .snapshot import Snapshot, restore_statistics
from .wrapping import build_scaler, wrap

UNSUPPORTED = (
    *("sharded_ddp", "use_adapter", "use_wandb"),
    *("ddp_comm_hook", "nbest_averaging_interval"),
)


class AudioTrainer(Trainer):
    """The trainer of both tasks."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Those of ESPnet's trainer are added by its task."""
        parser.add_argument(
            "--keep_epochs",
            type=int,
            nargs="*",
            default=[],
            help="Epochs whose checkpoints are kept beside the n best",
        )
        parser.add_argument(
            "--save_every_minutes",
            type=float,
            default=AudioTrainerOptions.save_every_minutes,
            help="Save inside an epoch as well when the last save is so long ago (0: do not)",
        )
        parser.add_argument(
            "--keep_checkpoints",
            type=int,
            default=AudioTrainerOptions.keep_checkpoints,
            help="Newest checkpoints to go on from that are kept",
        )

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> AudioTrainerOptions:
        """The trainer's options out of all."""
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
        """Train up to `max_epoch`, from the newest checkpoint on where there is one.

        When it is asked to stop (see `supervision.py`) it saves and returns early."""
        options = trainer_options
        check_options(options, train_iter_factory.batches_of(1))
        ranks = Ranks.of(distributed_option)
        data = train_iter_factory.fingerprint()
        scaler = build_scaler(options)
        session = Session(model, optimizers, schedulers, scaler, options, ranks, data)
        here = session.begin()
        reporter = session.reporter
        first = reporter.get_epoch() + 1
        training = _Training(
            loop=cls,
            session=session,
            model=wrap(model, options, distributed_option, ranks, session.memory),
            factories={"train": train_iter_factory, "valid": valid_iter_factory},
            distributed_option=distributed_option,
            watch=Watch(session, (first, here.batches if here else 0)),
            writers=tensorboard_writers(options) if ranks.first else (None, None),
        )
        epochs: Iterable[int] = range(first, options.max_epoch + 1)
        if ranks.first:
            done = here.batches / train_iter_factory.batches_of(first) if here else 0
            epochs = progress(
                epochs, options.max_epoch, "training", "epoch", every=0, before=first - 1 + done
            )
        for epoch in epochs:
            if stopped_early(reporter, options):
                break
            if not training.epoch(epoch, here):
                logging.info(f"Saved and stopped in epoch {epoch}, as asked")
                supervision.stopped()
                return
            here = None
        session.average()


@dataclass
class _Training:
    """What the epochs of a training share."""

    loop: type[Trainer]
    session: Session
    model: torch.nn.Module  # wrapped
    factories: dict  # "train" and "valid": ESPnet's AbsIterFactory
    distributed_option: DistributedOption
    watch: Watch
    writers: tuple

    @property
    def device(self) -> str:
        return "cuda" if self.session.options.ngpu > 0 else "cpu"

    def epoch(self, epoch: int, here: Snapshot | None) -> bool:
        """Train, validate, save. False: asked to stop, and saved where that was.

        here: where to begin inside the epoch (None: at its beginning)."""
        session, options, reporter = self.session, self.session.options, self.session.reporter
        session.seed_random(epoch)
        session.forget_gradients()
        reporter.set_epoch(epoch)
        train = reporter.start_epoch("train")
        if here:
            restore_statistics(train, here.statistics)
            session.set_random(here)
        if not self.train(epoch, train, here):
            return False
        end = Snapshot.take(epoch, self.factories["train"].batches_of(epoch), train)
        reporter.finish_epoch(train)
        valid = reporter.start_epoch("valid")
        if not self.validate(epoch, valid, end):
            return False
        reporter.finish_epoch(valid)
        step_schedulers(session.schedulers, reporter, options)
        if session.ranks.first:
            report(reporter, options, self.writers)
        session.steps = session.steps_at(end)
        session.save()
        self.watch.saved((epoch + 1, 0))
        return True

    def shares(self) -> UpdateShares | None:
        """Where an update is of several batches or processes, and the model's loss has terms that
        count something else than its weight."""
        several = self.session.options.accum_grad > 1 or self.session.ranks.number > 1
        count_terms = getattr(self.session.model, "term_counts", None)
        return UpdateShares(count_terms, self.session.ranks) if several and count_terms else None

    def train(self, epoch: int, reporter: SubReporter, here: Snapshot | None) -> bool:
        session, options = self.session, self.session.options
        start = here.batches if here else 0
        supervision.beat("iterator", start)
        batches = Batches(
            "train",
            self.factories["train"].build_iter(epoch, start=start),
            lambda done: self.watch.pause(lambda: Snapshot.take(epoch, done, reporter)),
            start,
            options.accum_grad,
            self.device,
            self.shares(),
            getattr(session.model, "prepare", None),
        )
        began = time.monotonic()
        nothing_learned = self.loop.train_one_epoch(
            model=self.model,
            optimizers=session.optimizers,
            schedulers=session.schedulers,
            iterator=batches,
            reporter=reporter,
            scaler=session.scaler,
            summary_writer=self.writers[0],
            options=options,
            distributed_option=self.distributed_option,
        )
        if self.watch.stopping:
            return False
        if nothing_learned and "grad_norm" not in reporter.stats:
            raise ValueError(
                f"every gradient of epoch {epoch} was infinite or not a number; "
                "lower the learning rate, or look for broken audio"
            )
        speed = session.ranks.sum(batches.amount) / (time.monotonic() - began)
        logging.info(f"Epoch {epoch} learned from {speed:.1f} {batches.unit} a second")
        if session.ranks.first and not session.cost.predicted:
            session.cost.predicted = log_memory(session, batches.largest)
        return True

    def validate(self, epoch: int, reporter: SubReporter, end: Snapshot) -> bool:
        """An interrupted validation is done again: `end`, where training ended, is what is kept."""
        supervision.beat("iterator", end.batches)
        batches = Batches(
            "valid",
            self.factories["valid"].build_iter(epoch),
            lambda done: self.watch.pause(lambda: end),
            device=self.device,
        )
        self.loop.validate_one_epoch(
            model=self.model,
            iterator=batches,
            reporter=reporter,
            options=self.session.options,
            distributed_option=self.distributed_option,
        )
        return not self.watch.stopping


def check_options(options: AudioTrainerOptions, batches: int) -> None:
    """ValueError for what ESPnet's trainer can do and this one does not, and for what cannot be.

    batches: of an epoch."""
    refused = [name for name in UNSUPPORTED if getattr(options, name)]
    if refused:
        raise ValueError(f"--{refused[0]} is not supported by this trainer")
    if options.keep_checkpoints < 1:
        raise ValueError(f"--keep_checkpoints {options.keep_checkpoints}: at least one is needed")
    if batches < options.accum_grad:
        raise ValueError(
            f"--accum_grad {options.accum_grad}: an epoch has {batches} batches, so nothing would "
            "ever be learned"
        )


def tensorboard_writers(options: TrainerOptions):
    """(training's, validation's); None where there is to be none."""
    if not options.use_tensorboard:
        return None, None
    from torch.utils.tensorboard import SummaryWriter

    directory = Path(options.output_dir) / "tensorboard"
    return SummaryWriter(str(directory / "train")), SummaryWriter(str(directory / "valid"))


def step_schedulers(schedulers, reporter: Reporter, options: TrainerOptions) -> None:
    """Those that step once an epoch."""
    for scheduler in schedulers:
        if isinstance(scheduler, AbsValEpochStepScheduler):
            scheduler.step(reporter.get_value(*options.val_scheduler_criterion))
        elif isinstance(scheduler, AbsEpochStepScheduler):
            scheduler.step()


def report(reporter: Reporter, options: TrainerOptions, writers) -> None:
    """Log an epoch, draw it, and send it to TensorBoard."""
    logging.info(reporter.log_message())
    if options.use_matplotlib:
        reporter.matplotlib_plot(Path(options.output_dir) / "images")
    for phase, writer in zip(("train", "valid"), writers, strict=True):
        if writer is not None:
            reporter.tensorboard_add_scalar(writer, key1=phase)
            writer.flush()


def stopped_early(reporter: Reporter, options: TrainerOptions) -> bool:
    """Whether validation has not improved for --patience epochs."""
    if options.patience is None or reporter.get_epoch() == 0:
        return False
    return reporter.check_early_stopping(options.patience, *options.early_stopping_criterion)
