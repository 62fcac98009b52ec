"""A tiny LLM with units, tasks as token ids, and command lines of the speech LM's training."""

import random
from pathlib import Path

import chat_llms
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from espnet_audiollm.data.task_examples import Encoder, write_examples
from espnet_audiollm.data.task_mixture import read_mixture
from espnet_audiollm.data.unit_tables import UnitSet, write_set
from espnet_audiollm.data.unit_tokens import FACTS, UnitTokens, read_vocabulary
from espnet_audiollm.model import llm as llms
from espnet_audiollm.model.joint_vocabulary import extend
from espnet_audiollm.units.quantiser import Quantiser
from espnet_audiollm.units.sources import Source

UNITS = 6
WORDS = "the cat sat on mat and dog ran to park".split()
OPTIONS = {
    "batch_type": "numel",
    "batch_bins": 250,
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "scheduler": "warmuplr",
    "scheduler_conf": {"warmup_steps": 3},
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 2,
    "num_workers": 0,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "max_epoch": 2,
    "seed": 3,
}


def make_joint(directory: Path, tied=True, seed=2) -> Path:
    """A random Llama with six units, as bin/extend_llm leaves it."""
    tokenizer = chat_llms.llama2_trained()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id,
    )
    text = directory / "text_llm"
    LlamaForCausalLM(config).save_pretrained(text)
    tokenizer.save_pretrained(text)
    centroids = torch.randn(UNITS, 4, generator=torch.Generator().manual_seed(0))
    zero, one = torch.zeros(4), torch.ones(4)
    units = Quantiser(Source("fbank", "", 4), "", "", 25.0, centroids, zero, one)
    llm = llms.load(str(text))
    facts = extend(llm, [units], "normal")
    llms.save(llm, directory / "joint", {FACTS: facts.as_text()})
    return directory / "joint"


def make_tables(directory: Path, joint: Path, number: int, seed: int = 0) -> None:
    """Units and texts of utterances: a word is two units, so that ASR can be learned."""
    draw = random.Random(seed)
    unit_set = UnitSet(read_vocabulary(joint).input.quantiser, UNITS, 25.0, False)
    (directory / "audio").mkdir(parents=True, exist_ok=True)
    write_set(directory / "audio", unit_set)
    rows = {"text": [], "audio/units": []}
    for i in range(number):
        words = draw.choices(WORDS[:4], k=draw.randint(1, 3))
        units = [n for word in words for n in (WORDS.index(word), WORDS.index(word) + 1)]
        rows["text"].append(f"u{i:02} {' '.join(words)}\n")
        rows["audio/units"].append(f"u{i:02} {' '.join(map(str, units))}\n")
    for name, lines in rows.items():
        (directory / name).write_text("".join(lines))


def make_tasks(
    directory: Path, joint: Path, number: int, alpha: float = 0.5, seed: int = 0
) -> Path:
    """ASR of all utterances and TTS of a third of them, as bin/prepare_tasks leaves them."""
    sources = []
    for name, task, share in (("a", "ASR", 1), ("t", "TTS", 3)):
        make_tables(directory / name, joint, number // share, seed)
        fields = {"audio": f"{directory}/{name}/audio", "text": f"{directory}/{name}/text"}
        tasks = [f"[{task} English]"]
        sources.append({"name": name, "language": "English", "tasks": tasks, "fields": fields})
    return write_tasks(directory, joint, {"alpha": alpha, "sources": sources})


def write_tasks(directory: Path, joint: Path, mixture: dict) -> Path:
    """The examples of a mixture, as bin/prepare_tasks leaves them."""
    (directory / "tasks.yaml").write_text(yaml.safe_dump(mixture))
    tokenizer = llms.load_tokenizer(str(joint))
    encoder = Encoder(tokenizer, UnitTokens.of(tokenizer), [tokenizer.eos_token_id])
    made = directory / "tasks"
    write_examples(
        made, read_mixture(directory / "tasks.yaml"), encoder, read_vocabulary(joint), 256
    )
    return made


def options(world: Path, output: Path, **more) -> list[str]:
    """The command line of a training; `world` has joint, train/tasks and valid/tasks."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "given.yaml").write_text(yaml.safe_dump({**OPTIONS, **more}))
    cmd = ["--config", f"{output}/given.yaml", "--output_dir", str(output)]
    cmd += ["--llm", f"{world}/joint"]
    return [*cmd, "--train_tasks", f"{world}/train/tasks", "--valid_tasks", f"{world}/valid/tasks"]


def make_world(directory: Path, tied=True, seed=2) -> Path:
    """joint, train/tasks and valid/tasks below a directory."""
    joint = make_joint(directory, tied, seed)
    make_tasks(directory / "train", joint, 30)
    make_tasks(directory / "valid", joint, 9, seed=1)
    return directory
