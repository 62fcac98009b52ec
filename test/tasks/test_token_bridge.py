"""A recogniser of the LLM's own tokens, and the bridge that begins with it: stages 3, 5, 9, 10."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from tiny_tasks import task_options

from espnet_audiollm.bin import tokenize_text
from espnet_audiollm.infer.recognise import load_recogniser
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.model import llm as llms
from espnet_audiollm.tasks.audiollm import AudioLLMTask, build_targets
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.text.tokens import Tokenizer, read_token_list
from espnet_audiollm.train.loading import read_config
from espnet_audiollm.types import Audio, Dialogue, Turn, Utterance

RESPONSES = "response_ids,response,text_int"
CONF = (
    Path(__file__).parents[2] / "egs2/TEMPLATE/audiollm1/conf/train_align_adapter_token_bridge.yaml"
)
CONFIG = yaml.safe_load(CONF.read_text())
BRIDGE = ["--audio_adapter", CONFIG["audio_adapter"], "--ctc_weight", str(CONFIG["ctc_weight"])]


@pytest.fixture(scope="module")
def spoken(data, llm_dir, tmp_path_factory):
    """The noises, whose transcripts are words of the LLM; stage 3's list of its tokens."""
    place = tmp_path_factory.mktemp("spoken") / "data"
    shutil.copytree(data, place)
    lines = (data / "text").read_text()
    for word, token in (("one", "w1"), ("two", "w2"), ("three", "w3")):
        lines = lines.replace(word, token)
    (place / "text").write_text(lines)
    words = ["--text", f"{place}/text", "--token_type", "llm", "--vocab_size", "0"]
    tokenize_text.main([*words, "--llm", str(llm_dir), "--output", f"{place}/tokens"])
    return place


@pytest.fixture(scope="module")
def recogniser(spoken, tmp_path_factory):
    exp = tmp_path_factory.mktemp("recogniser")
    tokens = ["--token_list", f"{spoken}/tokens/tokens.txt"]
    model = ["--token_type", "llm", "--bpemodel", f"{spoken}/tokens/tokenizer.json"]
    CTCTask.main(cmd=[*task_options(spoken, exp, "text,text,text", max_epoch=8), *tokens, *model])
    return exp / "valid.loss.ave.pth"


def options(spoken, output, llm_dir, *words, **more):
    flags = [f"--{split}_data_path_and_name_and_type" for split in ("train", "valid")]
    texts = [word for flag in flags for word in (flag, f"{spoken}/text,text,text")]
    cmd = task_options(spoken, output, RESPONSES, **more)
    return [*cmd, *texts, "--llm", str(llm_dir), *words]


def test_tokens_of_the_llm_by_how_often_they_come(spoken):
    tokens = read_token_list(spoken / "tokens" / "tokens.txt")
    assert tokens[2:-1] == ["w1", "w2", "w3"]
    tokenizer = Tokenizer("llm", tokens, spoken / "tokens" / "tokenizer.json")
    assert tokenizer.text([tokens[i] for i in tokenizer.ids("w3 w1 w2")]) == "w3 w1 w2"
    assert tokenizer.ids("w7") == [1]  # the transcripts never have it


def test_before_the_first_update_it_is_the_cascade(spoken, recogniser, llm_dir, tmp_path):
    cmd = options(spoken, tmp_path, llm_dir, "--init_ctc", str(recogniser), *BRIDGE)
    args = AudioLLMTask.get_parser().parse_args(cmd)
    model = AudioLLMTask.build_model(args).eval()
    recognise = load_recogniser(recogniser.parent, recogniser.name)
    llm = llms.load(str(llm_dir))
    for line in (spoken / "wav.scp").read_text().splitlines():
        id_, path = line.split()
        [hypothesis] = recognise([Utterance(id_, path, "")])
        reader = load_system("cascade", llm, recogniser.parent, recogniser.name).read
        assert reader([Utterance(id_, path, "")]) == [hypothesis]
        with torch.inference_mode():
            [audio_PD] = model.encode_audio(*_read(path))
        if hypothesis:  # else it keeps the least blank frame
            ids = llm.tokenizer(hypothesis, add_special_tokens=False)["input_ids"]
            expected_PD = llm.model.get_input_embeddings()(torch.tensor(ids))
            torch.testing.assert_close(audio_PD, expected_PD)


def _read(path):
    import soundfile

    samples, _ = soundfile.read(path, dtype="float32")
    return torch.from_numpy(samples)[None], torch.tensor([len(samples)])


def test_it_learns_and_answers(spoken, recogniser, llm_dir, tmp_path):
    cmd = options(
        spoken,
        tmp_path,
        llm_dir,
        "--init_ctc",
        str(recogniser),
        *BRIDGE,
        max_epoch=2,
        audio_adapter_conf=CONFIG["audio_adapter_conf"],
    )
    AudioLLMTask.main(cmd=cmd)
    config = read_config(tmp_path)
    assert config.ctc_tokens["token_type"] == "llm"
    system = load_system("audiollm", str(llm_dir), tmp_path)
    path = (spoken / "wav.scp").read_text().split()[1]
    [response] = system.respond([Dialogue("a", (Turn("user", Audio(path)),))])
    assert response.response_ids


RISK = ["--response_weight", "0", "--risk_weight", "1"]


def test_it_learns_from_the_expected_cost_alone(spoken, recogniser, llm_dir, tmp_path, caplog):
    """Nothing passes back through the LLM; the log has what was expected."""
    words = ["--llm", str(llm_dir), "--init_ctc", str(recogniser), *BRIDGE[:2], *RISK]
    conf = {"residual": False, "mixed": False}
    cmd = task_options(spoken, tmp_path, RESPONSES, max_epoch=2, audio_adapter_conf=conf)
    with caplog.at_level("INFO"):
        AudioLLMTask.main(cmd=[*cmd, *words])
    states = [torch.load(tmp_path / f"{n}epoch.pth", weights_only=True) for n in (1, 2)]
    assert (states[0]["adapter.ctc_out.weight"] != states[1]["adapter.ctc_out.weight"]).any()
    assert "risk_loss=" in caplog.text


def test_hypotheses_are_normalised_as_the_best_ones_are(spoken, recogniser, llm_dir, tmp_path):
    words = ["--init_ctc", str(recogniser), *BRIDGE, *RISK, "--normalize_audio", "true"]
    conf = {"residual": False, "mixed": False}
    cmd = options(spoken, tmp_path, llm_dir, *words, audio_adapter_conf=conf)
    model = AudioLLMTask.build_model(AudioLLMTask.get_parser().parse_args(cmd))
    assert not model.uses_all_parameters  # nothing passes back to the norm
    made, read = [], []
    embed, embed_prompts = model.adapter.embed, model.embed_prompts
    model.adapter.embed = lambda tokens: made.append(embed(tokens)) or made[-1]
    model.embed_prompts = lambda *given: read.append(given[1]) or embed_prompts(*given)
    torch.manual_seed(0)
    x_BTC = 9 * torch.randn(1, 20, model.speech_encoder.output_size())
    batch = [[model.prompt], None, [torch.tensor([3])], torch.zeros(1)]
    model._risk(x_BTC, torch.tensor([20]), *batch)
    pairs = [(m, r) for ms, rs in zip(made, read, strict=True) for m, r in zip(ms, rs, strict=True)]
    assert pairs and all(torch.equal(model.audio_norm(plain), used) for plain, used in pairs)


def test_the_expected_cost_and_a_shared_llm(spoken, recogniser, llm_dir, tmp_path):
    words = ["--init_ctc", str(recogniser), *BRIDGE, *RISK, "--llm_sharding", "all"]
    conf = {"residual": False, "mixed": False}
    cmd = options(spoken, tmp_path, llm_dir, *words, audio_adapter_conf=conf)
    with pytest.raises(ValueError, match="--risk_weight 1 with --llm_sharding all"):
        build_targets(AudioLLMTask.get_parser().parse_args(cmd))


def test_the_expected_cost_is_of_tokens_alone(spoken, recogniser, llm_dir, tmp_path):
    words = ["--init_ctc", str(recogniser), *BRIDGE, *RISK]
    cmd = options(spoken, tmp_path, llm_dir, *words, audio_adapter_conf={"residual": True})
    args = AudioLLMTask.get_parser().parse_args(cmd)
    with pytest.raises(ValueError, match="mixed: false and residual: false"):
        AudioLLMTask.build_model(args)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--audio_adapter", "token_bridge"], "token_bridge needs the CTC layer of stage 5"),
        (["--ctc_weight", "0.5"], "--ctc_weight 0.5 needs the CTC layer of stage 5"),
        ([*BRIDGE, "--init_ctc", "PIECES"], "tokens of the recogniser are none of the LLM"),
    ],
)
def test_what_cannot_begin(spoken, ctc_exp, llm_dir, tmp_path, words, message):
    words = [word.replace("PIECES", f"{ctc_exp}/valid.loss.ave.pth") for word in words]
    args = AudioLLMTask.get_parser().parse_args(options(spoken, tmp_path, llm_dir, *words))
    with pytest.raises(ValueError, match=message):
        AudioLLMTask.build_model(args)


def test_a_ctc_loss_needs_transcripts(spoken, recogniser, llm_dir, tmp_path):
    cmd = task_options(spoken, tmp_path, RESPONSES)
    words = ["--llm", str(llm_dir), "--init_ctc", str(recogniser), "--ctc_weight", "1"]
    args = AudioLLMTask.get_parser().parse_args([*cmd, *words])
    with pytest.raises(ValueError, match="--ctc_weight needs the transcripts"):
        AudioLLMTask.build_model(args)


def test_any_adapter_may_keep_the_ctc_loss(spoken, recogniser, llm_dir, tmp_path):
    words = ["--init_ctc", str(recogniser), "--ctc_weight", "0.5", "--normalize_audio", "true"]
    AudioLLMTask.main(cmd=options(spoken, tmp_path, llm_dir, *words, max_epoch=1))
    state = torch.load(tmp_path / "1epoch.pth", weights_only=True)
    assert {"ctc_out.weight", "audio_norm.weight"} <= state.keys()
