"""The LLMs of conf/llm, built from their published configurations on the meta device; and what a
file that does not fit its LLM leads to."""

from pathlib import Path

import chat_llms
import pytest
import torch
import yaml

from espnet_audiollm.model import llm as llms
from espnet_audiollm.model import llm_config
from espnet_audiollm.model.adapters import StackAdapter

CONFIGS = sorted((Path(__file__).parents[2] / "egs2/TEMPLATE/common/conf/llm").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_architecture(path):
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = llm_config.find(str(path))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**config.architecture))
        width = model.get_input_embeddings().embedding_dim
        adapter = StackAdapter(encoder_width=512, llm_width=width, stack=2)
        audio, _ = adapter(torch.zeros(1, 10, 512), torch.tensor([10]))
    assert sum(p.numel() for p in model.parameters()) == config.parameters
    assert audio.shape == (1, 5, config.architecture["hidden_size"])
    config.check_architecture(model.config)
    assert f"{config.parameters * 2 / 1e9:.2g} GB in bfloat16" in path.read_text()


@pytest.fixture
def known(tmp_path):
    """A small LLM, and the file that describes it: known(key=value) writes another one."""
    directory = chat_llms.save_tiny_llm(tmp_path / "llm")
    model, tokenizer = llms.load_llm(str(directory)), llms.load_tokenizer(str(directory))
    described = {
        "llm": str(directory),
        "dtype": "bfloat16",
        "licence": "none",
        "parameters": sum(p.numel() for p in model.parameters()),
        "architecture": {"hidden_size": model.config.hidden_size, "rope_theta": 10000.0},
        "prompt": llm_config.render(llm_config.user_prompt("hello"), tokenizer),
    }

    def write(**changes):
        path = tmp_path / "known.yaml"
        values = {k: v for k, v in {**described, **changes}.items() if v is not None}
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


def test_a_described_llm_is_loaded_as_its_directory_is(known):
    path = known()
    ours, theirs = llms.load(path), llms.load(llm_config.resolve(path))
    assert ours.fingerprint == theirs.fingerprint
    assert ours.name == path
    assert llms.weight_files(path) == llms.weight_files(llm_config.resolve(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": {"hidden_size": 4096}}, "1 of 1 values differ .first: hidden_size is"),
        ({"prompt": "[INST] hello"}, "chat template of .* is not the one"),
        ({"licence": None}, "1 keys are missing or unknown .first: licence"),
        ({"colour": "red"}, "1 keys are missing or unknown .first: colour"),
    ],
)
def test_another_llm_than_described(known, changes, message):
    with pytest.raises(ValueError, match=message):
        llms.load(known(**changes))


def test_no_such_file():
    with pytest.raises(ValueError, match="conf/llm/gpt.yaml: no such file"):
        llms.load("conf/llm/gpt.yaml")
