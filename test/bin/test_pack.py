"""Stage 12: the pack is small, holds no code and no LLM, and answers as the experiment does."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_tasks import make_llm

import espnet_audiollm
from espnet_audiollm.bin import pack, respond, score
from espnet_audiollm.infer.chat import Chat
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.model import llm as llms
from espnet_audiollm.store import hub
from espnet_audiollm.train import checkpoints
from espnet_audiollm.types import Audio, Dialogue, Turn

FILES = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}


@pytest.fixture(scope="module")
def packed(align_exp, tmp_path_factory):
    output = tmp_path_factory.mktemp("pack") / "packed"
    assert pack.main(["--exp", str(align_exp), "--output", str(output)]) == 0
    return output


def dialogues(data):
    spoken = [Turn("user", Audio(f"{data}/u{i}.wav")) for i in range(3)]
    talk = (spoken[1], Turn("assistant", "w1"), spoken[2], Turn("assistant", "w2"), spoken[0])
    return [Dialogue("one", spoken[:1]), Dialogue("three", talk)]


def test_a_pack_is_weights_settings_and_a_card(packed, align_exp, data):
    assert {path.name for path in packed.iterdir()} == FILES
    config = json.loads((packed / "config.json").read_text())
    trained = checkpoints.load(align_exp / "valid.loss.ave.pth")
    assert config["llm_fingerprint"] == trained["_extra_state"]["llm_fingerprint"]
    assert config["audio_adapter"] == "stack" and "max_epoch" not in config
    prepared = json.loads((packed / "preprocessor_config.json").read_text())
    assert (prepared["sampling_rate"], prepared["frontend"]) == (16_000, "fbank")
    weights = load_file(packed / "model.safetensors")
    assert torch.equal(weights["adapter.project.weight"], trained["adapter.project.weight"])
    assert len({(packed / name).stat().st_mode for name in FILES}) == 1
    for name in FILES - {"model.safetensors"}:
        assert str(data) not in (packed / name).read_text()


def test_it_draws_the_tokens_of_stage_10(packed, align_exp, llm_dir, data):
    ours = espnet_audiollm.load(packed, llm=str(llm_dir))
    stage10 = load_system("audiollm", str(llm_dir), align_exp)
    assert ours.respond(dialogues(data)) == stage10.respond(dialogues(data))
    chats = [Chat(system, 6) for system in (ours, stage10)]
    for content in (Audio(f"{data}/u1.wav"), "w3 w4", Audio(f"{data}/u2.wav")):
        first, second = ([piece.token for piece in chat.say(content)] for chat in chats)
        assert first == second
    assert ours.label == stage10.label


def test_another_llm_is_refused(packed, llm_dir, tmp_path):
    other = make_llm(tmp_path / "llm")
    loaded = llms.load(str(other))
    with torch.no_grad():
        next(loaded.model.parameters()).mul_(2)
    loaded.model.save_pretrained(other)
    with pytest.raises(ValueError, match="has other weights"):
        espnet_audiollm.load(packed, llm=str(other))


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("model.safetensors", lambda data: data[:-1], "SHA-256"),
        ("config.json", lambda data: data[:40], "config.json is damaged"),
        ("preprocessor_config.json", lambda data: b"[]", "no JSON object"),
        ("model.safetensors", None, "does not exist"),
    ],
)
def test_damage_is_found(packed, llm_dir, tmp_path, file, damage, says):
    broken = shutil.copytree(packed, tmp_path / "broken")
    whole = (broken / file).read_bytes()
    (broken / file).unlink()
    if damage:
        (broken / file).write_bytes(damage(whole))
    with pytest.raises(ValueError, match=says):
        espnet_audiollm.load(broken, llm=str(llm_dir))


def test_other_weights_are_refused(packed, llm_dir, tmp_path):
    """A changed file with the right checksum, but a weight missing."""
    from espnet_audiollm.store import model_directory

    broken = shutil.copytree(packed, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights.pop("adapter.project.weight")
    save_file(weights, broken / "model.safetensors")
    config = json.loads((broken / "config.json").read_text())
    config["weights_sha256"] = model_directory.sha256(broken / "model.safetensors")
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="1 weights are missing"):
        espnet_audiollm.load(broken, llm=str(llm_dir))


def system(name, label, ppl, success, model):
    return {
        "name": name,
        "label": label,
        "model": model,
        "prompt_wer": 8.5 if name == "cascade" else None,
        "response_ppl": ppl,
        "response_ppl_ci95": [ppl - 0.1, ppl + 0.1],
        "success_rate": success,
        "num_utts": 450,
        "num_response_tokens": 3804,
    }


LABEL = "AudioLLM, 1 frame a position"


def systems_of(model, **more):
    """A cascade, and an AudioLLM of this name."""
    rows = [system("cascade", "cascade, best epoch", 2.095, 61.6, "ctc")]
    return [*rows, system("audiollm", LABEL, 1.197, 67.8, model) | more]


def card_of(align_exp, tmp_path, rows=None, checkpoint="valid.loss.ave.pth", **more):
    results = {"recipe": "mini", "test_set": "test"}
    rows = rows or systems_of(align_exp.name)
    (tmp_path / "results.json").write_text(json.dumps({**results, "systems": rows, **more}))
    words = ["--exp", str(align_exp), "--output", str(tmp_path / "packed")]
    words += ["--results", str(tmp_path / "results.json"), "--licence", "cc-by-4.0"]
    words += ["--checkpoint", checkpoint]
    pack.main([*words, "--data", "three | voices"])
    return (tmp_path / "packed/README.md").read_text()


def test_the_card_has_the_figures_of_the_results(align_exp, tmp_path):
    card = card_of(align_exp, tmp_path)
    _, head, body = card.split("---\n", 2)
    about = yaml.safe_load(head)
    assert (about["license"], about["library_name"]) == ("cc-by-4.0", "espnet_audiollm")
    assert "base_model" not in about  # the LLM is a directory
    [result] = about["model-index"][0]["results"]
    assert [metric["value"] for metric in result["metrics"]] == [1.197, 67.8]
    assert result["dataset"]["split"] == "test"
    assert "1.197 [1.097, 1.297] | 67.8 | 450 | 3804 |" in body
    assert "8.5 | 2.095" in body and "three \\| voices" in body
    trained = checkpoints.load(align_exp / "valid.loss.ave.pth")
    assert trained["_extra_state"]["llm_fingerprint"] in body


def values(card):
    """The figures of the front matter, and what follows it."""
    _, head, body = card.split("---\n", 2)
    index = yaml.safe_load(head).get("model-index", [])
    return [m["value"] for each in index for r in each["results"] for m in r["metrics"]], body


def test_an_experiment_with_the_same_adapter_lends_no_figures(align_exp, tmp_path, capsys):
    """Its row has the label that this model's would have."""
    found, body = values(card_of(align_exp, tmp_path, systems_of("audiollm_before")))
    assert found == [] and "## Results\n\nNot scored." in body and "1.197" not in body
    err = capsys.readouterr().err
    assert f"none of its 2 systems is {align_exp.name} with valid.loss.ave.pth" in err
    assert "stages 10 and 11" in err


@pytest.mark.parametrize(
    ("scored", "packed", "figures"),
    [
        ({"checkpoint": "1epoch.pth"}, "valid.loss.ave.pth", []),
        ({"checkpoint": "valid.loss.ave.pth"}, "2epoch.pth", []),
        ({}, "2epoch.pth", []),  # results that do not say it are of the default one
        ({"checkpoint": "2epoch.pth"}, "2epoch.pth", [1.197, 67.8]),
    ],
)
def test_another_checkpoint_lends_no_figures(align_exp, tmp_path, scored, packed, figures):
    exp = tmp_path / "audiollm_mini"
    exp.mkdir()
    shutil.copy(align_exp / "config.yaml", exp)
    shutil.copy(align_exp / "valid.loss.ave.pth", exp / packed)
    found, body = values(card_of(exp, tmp_path, systems_of(exp.name, **scored), packed))
    assert found == figures and ("Not scored." in body) == (not figures)


def test_of_two_experiments_with_the_same_adapter_the_card_has_its_own(align_exp, tmp_path):
    """Their labels in the table have the models' names, as those of stage 11."""
    other = system("audiollm", f"{LABEL} (other)", 1.5, 50.0, "other")
    rows = [other, *systems_of(align_exp.name, label=f"{LABEL} (mine)")]
    found, body = values(card_of(align_exp, tmp_path, rows))
    assert found == [1.197, 67.8]
    assert f"This model: {LABEL} (mine)." in body and "(other) |" in body


def test_stages_10_to_12_agree_on_the_checkpoint(systems, tmp_path):
    root, exp = systems, str(tmp_path / "exp")
    respond.main(
        ["--system", "audiollm", "--llm", f"{root}/llm", "--data", f"{root}/data"]
        + ["--references", f"{root}/responses", "--output", f"{exp}/respond_data/1epoch"]
        + ["--exp", f"{root}/align", "--checkpoint", "1epoch.pth"]
    )
    score.main(
        ["--sets", f"{root}/data", "--references", f"{root}/responses", "--runs", exp]
        + ["--recipe", "tiny", "--llm", "tiny", "--output", exp, "--resamples", "9"]
    )
    [row] = json.loads((tmp_path / "exp/results.json").read_text())["systems"]
    assert (row["model"], row["checkpoint"]) == ("align", "1epoch.pth")
    words = ["--exp", f"{root}/align", "--results", f"{exp}/results.json"]
    for checkpoint, figures in (("1epoch.pth", [row["response_ppl"]]), ("valid.loss.ave.pth", [])):
        output = tmp_path / checkpoint
        pack.main([*words, "--checkpoint", checkpoint, "--output", str(output)])
        assert values((output / "README.md").read_text())[0] == figures


def test_results_of_another_llm_are_no_card(align_exp, tmp_path, capsys):
    with pytest.raises(SystemExit):
        card_of(align_exp, tmp_path, llm_fingerprint="0" * 64)
    assert "of another LLM" in capsys.readouterr().err
    assert not (tmp_path / "packed").exists()


def test_a_second_pack_replaces_the_first_and_nothing_else(align_exp, tmp_path, capsys):
    words = ["--exp", str(align_exp), "--output", str(tmp_path / "packed")]
    pack.main(words)
    pack.main([*words, "--licence", "mit"])
    assert "license: mit" in (tmp_path / "packed/README.md").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("x")
    with pytest.raises(SystemExit):
        pack.main([*words[:3], str(tmp_path / "mine")])
    assert "holds something else" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"packed", "mine"}


def test_a_damaged_checkpoint_is_not_packed(align_exp, tmp_path, capsys):
    whole = (align_exp / "latest.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[:1000])
    (tmp_path / "config.yaml").write_text((align_exp / "config.yaml").read_text())
    cmd = ["--exp", str(tmp_path), "--checkpoint", "cut.pth", "--output", str(tmp_path / "p")]
    with pytest.raises(SystemExit):
        pack.main(cmd)
    assert "cut.pth cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("repo", "offline", "says"),
    [
        ("me/model", True, "HF_HUB_OFFLINE is set"),
        ("me/model", False, "nobody is logged in"),
        ("a/b/c", False, "no repository"),
    ],
)
def test_an_upload_that_cannot_begin(align_exp, tmp_path, capsys, monkeypatch, repo, offline, says):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = ["--exp", str(align_exp), "--output", str(tmp_path / "p"), "--upload", repo]
    with pytest.raises(SystemExit):
        pack.main(words)
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
    assert not (tmp_path / "p").exists()


def test_an_upload_that_fails_says_how_to_go_on(packed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    with pytest.raises(ValueError, match="hf upload me/model"):
        hub.upload(packed, "me/model")  # the tests run with HF_HUB_OFFLINE=1


def test_the_guides_lines_answer(packed, llm_dir, data, root, capsys):
    """The Python of docs/packing.md, as it stands there."""
    guide = (root / "docs/packing.md").read_text().partition("## In Python")[2]
    code = "\n".join(line[4:] for line in guide.splitlines() if line.startswith("    "))
    for told, ours in (
        ("exp/audiollm_mini_bridge/packed", packed),
        ("exp/llm", llm_dir),
        ("question.wav", data / "u0.wav"),
        ("and in German ?", "w1"),
    ):
        code = code.replace(told, str(ours))
    exec(code, {})
    one, first, second = capsys.readouterr().out.splitlines()
    system = load_system("audiollm", str(llm_dir), packed)
    [answer] = system.respond(dialogues(data)[:1])
    assert one == answer.response and first.startswith(one)
