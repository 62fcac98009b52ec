#!/usr/bin/env python3
"""Train a small chat Llama on text about the small world, from scratch, in some minutes.

What is left is an ordinary Hugging Face directory (LlamaForCausalLM, a fast tokenizer with a chat
template in Llama-2's form): from there on the recipe treats it as it would a 7B. The model sees
no held-out combination (see world.py); `eval.json` says how it does on them. The directory is
made aside and renamed when it is complete.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chats import conversation, held_out_chats
from world import CATEGORIES, Item

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.progress import progress

# T tokens, A answer tokens (both of the entire batch), D width, V vocabulary

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
MARKS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
# Llama-2's form. Without a system turn it renders an empty one, as in the paper.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for turn in turns %}"
    "{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Turns must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if turn['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' }}"
    "{% if loop.first %}{{ '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' }}{% endif %}"
    "{{ turn['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn['content'] + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
IGNORE = -100  # label of a token that is not an answer's


@dataclass(frozen=True)
class Settings:
    """The model and its training; found by trial on 2 CPU cores."""

    layers: int = 4
    width: int = 192
    heads: int = 3
    conversations: int = 60_000
    batch_tokens: int = 1_400
    peak_rate: float = 2e-3
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.05


def get_parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in vars(defaults).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--num_eval", type=int, default=500, help="held-out items to answer")
    parser.add_argument("output", type=Path, help="Hugging Face directory to make")
    return parser


# --- text ---


def messages(turns: list[Item]) -> list[dict[str, str]]:
    """The chat form; the last turn's answer included."""
    said = []
    for turn in turns:
        said.append({"role": "user", "content": turn.prompt})
        said.append({"role": "assistant", "content": turn.response})
    return said


def vocabulary(chats: list[list[Item]]) -> list[str]:
    """The texts whose every word is to be a token: what is unclear has no words."""
    turns = [turn for chat in chats for turn in chat]
    clear = {turn.prompt for turn in turns if turn.category != "unclear"}
    return sorted(clear | {turn.response for turn in turns})


def build_tokenizer(texts: list[str]):
    """Byte-level BPE in which every word of `texts` is one token, and the template's marks too.

    The marks swallow the white space around them, and each stretch between marks begins with a
    space: the ids of a user's words are the same by themselves and within the template, so that
    audio can take their place."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [
        AddedToken(mark, lstrip=True, rstrip=True, special=True, normalized=False)
        for mark in (PAD, BOS, EOS, *MARKS)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,  # never met: merging ends when each word is one token
        min_frequency=1,
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer, chats: list[list[Item]]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each conversation; labels hold the answers' tokens with their </s>."""
    rendered = tokenizer.apply_chat_template([messages(chat) for chat in chats], tokenize=False)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    opens, closes = tokenizer.convert_tokens_to_ids(["[/INST]", EOS])
    return [(row, answer_labels(row, opens, closes)) for row in ids]


def answer_labels(ids: list[int], opens: int, closes: int) -> list[int]:
    """`ids` where they lie after `opens` up to and with `closes`, else IGNORE."""
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside else IGNORE)
        inside = token == opens or (inside and token != closes)
    return labels


def batches(
    rows: list[tuple[list[int], list[int]]], budget: int, rng: random.Random
) -> list[list[tuple[list[int], list[int]]]]:
    """Rows of like length, at most `budget` tokens with padding; the batches in random order."""
    rows = sorted(rows, key=lambda row: (len(row[0]), rng.random()))
    made: list[list[tuple[list[int], list[int]]]] = [[]]
    for row in rows:  # the longest of a batch comes last
        if made[-1] and (len(made[-1]) + 1) * len(row[0]) > budget:
            made.append([])
        made[-1].append(row)
    rng.shuffle(made)
    return made


# --- model and training ---


def build_model(tokenizer, settings: Settings):
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.width * 8 // 3 // 32 * 32,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def answer_nats(model, rows: list[tuple[list[int], list[int]]]):
    """Negative log-likelihood (nats) of each answer token (A); no logits elsewhere.

    rows: (ids, labels) of the conversations, which are laid end to end."""
    import torch
    import torch.nn.functional as F

    from espnet_audiollm.model.packing import hidden_states

    embed = model.get_input_embeddings()
    (states_TD,) = hidden_states(model, [embed(torch.tensor(ids)) for ids, _ in rows])
    wanted = torch.tensor([n for _, labels in rows for n in (*labels[1:], IGNORE)])
    logits_AV = model.lm_head(states_TD[wanted != IGNORE])
    return F.cross_entropy(logits_AV.float(), wanted[wanted != IGNORE], reduction="none")


def rate_at(step: int, total: int, settings: Settings) -> float:
    """Learning rate: a linear rise, then a cosine to nothing."""
    rise = max(1, int(settings.warmup * total))
    if step < rise:
        return settings.peak_rate * (step + 1) / rise
    return settings.peak_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))


def train(model, rows, tokenizer, settings: Settings, seed: int) -> None:
    """One pass over `rows`: every conversation is seen once."""
    import torch

    from espnet_audiollm.train.muon import Muon
    from espnet_audiollm.train.precision import cpu_has_bfloat16

    plan = batches(rows, settings.batch_tokens, random.Random(seed))
    matrices = [p for p in model.model.layers.parameters() if p.dim() == 2]
    taken = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in taken]  # embedding and norms
    groups = [
        {"params": matrices, "orthogonal": True, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = Muon(groups, betas=(0.9, 0.95), fused=True)
    model.train()
    fast = cpu_has_bfloat16()
    average = None
    for step, batch in enumerate(progress(plan, len(plan), "training the LLM", "step")):
        rate = rate_at(step, len(plan), settings)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast, cache_enabled=False):
            loss = answer_nats(model, batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % 200 == 199 or step + 1 == len(plan):
            print(f"step {step + 1}: loss {average:.4f} nats a token", file=sys.stderr, flush=True)


# --- what it learned ---


def answer(model, tokenizer, chats: list[list[Item]], size: int = 50) -> Iterator[tuple[str, list]]:
    """(greedy answer to the last turn, nats of its tokens) of each conversation, in order."""
    import torch

    for start in range(0, len(chats), size):
        prompts = [messages(chat)[:-1] for chat in chats[start : start + size]]
        inputs = tokenizer.apply_chat_template(
            prompts, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=40, do_sample=False)
        rows, opens = [], inputs["input_ids"].shape[1]
        for prompt, mask, said in zip(
            inputs["input_ids"], inputs["attention_mask"], out[:, opens:], strict=True
        ):
            context = prompt[mask.bool()].tolist()
            said = [t for t in said.tolist() if t != tokenizer.pad_token_id]
            rows.append((context + said, [IGNORE] * len(context) + said))
        with torch.inference_mode():
            nats = answer_nats(model, rows).tolist()
        for _, labels in rows:
            said = [t for t in labels if t != IGNORE]
            yield tokenizer.decode(said, skip_special_tokens=True).strip(), nats[: len(said)]
            nats = nats[len(said) :]


def succeeds(response: str, item: Item) -> bool:
    """Is one of the accepted answers in the response, as whole words?"""
    return any(f" {accepted} " in f" {response} " for accepted in item.answers)


def evaluate(model, tokenizer, num: int, seed: int) -> dict:
    """Success on held-out combinations, and how sure the model is of its own answers."""
    model.eval()
    categories, total_nats, total_tokens, single = {}, 0.0, 0, [0, 0]
    for name, chats in held_out_chats(random.Random(f"eval {seed}"), num).items():
        good = exact = 0
        nats, failed = [], []
        for chat, (response, token_nats) in zip(
            chats, answer(model, tokenizer, chats), strict=True
        ):
            good += succeeds(response, chat[-1])
            exact += response == chat[-1].response
            nats += token_nats
            if not succeeds(response, chat[-1]):
                failed.append({"prompt": [turn.prompt for turn in chat], "response": response})
        categories[name] = {
            "num": len(chats),
            "success_rate": round(100 * good / max(1, len(chats)), 2),  # %
            "exact_rate": round(100 * exact / max(1, len(chats)), 2),  # %: word for word
            "own_answer_ppl": round(math.exp(sum(nats) / max(1, len(nats))), 4),
            "failed": failed[:5],
        }
        if name in CATEGORIES:
            total_nats, total_tokens = total_nats + sum(nats), total_tokens + len(nats)
            single = [single[0] + good, single[1] + len(chats)]
    return {
        "success_rate": round(100 * single[0] / single[1], 2),
        "follow_up_success_rate": categories["follow_up"]["success_rate"],
        "own_answer_ppl": round(math.exp(total_nats / total_tokens), 4),
        "num": single[1],
        "categories": categories,
    }


def save(model, tokenizer, report: dict, output: Path) -> None:
    """The Hugging Face directory, complete or not at all."""
    aside = output.with_name(f".{output.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    (aside / "eval.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, output)


def check_same(output: Path, asked: dict) -> None:
    """Refuse (ValueError) an LLM that was made with other settings or another seed."""
    made = json.loads((output / "eval.json").read_text(encoding="utf-8"))["settings"]
    other = [name for name, value in asked.items() if made.get(name, value) != value]
    if other:
        name = other[0]
        raise ValueError(
            f"{output} was made with other settings ({len(other)}, first: {name} {made[name]}, now "
            f"{asked[name]}): move it away, or give the settings that it was made with"
        )


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    settings = Settings(**{name: getattr(args, name) for name in vars(Settings())})
    asked = {**vars(settings), "seed": args.seed}
    if (args.output / "eval.json").exists():
        check_same(args.output, asked)
        print(f"{args.output}: trained already, skipped", file=sys.stderr)
        return 0
    if args.output.exists():
        raise ValueError(f"{args.output} exists and is no LLM of this script: move it away first")
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    start = time.monotonic()
    chats = [conversation(rng) for _ in range(settings.conversations)]
    tokenizer = build_tokenizer(vocabulary(chats))
    rows = encode(tokenizer, chats)
    model = build_model(tokenizer, settings)
    print(
        f"LLM: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, "
        f"{len(tokenizer)} tokens; {len(rows)} conversations, "
        f"{sum(len(ids) for ids, _ in rows) / 1e6:.2f} M tokens",
        file=sys.stderr,
    )
    train(model, rows, tokenizer, settings, args.seed)
    seconds = time.monotonic() - start
    report = evaluate(model, tokenizer, args.num_eval, args.seed)
    report |= {
        "command": " ".join(["train_llm.py", *(argv if argv is not None else sys.argv[1:])]),
        "train_seconds": round(seconds, 1),
        "settings": asked,
    }
    save(model, tokenizer, report, args.output)
    print(
        f"{args.output}: {seconds:.0f} s; on held-out combinations: success "
        f"{report['success_rate']} %, follow-ups {report['follow_up_success_rate']} %, "
        f"perplexity of its own answers {report['own_answer_ppl']}",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
