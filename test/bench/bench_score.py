"""Stage 11 on 100,000 utterances: time and peak memory.

    PYTHONPATH=test python test/bench/bench_score.py [--utterances 100000] [--directory DIR]

Runs are generated as stage 10 leaves them: the reference, three cascades with
transcripts, two AudioLLMs with alignment numbers, and no prompt, all with responses, their tokens
and the nats of each. There are answers, categories, speakers and durations, but no recordings.
Then the command of stage 11 runs on them. The goal: under a minute and under 1 GB.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from written_runs import write_run, write_store

ROOT = Path(__file__).parents[2]
SPEAKERS, CATEGORIES = 400, ("fact", "sum", "statement", "translate")
WORDS, ANSWER_WORDS = (4, 12), (8, 24)  # of a question, of a response: fewest, most
VOCABULARY = 5000
SYSTEMS = {  # name of the directory: kind, nats a token, share of wrong words
    "reference": ("reference", 0.01, 0.0),
    "cascade_a": ("cascade", 0.3, 0.05),
    "cascade_b": ("cascade", 0.6, 0.15),
    "cascade_c": ("cascade", 1.2, 0.35),
    "audio_a": ("audiollm", 0.25, 0.1),
    "audio_b": ("audiollm", 0.28, 0.1),
    "no_prompt": ("no_prompt", 2.5, 1.0),
}


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--directory", help="kept afterwards (default: a temporary one)")
    parser.add_argument("--resamples", type=int, default=2000)
    return parser


class World:
    def __init__(self, utterances):
        self.rng = random.Random(1)
        self.words = [f"w{self.rng.randrange(10**6)}" for _ in range(VOCABULARY)]
        self.ids = [f"spk{i % SPEAKERS:04d}-utt{i:07d}" for i in range(utterances)]
        self.ids.sort()
        self.texts = [self.sentence(WORDS) for _ in self.ids]
        self.answers = [self.sentence(ANSWER_WORDS) for _ in self.ids]

    def sentence(self, between):
        return self.rng.choices(self.words, k=self.rng.randint(*between))

    def spoiled(self, words, share):
        """With words replaced, left out and put in."""
        made = []
        for word in words:
            chance = self.rng.random()
            if chance >= share:
                made.append(word)
            elif chance < 0.7 * share:
                made.append(self.rng.choice(self.words))
            elif chance < 0.8 * share:
                made += [word, self.rng.choice(self.words)]
        return made


def write(path, ids, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as out:
        out.writelines(f"{id} {value}\n" for id, value in zip(ids, values, strict=True))


def token_ids(words):
    return [len(word) + ord(word[-1]) for word in words] + [2]


def write_data(world, data):
    ids, rng = world.ids, world.rng
    write(data / "text", ids, map(" ".join, world.texts))
    write(data / "answers", ids, (f"{a[1]} {a[2]} | {a[0]}" for a in world.answers))
    write(data / "category", ids, (rng.choice(CATEGORIES) for _ in ids))
    write(data / "utt2spk", ids, (id.split("-")[0] for id in ids))
    write(data / "utt2dur", ids, (f"{0.4 * len(text):.3f}" for text in world.texts))
    write_store(
        data / "responses",
        {i: (" ".join(a), token_ids(a)) for i, a in zip(ids, world.answers, strict=True)},
    )


def write_system(world, directory, kind, nats, share, store):
    ids, rng = world.ids, world.rng
    answers, recordings = {}, {}
    for id, text, answer in zip(ids, world.texts, world.answers, strict=True):
        said = world.spoiled(answer, share)
        costs = [round(rng.expovariate(1 / nats), 6) for _ in range(len(answer) + 1)]
        answers[id] = (" ".join(said), token_ids(said), costs, None)
        if kind == "cascade":
            recordings[id] = " ".join(world.spoiled(text, share))
        if kind == "audiollm":
            recordings[id] = similarity(rng, len(text))
    write_run(directory, kind, directory.name, store, answers, recordings)


def similarity(rng, words):
    """As score/alignment.py writes it."""
    sizes = {"tokens": 2 * words, "words": words, "positions": 5 * words}
    numbers = {}
    for kind in ("", "centred_"):
        numbers[f"{kind}path"] = round(rng.uniform(0.3, 0.9), 6)
        numbers[f"{kind}path_shuffled"] = round(rng.uniform(0.1, 0.5), 6)
        numbers[f"{kind}in_order"] = rng.randint(1, words)
        numbers[f"{kind}in_order_shuffled"] = round(rng.uniform(1, words), 6)
    return {**sizes, **numbers}


def generate(root, utterances):
    world = World(utterances)
    write_data(world, root / "dump/test")
    for name, about in SYSTEMS.items():
        write_system(world, root / "exp" / name, *about, root / "dump/test/responses")


def score(root, resamples):
    """Of the command: seconds, those of the processor, and peak of resident memory in GB."""
    command = [sys.executable, "-m", "espnet_audiollm.bin.score", "--recipe", "bench"]
    command += ["--sets", str(root / "dump/test"), "--runs", str(root / "exp")]
    command += ["--llm", "none", "--output", str(root / "out")]
    begin = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--resamples", str(resamples)], check=True, env=env)
    seconds = time.monotonic() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9


def bench(root, args):
    if not (root / "exp").is_dir():
        begin = time.monotonic()
        generate(root, args.utterances)
        print(f"generated: {args.utterances} utterances, {time.monotonic() - begin:.0f} s")
    seconds, busy, peak = score(root, args.resamples)
    page = (root / "out/report.html").stat().st_size / 1e6
    print(
        f"\n{args.utterances} utterances, {len(SYSTEMS)} systems, {args.resamples} resamples: "
        f"{seconds:.1f} s ({busy:.1f} s of the processor), {peak:.2f} GB, report.html {page:.1f} MB"
    )
    return seconds, busy, peak


def main(argv=None):
    args = get_parser().parse_args(argv)
    if args.directory:
        return bench(Path(args.directory), args)
    with tempfile.TemporaryDirectory() as directory:
        return bench(Path(directory), args)


if __name__ == "__main__":
    main()
