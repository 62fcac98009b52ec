"""A handful of noises, a random Llama as a directory, and both tasks trained on them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_tasks.py

from tiny_tasks import ctc_options, task_options  # noqa: E402

from espnet_audiollm.tasks.audiollm import AudioLLMTask  # noqa: E402
from espnet_audiollm.tasks.ctc import CTCTask  # noqa: E402


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Eight noises with transcripts, piece lists, responses."""
    from espnet_audiollm.text.pieces import train_pieces

    root = tmp_path_factory.mktemp("data")
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


@pytest.fixture(scope="session")
def ctc_exp(data, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("ctc")
    CTCTask.main(cmd=ctc_options(data, exp, max_epoch=3, keep_epochs=[1], accum_grad=2))
    return exp


@pytest.fixture(scope="session")
def llm_dir(tmp_path_factory) -> Path:
    """A random Llama with a word-level tokenizer and a chat template, as a directory."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("llm")
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
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def align_exp(data, ctc_exp, llm_dir, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("align")
    init = f"{ctc_exp}/valid.loss.ave.pth:speech_encoder:speech_encoder"
    cmd = task_options(data, exp, "response_ids,response,text_int", max_epoch=2)
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), "--init_param", init])
    return exp
