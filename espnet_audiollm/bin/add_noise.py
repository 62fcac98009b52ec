"""Stage 2: a copy of a formatted test set with noise in its audio (see data/noise.py).

The copy has the same ids, lengths and tables; noise.json says what was done. The responses of the
clean set are its references too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

from ..data import kaldi_dir, noise
from ..store.parts import Parts, hash_files
from ..store.tables import write_table
from . import split
from .cli import new_parser, user_errors

FIELDS = ("id", "audio", "scale")  # audio: path below --output
BATCH = 16  # utterances
ABOUT = "noise.json"


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", required=True, help="formatted test set, e.g. dump/test")
    parser.add_argument("--noise", required=True, help=noise.KINDS)
    parser.add_argument("--output", required=True, help="directory to make")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    split.add_options(parser)
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Make the noisy copy, or this job's part of it."""
    args = get_parser().parse_args(argv)
    split.check(args)
    if Path(args.data).resolve() == Path(args.output).resolve():
        raise ValueError(f"--output {args.output} is --data itself; the copy needs its own place")
    kind = noise.parse(args.noise)
    with split.named(args):
        parts = open_parts(args, kind)
        if not args.merge:
            add(args, kind, parts)
        if split.merges(args):
            merge(args, kind, parts)
    return 0


def open_parts(args: argparse.Namespace, kind: noise.Noise) -> Parts:
    """The shards that belong to the contents of the tables. That a recording changed is seen in
    the formatted set's .done."""
    data = Path(args.data)
    count = kaldi_dir.count_utterances(data)
    names = [*kaldi_dir.tables(data), ".done"]
    inputs: dict[str, object] = {"options": split.options(args)}
    inputs["contents"] = hash_files(*(data / n for n in names))
    if kind.directory is not None:
        found = [(p, os.stat(p)) for p in noise.noise_files(kind.directory)]
        states = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in found]
        inputs["recordings"] = hashlib.sha256(repr(states).encode()).hexdigest()
    made = [*kaldi_dir.tables(data), ABOUT]
    return Parts(args.output, inputs, count, FIELDS, 2, made, args.shard_size)


def add(args: argparse.Namespace, kind: noise.Noise, parts: Parts) -> None:
    """Make this job's recordings."""
    if split.nothing_left(args, parts):
        return
    make = noise.adder(kind, kaldi_dir.iter_utterances(args.data), args.seed)
    parts.begin()

    def plan(utterances):
        return [utterances[at : at + BATCH] for at in range(0, len(utterances), BATCH)]

    def answer(batch):
        return [write(args.output, utt.id, *make(utt)) for utt in batch]

    utterances = kaldi_dir.iter_utterances(args.data)
    for _ in split.fill(args, parts.shards, utterances, plan, answer, f"add {args.noise}"):
        pass


def write(output: str, id_: str, samples, scale: float) -> dict:
    """Write one recording; its record for the shard."""
    from ..data.audio import write_audio

    path = recording(id_)
    write_audio(Path(output) / path, samples)
    return {"id": id_, "audio": path, "scale": scale}


def recording(id_: str, container: str = "flac") -> str:
    """Where below --output an utterance's audio goes; an id never becomes a path of its own."""
    digest = hashlib.sha256(id_.encode()).hexdigest()
    return f"audio/{digest[:2]}/{quote(id_, safe='')[:150]}.{digest[:12]}.{container}"


def merge(args: argparse.Namespace, kind: noise.Noise, parts: Parts) -> None:
    """The tables of the copy, wav.scp last."""
    output, data = Path(args.output), Path(args.data)
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        scales = [record["scale"] for record in parts.shards.records()]
        write_about(args, kind, [scale for scale in scales if scale < 1])
        for name in kaldi_dir.tables(data):
            if name != "wav.scp":
                write_table(output / name, kaldi_dir.read_table(data / name), True)
        rows = ((r["id"], f"{args.output}/{r['audio']}") for r in parts.shards.records())
        write_table(output / "wav.scp", rows, presorted=True)
    remove_orphans(output)
    parts.finish()
    about = json.loads((output / ABOUT).read_text(encoding="utf-8"))
    print(
        f"{output}: {args.noise} in {about['num_utts']} utterances, {about['scaled']} made quieter"
    )


def write_about(args: argparse.Namespace, kind: noise.Noise, scales: list[float]) -> None:
    """noise.json: which noise, and how many utterances were made quieter for it."""
    from ..store.json_files import write_json

    about = {
        "noise": args.noise,
        **kind.as_dict(),
        "seed": args.seed,
        "from": Path(args.data).name,
        "num_utts": kaldi_dir.count_utterances(args.data),
        "scaled": len(scales),  # utterances that would have been clipped
        "smallest_scale": min(scales, default=1.0),
    }
    write_json(Path(args.output) / ABOUT, about)


def remove_orphans(output: Path) -> None:
    """Remove recordings of earlier runs that no line of wav.scp points to."""
    wanted = {recording(id_) for id_, _ in kaldi_dir.read_table(output / "wav.scp")}
    for path in (output / "audio").glob("*/*"):
        if path.relative_to(output).as_posix() not in wanted:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
