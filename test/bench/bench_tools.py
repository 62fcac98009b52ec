"""Each tool of utils/data on a list of a million utterances: time and memory.

    python test/bench/bench_tools.py [--utterances 1000000] [--directory DIR] [--table FILE]

Generated are a data directory, one with faults, and the same utterances as TSV, CSV, JSON lines
and lhotse cuts; all paths lead to one recording. Then the tools run on them, one after the other.
Printed is a Markdown table: seconds that passed, seconds of the processor (what matters where the
machine does other work at the same time), and the peak of resident memory. Tools that read or
write the audio of every utterance (speed_perturb, segments cut and join) are not lists' tools.
For a million utterances DIR needs 4 GB; it is removed at the end."""

import argparse
import csv
import json
import multiprocessing
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
GOAL_SECONDS, GOAL_MB = 60, 1000
SPEAKER = 200  # utterances of a speaker
TEXT = "what is the capital of the country in which the longest river of all begins {}"


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="for the bulk (default: a temporary one)")
    parser.add_argument("--table", type=Path, help="Markdown file to write as well")
    return parser


# --- the lists ----------------------------------------------------------------------------------


def utterances(number: int):
    """(id, speaker, text, seconds), in order."""
    for at in range(number):
        speaker, segment = divmod(at, SPEAKER)
        yield f"{speaker:06d}_{segment:04d}", f"{speaker:06d}", TEXT.format(at), 5 + at % 1000 / 100


def make(root: Path, number: int) -> None:
    audio = root / "one.wav"
    soundfile.write(audio, np.zeros(1600), 16_000)
    make_directory(root, number, audio)
    make_lists(root, number, audio)


def make_directory(root: Path, number: int, audio: Path) -> None:
    """root/data: six tables; root/broken: the same out of order, with CRLF, some lines missing."""
    (root / "data").mkdir()
    names = ("wav.scp", "utt2spk", "text", "utt2dur", "answers", "utt2lang")
    files = [open(root / "data" / name, "w") for name in names]
    for id_, speaker, text, seconds in utterances(number):
        values = (audio, speaker, text, f"{seconds:.2f}", "Rome | Roma", "en")
        for file, value in zip(files, values, strict=True):
            file.write(f"{id_} {value}\n")
    for file in files:
        file.close()
    shutil.copytree(root / "data", root / "broken")
    lines = (root / "data/text").read_text().splitlines()
    (root / "broken/text").write_text("\r\n".join([*reversed(lines[5:]), ""]), newline="")


def make_lists(root: Path, number: int, audio: Path) -> None:
    """As a table has them: not in order of their ids."""
    with (
        open(root / "list.tsv", "w") as tsv,
        open(root / "list.csv", "w", newline="") as comma,
        open(root / "list.jsonl", "w") as lines,
        open(root / "cuts.jsonl", "w") as cuts,
    ):
        names = ("id", "speaker", "text", "duration", "audio")
        tsv.write("\t".join(names) + "\n")
        writer = csv.writer(comma, quoting=csv.QUOTE_ALL)
        writer.writerow(names)
        for at, (id_, *rest) in enumerate(utterances(number)):
            row = (f"{at * 7919 % number:07d}-{id_}", *rest, str(audio))
            tsv.write("\t".join(map(str, row)) + "\n")
            writer.writerow(row)
            lines.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
            cuts.write(json.dumps(cut(row, at)) + "\n")


def cut(row: tuple, at: int) -> dict:
    """A hundred utterances are parts of one recording."""
    id_, speaker, text, seconds, audio = row
    return {
        "id": id_,
        "start": at % 100 * 20.0,
        "duration": seconds,
        "channel": 0,
        "supervisions": [{"id": id_, "start": 0, "duration": seconds, "text": text}],
        "recording": {
            "id": f"r{at // 100:06d}",
            "sources": [{"type": "file", "channels": [0], "source": audio}],
            "duration": 2000.0,
        },
        "type": "MonoCut",
    }


# --- the tools ----------------------------------------------------------------------------------


def commands(number: int) -> list[list]:
    """What is measured, in this order."""
    few, columns = max(1, number // 10), ["--extra", "utt2dur=duration"]
    return [
        ["validate", "data"],
        ["fix", "broken"],
        ["subset", "data", "subset1", "--first", few],
        ["subset", "data", "subset2", "--random", few],
        ["subset", "data", "subset3", "--hours", f"{number / 3600:.2f}"],
        ["subset", "data", "subset4", "--num_speakers", max(1, few // SPEAKER)],
        ["split_by_speaker", "data", "train=rest", "valid=5%", "test=5%"],
        ["combine", "combined", "valid", "train", "test"],
        ["from_table", "list.tsv", "from_tsv", *columns],
        ["from_table", "list.csv", "from_csv", *columns],
        ["from_table", "list.jsonl", "from_jsonl", *columns],
        ["from_table", "cuts.jsonl", "from_cuts", "--speaker", "", *columns],
        ["segments", "list", "from_cuts", "listed"],
        ["statistics", "data", "--output", "statistics"],
        ["listen", "data", "--number", "10"],
    ]


def measure(root: Path, words: list) -> str:
    """A row of the table. What a tool has made is removed, unless another needs it."""
    tool, *arguments = map(str, words)
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, ROOT / f"utils/data/{tool}.py", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"{tool}: exit status {process.returncode}\n{output[-3000:]}")
    for made in root.glob("subset*"):
        shutil.rmtree(made)
    row = (
        f"| `{shlex.join([tool, *arguments])}` | {seconds:.0f} | "
        f"{usage.ru_utime + usage.ru_stime:.0f} | {usage.ru_maxrss / 1024:.0f} |"
    )
    print(row, file=sys.stderr, flush=True)
    return row


def report(number: int, rows: list[str]) -> str:
    cells = [[float(cell) for cell in row.strip("| ").split("|")[-3:]] for row in rows]
    slowest, largest = max(cell[1] for cell in cells), max(cell[2] for cell in cells)
    return "\n".join(
        [
            f"`python test/bench/bench_tools.py --utterances {number}`, {date.today()}, "
            f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}:",
            "",
            "| tool | seconds | of the processor | memory (MB) |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            f"Goals: {GOAL_SECONDS} s of the processor "
            f"({'met' if slowest <= GOAL_SECONDS else 'missed'}: {slowest:.0f}), {GOAL_MB} MB "
            f"({'met' if largest <= GOAL_MB else 'missed'}: {largest:.0f}).",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    root = args.directory or Path(tempfile.mkdtemp(prefix="bench_tools."))
    root.mkdir(parents=True, exist_ok=True)
    try:
        # A process of its own: what it needs would count as that of the tools started after it.
        maker = multiprocessing.Process(target=make, args=(root, args.utterances))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit("the lists could not be made")
        rows = [measure(root, words) for words in commands(args.utterances)]
        text = report(args.utterances, rows)
    finally:
        shutil.rmtree(root)
    print(text)
    if args.table:
        args.table.write_text(text)


if __name__ == "__main__":
    main()
