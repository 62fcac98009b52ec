import json

import chat_llms
import pytest
import torch

from espnet_audiollm.model import llm as llms


@pytest.fixture(scope="module")
def llm_dir(tmp_path_factory):
    return str(chat_llms.save_tiny_llm(tmp_path_factory.mktemp("llm")))


def edit_json(path, **changes):
    fields = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))


def test_loaded_llm_is_frozen_and_described(llm_dir):
    llm = llms.load(llm_dir, device="cpu")
    assert not llm.model.training
    assert not any(p.requires_grad for p in llm.model.parameters())
    assert llm.model.dtype == torch.float32
    assert llm.eos_ids[0] == llm.tokenizer.eos_token_id == 2
    assert 260 in llm.eos_ids  # from the generation configuration
    assert llm.context == 512


def test_fingerprint_is_only_of_the_weights(llm_dir):
    in_float32 = llms.fingerprint(llms.load_llm(llm_dir))
    assert llms.fingerprint(llms.load_llm(llm_dir, "bfloat16")) == in_float32
    assert llms.fingerprint(llms.load_llm(llm_dir, attn_implementation="eager")) == in_float32


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight"])
def test_fingerprint_notices_one_changed_weight(llm_dir, name):
    model = llms.load_llm(llm_dir)
    before = llms.fingerprint(model)
    model.get_parameter(name).data.view(-1)[-1] *= 1.01
    assert llms.fingerprint(model) != before


def test_fingerprint_notices_renamed_and_reshaped_weights():
    def module(**weights):
        made = torch.nn.Module()
        for name, shape in weights.items():
            made.register_parameter(name, torch.nn.Parameter(torch.ones(shape)))
        return made

    prints = {
        llms.fingerprint(m)
        for m in (module(a=(2, 3)), module(b=(2, 3)), module(a=(3, 2)), module(a=(2, 3), b=(1,)))
    }
    assert len(prints) == 4


def test_chat_template_from_a_file_or_as_text(llm_dir, tmp_path):
    own = llms.load_tokenizer(llm_dir)
    file = tmp_path / "plain.jinja"
    file.write_text(chat_llms.CHATML)
    from_file = llms.load_tokenizer(llm_dir, str(file))
    as_text = llms.load_tokenizer(llm_dir, chat_llms.CHATML)
    assert from_file.chat_template == as_text.chat_template == chat_llms.CHATML
    assert llms.chat_template_hash(from_file) == llms.chat_template_hash(as_text)
    assert llms.chat_template_hash(from_file) != llms.chat_template_hash(own)


def test_weight_files_change_with_the_files(tmp_path):
    directory = chat_llms.save_tiny_llm(tmp_path / "llm")
    first = llms.weight_files(str(directory))
    assert first == llms.weight_files(str(directory))
    chat_llms.save_tiny_llm(directory, seed=1)
    assert llms.weight_files(str(directory)) != first
    assert llms.weight_files(str(tmp_path)) is None


def test_missing_directory(tmp_path):
    with pytest.raises(ValueError, match="nothing does not exist: check --llm"):
        llms.load_llm(str(tmp_path / "nothing"))


def test_directory_without_a_model(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        llms.load_tokenizer(str(tmp_path))


def test_not_in_the_cache_and_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="nobody/nothing is not in the Hugging Face cache"):
        llms.load_tokenizer("nobody/nothing")


def test_no_chat_template(tmp_path):
    tokenizer = chat_llms.llama2_trained()
    tokenizer.chat_template = None
    directory = str(chat_llms.save_tiny_llm(tmp_path / "llm", tokenizer=tokenizer))
    with pytest.raises(ValueError, match="has no chat template: give one with --chat_template"):
        llms.load_tokenizer(directory)
    with pytest.raises(ValueError, match="none.jinja: no such file"):
        llms.load_tokenizer(directory, "none.jinja")
    assert llms.load_tokenizer(directory, chat_llms.CHATML).chat_template == chat_llms.CHATML


def test_not_a_causal_lm(tmp_path):
    directory = chat_llms.save_tiny_llm(tmp_path / "llm")
    edit_json(directory / "config.json", model_type="bert", architectures=["BertForMaskedLM"])
    with pytest.raises(ValueError, match="is not a causal LM .*BertForMaskedLM"):
        llms.load_llm(str(directory))


def test_code_in_a_model_directory_is_not_run(tmp_path):
    directory = chat_llms.save_tiny_llm(tmp_path / "llm")
    trace = tmp_path / "it_ran"
    (directory / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    edit_json(
        directory / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    )
    with pytest.raises(ValueError, match="cannot load the configuration"):
        llms.load_llm(str(directory))
    assert not trace.exists()


def test_damaged_weights(tmp_path):
    directory = chat_llms.save_tiny_llm(tmp_path / "llm")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot load the weights of the LLM"):
        llms.load_llm(str(directory))


def test_missing_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    directory = chat_llms.save_tiny_llm(tmp_path / "llm")
    weights = load_file(directory / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 of its weights .first: model.norm.weight"):
        llms.load_llm(str(directory))


def test_no_end_of_turn(tmp_path):
    tokenizer = chat_llms.llama2_trained()
    tokenizer.eos_token = None
    model = chat_llms.tiny_llama(len(tokenizer))
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="names no end-of-turn token"):
        llms.wrap(model, tokenizer, "tiny")
