"""Dialogues of several turns through stages 6, 7 and 10, on tiny models: what they leave, and what
they refuse."""

import json
import os
import shutil

import pytest
from written_runs import read_store

from espnet_audiollm.bin import ctc_decode, generate_responses, respond
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.store.runs import read_run

SYSTEMS = ("reference", "cascade", "audiollm")


@pytest.fixture(scope="module")
def place(systems, tmp_path_factory):
    """Where the sets are written and the systems answer; the models are those of `systems`."""
    place = tmp_path_factory.mktemp("converse")
    for name in ("data", "llm", "ctc", "align"):
        (place / name).symlink_to(systems / name)
    write_set(place, "set.jsonl", dialogues(place))
    prepare(place, "set")
    return place


def prepare(place, name, *more):
    """Stages 6 and 7 of a set."""
    data = ["--data", f"{place}/{name}.jsonl"]
    cmd = ["--exp", f"{place}/ctc", "--bpemodel", f"{place}/data/bpe/bpe.model"]
    ctc_decode.main([*cmd, *data, "--output", f"{place}/{name}_decode"])
    llm = ["--llm", f"{place}/llm", *more]
    generate_responses.main([*llm, *data, "--output", f"{place}/{name}_responses"])


def dialogues(place):
    """Spoken turns after own answers and given ones, after text and before it, and alone."""
    texts = read_dict(place / "data" / "text")

    def spoken(number):
        utt = f"u{number:02d}"
        audio = str(place / "data" / "wav" / f"{utt}.wav")
        return {"role": "user", "audio": audio, "text": texts[utt]}

    def item(id_, *turns, **more):
        return {"id": id_, "category": id_[0], "turns": list(turns), "expected": ["the"], **more}

    own, ask = {"role": "assistant"}, {"role": "user", "text": "what is the capital ?"}
    said = {"role": "assistant", "text": "the cat ."}
    return [
        item("a1", spoken(0), own, spoken(1)),
        item("a2", spoken(2), said, spoken(3), own, spoken(4)),
        item("b1", ask, said, spoken(5)),
        item("b2", ask, own, spoken(6), reference="the dog"),
        item("c1", spoken(7), own, ask),
        item("c2", {"role": "system", "text": "be kind"}, spoken(8)),
    ]


def write_set(place, name, items):
    (place / name).write_text("".join(json.dumps(item) + "\n" for item in items))
    return place / name


def run(place, system, *more, name="set", output=None):
    output = output or place / f"{name}_{system}"
    options = {"audiollm": ["--exp", f"{place}/align"], "cascade": ["--exp", f"{place}/ctc"]}
    options["cascade"] += ["--hyp", f"{place}/{name}_decode/hyp"]
    cmd = ["--system", system, "--data", f"{place}/{name}.jsonl", "--llm", f"{place}/llm"]
    cmd += ["--references", f"{place}/{name}_responses", "--output", str(output)]
    assert respond.main([*cmd, *options.get(system, []), *more]) == 0
    return output


@pytest.fixture(scope="module")
def answered(place):
    """All three systems' directories."""
    return {name: run(place, name) for name in SYSTEMS}


def test_every_system_is_measured_on_the_texts_answers(place, answered):
    stored = read_store(place / "set_responses")
    assert stored["b2"].response == "the dog"
    for system, directory in answered.items():
        full, last = read_run(directory), read_run(directory / "last_turn")
        assert (full.info.context, last.info.context) == ("full", "last_turn")
        assert (full.info.set, full.info.kind) == ("set", system)
        for each in (full, last):
            assert list(each.responses) == ["a1", "a2", "b1", "b2", "c1", "c2"]
            for id_, response in stored.items():
                assert each.tokens[id_] == len(response.response_ids)
        if system == "reference":
            same = {id_ for id_ in stored if full.responses[id_] == stored[id_].response}
            assert same >= set(stored) - {"b2"}
    reference, audio, cascade = (
        read_run(answered[s]) for s in ("reference", "audiollm", "cascade")
    )
    assert reference.nats != audio.nats != cascade.nats


def test_an_open_turn_is_what_the_system_itself_says_there(place, answered):
    first = [{**dialogues(place)[0], "turns": dialogues(place)[0]["turns"][:1]}]
    write_set(place, "first.jsonl", first)
    prepare(place, "first")
    for system in SYSTEMS:
        said = read_run(run(place, system, name="first")).responses["a1"]
        turns = read_run(answered[system]).turns["a1"]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        assert turns[1] == {"role": "assistant", "text": said}


def test_without_context_only_the_last_turn_is_asked(place, answered):
    last = [
        {
            **item,
            "turns": [t for t in item["turns"][:1] if t["role"] == "system"] + item["turns"][-1:],
            "reference": "the dog",
        }
        for item in dialogues(place)
    ]
    write_set(place, "last.jsonl", last)
    prepare(place, "last")
    found = read_run(run(place, "audiollm", name="last"))
    full, without = (read_run(answered["audiollm"] / each) for each in ("", "last_turn"))
    assert without.responses == found.responses
    assert without.token_nats["b2"] == pytest.approx(found.token_nats["b2"], abs=1e-3)
    assert list(without.token_nats["a1"]) != list(full.token_nats["a1"])
    assert without.turns == {}  # of single turns nothing is kept


def test_a_cascade_reads_what_the_recogniser_wrote(place, answered):
    cmd = ["--exp", f"{place}/ctc", "--data", f"{place}/data", "--output", f"{place}/decode"]
    ctc_decode.main([*cmd, "--bpemodel", f"{place}/data/bpe/bpe.model"])
    hyp = read_dict(place / "decode/hyp")
    cascade = read_run(answered["cascade"])
    spoken = {id_.split(":")[1]: text for id_, text in cascade.hyp.items() if id_[:2] == "a2"}
    assert spoken == {"1": hyp["u02"], "3": hyp["u03"], "5": hyp["u04"]}
    assert cascade.hyp["c2"] == hyp["u08"]  # a single turn has the dialogue's id
    texts = [spoken.get(str(n), turn["text"]) for n, turn in enumerate(cascade.turns["a2"], 1)]
    turns = [
        {"role": turn["role"], "text": text}
        for turn, text in zip(cascade.turns["a2"], texts, strict=True)
    ]
    write_set(place, "read.jsonl", [{**dialogues(place)[1], "turns": turns}])
    generate = ["--llm", f"{place}/llm", "--data", f"{place}/read.jsonl"]
    generate_responses.main([*generate, "--output", f"{place}/read_responses"])
    text = read_run(run(place, "reference", name="read"))
    said, limited = (each.response_ids["a2"].tolist() for each in (text, cascade))
    shorter = min(len(said), len(limited))  # limits are those of what each set says is spoken
    assert said[:shorter] == limited[:shorter]


def test_batches_change_nothing_but_rounding(place, answered):
    """Two and three audio slots: one dialogue at a time as six in a batch."""
    for system in SYSTEMS:
        single = run(place, system, "--shard_size", "1", output=place / f"single_{system}")
        for context in ("", "last_turn"):
            one, batch = (read_run(each / context) for each in (single, answered[system]))
            assert (one.responses, one.turns) == (batch.responses, batch.turns)
            for id_ in one.nats:
                assert one.token_nats[id_] == pytest.approx(batch.token_nats[id_], abs=2e-4)


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
    audiollm = AudioLLMTask.build_model(config, llms.load(str(place / "llm"))).eval()
    load_weights(audiollm, place / "align" / "valid.loss.ave.pth")
    model = AutoModelForCausalLM.from_pretrained(place / "llm")
    tokenizer = AutoTokenizer.from_pretrained(place / "llm")

    found = read_run(answered["audiollm"])
    turns = found.turns["a1"]
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
            (audio_PD,) = audiollm.encode_audio(samples, torch.tensor([samples.shape[1]]))
        start, stop = places[0], places[0] + len(inside)
        embeds[start:stop] = [audio_PD] + [embeds[0][:0]] * (len(inside) - 1)
    said = torch.tensor(read_store(place / "set_responses")["a1"].response_ids)
    rows = [e.reshape(-1, model.config.hidden_size) for e in embeds]
    whole = torch.cat([*rows, model.get_input_embeddings()(said)])[None]
    labels = torch.full(whole.shape[:2], -100)
    labels[0, -len(said) :] = said
    with torch.no_grad():
        mean = model(inputs_embeds=whole, labels=labels).loss.item()
    assert found.nats["a1"] == pytest.approx(mean * len(said), rel=1e-4)


def test_speech_is_read_in_the_form_that_is_asked_for(place, answered, capsys, tmp_path):
    """Transcripts in capitals are those of a set in capitals; what is written stays as it is."""
    loud = [
        {**item, "turns": [{**t, "text": t["text"].upper()} if "audio" in t else t for t in turns]}
        for item, turns in ((item, item["turns"]) for item in dialogues(place))
    ]
    write_set(place, "loud.jsonl", loud)
    prepare(place, "loud")
    write_set(place, "upper.jsonl", dialogues(place))
    prepare(place, "upper", "--prompt_casing", "upper")
    expected = read_run(run(place, "reference", name="loud"))
    found = read_run(run(place, "reference", "--prompt_casing", "upper", name="upper"))
    assert found.responses == expected.responses
    assert found.info.prompt_casing == "upper"
    with pytest.raises(SystemExit):
        run(place, "cascade", "--prompt_casing", "lower", name="upper", output=tmp_path / "no")
    assert "were made with another --prompt_casing" in capsys.readouterr().err


def test_recordings_that_changed_are_answered_again(place, tmp_path):
    """Under the same names, in an unchanged file of dialogues."""
    copy = shutil.copytree(place, tmp_path / "place")
    talks = copy / "set.jsonl"
    talks.write_text(talks.read_text().replace(str(place), str(copy)))
    answers = run(copy, "audiollm", output=copy / "answered") / "answers.jsonl"
    before = answers.stat().st_mtime_ns
    run(copy, "audiollm", output=answers.parent)
    assert answers.stat().st_mtime_ns == before
    os.utime(copy / "data/wav/u00.wav", (1, 1))
    run(copy, "audiollm", output=answers.parent)
    assert answers.stat().st_mtime_ns != before


@pytest.mark.parametrize("system", ["reference", "audiollm"])
def test_jobs_make_what_one_makes(place, tmp_path, system):
    more = ["--shard_size", "2"]
    one = run(place, system, *more, output=tmp_path / "one")
    for job in ("3", "1", "2"):
        run(place, system, *more, "--num_jobs", "3", "--job", job, output=tmp_path / "many")
        assert not (tmp_path / "many" / "run.json").exists()
    many = run(place, system, *more, "--num_jobs", "3", "--merge", output=tmp_path / "many")
    for name in (
        "answers.jsonl",
        "run.json",
        "nats",
        "last_turn/answers.jsonl",
        "last_turn/run.json",
    ):
        assert (many / name).read_bytes() == (one / name).read_bytes()
    assert not (many / ".parts").exists()


@pytest.mark.parametrize(
    "system, more, message",
    [
        ("cascade", ["--references", "{place}/none"], "none is not a response store"),
        (
            "audiollm",
            ["--references", "{place}/few"],
            "5 of 6 dialogues have no response",
        ),
        ("audiollm", ["--system_prompt", "be kind"], "with the system prompt None"),
    ],
)
def test_refusals(place, capsys, tmp_path, system, more, message):
    write_set(place, "few.jsonl", dialogues(place)[:1])
    generate = ["--llm", f"{place}/llm", "--data", f"{place}/few.jsonl"]
    generate_responses.main([*generate, "--output", f"{place}/few"])
    more = [word.format(place=place) for word in more]
    with pytest.raises(SystemExit):
        run(place, system, *more, output=tmp_path / "refused")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "refused" / "run.json").exists()


def test_damaged_audio_is_named_with_its_dialogue(place, capsys, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    turn = {"role": "user", "audio": f"{tmp_path}/broken.wav", "text": "the cat"}
    write_set(place, "broken.jsonl", [{"id": "x1", "category": "x", "turns": [turn]}])
    generate = ["--llm", f"{place}/llm", "--data", f"{place}/broken.jsonl"]
    generate_responses.main([*generate, "--output", f"{place}/broken_responses"])
    with pytest.raises(SystemExit):
        run(place, "reference", name="broken", output=tmp_path / "refused")
    assert "x1: " in capsys.readouterr().err
