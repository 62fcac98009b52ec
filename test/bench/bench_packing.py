"""Alignment step, packed against padded: the same batches, the same loss, side by side.

    python test/bench/bench_packing.py [--llm DIR] [--batches 8] [--batch_size 32]

Prompts and responses of random length (as unequal as spoken requests and answers are) go through
the frozen LLM, forward and backward to the audio embeddings. The two take turns; what is printed is
the median time of each and their ratio, and the share of padded positions.
"""

import argparse
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from espnet_audiollm.model.response_loss import response_nats


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llm", help="directory (default: random weights, 4 layers of 256)")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--shortest", type=int, default=10, help="positions of a sequence")
    parser.add_argument("--longest", type=int, default=120, help="positions of a sequence")
    return parser


def load(llm):
    if llm:
        from espnet_audiollm.model.llm import load_llm

        return load_llm(llm)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def make_batch(model, args):
    lengths = torch.randint(args.shortest, args.longest + 1, (args.batch_size,)).tolist()
    width, vocab = model.config.hidden_size, model.config.vocab_size
    prompts = [torch.randn(n - n // 3, width).mul(0.02).requires_grad_() for n in lengths]
    responses = [torch.randint(0, vocab, (max(n // 3, 1),)) for n in lengths]
    return prompts, responses


def step(model, prompts, responses, packed):
    start = time.perf_counter()
    loss = torch.cat(response_nats(model, prompts, responses, packed)).mean()
    loss.backward()
    return time.perf_counter() - start, loss.item()


def main():
    args = get_parser().parse_args()
    model = load(args.llm)
    torch.manual_seed(1)
    times = {True: [], False: []}
    used = padded = 0
    for i in range(args.batches + 1):
        prompts, responses = make_batch(model, args)
        losses = {}
        for packed in (True, False):
            seconds, losses[packed] = step(model, prompts, responses, packed)
            if i:  # the first batch warms up
                times[packed].append(seconds)
        assert abs(losses[True] - losses[False]) < 1e-3, losses
        lengths = [len(p) + len(r) - 1 for p, r in zip(prompts, responses, strict=True)]
        used, padded = used + sum(lengths), padded + max(lengths) * len(lengths)
    ratios = [b / a for a, b in zip(times[True], times[False], strict=True)]
    print(f"{args.batches} batches of {args.batch_size}, {torch.get_num_threads()} threads")
    print(f"padding: {100 * (1 - used / padded):.0f} % of the padded positions")
    print(f"packed: {statistics.median(times[True]) * 1e3:.1f} ms a step (median)")
    print(f"padded: {statistics.median(times[False]) * 1e3:.1f} ms a step (median)")
    print(f"padded / packed: {statistics.median(ratios):.2f} (min {min(ratios):.2f})")


if __name__ == "__main__":
    main()
