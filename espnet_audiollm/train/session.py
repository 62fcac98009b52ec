"""What a training keeps in its directory: checkpoints to go on from, weights of epochs, links."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from espnet2.train.reporter import Reporter as ESPnetReporter
from espnet2.train.trainer import TrainerOptions

from ..store.atomic import remove_asides
from ..store.training_cost import write_cost
from . import checkpoints, supervision
from .cost import CostMeter
from .halving import MemoryLimit
from .loading import load_state
from .ranks import Ranks
from .snapshot import Snapshot, set_random_state

RANK_SEEDS = 1_000_003  # from a rank's seeds to the next one's: more than there are epochs


@dataclass
class AudioTrainerOptions(TrainerOptions):
    """ESPnet's options and ours, in the order of `AudioTrainer.add_arguments`."""

    keep_epochs: list[int] = field(default_factory=list)
    save_every_minutes: float = 30.0
    keep_checkpoints: int = 2
    num_iters_per_epoch: int | None = None  # None: an epoch is a pass over the data


class Reporter(ESPnetReporter):
    """ESPnet's, except that an epoch whose figure is infinite or not a number is never the best.

    ESPnet sorts by the figures as they are, and nan compares as false with everything."""

    def sort_epochs_and_values(self, key: str, key2: str, mode: str) -> list[tuple[int, float]]:
        """(epoch, figure), the best first, the earlier of equal ones first; only finite figures."""
        pairs = super().sort_epochs_and_values(key, key2, mode)
        sign = 1 if mode == "min" else -1
        numbers = [pair for pair in pairs if math.isfinite(pair[1])]
        return sorted(numbers, key=lambda pair: (sign * pair[1], pair[0]))

    def get_best_epoch(self, key: str, key2: str, mode: str, nbest: int = 0) -> int:
        """The best epoch, or the one after `nbest` better ones; 0: there is none."""
        return next(iter(self.sort_epochs(key, key2, mode)[nbest:]), 0)


@dataclass
class Session:
    """What a checkpoint holds, and where it goes. Every rank calls everything."""

    model: torch.nn.Module
    optimizers: list
    schedulers: list
    scaler: torch.amp.GradScaler | None
    options: AudioTrainerOptions
    ranks: Ranks
    data: dict  # what a position in the data depends on, of all ranks together
    reporter: Reporter = field(default_factory=Reporter)
    steps: int = 0  # of the optimisers, when the epoch began
    cost: CostMeter = field(default_factory=CostMeter)
    memory: MemoryLimit = field(default_factory=MemoryLimit)

    @property
    def directory(self) -> Path:
        """The experiment's."""
        return Path(self.options.output_dir)

    @property
    def criteria(self) -> list[tuple[str, str, str]]:
        """(phase, key, mode) that make an epoch the best, e.g. (valid, loss, min)."""
        wanted = self.options.best_model_criterion
        return [(phase, key, mode) for phase, key, mode in wanted if self.reporter.has(phase, key)]

    @property
    def nbest(self) -> list[int]:
        """How many best epochs are averaged, for each average."""
        keep = self.options.keep_nbest_models
        return [keep] if isinstance(keep, int) else list(keep) or [1]

    # --- from a checkpoint ------------------------------------------------------------------

    def begin(self) -> Snapshot | None:
        """From a checkpoint, or from nothing; answers as `resume`."""
        if self.options.resume:
            here = self.resume()
            if self.steps or here:
                self.cost.go_on(self.directory)
            return here
        older = checkpoints.resumable(self.directory)
        if older:
            raise ValueError(
                f"{older[0]} is of an earlier training: go on from it with --resume true, "
                "or choose another --output_dir"
            )
        return None

    def resume(self) -> Snapshot | None:
        """Take over the newest undamaged checkpoint; the place inside an epoch, if it has one.

        ValueError: all are damaged; made with another configuration, or on other data."""
        path = self.find()
        if path is None:
            return None
        states = checkpoints.load(path)
        self.check_data(states["data"], path)
        load_state(self.model, states["model"], path)
        self.reporter.load_state_dict(states["reporter"])
        for optimizer, state in zip(self.optimizers, states["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for scheduler, state in zip(self.schedulers, states["schedulers"], strict=True):
            if scheduler is not None:
                scheduler.load_state_dict(state)
        if self.scaler is not None and states["scaler"] is not None:
            self.scaler.load_state_dict(states["scaler"])
        self.steps = states["steps"]
        self.memory.too_large = states.get("too_large")  # older checkpoints know of none
        if self.ranks.first:
            self.publish()
        within = states["within"]
        place = f"{within['batches']} batches into the next" if within else "its end"
        logging.info(f"Resumed from {path}: epoch {self.reporter.get_epoch()}, {place}")
        return within and self.snapshot(within, states["randoms"])

    def find(self) -> Path | None:
        """The checkpoint to resume from: the first process looks, and clears up."""
        found: str | None = None
        error = None
        if self.ranks.first:
            remove_asides(self.directory, "*.pth")
            try:
                path = checkpoints.newest_undamaged(self.directory)
                found = path.name if path else None
                old = self.directory / "checkpoint.pth"
                if found is None and old.exists():
                    raise ValueError(
                        f"{old} is an earlier version's, which cannot be gone on from: use another "
                        "--output_dir, or delete it to begin anew"
                    )
            except ValueError as caught:
                error = str(caught)
        found, error = self.ranks.from_first((found, error))
        if error:
            raise ValueError(error)
        return self.directory / found if found else None

    def check_data(self, theirs: dict, path: Path) -> None:
        """ValueError where a checkpoint is of other training data."""
        changed = [
            f"{key} {theirs.get(key)!s:.12}, now {value!s:.12}"
            for key, value in self.data.items()
            if theirs.get(key) != value
        ]
        if changed:
            raise ValueError(
                f"{path} was made on other training data, or on other batches of it "
                f"({'; '.join(changed)}): give what it was trained on, or train in another "
                "--output_dir"
            )

    def snapshot(self, within: dict, randoms: list[dict]) -> Snapshot:
        """This process's part of a saved snapshot; random numbers anew for another number of
        processes."""
        if len(randoms) == self.ranks.number:
            return Snapshot(random=randoms[self.ranks.rank], **within)
        logging.info(
            f"The checkpoint was saved by {len(randoms)} processes, and {self.ranks.number} go on: "
            "the same batches in the same order, random numbers anew"
        )
        return Snapshot(random=None, **within)

    def set_random(self, snapshot: Snapshot) -> None:
        """Put this rank's generators where they were; anew when the number of ranks differs."""
        if snapshot.random is None:
            self.seed_random(self.steps_at(snapshot))
        else:
            set_random_state(snapshot.random)

    def seed_random(self, number: int) -> None:
        """Begin this rank's generators anew, for epoch or update `number`. Each rank has its own
        SpecAugment and dropout: with the same ones a batch sees fewer of them."""
        set_all_random_seed(self.options.seed + number + RANK_SEEDS * self.ranks.rank)

    def forget_gradients(self) -> None:
        """Those of batches at an epoch's end that were too few for an update."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    # --- to a checkpoint --------------------------------------------------------------------

    def steps_at(self, snapshot: Snapshot | None) -> int:
        """Updates done at a snapshot; None: at the end of an epoch."""
        return self.steps + (snapshot.batches // self.options.accum_grad if snapshot else 0)

    def save(self, within: Snapshot | None = None) -> None:
        """All of the state: at the end of the reporter's epoch, or `within` the one after it."""
        supervision.beat("save", self.steps_at(within))
        randoms = self.ranks.gather(within.random) if within else []
        cost = self.cost.so_far(self.model, self.ranks)
        if self.ranks.first:
            if within is None:
                epoch = self.reporter.get_epoch()
                checkpoints.save(self.model.state_dict(), self.directory / f"{epoch}epoch.pth")
            self.write(within, randoms)
            write_cost(self.directory, cost)
            if within is None:
                self.publish()
        self.ranks.wait()
        supervision.saved()

    def write(self, within: Snapshot | None, randoms: list[dict]) -> None:
        """Write the checkpoint and remove the ones that are too old."""
        state = {
            "model": self.model.state_dict(),
            "reporter": plain(self.finished_epochs(within)),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedulers": [s and s.state_dict() for s in self.schedulers],
            "scaler": self.scaler and self.scaler.state_dict(),
            "steps": self.steps,
            "too_large": self.memory.too_large,
            "data": self.data,
            "within": within
            and {
                "epoch": within.epoch,
                "batches": within.batches,
                "statistics": within.statistics,
            },
            "randoms": randoms,
        }
        path = self.directory / f"checkpoint_{self.steps_at(within):09d}.pth"
        checkpoints.save(state, path)
        for old in checkpoints.resumable(self.directory)[self.options.keep_checkpoints :]:
            old.unlink(missing_ok=True)

    def finished_epochs(self, within: Snapshot | None) -> dict:
        """The reporter's state, without the epoch that a snapshot is `within`."""
        state = self.reporter.state_dict()
        if within is None:
            return state
        stats = {epoch: of for epoch, of in state["stats"].items() if epoch < within.epoch}
        return {"stats": stats, "epoch": within.epoch - 1}

    def publish(self) -> None:
        """Links to the latest and best epochs; weights that nothing needs any more go.

        After a resume as well: a kill may have come between a checkpoint and its links."""
        epoch = self.reporter.get_epoch()
        if epoch == 0:
            return
        checkpoints.link(f"{epoch}epoch.pth", self.directory / "latest.pth")
        for phase, key, mode in self.criteria:
            best = self.reporter.get_best_epoch(phase, key, mode)
            if not math.isfinite(self.reporter.get_value(phase, key)):
                logging.warning(f"{phase}.{key} of epoch {epoch} is infinite or not a number")
            if best == 0:
                continue
            checkpoints.link(f"{best}epoch.pth", self.directory / f"{phase}.{key}.best.pth")
            if best == epoch:
                logging.info(f"Best {phase}.{key} so far: epoch {epoch}")
        self.prune(epoch, back=self.options.keep_checkpoints)

    def prune(self, epoch: int, back: int = 0) -> None:
        """Keep the n best epochs, now and as they were up to `back` checkpoints ago."""
        kept = {epoch, *self.options.keep_epochs}
        for phase, key, mode in self.criteria:
            order = self.reporter.sort_epochs(phase, key, mode)
            for last in range(max(epoch - back, 0), epoch + 1):
                kept.add(last)
                kept.update([e for e in order if e <= last][: max(self.nbest)])
        for old in range(1, epoch):
            if old not in kept:
                (self.directory / f"{old}epoch.pth").unlink(missing_ok=True)

    def average(self) -> None:
        """Average the best epochs, and remove the epochs that nothing needs.

        ValueError: no epoch is the best, because every figure is infinite or not a number."""
        supervision.beat("average", self.steps)
        for phase, key, mode in self.criteria:
            if not self.reporter.get_best_epoch(phase, key, mode):
                raise ValueError(
                    f"{phase}.{key} was infinite or not a number in all "
                    f"{self.reporter.get_epoch()} epochs, so no weights in {self.directory} are of "
                    "use: look for broken audio, or train with a lower learning rate in another "
                    "--output_dir"
                )
        if self.ranks.first:
            for phase, key, mode in self.criteria:
                best = self.reporter.sort_epochs(phase, key, mode)
                for n in sorted(self.nbest):
                    kept = self._still_there(best[:n])
                    checkpoints.save_average(kept, self.directory, f"{phase}.{key}")
            self.prune(self.reporter.get_epoch())
        self.ranks.wait()

    def _still_there(self, epochs: list[int]) -> list[int]:
        """Those whose weights are kept: fewer were until --keep_nbest_models was raised."""
        kept = [epoch for epoch in epochs if (self.directory / f"{epoch}epoch.pth").exists()]
        if lost := sorted(set(epochs) - set(kept)):
            logging.warning(
                f"{len(lost)} of the {len(epochs)} best epochs are no longer kept (first: "
                f"{lost[0]}), and are left out of their mean: --keep_nbest_models was lower before"
            )
        return kept


def plain(values):
    """The same nested values with numpy's scalars turned into Python's."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        return plain(dataclasses.asdict(values))
    return values.item() if hasattr(values, "item") else values
