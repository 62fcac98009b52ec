"""The speech LMs of the papers' sizes, from the recipes' configurations, on the meta device."""

from pathlib import Path

import chat_llms
import pytest
import torch
import yaml
from tokenizers import AddedToken

from espnet_audiollm.data.unit_tokens import FACTS, UnitVocabulary, VocabularySet, unit_names
from espnet_audiollm.model import llm as llms
from espnet_audiollm.model import llm_config
from espnet_audiollm.tasks.choices import build_speech_encoder
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.tasks.speechlm import SpeechLMTask

EGS2 = Path(__file__).parents[2] / "egs2"
CONF = EGS2 / "TEMPLATE/speechlm1/conf"
LLMS = ["llama2_7b_chat", "llama3.1_8b_instruct", "llama3.2_1b_instruct"]
UNITS = 1024
TRAININGS = {  # file: what is trained
    "train_speechlm.yaml": "all",
    "speechgpt/1_units.yaml": "all",
    "speechgpt/2_crossmodal.yaml": "all",
    "speechgpt/3_chain.yaml": "lora",
}


def load(task, name):
    return task.get_parser().parse_args(["--config", str(CONF / name), "--output_dir", "none"])


def joint(name: str, directory: Path) -> llms.LLM:
    """A published LLM with units in its vocabulary, without weights; with a small tokenizer."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    known = llm_config.find(str(EGS2 / "TEMPLATE/common/conf/llm" / f"{name}.yaml"))
    vocabulary = UnitVocabulary((VocabularySet("f" * 64, UNITS, 25.0),), "e" * 64, "mean", 0)
    (directory / FACTS).write_text(vocabulary.as_text())
    tokenizer = chat_llms.llama2_trained()
    names = [AddedToken(each, special=True, normalized=False) for each in unit_names(UNITS)]
    tokenizer.add_tokens(names, special_tokens=True)
    config = {**known.architecture}
    config["vocab_size"] += len(names)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**config))
    model.eval().requires_grad_(False)
    return llms.LLM(model, tokenizer, str(directory), "a" * 64, "b" * 64, (2,))


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("name, trained", TRAININGS.items())
def test_the_model_of_a_configuration(llm, name, trained, tmp_path):
    args = load(SpeechLMTask, name)
    args.llm = str(tmp_path)
    loaded = joint(llm, tmp_path)
    config = loaded.model.config
    with torch.device("meta"):
        model = SpeechLMTask.build_model(args, loaded)
    assert all(p.is_meta for p in model.parameters())
    known = llm_config.find(str(EGS2 / f"TEMPLATE/common/conf/llm/{llm}.yaml"))
    rows = (UNITS + 2) * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    sizes = {wanted: 0 for wanted in (True, False)}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    if trained == "all":
        assert sizes == {True: known.parameters + rows, False: 0}
        return
    width, heads = config.hidden_size, config.num_attention_heads
    value = config.num_key_value_heads * (getattr(config, "head_dim", None) or width // heads)
    rank = args.tuning_conf["lora_rank"]
    lora = config.num_hidden_layers * rank * ((width + width) + (width + value))
    assert sizes[True] == lora + rows


def test_figures_of_the_papers():
    palm = load(SpeechLMTask, "train_speechlm.yaml")
    assert (palm.optim, palm.optim_conf["lr"], palm.llm_dropout) == ("adafactor", 5e-5, 0.1)
    assert palm.scheduler is None and palm.trained == "all" and palm.init == "llm"
    chain = load(SpeechLMTask, "speechgpt/3_chain.yaml")
    assert chain.tuning_conf == {
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_targets": ["q_proj", "v_proj"],
    }


def test_units_come_25_times_a_second():
    args = load(CTCTask, "train_ctc_25hz.yaml")
    with torch.device("meta"):
        encoder = build_speech_encoder(args).encoder
    assert args.encoder_conf["subsampling"] == 4 and len(encoder.layers) == 18
    texts = [
        path.read_text() for path in EGS2.glob("*/speechlm1/run.sh") if "mini" not in str(path)
    ]
    assert len(texts) == 5 and all("exp/ctc_25hz:9 --unit_size 1024" in text for text in texts)
    assert yaml.safe_load((CONF / "train_ctc_25hz.yaml").read_text())["encoder"] == "conformer"
