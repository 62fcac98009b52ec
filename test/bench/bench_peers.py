r"""One alignment step beside Ultravox's, on the same lengths, by turns.

    python test/bench/bench_peers.py --ultravox DIR --python THEIRS/bin/python
    python test/bench/bench_peers.py --ultravox DIR --python ... --llm tiny --batches 2   # a try

The same LLM shape (random weights), audio as long as LibriSpeech's, responses of 100 to 200 tokens,
AdamW after each batch, float32, processors only. Each system is a process of its own, and all take
their turns on every batch, each being the first in turn; times are the processor's time of the
process, whatever else is running.

    ours: cross-entropy      packed; `stack`; one layer of weights from frames to positions
    ours: bridge             the objective of egs2/mini/audiollm1/conf/train_align_bridge.yaml: CTC
                             and the bridge in the LLM's token space, three positions a second
    theirs: cross-entropy, theirs: KL   Ultravox's, the latter its default; its LLM's attention is
                             set to SDPA, its encoder is frozen (its default), trained, or both

What differs: their encoder is Whisper's with as many layers of the same width, ours a conformer,
with more weights in a layer and a quarter of the frames. Their log mel energies are made while
loading data and are not in their step; ours are. Padding is theirs to the longest of the batch.

The environment for their side (Python 3.11; --no-deps and the line with .pth take torch and all
else from this project's environment; without them, let pip resolve):

    git clone https://github.com/fixie-ai/ultravox DIR; git -C DIR checkout COMMIT
    python3 -m venv THEIRS
    THEIRS/bin/pip install --no-deps transformers==4.51.3 peft==0.11.1 accelerate==1.6.0 \
        tokenizers==0.21.4 huggingface_hub==0.34.4
    python -c "import torch, pathlib as p; print(p.Path(torch.__file__).parents[1])" \
        > THEIRS/lib/python3.11/site-packages/ours.pth

Positions without loss: of the LLM, the teacher's included, that predict no response token; logits
without loss: rows over the vocabulary that are computed and predict none. Memory: the most that the
process had resident, above what it had before its first step (weights loaded). It includes Adam's
moments. All systems are in memory at once: at SmolLM2-135M's shape 24 GiB were too little for six
beside a training of 4 GiB. It ends before a step for which memory is lacking; name fewer then, with
--ours, --theirs and --their_encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch
from bench_lengths import LLMS, PREFIX, SUFFIX, WORDS, draw_durations, draw_responses

COMMIT = "648efe7f55510afff7adb45f076e904b3aba1d02"  # that the worker was written for
HERE = Path(__file__).resolve().parent
OURS = ("cross-entropy", "bridge")
THEIRS = ("cross-entropy", "KL")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.replace("COMMIT", COMMIT),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ultravox", type=Path, help="checkout (default: only ours)")
    parser.add_argument("--python", default=sys.executable, help="of the environment for it")
    parser.add_argument("--ours", nargs="+", default=list(OURS), choices=OURS)
    parser.add_argument("--theirs", nargs="+", default=list(THEIRS), choices=THEIRS)
    encoders = ("frozen", "trained")
    parser.add_argument("--their_encoder", nargs="+", default=list(encoders), choices=encoders)
    parser.add_argument("--llm", default="smollm2-135m", choices=LLMS)
    parser.add_argument("--width", type=int, default=256, help="of the encoders' layers")
    parser.add_argument("--layers", type=int, default=8, help="of the encoders")
    parser.add_argument("--pieces", type=int, default=4000, help="tokens of the bridge's CTC layer")
    parser.add_argument("--audio", type=float, default=60, help="seconds in a batch, at most")
    parser.add_argument("--batches", type=int, default=8, help="measured")
    parser.add_argument("--warm_up", type=int, default=1, help="batches before them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser


@dataclass
class System:
    """A process that learns from batches, and what it answered."""

    name: str
    process: subprocess.Popen
    replies: IO[str]
    facts: dict = field(default_factory=dict)
    answers: list[dict] = field(default_factory=list)
    taken: int = 0  # bytes at most above those before its first step

    def ask(self, value: dict) -> dict:
        """Errors (ValueError): the process has ended; what it said is above."""
        try:
            self.process.stdin.write(json.dumps(value) + "\n")
            self.process.stdin.flush()
            line = self.replies.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ValueError(f"{self.name}: the process ended with {self.process.wait()}")
        return json.loads(line)

    def median(self, key: str) -> float:
        return statistics.median(answer[key] for answer in self.answers)

    def close(self) -> None:
        with suppress(BrokenPipeError):  # it has ended by itself
            self.process.stdin.close()
        self.process.wait()


def start(name: str, python: str, worker: str, environment: dict | None = None) -> System:
    read, write = os.pipe()
    process = subprocess.Popen(
        [python, str(HERE / worker), str(write)],
        stdin=subprocess.PIPE,
        stdout=2,  # where libraries print; answers have a pipe of their own
        text=True,
        pass_fds=[write],
        env=os.environ | (environment or {}),
    )
    os.close(write)
    return System(name, process, os.fdopen(read))


def start_all(args, systems: list[System]) -> None:
    """Add every system, ready for its first batch. Errors (ValueError): one ended."""
    setting = dict(llm=LLMS[args.llm], width=args.width, heads=max(args.width // 64, 1))
    setting |= dict(layers=args.layers, pieces=min(args.pieces, LLMS[args.llm]["vocab_size"]))
    setting |= dict(threads=args.threads, seed=args.seed, words=WORDS, prefix=PREFIX, suffix=SUFFIX)
    for objective in args.ours:
        systems.append(start(f"ours: {objective}", sys.executable, "peer_ours.py"))
        systems[-1].facts = systems[-1].ask(setting | {"objective": objective})
    for objective in args.theirs if args.ultravox else ():
        for encoder in args.their_encoder:
            name = f"theirs: {objective}, encoder {encoder}"
            where = {"PYTHONPATH": str(args.ultravox)}
            systems.append(start(name, args.python, "peer_ultravox.py", where))
            choice = {"objective": objective, "trained_encoder": encoder == "trained"}
            systems[-1].facts = systems[-1].ask(setting | choice)


def check_commit(checkout: Path) -> None:
    """Say where the checkout is not what the worker was written for."""
    if not (checkout / "ultravox/model/ultravox_model.py").is_file():
        sys.exit(f"{checkout} is no checkout of Ultravox: see --help")
    git = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    if found != COMMIT:
        print(
            f"warning: {checkout} is at {found or 'no commit'}, and this was written for {COMMIT}",
            file=sys.stderr,
        )


def draw_batch(audio: float) -> dict:
    seconds = draw_durations(audio)
    return {
        "seconds": seconds,
        "responses": draw_responses(len(seconds)),
        "transcripts": [max(round(WORDS * s), 1) for s in seconds],
    }


def available_memory() -> int:
    """Bytes that processes can still take; Linux only."""
    words = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(words["MemAvailable"].split()[0]) * 1024


def check_memory(name: str, available: int, needed: int) -> None:
    """Errors (ValueError): the next step would drive the machine out of memory, and its times
    would be those of a disk. needed: bytes that another system took and this one has not yet."""
    if available < needed:
        raise ValueError(
            f"{name}: {available / 2**30:.1f} GiB are left, and a step of another system took "
            f"{needed / 2**30:.1f}: name fewer with --ours, --theirs and --their_encoder"
        )


def measure(systems: list[System], args) -> list[dict]:
    """The measured batches; every system learns from every batch."""
    batches = [draw_batch(args.audio) for _ in range(args.warm_up + args.batches)]
    most = 0  # bytes that a system has taken
    for number, batch in enumerate(batches):
        turn = number % len(systems)
        for system in systems[turn:] + systems[:turn]:
            check_memory(system.name, available_memory(), most - system.taken)
            answer = system.ask(batch)
            system.taken = max(system.taken, answer["peak"])
            most = max(most, system.taken)
            print(f"batch {number}, {system.name}: {answer}", file=sys.stderr, flush=True)
            if number >= args.warm_up:
                system.answers.append(answer)
    return batches[args.warm_up :]


def report(systems: list[System]) -> None:
    print(
        "| system | encoder, M weights | trained, M | ms a step (least, most) | ratio to the first "
        "(least, most) | peak MiB | positions without loss | logits without loss |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    first = [answer["seconds"] for answer in systems[0].answers]
    for system in systems:
        seconds = [answer["seconds"] for answer in system.answers]
        ratios = [s / f for s, f in zip(seconds, first, strict=True)]
        wasted = [
            statistics.mean(a[key] - a["responses"] for a in system.answers)
            for key in ("positions", "logits")
        ]
        print(
            f"| {system.name} | {system.facts['encoder'] / 1e6:.1f} "
            f"| {system.facts['trained'] / 1e6:.1f} | {in_ms(seconds)} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f}) "
            f"| {max(a['peak'] for a in system.answers) / 2**20:.0f} "
            f"| {wasted[0]:.0f} | {wasted[1]:.0f} |"
        )


def in_ms(seconds: list[float]) -> str:
    middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
    return f"{middle * 1e3:.0f} ({least * 1e3:.0f}, {most * 1e3:.0f})"


def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    if args.ultravox:
        check_commit(args.ultravox)
    torch.manual_seed(args.seed)
    systems: list[System] = []
    try:
        start_all(args, systems)
        batches = measure(systems, args)
    except ValueError as error:
        sys.exit(f"bench_peers: error: {error}")
    finally:
        for system in systems:
            system.close()
    utterances = statistics.mean(len(batch["seconds"]) for batch in batches)
    audio = statistics.mean(sum(batch["seconds"]) for batch in batches)
    tokens = statistics.mean(sum(batch["responses"]) for batch in batches)
    print(f"{args.llm}, {args.threads} threads, {args.batches} batches, torch {torch.__version__}")
    print(f"{utterances:.1f} utterances, {audio:.0f} s, {tokens:.0f} response tokens a batch\n")
    report(systems)


if __name__ == "__main__":
    main()
