"""Stage 10's conversations as a command on tiny models: what it leaves, and what it refuses."""

import json

import pytest

from espnet_audiollm.bin import converse, ctc_decode
from espnet_audiollm.data.kaldi_dir import read_dict

CTC = "--exp {root}/ctc --bpemodel {root}/data/bpe/bpe.model"
AUDIO = "--exp {root}/align"


@pytest.fixture(scope="module")
def place(systems, tmp_path_factory):
    """Where the sets are written and the systems answer; the models are those of `systems`."""
    place = tmp_path_factory.mktemp("converse")
    for name in ("data", "llm", "ctc", "align"):
        (place / name).symlink_to(systems / name)
    write_set(place, "set.jsonl", dialogues(place))
    return place


def dialogues(place):
    """Spoken turns after own answers and given ones, after text and before it, and alone."""
    texts = read_dict(place / "data" / "text")

    def heard(number):
        utt = f"u{number:02d}"
        audio = str(place / "data" / "wav" / f"{utt}.wav")
        return {"role": "user", "audio": audio, "text": texts[utt]}

    def item(id_, *turns, **more):
        return {"id": id_, "category": id_[0], "turns": list(turns), "expected": ["the"], **more}

    own, ask = {"role": "assistant"}, {"role": "user", "text": "what is the capital ?"}
    said = {"role": "assistant", "text": "the cat ."}
    return [
        item("a1", heard(0), own, heard(1)),
        item("a2", heard(2), said, heard(3), own, heard(4)),
        item("b1", ask, said, heard(5)),
        item("b2", ask, own, heard(6), reference="the dog"),
        item("c1", heard(7), own, ask),
        item("c2", {"role": "system", "text": "be kind"}, heard(8)),
    ]


def write_set(place, name, items):
    (place / name).write_text("".join(json.dumps(item) + "\n" for item in items))
    return place / name


def run(place, system, *more, conversations="set.jsonl", output=None):
    output = output or place / system
    options = {"text": "", "audiollm": AUDIO, "cascade": CTC}[system].format(root=place).split()
    if system != "text":
        options += ["--references", f"{place}/text"]
    cmd = ["--system", system, "--conversations", f"{place}/{conversations}"]
    cmd += ["--llm", f"{place}/llm", "--output", str(output), *options, *more]
    assert converse.main(cmd) == 0
    return output


def records(directory):
    lines = (directory / "answers.jsonl").read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def answered(place):
    """All three systems' records."""
    return {name: records(run(place, name)) for name in ("text", "audiollm", "cascade")}


def test_every_system_is_measured_on_the_texts_answers(answered):
    for system, found in answered.items():
        assert list(found) == ["a1", "a2", "b1", "b2", "c1", "c2"]
        for id_, record in found.items():
            text = answered["text"][id_]
            assert record["reference_ids"] == text["reference_ids"], system
            if id_ != "b2":
                assert text["reference_ids"] == text["answers"]["full"]["response_ids"]
            for answer in record["answers"].values():
                assert len(answer["token_nats"]) == len(record["reference_ids"])
    assert answered["text"]["b2"]["reference"] == "the dog"
    nats = {
        s: [r["answers"]["full"]["token_nats"] for r in f.values()] for s, f in answered.items()
    }
    assert nats["text"] != nats["audiollm"] != nats["cascade"]


def test_an_open_turn_is_what_the_system_itself_says_there(place, answered):
    first = [{**dialogues(place)[0], "turns": dialogues(place)[0]["turns"][:1]}]
    write_set(place, "first.jsonl", first)
    for system in ("text", "audiollm", "cascade"):
        more = ["--context", "full"]
        if system != "text":
            more += ["--references", f"{place}/first_text"]
        out = run(
            place, system, *more, conversations="first.jsonl", output=place / f"first_{system}"
        )
        said = records(out)["a1"]["answers"]["full"]["response"]
        turns = answered[system]["a1"]["answers"]["full"]["turns"]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        assert turns[1] == {"role": "assistant", "text": said}


def test_without_context_is_the_last_turn_alone(place, answered):
    last = [
        {
            **item,
            "turns": [t for t in item["turns"][:1] if t["role"] == "system"] + item["turns"][-1:],
        }
        for item in dialogues(place)
    ]
    write_set(place, "last.jsonl", last)
    out = run(place, "audiollm", conversations="last.jsonl", output=place / "last")
    for id_, record in records(out).items():
        full = record["answers"]["full"]
        none = answered["audiollm"][id_]["answers"]["none"]
        assert none["response_ids"] == full["response_ids"]
        assert none["token_nats"] == pytest.approx(full["token_nats"], abs=1e-3)
    assert (
        answered["audiollm"]["a1"]["answers"]["none"]["token_nats"]
        != answered["audiollm"]["a1"]["answers"]["full"]["token_nats"]
    )


def test_a_cascade_reads_what_the_recogniser_wrote(place, answered):
    out = place / "decode"
    cmd = ["--exp", f"{place}/ctc", "--data", f"{place}/data", "--output", str(out)]
    ctc_decode.main([*cmd, "--bpemodel", f"{place}/data/bpe/bpe.model"])
    hyp = read_dict(out / "hyp")
    read = answered["cascade"]["a2"]["answers"]["full"]["turns"]
    assert [turn.get("hyp") for turn in read] == [hyp["u02"], None, hyp["u03"], None, hyp["u04"]]
    texts = [turn.get("hyp", turn["text"]) for turn in read]
    assert all(texts)  # an empty turn would be refused
    turns = [{"role": turn["role"], "text": t} for turn, t in zip(read, texts, strict=True)]
    write_set(place, "read.jsonl", [{**dialogues(place)[1], "turns": turns}])
    text = run(place, "text", conversations="read.jsonl", output=place / "read")
    answer = records(text)["a2"]["answers"]["full"]
    assert answer["response_ids"] == answered["cascade"]["a2"]["answers"]["full"]["response_ids"]


def test_batches_change_nothing_but_rounding(place, answered):
    """Two and three audio slots: one conversation at a time as six in a batch."""
    for system in ("text", "audiollm", "cascade"):
        more = ["--shard_size", "1"]
        alone = records(run(place, system, *more, output=place / f"alone_{system}"))
        for id_, record in answered[system].items():
            for context, answer in record["answers"].items():
                other = alone[id_]["answers"][context]
                assert other["response_ids"] == answer["response_ids"]
                assert other["turns"] == answer["turns"]
                assert other["token_nats"] == pytest.approx(answer["token_nats"], abs=2e-4)


def test_the_perplexity_is_that_of_transformers(place, answered):
    """One conversation of two spoken turns, by LlamaForCausalLM(inputs_embeds=..., labels=...): the
    template's own text, in which the embeddings of the transcripts make way for the audio's."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from espnet_audiollm.data.audio import read_mono_16k
    from espnet_audiollm.model import llm as llms
    from espnet_audiollm.tasks.audiollm import AudioLLMTask
    from espnet_audiollm.train.loading import load_weights, read_config

    config = read_config(place / "align")
    config.train_data_path_and_name_and_type = config.valid_data_path_and_name_and_type = None
    hearing = AudioLLMTask.build_model(config, llms.load(str(place / "llm"))).eval()
    load_weights(hearing, place / "align" / "valid.loss.ave.pth")
    model = AutoModelForCausalLM.from_pretrained(place / "llm")
    tokenizer = AutoTokenizer.from_pretrained(place / "llm")

    record = answered["audiollm"]["a1"]
    turns = record["answers"]["full"]["turns"]
    words = ["paris", "cat"]  # stand where the audio is to be
    contents = [words.pop(0) if "audio" in turn else turn["text"] for turn in turns]
    chat = [{"role": t["role"], "content": c} for t, c in zip(turns, contents, strict=True)]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    embeds = [model.get_input_embeddings()(torch.tensor([token]))[0] for token in ids]
    for word, turn in zip(("paris", "cat"), (turns[0], turns[2]), strict=True):
        inside = tokenizer(f"x {word}", add_special_tokens=False)["input_ids"]
        inside = inside[len(tokenizer("x", add_special_tokens=False)["input_ids"]) :]
        places = [i for i in range(len(ids)) if ids[i : i + len(inside)] == inside]
        assert len(places) == 1, (word, inside, ids)
        samples = torch.from_numpy(read_mono_16k(turn["audio"]))[None]
        with torch.no_grad():
            (audio_PD,) = hearing.encode_audio(samples, torch.tensor([samples.shape[1]]))
        start, stop = places[0], places[0] + len(inside)
        embeds[start:stop] = [audio_PD] + [embeds[0][:0]] * (len(inside) - 1)
    said = torch.tensor(record["reference_ids"])
    rows = [e.reshape(-1, model.config.hidden_size) for e in embeds]
    whole = torch.cat([*rows, model.get_input_embeddings()(said)])[None]
    labels = torch.full(whole.shape[:2], -100)
    labels[0, -len(said) :] = said
    with torch.no_grad():
        mean = model(inputs_embeds=whole, labels=labels).loss.item()
    nats = sum(record["answers"]["full"]["token_nats"])
    assert nats == pytest.approx(mean * len(said), rel=1e-4)


def test_speech_is_read_in_the_form_that_is_asked_for(place, answered, tmp_path):
    """Transcripts in capitals are those of a set in capitals; what is written stays as it is."""
    loud = [
        {**item, "turns": [{**t, "text": t["text"].upper()} if "audio" in t else t for t in turns]}
        for item, turns in ((item, item["turns"]) for item in dialogues(place))
    ]
    write_set(place, "loud.jsonl", loud)
    expected = records(run(place, "text", conversations="loud.jsonl", output=tmp_path / "loud"))
    out = run(place, "text", "--prompt_casing", "upper", output=tmp_path / "upper")
    for id_, record in records(out).items():
        answer, other = (found["answers"]["full"] for found in (record, expected[id_]))
        assert answer["response_ids"] == other["response_ids"]
        assert [t["role"] for t in answer["turns"]] == [t["role"] for t in other["turns"]]
    assert json.loads((out / "system.json").read_text())["prompt_casing"] == "upper"
    more = ["--references", str(out), "--prompt_casing", "lower"]
    with pytest.raises(SystemExit):
        run(place, "cascade", *more, output=tmp_path / "no")


@pytest.mark.parametrize("system", ["text", "audiollm"])
def test_jobs_make_what_one_makes(place, answered, tmp_path, system):
    more = ["--shard_size", "2"]
    one = run(place, system, *more, output=tmp_path / "one")
    for job in ("3", "1", "2"):
        run(place, system, *more, "--num_jobs", "3", "--job", job, output=tmp_path / "many")
        assert not (tmp_path / "many" / "system.json").exists()
    many = run(place, system, *more, "--num_jobs", "3", "--merge", output=tmp_path / "many")
    for name in ("answers.jsonl", "system.json"):
        assert (many / name).read_bytes() == (one / name).read_bytes()
    assert not (many / ".parts").exists()


def test_a_second_run_loads_no_llm_and_changes_nothing(place, tmp_path, monkeypatch):
    out = run(place, "text", output=tmp_path / "out")
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    monkeypatch.setattr(converse, "load", None)
    run(place, "text", output=out)
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == before


@pytest.mark.parametrize(
    "system, more, message",
    [
        ("text", ["--exp", "x"], "--system text has no use for --exp"),
        ("text", ["--context", "none"], "--system text needs --context full"),
        (
            "cascade",
            ["--references", "{place}/none"],
            "none/answers.jsonl is missing: rerun stage 10",
        ),
        ("audiollm", ["--references", "{place}/first_text"], "have no reference (first: a2)"),
        ("audiollm", ["--system_prompt", "be kind"], "was trained with the system prompt None"),
    ],
)
def test_refusals(place, answered, capsys, tmp_path, system, more, message):
    more = [word.format(place=place) for word in more]
    with pytest.raises(SystemExit):
        run(place, system, *more, output=tmp_path / "refused")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "refused" / "system.json").exists()


def test_an_option_that_is_missing_is_named(place, capsys):
    cmd = ["--system", "cascade", "--conversations", f"{place}/set.jsonl", "--llm", f"{place}/llm"]
    with pytest.raises(SystemExit):
        converse.main([*cmd, "--output", f"{place}/no"])
    assert "--system cascade needs --exp" in capsys.readouterr().err


def test_references_of_another_llm_are_refused(place, answered, capsys, tmp_path):
    from chat_llms import save_tiny_llm

    save_tiny_llm(tmp_path / "llm", seed=7)
    write_set(place, "set.jsonl", dialogues(place))
    with pytest.raises(SystemExit):
        run(place, "cascade", "--llm", f"{tmp_path}/llm", output=tmp_path / "refused")
    assert "was made with another llm_fingerprint" in capsys.readouterr().err


def test_damaged_audio_is_named_with_its_conversation(place, capsys, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    turn = {"role": "user", "audio": f"{tmp_path}/broken.wav", "text": "the cat"}
    write_set(place, "broken.jsonl", [{"id": "x1", "category": "x", "turns": [turn]}])
    with pytest.raises(SystemExit):
        run(place, "text", conversations="broken.jsonl", output=tmp_path / "refused")
    assert "x1: " in capsys.readouterr().err
