"""Small data, a small LLM, and command lines of the two tasks on them."""

from pathlib import Path

import numpy as np
import soundfile
import yaml

QUICK = {  # a training of seconds
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 1,
    "num_workers": 0,
    "use_matplotlib": False,
}
ENCODER = QUICK | {
    "encoder_conf": dict(
        output_size=16,
        attention_heads=2,
        linear_units=16,
        num_blocks=1,
        dropout_rate=0.0,
        cnn_module_kernel=3,
        subsampling_channels=2,
    ),
    "batch_type": "sorted",
    "batch_size": 4,
    "keep_nbest_models": 2,
    "num_att_plot": 0,
}


def task_options(data: Path, output: Path, target: str, **more) -> list[str]:
    config = output / "given.yaml"
    output.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump({**ENCODER, **more}))
    cmd = ["--config", str(config), "--output_dir", str(output)]
    for split in ("train", "valid"):
        flag = f"--{split}_data_path_and_name_and_type"
        cmd += [flag, f"{data}/wav.scp,speech,sound", flag, f"{data}/{target}"]
        cmd += [f"--{split}_shape_file", f"{data}/shape"]
    return cmd


def ctc_options(data: Path, output: Path, **more) -> list[str]:
    pieces = ["--token_list", f"{data}/bpe/tokens.txt", "--bpemodel", f"{data}/bpe/bpe.model"]
    return task_options(data, output, "text,text,text", **more) + pieces


def make_data(root: Path) -> Path:
    """Eight noises with transcripts, piece lists, responses."""
    from espnet_audiollm.text.pieces import train_pieces

    random = np.random.default_rng(0)
    ids = [f"u{i}" for i in range(8)]
    texts = ["one two three", "two", "three one", "one one two", "two three"] * 2
    for i, id_ in enumerate(ids):
        soundfile.write(root / f"{id_}.wav", random.normal(0, 0.1, 9_000 + 700 * i), 16_000)
    tables = {
        "wav.scp": [str(root / f"{id_}.wav") for id_ in ids],
        "text": texts[:8],
        "response_ids": [f"{5 + i} {6 + i} 2" for i in range(8)],
        "shape": [str(9_000 + 700 * i) for i in range(8)],
    }
    for name, values in tables.items():
        lines = (f"{id_} {value}\n" for id_, value in zip(ids, values, strict=True))
        (root / name).write_text("".join(lines))
    train_pieces(texts, 14, "bpe", root / "bpe")
    return root


def make_llm(directory: Path) -> Path:
    """A random Llama with a word-level tokenizer and a chat template, as a directory."""
    from tiny_models import random_llama
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "ask", "answer", *(f"w{i}" for i in range(15))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}<s> ask {{ m.content }} answer"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
    )
    fast.save_pretrained(directory)
    sizes = dict(intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    random_llama(20, initializer_range=0.02, **sizes).save_pretrained(directory)
    return directory
