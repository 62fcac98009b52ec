"""What a site's Slurm wants to be asked: conf/slurm.yaml, by kind of job.

`default` holds for all kinds; `cpu`, `gpu` and `train` say what differs. What a stage asks for on
the runner's command line (--mem, --time, --num_threads) counts more than the file.
"""

from __future__ import annotations

import operator
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from .contract import KINDS, Options, UserError

Seconds = float

USUAL = "conf/slurm.yaml"  # in a recipe; without it, the TEMPLATE's
START_UP: Seconds = 60.0  # until a training can save, at least
TEMPLATE = Path(__file__).resolve().parents[2] / "egs2/TEMPLATE/common" / USUAL


@dataclass
class Kind:
    """How a kind of job is asked for. Empty or 0: not at all, so the site's default holds."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = ""  # as Slurm reads it: minutes, H:MM:SS, D-HH
    mem: str = ""  # of a node: 16G
    cpus: int = 0  # of a job, or of each node of a training
    cpus_per_gpu: int = 0  # where GPUs are asked for and `cpus` is not given
    gpu: str = "--gres=gpu:{n}"  # how n GPUs of a node are asked for
    signal: int = 0  # seconds before the time limit at which a job is asked to save and requeue
    extra: list[str] = field(default_factory=list)  # more options of sbatch, as they are


@dataclass
class Config:
    """What slurm.yaml says for a kind of job."""

    path: str
    kind: str
    asked: Kind
    poll: Seconds = 10.0  # between two questions to the controller
    controller_wait: Seconds = 900.0  # how long a controller that is away is waited for
    file_delay: Seconds = 30.0  # until what a node wrote is seen here, on the shared disk

    def options(self, work: Options) -> list[str]:
        """Of sbatch, for this work. Raises UserError: `check_time`."""
        kind = self.asked
        self.check_time(work)
        asked = {
            "partition": kind.partition,
            "account": kind.account,
            "qos": kind.qos,
            "constraint": kind.constraint,
            "time": work.time or kind.time,
            "mem": f"{work.mem}G" if work.mem.isdigit() else work.mem or kind.mem,
            "nodes": str(work.num_nodes),
            "ntasks-per-node": "1",
            "cpus-per-task": str(self.cpus(work)),
            "signal": f"B:USR1@{kind.signal}" if kind.signal and work.num_procs else "",
        }
        words = [f"--{name}={value}" for name, value in asked.items() if value]
        if work.gpu:
            words.append(kind.gpu.replace("{n}", str(work.gpu)))
        return words + kind.extra

    def check_time(self, work: Options) -> None:
        """UserError: a training would be asked to save before it has begun."""
        given, before_end = work.time or self.asked.time, self.asked.signal
        limit = seconds(given)
        if limit and work.num_procs and before_end and limit <= before_end + START_UP:
            raise UserError(
                f"a training with a time limit of {given} ({limit:.0f} s) would be asked to save "
                f"{before_end} s before it, and takes {START_UP:.0f} s or more to begin: raise "
                f"'time', or lower 'signal', for '{self.kind}' jobs in {self.path}"
            )

    def cpus(self, work: Options) -> int:
        """Processors of a task, for this work."""
        asked = self.asked.cpus or self.asked.cpus_per_gpu * work.gpu
        return work.num_threads or asked or max(1, work.num_procs)


def seconds(limit: str) -> Seconds | None:
    """A time limit as Slurm reads it; None: no limit, or none that Slurm would read."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if not found:
        return None
    numbers = [int(number) for number in found.groups()[1:] if number]
    units = (3600, 60, 1) if found[1] or len(numbers) == 3 else (60, 1)
    return int(found[1] or 0) * 86_400.0 + sum(map(operator.mul, numbers, units))


def load_config(named: str, kind: str) -> Config:
    """Raises UserError: a missing file, an unknown key, a value of the wrong kind."""
    import yaml

    path = Path(named or os.environ.get("AUDIOLLM_SLURM_CONFIG", "") or USUAL)
    if str(path) == USUAL and not path.exists():
        path = TEMPLATE
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"{path}, the configuration: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no keys; {TEMPLATE} shows how it looks")
    times = {"poll", "controller_wait", "file_delay"}
    check_keys(path, "", found, {"default", *KINDS, *times})
    asked = Kind()
    for name in ("default", kind):
        fill(asked, path, name, found.get(name) or {})
    config = Config(str(path), kind, asked)
    for name in times & set(found):
        setattr(config, name, number(path, name, found[name]))
    for other in KINDS:
        fill(Kind(), path, other, found.get(other) or {})
    return config


def fill(asked: Kind, path: Path, section: str, given: dict) -> None:
    """Set what a section gives. UserError for unknown keys and wrong values."""
    if not isinstance(given, dict):
        raise UserError(f"{path}: '{section}' holds keys and values, not {given!r}")
    known = {each.name: each for each in fields(Kind)}
    check_keys(path, f" in '{section}'", given, set(known))
    for name, value in given.items():
        if name in ("cpus", "cpus_per_gpu", "signal"):
            value = int(number(path, name, value))
        elif name == "extra":
            value = [value] if isinstance(value, str) else value
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                raise UserError(f"{path}: 'extra' in '{section}' is a list of sbatch options")
        elif name == "time" and isinstance(value, int):
            raise UserError(
                f"{path}: put quotes around 'time' in '{section}' (YAML reads 1:00:00 as {value})"
                if value > 3600
                else f"{path}: put quotes around 'time' in '{section}': \"{value}\" is minutes"
            )
        else:
            value = "" if value is None else str(value)
        setattr(asked, name, value)
    if "{n}" not in asked.gpu:
        raise UserError(f"{path}: 'gpu' in '{section}' needs {{n}} where the number stands")


def check_keys(path: Path, where: str, given: dict, known: set[str]) -> None:
    """UserError for the first key that is not known."""
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise UserError(
            f"{path}: unknown key '{unknown[0]}'{where}; there are {', '.join(sorted(known))}"
        )


def number(path: Path, name: str, value: object) -> float:
    """A number of 0 or more. UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        shown = repr(value)[:40]
        raise UserError(f"{path}: '{name}' is a number, 0 or more, not {shown}")
    return float(value)


# What the controller says, in lower case, and the keys that it speaks of.
REFUSALS = (
    ("invalid partition", ["partition"]),
    ("invalid account", ["account", "partition"]),
    ("not permitted to use this partition", ["partition", "account"]),
    ("invalid qos", ["qos"]),
    ("violates accounting/qos policy", ["qos", "account", "time", "cpus", "gpu"]),
    ("qos", ["qos"]),
    ("time limit", ["time", "partition"]),
    ("time specification", ["time"]),
    ("memory", ["mem"]),
    ("generic resource", ["gpu"]),
    ("gres", ["gpu"]),
    ("feature", ["constraint"]),
    ("constraint", ["constraint"]),
    ("cpu count", ["cpus", "partition"]),
    ("more processors", ["cpus", "partition"]),
    ("node count", ["partition"]),
    ("node configuration is not available", ["cpus", "mem", "gpu", "constraint", "partition"]),
    ("unrecognized option", ["extra", "gpu"]),
    ("invalid option", ["extra", "gpu"]),
    ("reservation", ["extra"]),
    ("account", ["account"]),
    ("requested partition configuration", ["time", "cpus", "mem", "partition"]),
    ("partition", ["partition"]),
    ("tasks", ["cpus"]),
    ("permission denied", ["partition", "account", "qos"]),
)
ELSEWHERE = (
    ("job array", "this cluster allows no array that long (MaxArraySize): use a smaller --nj"),
    ("node count", "--num_nodes is more than the partition allows, or has"),
    ("cpu count", "--num_threads is more than a node of the partition has"),
    ("more processors", "--num_threads is more than a node of the partition has"),
    ("configuration is not available", "no node has that many GPUs (--ngpu) or processors"),
)


def advice(sentence: str, config: Config) -> str:
    """What to change when the controller refuses with this sentence, or lets a job wait for it."""
    lower = sentence.lower()
    keys = next((keys for words, keys in REFUSALS if words in lower), [])
    parts = [text for words, text in ELSEWHERE if words in lower]
    if keys:
        now = ", ".join(f"{key} (now {getattr(config.asked, key) or 'not given'})" for key in keys)
        parts.append(f"see {now} for '{config.kind}' jobs in {config.path}")
    return "; ".join(parts) or f"see what is asked for '{config.kind}' jobs in {config.path}"
