"""ESPnet's interface to the data of an epoch, for lists of millions of utterances.

ESPnet's own keeps every id, path and batch as Python objects in every worker. Here a process holds
the order of the epoch's batches (4 bytes a batch) and looks up the rest batch by batch, in files
(`data/index.py`, `data/batches.py`). Batches and their order are ESPnet's, for the same options.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.train.dataset import AbsDataset
from torch.utils.data import DataLoader

from ..data import audio
from ..data.batches import Plan, Rules
from ..data.drawn_batches import DrawnEpoch, DrawnPlan
from ..data.index import Table, check_same_ids
from ..data.recordings import read_joined
from ..store.teacher import TopK

if TYPE_CHECKING:
    from espnet2.tasks.abs_task import AbsTask

UNSUPPORTED = {  # option: the value it must have
    "iterator_type": "sequence",
    "valid_iterator_type": None,
    "multiple_iterator": False,
    "shuffle_within_batch": False,
    "max_cache_size": 0.0,
    "multi_task_dataset": False,
}


def check_options(args: argparse.Namespace) -> None:
    """Refuse (ValueError) what ESPnet's iterators can and this one cannot."""
    for option, wanted in UNSUPPORTED.items():
        given = getattr(args, option, wanted)
        if given not in (wanted, None):
            raise ValueError(f"--{option} {given} is not supported: leave it out")


# --- one utterance ------------------------------------------------------------------------------


def read_integers(value: str) -> np.ndarray:
    """The numbers of a line. ValueError where there is none."""
    if not value:
        raise ValueError("no numbers")
    return np.array(list(map(int, value.split())), np.int64)


Value: TypeAlias = np.ndarray | str | dict[str, np.ndarray]
Reader: TypeAlias = Callable[[str], Value]

READERS: dict[str, Reader] = {
    "sound": audio.read_mono_16k,
    "recordings": read_joined,
    "text": str,
    "text_int": read_integers,
}
OPENERS: dict[str, Callable[[str], Reader]] = {  # of what lies beside a table, given its path
    "top_k": TopK,
}
TYPES = (*READERS, *OPENERS)


class TableDataset(AbsDataset):
    """`dataset[row]` is (id, {name: array}), as ESPnet's dataset gives it for the id.

    sources: (path, name, type), type one of TYPES; all tables hold the same ids. Where a
        reader gives several arrays by name, each is NAME_<its name>.

    Errors (ValueError): another type, tables that differ; what is wrong with an utterance names it
    and its file."""

    def __init__(
        self,
        sources: Sequence[Sequence[str]],
        preprocess: Callable[[str, dict], dict] | None = None,
        float_dtype: str = "float32",
    ):
        self.preprocess, self.float_dtype = preprocess, float_dtype
        self.tables: dict[str, Table] = {}
        self.readers: dict[str, Reader] = {}
        for path, name, kind in sources:
            if kind not in TYPES:
                raise ValueError(
                    f"{path},{name},{kind}: type {kind} is not supported; "
                    f"choose one of {', '.join(TYPES)}"
                )
            self.tables[name] = Table(path)
            self.readers[name] = READERS[kind] if kind in READERS else OPENERS[kind](path)
        check_same_ids((table.path, table.ids) for table in self.tables.values())

    def has_name(self, name: str) -> bool:
        """Whether the data has this name, e.g. speech."""
        return name in self.tables

    def names(self) -> tuple[str, ...]:
        """Of the data of an utterance."""
        return tuple(self.tables)

    def __len__(self) -> int:
        return len(next(iter(self.tables.values())))

    def __getitem__(self, row: int) -> tuple[str, dict[str, np.ndarray]]:
        data: dict = {}
        for name, table in self.tables.items():
            id_, value = table[row]
            try:
                found = self.readers[name](value)
            except (ValueError, OSError) as error:
                raise alike(error, f"{table.path}: utterance {id_}: {error}") from error
            if isinstance(found, dict):
                data |= {f"{name}_{part}": array for part, array in found.items()}
            else:
                data[name] = found
        if self.preprocess is not None:
            data = self.preprocess(id_, data)
        return id_, {name: self._cast(value) for name, value in data.items()}

    def __getitems__(self, rows: list[int]) -> list | Fault:
        """A complete batch, for DataLoader."""
        try:
            return [self[row] for row in rows]
        except (ValueError, OSError) as error:
            return Fault(getattr(error, "errno", None), str(error))

    def _cast(self, value: np.ndarray) -> np.ndarray:
        return value.astype(self.float_dtype if value.dtype.kind == "f" else np.int64, copy=False)


@dataclass(frozen=True)
class Fault:
    """What was wrong with a batch, carried from a worker without its traceback."""

    errno: int | None  # None: the data are wrong
    text: str

    def error(self) -> Exception:
        """It as it was met."""
        return ValueError(self.text) if self.errno is None else OSError(self.errno, self.text)


def alike(error: Exception, text: str) -> Exception:
    """A ValueError; of an OSError one of its number: what a file system could not do may pass."""
    return Fault(getattr(error, "errno", None), text).error()


# --- one epoch ----------------------------------------------------------------------------------


class BatchIterFactory(AbsIterFactory):
    """`build_iter(epoch)` gives the batches of an epoch: (ids, {name: tensor, name_lengths: ...}).

    shuffle: whether the batches change their order from epoch to epoch (by seed and epoch).
    num_iters_per_epoch: batches of an epoch; passes over the data follow each other without a gap
    (None: an epoch is a pass).
    rank, world_size: this process reads every world_size-th utterance of each batch."""

    def __init__(
        self,
        dataset: TableDataset,
        plan: Plan | DrawnPlan,
        collate: Callable,
        seed: int = 0,
        shuffle: bool = False,
        num_iters_per_epoch: int | None = None,
        num_batches: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ):
        self.dataset, self.plan, self.collate = dataset, plan, collate
        self.seed, self.shuffle = seed, shuffle
        self.num_iters_per_epoch = num_iters_per_epoch
        self.most_batches = num_batches
        self.rank, self.world_size = rank, world_size
        self.num_workers, self.pin_memory = num_workers, pin_memory

    def fingerprint(self) -> dict[str, int | str]:
        """What a position in the data depends on, of all ranks together."""
        return {
            "utterances": self.plan.num_utterances,
            "batches": self._batches(1),
            "ids": self.plan.ids,
            "plan": self.plan.digest,
        }

    def build_iter(self, epoch: int, shuffle: bool | None = None, start: int = 0) -> Epoch:
        """The batches of `epoch` (1, 2, ...) from number `start` on (0: the first)."""
        numbers = self.numbers(epoch, self.shuffle if shuffle is None else shuffle)
        plan = self.plan.of_epoch(epoch)
        if not 0 <= start <= len(numbers):
            raise ValueError(f"epoch {epoch} has {len(numbers)} batches: none is number {start}")
        generator = torch.Generator()  # DataLoader would draw from that of the model otherwise
        generator.manual_seed(self.seed + epoch)
        loader = DataLoader(
            self.dataset,
            batch_sampler=Rows(plan, numbers[start:], self.rank, self.world_size),
            collate_fn=partial(collate_or_fault, self.collate),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            worker_init_fn=partial(seed_worker, self.seed + epoch),
            generator=generator,
        )
        return Epoch(loader, len(numbers))

    def numbers(self, epoch: int, shuffle: bool) -> np.ndarray:
        """(batches of the epoch,) int32: which batches of the plan, in order."""
        if self.num_iters_per_epoch is None:
            return self._pass(epoch, shuffle)
        begin = self.num_iters_per_epoch * (epoch - 1)
        end, parts = begin + self.num_iters_per_epoch, []
        while begin < end:
            number, first = divmod(begin, self._batches(epoch))
            parts.append(self._pass(number, shuffle)[first : first + end - begin].copy())
            begin += len(parts[-1])
        return np.concatenate(parts)

    def batches_of(self, epoch: int) -> int:
        """How many batches an epoch has."""
        return self.num_iters_per_epoch or self._batches(epoch)

    def _batches(self, epoch: int) -> int:
        there = len(self.plan.of_epoch(epoch))
        return min(self.most_batches or there, there)

    def _pass(self, number: int, shuffle: bool) -> np.ndarray:
        """One pass over the data; ESPnet's order."""
        numbers = np.arange(self._batches(number), dtype=np.int32)
        if shuffle:
            np.random.RandomState(number + self.seed).shuffle(numbers)
        return numbers


@dataclass(frozen=True)
class Rows:
    """DataLoader's batch sampler: this rank's rows, batch by batch."""

    plan: Plan | DrawnEpoch
    numbers: np.ndarray
    rank: int
    world_size: int

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.numbers:
            yield self.plan.batch(int(number))[self.rank :: self.world_size].tolist()


@dataclass(frozen=True)
class Epoch:
    """Iterates over the batches; `len` counts those of the complete epoch, wherever it starts."""

    loader: DataLoader
    num_batches: int

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[tuple[list[str], dict[str, torch.Tensor]]]:
        for batch in self.loader:
            if isinstance(batch, Fault):
                raise batch.error()
            yield batch


def collate_or_fault(collate: Callable, samples: list | Fault):
    """The batch, or the fault that reading met in a worker."""
    return samples if isinstance(samples, Fault) else collate(samples)


def seed_worker(seed: int, worker: int) -> None:
    """Seed Python's and numpy's generators of a data-loading worker."""
    random.seed(seed + worker)
    np.random.seed(seed + worker)


# --- from ESPnet's options ----------------------------------------------------------------------


def build(task: type[AbsTask], args: argparse.Namespace, options, mode: str) -> BatchIterFactory:
    """The factory of `mode` (train, valid, plot_att); `options`: ESPnet's IteratorOptions.

    Of several processes the first makes the files that all read."""
    if not options.distributed:
        return _build(task, args, options, mode, 0, 1)
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if rank:
        torch.distributed.barrier()
    factory = _build(task, args, options, mode, rank, world_size)
    if not rank:
        torch.distributed.barrier()
    return factory


def _build(task, args, options, mode: str, rank: int, world_size: int) -> BatchIterFactory:
    dataset = TableDataset(
        options.data_path_and_name_and_type, options.preprocess_fn, args.train_dtype
    )
    task.check_task_requirements(dataset, args.allow_variable_data_keys, train=options.train)
    plan = _plan(task, args, options, mode, world_size)
    check_same_ids(
        [(Path(options.shape_files[0]), plan.ids)]
        + [(table.path, table.ids) for table in dataset.tables.values()]
    )
    logging.info(
        f"[{mode}] {plan.num_utterances} utterances in {len(plan)} batches of {plan.smallest} to "
        f"{plan.largest} ({options.batch_type})"
    )
    return BatchIterFactory(
        dataset,
        plan,
        options.collate_fn,
        seed=args.seed,
        shuffle=options.train,
        num_iters_per_epoch=options.num_iters_per_epoch,
        num_batches=options.num_batches,
        rank=rank,
        world_size=world_size,
        num_workers=args.num_workers,
        pin_memory=args.ngpu > 0,
    )


def _plan(task, args: argparse.Namespace, options, mode: str, world_size: int) -> Plan | DrawnPlan:
    rules = Rules(
        batch_type=options.batch_type,
        batch_bins=options.batch_bins,
        batch_size=options.batch_size,
        sort_in_batch=args.sort_in_batch,
        sort_batch=args.sort_batch,
        drop_last=args.drop_last_iter,
        min_batch_size=world_size if options.distributed else args.min_batch_size,
    )
    draw, bound = task.draw(args, mode), task.position_bound(args, options)
    plan: Plan | DrawnPlan
    if draw:
        plan = DrawnPlan(options.shape_files, rules, draw)
    else:
        plan = Plan(options.shape_files, rules, Path(args.output_dir) / f".{mode}.batches", bound)
    if plan.smallest < world_size:
        raise ValueError(
            f"{options.shape_files[0]}: a batch of {plan.smallest} utterances cannot be shared by "
            f"{world_size} processes; raise --batch_size or --batch_bins"
        )
    return plan
