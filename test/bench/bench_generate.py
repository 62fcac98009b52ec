"""Tokens per second of stage 7's batched generation against one-at-a-time `generate`.

    PYTHONPATH=test python test/bench/bench_generate.py [--llm DIR] [--prompts 128]

Both answer the same prompts with the same limits (4 x the prompt's tokens) in one run, and the
answers are compared. Without --llm: a random Llama of 4 layers x 256, as the mini recipe's.
"""

import argparse
import random
import resource
import time
from dataclasses import replace

import chat_llms
import torch
from tiny_models import random_llama

from espnet_audiollm.data.prompt import encode
from espnet_audiollm.infer.generate import Fitting
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.model import llm as llms
from espnet_audiollm.types import Dialogue, Turn

WORDS = "the cat sat on a mat and dog ran to park what is capital of france".split()


def small_llm():
    model = random_llama(
        512,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        initializer_range=0.2,
    )
    return llms.wrap(model, chat_llms.llama2_trained(), "random 4 x 256")


def one_at_a_time(system, dialogues):
    answers, llm = [], system.llm
    for dialogue in dialogues:
        prompt = torch.tensor([encode(dialogue.turns, llm.tokenizer)])
        prompt = prompt.to(llm.model.device)
        sequence = llm.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=min(4 * prompt.shape[1], llm.context - prompt.shape[1]),
            do_sample=False,
            eos_token_id=list(llm.eos_ids),
            pad_token_id=llm.eos_ids[0],
        )
        answers.append(tuple(sequence[0, prompt.shape[1] :].tolist()))
    return answers


def batched(system, dialogues, batch_size):
    system = replace(system, generate=Fitting(batch_size))
    return [answer.response_ids for answer in system.respond(dialogues)]


def timed(run, *arguments):
    """Answers, seconds, and the process's largest memory so far, MiB."""
    start = time.monotonic()
    answers = run(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return answers, time.monotonic() - start, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm")
    parser.add_argument("--chat_template")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.llm:
        llm = llms.load(args.llm, args.chat_template, device=args.device)
    else:
        llm = small_llm()
        llm.model.to(args.device)
    rng = random.Random(0)
    dialogues = [
        Dialogue(f"{i:05d}", (Turn("user", " ".join(rng.choices(WORDS, k=rng.randint(2, 16)))),))
        for i in range(args.prompts)
    ]
    system = load_system("reference", llm)
    dialogues.sort(key=system.num_positions)
    batched(system, dialogues[:2], 2)  # warm up both
    one_at_a_time(system, dialogues[:1])
    ways = {"one at a time": timed(one_at_a_time, system, dialogues)}
    ways[f"{args.batch_size} rows"] = timed(batched, system, dialogues, args.batch_size)
    rates = []
    for name, (answers, seconds, peak) in ways.items():
        tokens = sum(map(len, answers))
        rates.append(tokens / seconds)
        what = f"{tokens} tokens in {seconds:.1f} s, {rates[-1]:.0f} tokens/s"
        print(f"{name:>16}: {what}; memory so far {peak:.0f} MiB")
    single, together = (answers for answers, _, _ in ways.values())
    same = sum(a == b for a, b in zip(single, together, strict=True))
    print(
        f"{llm.name} on {llm.model.device}, {args.threads} threads, {llm.model.dtype}: "
        f"{rates[1] / rates[0]:.1f} times as fast; {same} of {len(dialogues)} answers are equal"
    )


if __name__ == "__main__":
    main()
