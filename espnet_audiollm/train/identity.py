"""What a training was made from: its options and the contents of its files, in training.json.

Written when a training begins, compared when it goes on. More epochs of the same training go on;
other data, another model or other ways to learn are another training, and are refused: its
checkpoints would end with weights that its configuration does not describe.

A file counts by its contents, wherever it lies. A list of recordings counts by its lines, in which
its own directory is left out; the samples themselves are not read, but stage 2's `.done` beside it
says whether they are others, by sizes and times. The LLM counts by the
fingerprint of its weights, which the checkpoints hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..store.json_files import read_object, write_json
from . import checkpoints
from .loading import read_config

RECORD = "training.json"
RECORDINGS = "recordings."  # how the names of what stage 2 says of them begin
SHOWN = 4  # changes that a message names
NOT_GIVEN = "not given"

# Options that change nothing of what is learned from a batch, or in which order: where a training
# runs, how long, what is kept, shown and drawn, and how the LLM's work is shared out.
UNIMPORTANT = frozenset(
    "help config print_config log_level dry_run required version output_dir resume "
    "ngpu distributed num_workers num_att_plot local_rank multiprocessing_distributed sharded_ddp "
    "use_deepspeed deepspeed_config unused_parameters gradient_as_bucket_view "
    "cudnn_enabled cudnn_benchmark cudnn_deterministic collect_stats write_collected_feats "
    "max_epoch patience early_stopping_criterion best_model_criterion keep_nbest_models "
    "nbest_averaging_interval keep_epochs save_every_minutes keep_checkpoints save_strategy "
    "log_interval use_matplotlib use_tensorboard create_graph_in_tensorboard use_wandb "
    "detect_anomaly max_cache_size max_cache_fd valid_max_cache_size "
    "llm llm_sharding llm_activation_checkpointing llm_compile packed".split()
)
UNIMPORTANT_PREFIXES = ("dist_", "wandb_")
UNIMPORTANT_IN_CONF = ("activation_checkpointing", "num_pieces")  # the latter is the task's
# Options, also those inside of *_conf, whose value is a file or a directory of a model.
PATHS = (
    "token_list",
    "bpemodel",
    "chat_template",
    "init_ctc",
    "stats_file",
    "directory",
    "train_tasks",
    "valid_tasks",
)
TABLES = ("train_data_path_and_name_and_type", "valid_data_path_and_name_and_type")
SHAPES = ("train_shape_file", "valid_shape_file")

Record = dict[str, Any]


def check(args: argparse.Namespace, tag: str) -> None:
    """Compare with the training in --output_dir, or record that one begins there.

    tag: the recipe's option that gives a training a directory of its own.

    Errors (ValueError): its checkpoints are of other data or options (which, and what to do), or
    there are some and the training is not to go on from them."""
    directory = Path(args.output_dir)
    path, now = directory / RECORD, describe(args)
    begun = checkpoints.resumable(directory)
    if begun and not args.resume:  # before its config.yaml is written over
        raise ValueError(
            f"{begun[0]} is of an earlier training: go on from it with --resume true, or choose "
            f"another {tag}"
        )
    if begun and (changed := list(changes(_before(directory), now))):
        raise ValueError(_refusal(directory, changed, tag))
    if not (begun and path.exists()):
        write_json(path, now)


def _before(directory: Path) -> Record:
    """The record of the training that has begun. Of one by a version without records: the options
    of its config.yaml, its files as they are now."""
    path = directory / RECORD
    if path.exists():
        return read_object(path, f"delete it, and the options of {directory}/config.yaml count")
    print(
        f"{directory} was begun by a version that left no {RECORD}: the contents of its data are "
        "taken to be the present ones",
        file=sys.stderr,
    )
    config = read_config(directory)
    vars(config).pop("token_list", None)  # holds the tokens, not their file
    return describe(config)


def _refusal(directory: Path, changed: list[str], tag: str) -> str:
    more = f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return (
        f"the training in {directory} was made otherwise, {len(changed)} changed: "
        f"{'; '.join(changed[:SHOWN])}{more}. Nothing was trained: give it what it was made with, "
        f"remove {directory} to begin anew, or train beside it with {tag} NAME "
        "(only more epochs of the same training go on)"
    )


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two records, in words; an option that only one version of this package
    knows is left out."""
    both = old.keys() & new.keys()
    before, after = (dict(_leaves({k: record[k] for k in both})) for record in (old, new))
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, NOT_GIVEN), after.get(name, NOT_GIVEN)
        if _identity(was) != _identity(now):
            yield _words(name, was, now)


def _words(name: str, was: Any, now: Any) -> str:
    if name.startswith(RECORDINGS):
        step = f"where they are copies of the same, take this line out of {RECORD}"
        return f"sizes or times of recordings in {Path(now['path']).parent} ({name}; {step})"
    if _is_file(was) and _is_file(now):
        return f"the contents of {now['path']} ({name})"
    shown = (each["path"] if _is_file(each) else each for each in (was, now))
    return "{} {} -> {}".format(name, *(f"{each!s:.60}" for each in shown))


def _leaves(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of each option; those inside of a *_conf by their complete name."""
    for name, value in record.items():
        if isinstance(value, dict) and not _is_file(value):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and "sha256" in value


def _identity(value: Any) -> Any:
    return value["sha256"] if _is_file(value) else value


# --- what there is now --------------------------------------------------------------------------


def describe(args: argparse.Namespace) -> Record:
    """The options that matter, with files in place of their paths."""
    found = {
        option: _value(option, value)
        for option, value in sorted(vars(args).items())
        if option not in UNIMPORTANT and not option.startswith(UNIMPORTANT_PREFIXES)
    }
    found |= _recordings(args)
    return json.loads(json.dumps(found, default=str))  # as it will be read


def _recordings(args: argparse.Namespace) -> Record:
    """What stage 2 says of the recordings in each table of audio: another file where one of them
    is another, though it has the same name."""
    tables = {option: getattr(args, option, None) or () for option in TABLES}
    found = {
        f"{RECORDINGS}{option.partition('_')[0]}.{name}": Path(path).parent / ".done"
        for option, rows in tables.items()
        for path, name, kind in rows
        if kind == "sound"
    }
    return {
        name: {"path": str(path), "sha256": path.read_text(encoding="utf-8").partition("\n")[0]}
        for name, path in found.items()
        if path.exists()
    }


def _value(option: str, value: Any) -> Any:
    if option in TABLES:
        return {name: _file(path, relative=kind == "sound") for path, name, kind in value or ()}
    if option == "init_param":
        parts = (str(each).partition(":") for each in value or ())
        return {str(i): _file(path, use) for i, (path, _, use) in enumerate(parts)}
    if option in SHAPES:
        return {str(i): _file(path) for i, path in enumerate(value or ())}
    if option in PATHS and isinstance(value, str | Path):
        return _file(value)
    if isinstance(value, Mapping):
        return {k: _value(k, v) for k, v in value.items() if k not in UNIMPORTANT_IN_CONF}
    return value


def _file(path: str | Path, use: str = "", relative: bool = False) -> Any:
    """A file by its contents; use: what is taken from it. relative: its own directory, in the
    paths that it lists, is left out. A name that is no file here (a Hugging Face id) stays one."""
    path = Path(path)
    if not path.exists():
        return f"{path}:{use}" if use else str(path)
    total = hashlib.sha256(use.encode())
    for part in _parts(path):
        total.update(b"" if part == path else part.name.encode())
        total.update(_lines(part) if relative else _bytes(part))
    return {"path": str(path), "sha256": total.hexdigest()}


def _parts(path: Path) -> list[Path]:
    """The file; of a directory what a model in Hugging Face form consists of."""
    if path.is_file():
        return [path]
    return sorted(each for each in path.iterdir() if each.suffix in (".json", ".safetensors"))


def _bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _lines(path: Path) -> bytes:
    """A digest of the lines, the table's own directory left out of the paths in them."""
    total, block = hashlib.sha256(), 1 << 22
    names = {f" {where}/".encode() for where in (path.parent, os.path.abspath(path.parent))}
    with open(path, "rb") as file:
        while lines := file.read(block):
            lines += file.readline()
            for name in names:
                lines = lines.replace(name, b" ")
            total.update(lines)
    return total.digest()
