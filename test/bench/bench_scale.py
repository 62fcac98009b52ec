"""Each data-side step on a list of 10.8 million utterances (MLS English): time and memory.

    python test/bench/bench_scale.py [--utterances 10800000] [--directory DIR] [--table FILE]

A list with MLS's kind of ids, lengths and transcripts is generated; all paths lead to one
recording. Then the recipe's own commands run on it, one after the other; a training is ended after
its first batch. Printed is a Markdown table: seconds; the largest process, in memory of its own
(anonymous and shared memory, sampled four times a second) and with the pages of files that it maps
(the peak of its resident memory); all processes of the step together (the peak of their
proportional set sizes: pages that several share are counted once). The goal is of a process's own
memory: how many pages of libraries are mapped depends on what the machine has read before
(docs/scale.md), and they are given back when memory is short.
For 10.8 million utterances DIR needs 20 GB; it is removed at the end.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import soundfile
import yaml

ROOT = Path(__file__).parents[2]
BIN = "espnet_audiollm.bin."
SECONDS, LEAST, MOST = 14.8, 10.0, 19.9  # MLS English: mean, shortest, longest
WORDS_A_SECOND = 2.5
VALID = 2000  # utterances of the split for validation
JOBS = 1000  # of which one job of stage 2 is run with its decoding
GOAL_MB, GOAL_SECONDS = 1024, 120

TINY = {
    "encoder_conf": dict(
        output_size=16,
        attention_heads=2,
        linear_units=16,
        num_blocks=1,
        cnn_module_kernel=3,
        subsampling_channels=2,
    ),
    "optim": "adam",
    "batch_type": "numel",
    "batch_bins": 640_000,  # 40 s of audio, the paper's alignment: the most batches of all
    "max_epoch": 1,
    "log_interval": 1,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "best_model_criterion": [["valid", "loss", "min"]],
}


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=10_800_000)
    parser.add_argument("--directory", help="for the bulk (default: a temporary directory)")
    parser.add_argument("--table", help="Markdown file to write as well")
    parser.add_argument("--keep", action="store_true", help="leave the directory there")
    parser.add_argument("--quick", action="store_true", help="one training instead of five")
    parser.add_argument("--make", choices=MAKERS, help=argparse.SUPPRESS)
    return parser


# --- measuring ----------------------------------------------------------------------------------


@dataclass
class Memory:
    """Of one process, in MB."""

    own: float  # anonymous and shared memory
    peak: float  # of resident memory, pages of files included
    resident: float
    shared: float  # proportional set size


@dataclass
class Measured:
    step: str
    seconds: float
    own_mb: float
    largest_mb: float
    together_mb: float
    processes: list[Memory]  # at the end, of a training

    def __str__(self) -> str:
        return (
            f"| {self.step} | {self.seconds:,.0f} | {self.own_mb:,.0f} | {self.largest_mb:,.0f} | "
            f"{self.together_mb:,.0f} |"
        )


class Watch(threading.Thread):
    """Samples the memory of a process and its descendants until it is asked to stop."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.own, self.largest, self.together = pid, 0.0, 0.0, 0.0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.25):
            self.sample()

    def sample(self) -> list[Memory]:
        found = [memory(member) for member in family(self.pid)]
        found = [one for one in found if one]
        self.own = max([self.own, *(one.own for one in found)])
        self.largest = max([self.largest, *(one.peak for one in found)])
        self.together = max(self.together, sum(one.shared for one in found))
        return found


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += family(int(child))
    return found


def memory(pid: int) -> Memory | None:
    """None: the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    names = ("RssAnon", "RssShmem", "VmHWM", "VmRSS", "Pss")
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", status + rollup, re.MULTILINE))
    if not all(name in found for name in names):
        return None
    anonymous, shared, *others = (int(found[name]) / 1024 for name in names)
    return Memory(anonymous + shared, *others)


def run(step: str, command: list, until: str | None = None) -> Measured:
    """Run a command to its end, or until a line of its output matches `until`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    start, seconds, lines = time.monotonic(), None, []
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    watch = Watch(process.pid)
    for line in process.stdout:
        lines = [*lines[-30:], line]
        if until and re.search(until, line):
            seconds = time.monotonic() - start
            processes = watch.sample()
            end(process.pid)
            break
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.ended.set()
    watch.join()
    if (process.returncode or until) and seconds is None:
        raise SystemExit(f"{step}: exit status {process.returncode}\n{''.join(lines)}")
    if seconds is None:
        seconds, processes = time.monotonic() - start, []
    largest = max(watch.largest, usage.ru_maxrss / 1024)
    # a step may be over before it is sampled
    own, together = watch.own or largest, watch.together or largest
    measured = Measured(step, seconds, own, largest, together, processes)
    print(measured, file=sys.stderr, flush=True)
    return measured


def end(pid: int) -> None:
    for member in family(pid):
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


# --- the list -----------------------------------------------------------------------------------


def make_list(root: Path, utterances: int) -> None:
    """root/data/train: wav.scp, utt2spk, text; one recording."""
    audio = root / "mls_english" / "train" / "audio" / "one.flac"
    audio.parent.mkdir(parents=True)
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 15)
    soundfile.write(audio, samples, 16_000, "PCM_16")
    chooser, words = random.Random(0), make_words()
    texts = [  # a few thousand transcripts, again and again
        " ".join(chooser.choices(words, k=int(WORDS_A_SECOND * seconds)))
        for seconds in lengths(0, 4096) / 16_000
    ]
    (root / "data/train").mkdir(parents=True)
    with open_tables(root / "data/train", "wav.scp", "utt2spk", "text") as (scp, speakers, text):
        for number, id_ in enumerate(make_ids(utterances)):
            scp.write(f"{id_} {audio}\n")
            speakers.write(f"{id_} {id_.split('_')[0]}\n")
            text.write(f"{id_} {texts[number % len(texts)]}\n")


def make_words() -> list[str]:
    chooser = random.Random(1)
    return ["".join(chooser.choices("etaoinshrdlu", k=chooser.randint(1, 8))) for _ in range(5000)]


def make_ids(utterances: int):
    """Speaker, book and segment as in MLS, in order: some 5,500 speakers, 2,000 segments each."""
    for number in range(utterances):
        speaker, segment = divmod(number, 2000)
        yield f"{10_000 + speaker:05d}_{8000 + speaker % 900:04d}_{segment:06d}"


def lengths(start: int, number: int) -> np.ndarray:
    """(number,) samples of the utterances from `start` on."""
    seconds = np.random.default_rng(start).normal(SECONDS, 3.0, number)
    return (np.clip(seconds, LEAST, MOST) * 16_000).astype(int)


class open_tables:
    def __init__(self, directory: Path, *names: str):
        self.paths = [directory / name for name in names]

    def __enter__(self):
        self.files = [open(path, "w") for path in self.paths]
        return self.files

    def __exit__(self, *_):
        for file in self.files:
            file.close()


def make_parts(root: Path, utterances: int) -> None:
    """Stage 2 on the complete list, with a stand-in for the decoding of 45,000 hours."""
    from espnet_audiollm.data import formatting
    from espnet_audiollm.data.formatting import utterance

    samples = (int(n) for start in range(0, utterances, 4096) for n in lengths(start, 4096))
    utterance.format_utterance = lambda utt, *_: utterance.Formatted(utt, num_samples=next(samples))
    formatting.format_parts(root / "data/train", root / "dump/train")


def make_responses(root: Path, utterances: int) -> None:
    """Every shard of a store, as stage 7 leaves them."""
    from espnet_audiollm.store import responses
    from espnet_audiollm.store.shards import shard_size

    store = root / "dump/train/responses"
    size = shard_size(utterances)
    settings = responses.Settings("f", "c", None, 4.0, 1, size, utterances, "p", "asis")
    shards = responses.open_store(store, settings)
    chooser, ids = random.Random(2), make_ids(utterances)
    answers = [[chooser.randint(3, 19) for _ in range(chooser.randint(10, 70))] for _ in range(997)]
    for number in range(len(shards)):
        with open(shards.path(number), "w") as out:
            for at in range(shards.num_items_of(number)):
                found = responses.Response(
                    next(ids), "what was asked", "an answer", answers[at % 997], "stop"
                )
                out.write(json.dumps(responses.to_record(found)) + "\n")


def make_valid(root: Path) -> None:
    """The first utterances of the training set, as the other split."""
    (root / "dump/valid").mkdir()
    for name in ("wav.scp", "text", "utt2num_samples"):
        with open(root / "dump/train" / name) as lines:
            head = [line for _, line in zip(range(VALID), lines, strict=False)]
        (root / "dump/valid" / name).write_text("".join(head))
    with open_tables(root / "dump/valid", "response_ids") as (out,):
        out.writelines(f"{line.split()[0]} 5 6 7\n" for line in head)


def make_llm(root: Path, _: int) -> None:
    """A random Llama of one layer with a tokenizer and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "ask", "answer", *(f"w{i}" for i in range(15))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}<s> ask {{ m.content }} answer"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
    )
    fast.save_pretrained(root / "llm")
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(root / "llm")


MAKERS = {"list": make_list, "parts": make_parts, "responses": make_responses, "llm": make_llm}

# --- the steps ----------------------------------------------------------------------------------


def make(root: Path, utterances: int, what: str) -> list:
    return [__file__, "--make", what, "--directory", root, "--utterances", utterances]


def prepare(root: Path, utterances: int) -> list[Measured]:
    """Stages 1 to 8, as far as they are not an LLM's work."""
    data, dump, stats = root / "data/train", root / "dump/train", root / "exp"
    form = ["-m", BIN + "format_data", data, dump]
    one = ["-m", BIN + "format_data", data, root / "dump/one"]
    run("(making the list)", make(root, utterances, "list"))
    done = [
        run("1: validation", [ROOT / "utils/data/validate.py", data, "--require_text", "true"]),
        run(
            f"2: formatting, one job of {JOBS:,}, decoding included",
            [*one, "--job", 1, "--num_jobs", JOBS],
        ),
        run("2: formatting, all in one job, without the decoding", make(root, utterances, "parts")),
        run("2: merging of the parts", [*form, "--merge"]),
    ]
    make_valid(root)
    pieces = ["--text", dump / "text", "--output", root / "bpe", "--vocab_size", 1500]
    done.append(run("3: SentencePiece pieces", ["-m", BIN + "tokenize_text", *pieces]))
    count = ["--bpemodel", root / "bpe/bpe.model"]
    for split in ("valid", "train"):
        output = ["--data", root / "dump" / split, "--output", stats / "ctc" / split]
        last = run("4: lengths for CTC", ["-m", BIN + "data_lengths", *output, *count])
    done.append(last)
    run("(making responses)", make(root, utterances, "responses"))
    store = ["--output", dump / "responses", "--merge"]
    done.append(run("7: merging of responses", ["-m", BIN + "generate_responses", *store]))
    os.link(dump / "responses/response_ids", dump / "response_ids")  # away from its store.json
    for split in ("valid", "train"):
        output = ["--data", root / "dump" / split, "--output", stats / "align" / split]
        table = ["--responses", root / "dump" / split / "response_ids"]
        last = run("8: lengths for alignment", ["-m", BIN + "data_lengths", *output, *table])
    done.append(last)
    return done


def train(root: Path, quick: bool) -> list[Measured]:
    """Stages 5 and 9 to the end of their first batch."""
    if not quick:
        run("(making an LLM)", make(root, 0, "llm"))
    pieces = ["--bpemodel", root / "bpe/bpe.model", "--token_list", root / "bpe/tokens.txt"]
    ctc = ["-m", BIN + "ctc_train", *pieces, *tables(root, "ctc", "text,text,text", "text")]
    align = ["-m", BIN + "audiollm_train", "--llm", root / "llm"]
    align += tables(root, "align", "response_ids,response,text_int", "response")
    starts = (
        ("5: CTC, 2 workers, first start", ctc, 2),
        ("5: CTC, 2 workers, another start", ctc, 2),
        ("5: CTC, no workers", ctc, 0),
        ("9: alignment, 2 workers, first start", align, 2),
        ("9: alignment, no workers", align, 0),
    )
    done = []
    for name, command, workers in starts[:1] if quick else starts:
        exp = root / "exp" / f"train_{command[1].rsplit('.', 1)[1]}"
        shutil.rmtree(exp, ignore_errors="first" in name)
        exp.mkdir(parents=True, exist_ok=True)
        config = exp / "given.yaml"
        config.write_text(yaml.safe_dump({**TINY, "num_workers": workers}))
        more = ["--config", config, "--output_dir", exp]
        done.append(
            run(f"{name}, to the first batch", [*command, *more], until=r"1epoch:train:1-1")
        )
    return done


def tables(root: Path, kind: str, target: str, name: str) -> list:
    found = []
    for split in ("train", "valid"):
        flag, dump = f"--{split}_data_path_and_name_and_type", root / "dump" / split
        found += [flag, f"{dump}/wav.scp,speech,sound", flag, f"{dump}/{target}"]
        for shape in ("speech", name):
            found += [f"--{split}_shape_file", root / "exp" / kind / split / f"{shape}_shape"]
    return found


def report(args: argparse.Namespace, done: list[Measured]) -> str:
    given = f" --utterances {args.utterances}" if args.utterances != 10_800_000 else ""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    starts = [m for m in done if "first batch" in m.step]
    worst, slowest = max(m.own_mb for m in done), max(m.seconds for m in starts)
    met = {True: "met", False: "missed"}
    lines = [
        f"`python test/bench/bench_scale.py{given}`, {date.today()}, {os.cpu_count()} cores "
        f"({platform.machine()}), {memory_gb:.0f} GiB, Python {platform.python_version()}: "
        f"{args.utterances:,} utterances.",
        "",
        "| stage: step | seconds | largest process, own memory (MB) | with files, RSS (MB) | "
        "all processes, PSS (MB) |",
        "|---|---:|---:|---:|---:|",
        *map(str, done),
        "",
        "Processes at the end of the first batch, own, resident and proportional MB: "
        + "; ".join(f"{m.step.split(', to')[0]}: {listed(m.processes)}" for m in starts)
        + ".",
        "",
        f"Goals: no process over {GOAL_MB:,} MB of its own ({met[worst <= GOAL_MB]}: "
        f"{worst:,.0f}); the first batch within {GOAL_SECONDS} s "
        f"({met[slowest <= GOAL_SECONDS]}: {slowest:,.0f}).",
    ]
    return "\n".join(lines) + "\n"


def listed(processes: list[Memory]) -> str:
    return ", ".join(f"{p.own:.0f}, {p.resident:.0f} and {p.shared:.0f}" for p in processes)


def main() -> None:
    args = get_parser().parse_args()
    if args.make:
        return MAKERS[args.make](Path(args.directory), args.utterances)
    root = Path(args.directory or tempfile.mkdtemp(prefix="bench_scale."))
    root.mkdir(parents=True, exist_ok=True)
    try:
        text = report(args, [*prepare(root, args.utterances), *train(root, args.quick)])
    finally:
        if not args.keep:
            shutil.rmtree(root)
    print(text)
    if args.table:
        Path(args.table).write_text(text)


if __name__ == "__main__":
    main()
