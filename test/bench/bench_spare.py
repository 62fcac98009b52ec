"""Whether spare positions of packed batches (espnet_audiollm/model/packing.py) save time: a
training of a small LLM on batches of ever other sizes, in turns with one whose batches have none.

    python test/bench/bench_spare.py [--rounds 8] [--steps 30]

Each training is a process of its own, since what slows it is how its memory came to be in pieces.
A row is a turn of --steps updates of each: what they take grows in the one, as in a real training.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time

WAYS = ("none", "spare")


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="mini", help="of the LLM (bench_lengths.py)")
    parser.add_argument("--positions", type=int, default=4000, help="of a batch, at most")
    parser.add_argument("--shortest", type=int, default=20, help="positions of a sequence")
    parser.add_argument("--longest", type=int, default=150, help="positions of a sequence")
    parser.add_argument("--steps", type=int, default=30, help="of a turn")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    return parser


def lengths_of_batch(rng, args):
    """Lengths of sequences, as alike within a batch as those of sorted data."""
    centre, lengths = rng.randint(args.shortest, args.longest), []
    while True:
        length = max(args.shortest, min(args.longest, centre + rng.randint(-5, 5)))
        if sum(lengths) + length > args.positions:
            return lengths
        lengths.append(length)


def work(args):
    """A process: for each line that it reads, it prints the seconds of a step."""
    import torch
    from bench_lengths import LLMS
    from transformers import LlamaConfig, LlamaForCausalLM

    from espnet_audiollm.model import packing
    from espnet_audiollm.model.response_loss import response_nats
    from espnet_audiollm.train import muon
    from espnet_audiollm.train.precision import cpu_has_bfloat16

    if args.worker == "none":
        packing.spare_positions = lambda positions: 0
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**LLMS[args.shape])).train()
    optimizer = muon.Muon(muon.groups(model.named_parameters(), "model.layers"))
    embed, vocabulary = model.get_input_embeddings(), model.config.vocab_size
    rng, bfloat16 = random.Random(0), cpu_has_bfloat16()
    for _ in sys.stdin:
        start = time.monotonic()
        for _ in range(args.steps):
            lengths = lengths_of_batch(rng, args)
            ids = [torch.randint(0, vocabulary, (length,)) for length in lengths]
            prompts = [embed(each[: len(each) // 2]) for each in ids]
            responses = [each[len(each) // 2 :] for each in ids]
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = torch.cat(response_nats(model, prompts, responses)).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        print(json.dumps((time.monotonic() - start) / args.steps), flush=True)


def main(argv=None):
    args = get_parser().parse_args(argv)
    if args.worker:
        return work(args)
    from bench_threads import turn  # beside this file

    words = sys.argv[1:] if argv is None else list(argv)
    running = {
        way: subprocess.Popen(
            [sys.executable, __file__, *words, "--worker", way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for way in WAYS
    }
    ratios = []
    print("| updates | none, ms an update | spare, ms an update | ratio |")
    print("| ---: | ---: | ---: | ---: |")
    try:
        for number in range(1, args.rounds + 1):
            none, spare = (turn(running[way]) for way in WAYS)
            ratios.append(none / spare)
            row = f"{1e3 * none:.0f} | {1e3 * spare:.0f} | {ratios[-1]:.2f}"
            print(f"| {number * args.steps} | {row} |", flush=True)
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    later = statistics.median(ratios[len(ratios) // 2 :])
    print(f"times as fast with spare positions, median of the later half: {later:.2f}")
    return None


if __name__ == "__main__":
    main()
