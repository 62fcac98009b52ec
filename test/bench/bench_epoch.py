"""An epoch of the alignment: our batches against padded ones of as many utterances each.

    OMP_NUM_THREADS=1 python test/bench/bench_epoch.py
    python test/bench/bench_epoch.py --responses 5 300   # tokens, shortest and longest

The same utterances, as long as LibriSpeech's, the same model with random weights, AdamW after each
batch, by turns:

    ours     batches of utterances of like length, bounded by samples with padding; the LLM reads
             its sequences end to end
    static   batches of a fixed number of utterances in random order, as many batches as ours; the
             LLM reads them padded to the longest

Times are the process's own, summed over the epoch. Logits are computed where a response token is
predicted in both: a training that computes all of them costs more than `static` here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from bench_lengths import LLMS, PREFIX, RATE, SUFFIX, WORDS, draw_durations, draw_responses
from peer_ours import make_model, make_tensors

from espnet_audiollm.data.batches import Rules, Shapes, arrange

SYSTEMS = ("ours", "static")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llm", default="smollm2-135m", choices=LLMS)
    parser.add_argument("--width", type=int, default=256, help="of the encoder's layers")
    parser.add_argument("--layers", type=int, default=8, help="of the encoder")
    parser.add_argument("--epoch", type=float, default=900, help="seconds of audio")
    parser.add_argument("--audio", type=float, default=60, help="seconds in a batch of ours")
    parser.add_argument("--responses", type=int, nargs=2, default=[100, 200], help="tokens")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def our_batches(seconds: list[float], audio: float) -> list[np.ndarray]:
    """Rows of each batch, as `--batch_type numel` makes them."""
    samples = np.array([round(s * RATE) for s in seconds], np.int32)
    rows, sizes = arrange([Shapes(samples, 1, b"")], Rules("numel", round(audio * RATE), 0))
    return np.split(rows, np.cumsum(sizes)[:-1])


def static_batches(number: int, batches: int) -> list[np.ndarray]:
    """Rows of each batch, in random order, as many in each as can be."""
    return np.array_split(torch.randperm(number).numpy(), batches)


def by_turns(batches: dict[str, list[np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    for pair in zip(*(batches[name] for name in SYSTEMS), strict=True):
        yield from zip(SYSTEMS, pair, strict=True)


def learn(model, optimizer, tensors: dict) -> float:
    """Seconds of one update."""
    began = time.process_time()
    loss, _, _ = model(**tensors)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - began


def padding(batches: list[np.ndarray], lengths: list[int]) -> float:
    """Percent of the positions of padded batches."""
    full = sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)
    return 100 * (1 - sum(lengths) / full)


def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    torch.manual_seed(args.seed)
    setting = dict(llm=LLMS[args.llm], width=args.width, heads=max(args.width // 64, 1))
    setting |= dict(layers=args.layers, objective="cross-entropy", pieces=0, words=WORDS)
    model = make_model(setting)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    seconds = draw_durations(args.epoch)
    responses = draw_responses(len(seconds), *args.responses)
    ours = our_batches(seconds, args.audio)
    batches = {"ours": ours, "static": static_batches(len(seconds), len(ours))}
    spent = dict.fromkeys(SYSTEMS, 0.0)
    vocab = model.llm.model.config.vocab_size

    def tensors_of(rows: np.ndarray) -> dict:
        some = {"seconds": [seconds[r] for r in rows], "responses": [responses[r] for r in rows]}
        return make_tensors(some, vocab, setting)

    learn(model, optimizer, tensors_of(ours[0]))  # warms up
    for name, rows in by_turns(batches):
        model.packed = name == "ours"
        spent[name] += learn(model, optimizer, tensors_of(rows))
    audio = [round(s * RATE) for s in seconds]
    llm = [PREFIX + round(12.5 * s) + SUFFIX + r for s, r in zip(seconds, responses, strict=True)]
    print(f"{args.llm}, {torch.get_num_threads()} threads, responses {args.responses} tokens")
    print(f"{len(seconds)} utterances, {sum(seconds):.0f} s, {len(ours)} batches of each kind\n")
    print("| batches | s an epoch | ratio | padding, encoder % | padding, LLM % |")
    print("|---|--:|--:|--:|--:|")
    for name in SYSTEMS:
        unread = 0.0 if name == "ours" else padding(batches[name], llm)
        print(
            f"| {name} | {spent[name]:.1f} | {spent[name] / spent['ours']:.2f} "
            f"| {padding(batches[name], audio):.1f} | {unread:.1f} |"
        )


if __name__ == "__main__":
    main()
