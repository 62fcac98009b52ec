"""Alignment step of the LLM: the same batches, the same loss, laid out in several ways.

    python test/bench/bench_packing.py [--shape small] [--batches 8] [--batch_size 32]
    OMP_NUM_THREADS=1 python test/bench/bench_packing.py --shape small --batch_size 4 \
        --shortest 80 --longest 160 --prefix 60

Prompts and responses of random length (as unequal as spoken requests and answers are) go through
the frozen LLM, forward and backward to the audio embeddings. The ways take turns; what is printed
is the median time of each (of this process, whatever else is running), ratios, and the share of
padded positions.

    packed, padded    sequences end to end, or filled up to the longest
    once              packed, and the --prefix tokens that all prompts begin with are read once, not
                      with each (see espnet_audiollm/model/beginnings.py)
"""

import argparse
import statistics
import time

import torch
from bench_lengths import LLMS
from transformers import LlamaConfig, LlamaForCausalLM

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.beginnings import Beginnings, followed_by
from espnet_audiollm.model.response_loss import embed_prompt, response_nats


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llm", help="directory (default: random weights of --shape)")
    parser.add_argument("--shape", choices=LLMS, default="mini")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--shortest", type=int, default=10, help="positions after the prefix")
    parser.add_argument("--longest", type=int, default=120, help="positions after the prefix")
    parser.add_argument("--prefix", type=int, default=0, help="tokens that all prompts begin with")
    parser.add_argument("--bfloat16", action="store_true", help="by autocast, as with use_amp")
    return parser


def load(args):
    if args.llm:
        from espnet_audiollm.model.llm import load_llm

        return load_llm(args.llm)
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**LLMS[args.shape])).eval().requires_grad_(False)


def make_batch(model, args):
    """Templates, an audio for each, responses."""
    lengths = torch.randint(args.shortest, args.longest + 1, (args.batch_size,)).tolist()
    width, vocab = model.config.hidden_size, model.config.vocab_size
    audios = [torch.randn(n - n // 3, width).mul(0.02).requires_grad_() for n in lengths]
    responses = [torch.randint(0, vocab, (max(n // 3, 1),)) for n in lengths]
    template = [*torch.arange(args.prefix).remainder(vocab).tolist(), AUDIO_SLOT]
    return [template] * len(lengths), audios, responses


def step(model, batch, way, beginnings, bfloat16):
    """Seconds and loss. beginnings: what the way "once" has read before."""
    templates, audios, responses = batch
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        beginning = beginnings.of(model, templates) if way == "once" else None
        pairs = zip(followed_by(beginning, templates), audios, strict=True)
        prompts = [embed_prompt(model, template, [audio]) for template, audio in pairs]
        nats = response_nats(model, prompts, responses, way != "padded", beginning=beginning)
        loss = torch.cat(nats).mean()
    loss.backward()
    return time.process_time() - start, loss.item()


def main(argv=None):
    args = get_parser().parse_args(argv)
    model, beginnings = load(args), Beginnings(least=1)
    torch.manual_seed(1)
    ways = ["packed", "padded"] + ["once"] * bool(args.prefix)
    times = {way: [] for way in ways}
    used = padded = 0
    for i in range(args.batches + 1):
        batch = make_batch(model, args)
        losses = {}
        for way in ways[i % len(ways) :] + ways[: i % len(ways)]:
            seconds, losses[way] = step(model, batch, way, beginnings, args.bfloat16)
            if i:  # the first batch warms up
                times[way].append(seconds)
        off = max(losses.values()) - min(losses.values())
        assert off < (0.05 if args.bfloat16 else 1e-3), losses
        _, audios, responses = batch
        pairs = zip(audios, responses, strict=True)
        lengths = [args.prefix + len(a) + len(r) - 1 for a, r in pairs]
        used, padded = used + sum(lengths), padded + max(lengths) * len(lengths)
    print(f"{args.batches} batches of {args.batch_size}, {torch.get_num_threads()} threads")
    print(f"positions: {used / (args.batches + 1):.0f} a batch, the prefix with each sequence")
    print(f"padding: {100 * (1 - used / padded):.0f} % of the padded positions")
    for way in ways:
        print(f"{way}: {statistics.median(times[way]) * 1e3:.1f} ms a step (median)")
    for a, b in [("padded", "packed"), ("packed", "once")][: len(ways) - 1]:
        ratios = [x / y for x, y in zip(times[a], times[b], strict=True)]
        print(f"{a} / {b}: {statistics.median(ratios):.2f} (min {min(ratios):.2f})")


if __name__ == "__main__":
    main()
