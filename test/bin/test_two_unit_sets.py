"""Units that are read and other units that are spoken, from the commands of the recipe."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile
import tiny_speaking
import tiny_speechlm
import yaml
from serving import ask, audio_part, listening, user
from tiny_speaking import call
from tool_mains import main_of, run_main

import espnet_audiollm
from espnet_audiollm.bin import chat
from espnet_audiollm.data.kaldi_dir import read_dict, write_table
from espnet_audiollm.data.unit_tables import read_set
from espnet_audiollm.data.unit_tokens import read_vocabulary
from espnet_audiollm.infer.speech_lm import load_parts
from espnet_audiollm.infer.spoken_answer import SpokenAnswer
from espnet_audiollm.infer.stream import Piece
from espnet_audiollm.infer.voices import speak_all
from espnet_audiollm.model import llm as llms
from espnet_audiollm.serve.app import Server
from espnet_audiollm.serve.engine import Engine
from espnet_audiollm.types import Audio, Dialogue, Turn

READ, SPOKEN = 6, 9  # units of the sets
ANSWER = (8, 0, 7, 1, 6, 2, 5, 3, 4)
TAGS = ["[ASR English]", "[SQA English]", "[QSA English]", "[ASR SQA SQSA English]"]


@pytest.fixture
def run(root, capfd):
    return lambda name, *words: run_main(main_of(root, name), words, capfd)


def mixture(place, name, *sources):
    (place / name).write_text(yaml.safe_dump({"sources": list(sources)}))
    return ["--mixture", place / name, "--llm", place / "joint"]


def source(place, tags, name="a", **fields):
    named = {"text": "data/text", "answer": "answer", "audio": "read", "answer_audio": "answers"}
    named = {key: str(place / value) for key, value in {**named, **fields}.items()}
    return {"name": name, "language": "English", "tasks": tags, "fields": named}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Patches of 40 ms are read, others of 80 ms are spoken; every answer is the same."""
    import tiny_systems

    place = tmp_path_factory.mktemp("sets")
    tiny_systems.make_data(place / "data", 8)
    tiny_speaking.make_text_llm(place / "text_llm")
    for name, frames, size in (("read", 4, READ), ("spoken", 8, SPOKEN)):
        q, data = place / f"q_{name}", ["--data", place / "data"]
        learn = ["--source", f"fbank:{frames}", "--size", size, "--output", q]
        call("learn_units", *learn, *data)
        call("extract_units", "--quantiser", q, *data, "--output", place / name)
    words = ["--llm", place / "text_llm", "--quantiser", place / "q_read", place / "q_spoken"]
    call("extend_llm", *words, "--init", "centroid", "--output", place / "joint")
    texts = read_dict(place / "data/text")
    write_table(place / "answer", ((id_, f"ran {text.split()[0]}") for id_, text in texts.items()))
    shutil.copytree(place / "spoken", place / "answers")
    write_table(place / "answers/units", ((id_, " ".join(map(str, ANSWER))) for id_ in texts))
    tts = source(place, ["[TTS English]"], "t", audio="answers", text="answer")
    words = mixture(place, "tasks.yaml", source(place, TAGS), tts)
    call("prepare_tasks", *words, "--output", place / "tasks")
    words = mixture(place, "valid.yaml", source(place, ["[QSA English]"]))
    call("prepare_tasks", *words, "--output", place / "valid")
    patches = ["--data", place / "data", "--units", place / "spoken"]
    call("mean_patches", *patches, "--output", place / "patches")
    return place


@pytest.fixture(scope="module")
def learned(world):
    config = {**tiny_speechlm.OPTIONS, "max_epoch": 60, "scheduler": None, "batch_bins": 1200}
    (world / "speechlm.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", world / "speechlm.yaml", "--output_dir", world / "exp"]
    words += ["--llm", world / "joint", "--train_tasks", world / "tasks"]
    call("speechlm_train", *words, "--valid_tasks", world / "valid")
    call("export_llm", "--exp", world / "exp", "--output", world / "llm")
    return world


def unit_ids(place, units):
    """Ids of a table's units of tokens."""
    return [id_ - units.first for id_ in map(int, place.split()) if id_ in units.ids]


def test_each_table_has_the_numbers_of_its_set(world):
    facts = json.loads((world / "joint/unit_vocabulary.json").read_text())
    assert [(each["size"], each["first"]) for each in facts["sets"]] == [(READ, 0), (SPOKEN, READ)]
    assert [each["frames_per_second"] for each in facts["sets"]] == [25.0, 12.5]
    units = read_vocabulary(world / "joint").tokens(llms.load_tokenizer(str(world / "joint")))
    assert (units.size, units.output) == (READ + SPOKEN, READ)
    prompts, said = (read_dict(world / f"tasks/{name}_ids") for name in ("prompt", "response"))
    read = read_dict(world / "read/units")
    spoken = [-2, *(READ + unit for unit in ANSWER), -1]
    for id_, line in read.items():
        prompt = unit_ids(prompts[f"a.asr_sqa_sqsa_english!{id_}"], units)
        assert prompt == [-2, *map(int, line.split()), -1]
        for block in ("a.asr_sqa_sqsa_english", "a.qsa_english", "t.tts_english"):
            assert unit_ids(said[f"{block}!{id_}"], units) == spoken


def test_answers_are_units_of_the_spoken_set(learned, run, tmp_path):
    assert read_vocabulary(learned / "llm") == read_vocabulary(learned / "joint")
    words = ["--llm", learned / "llm", "--tasks", learned / "tasks", "--max_tokens", 60]
    run("respond_tasks", *words, "--output", tmp_path / "out").says("wrong units")
    audio = tmp_path / "out/a.qsa_english/answer_audio"
    assert read_set(audio) == read_set(learned / "answers")
    spoken = read_dict(audio / "units")
    assert spoken and set(spoken.values()) == {" ".join(map(str, ANSWER))}
    reference = tmp_path / "out/a.qsa_english/reference/answer_audio"
    assert read_dict(reference / "units") == read_dict(learned / "answers/units")
    words = ["--vocoder", learned / "patches", "--output", tmp_path / "wav"]
    run("speak", *words, "--units", audio).says()
    assert read_dict(tmp_path / "wav/wav.scp").keys() == spoken.keys()
    run("speak", *words, "--units", learned / "read").fails("another quantiser")


def packed(place, output, **parts):
    given = {"speech_llm": "llm", "quantiser": "q_read", "tasks": "tasks", "vocoder": "patches"}
    named = [(f"--{name}", place / part) for name, part in {**given, **parts}.items()]
    return [*(word for pair in named for word in pair), "--output", output]


def test_a_pack_reads_the_one_and_speaks_the_other(learned, run, tmp_path):
    run("pack", *packed(learned, tmp_path / "x", quantiser="q_spoken")).fails("the LLM")
    words = ["--data", learned / "data", "--units", learned / "read"]
    call("mean_patches", *words, "--output", tmp_path / "deaf")
    run("pack", *packed(learned, tmp_path / "x", vocoder=tmp_path / "deaf")).fails(
        "the vocoder", "speaks"
    )
    run("pack", *packed(learned, tmp_path / "packed")).says("MB")
    system = espnet_audiollm.load(tmp_path / "packed")
    assert system.units.output == READ and system.can_speak
    assert len(system.units.ids) == READ + SPOKEN + 2  # no likelihood of text counts these
    parts = [learned / name for name in ("llm", "q_read", "tasks")]
    assert load_parts(*parts).units == system.units
    with pytest.raises(ValueError, match="the units of another quantiser"):
        load_parts(parts[0], learned / "q_spoken", parts[2])
    path = read_dict(learned / "data/wav.scp")["u00"]
    asked = Dialogue("u00", (Turn("user", Audio(path)),), task="[ASR SQA SQSA English]")
    [said] = system.respond([asked])
    prompts = read_dict(learned / "tasks/prompt_ids")
    complete = system.complete(asked)
    prompt = list(system.prompt(complete.turns, system.speech([complete])))
    assert prompt == [*map(int, prompts["a.asr_sqa_sqsa_english!u00"].split())]
    task = system.task_for(asked.turns, asked.task)
    reply = system.read_answer(task, said.response_ids, said.finish_reason)
    assert reply.values["answer_audio"].ids == ANSWER
    streamed = SpokenAnswer(system, task, system.voices.speaker())
    for id_ in said.response_ids:
        streamed.feed(Piece(id_, "", None))
    spoken = speak_all(system.voices.speaker(), ANSWER)
    assert len(spoken) and np.array_equal(streamed.speaker.rest(), spoken)


@pytest.fixture(scope="module")
def pack(learned, tmp_path_factory):
    place = tmp_path_factory.mktemp("pack") / "packed"
    call("pack", *packed(learned, place))
    return place


def test_a_server_reads_the_one_and_speaks_the_other(learned, pack):
    system = espnet_audiollm.load(pack)
    expected = np.round(speak_all(system.voices.speaker(), ANSWER) * 32768)
    path = read_dict(learned / "data/wav.scp")["u00"]
    more = {"modalities": ["text", "audio"], "audio": {"format": "pcm16"}, "max_tokens": 200}
    with listening(Server(Engine(system, 2), "tiny")) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            asked = user(audio_part(Path(path).read_bytes()))
            written = ask(client, asked).choices[0].message
            spoken = ask(client, asked, **more).choices[0].message
    assert written.audio is None and written.content.startswith("ran ")
    assert spoken.audio.transcript == written.content
    found = np.frombuffer(base64.b64decode(spoken.audio.data), "<i2")
    assert np.abs(found - expected).max() <= 1


def test_a_chat_reads_the_one_and_speaks_the_other(learned, pack, tmp_path, monkeypatch, capsys):
    path = read_dict(learned / "data/wav.scp")["u00"]
    lines = f":speak {tmp_path / 'said'}\n:audio {path}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert chat.main([str(pack)]) == 0
    assert "ran " in capsys.readouterr().out
    [recording] = (tmp_path / "said").iterdir()
    system = espnet_audiollm.load(pack)
    found, rate = soundfile.read(recording, dtype="int16")
    expected = np.round(speak_all(system.voices.speaker(), ANSWER) * 32768)
    assert rate == 16_000 and np.abs(found - expected).max() <= 1


def test_wrong_sets_are_refused(world, run, tmp_path):
    out = ["--output", tmp_path / "tasks"]

    def prepare(*sources):
        return run("prepare_tasks", *mixture(world, "wrong.yaml", *sources), *out)

    prepare(source(world, ["[TTS English]"])).fails(
        "a: [TTS English] speaks audio", "reads", "in a source of its own"
    )
    prepare(source(world, ["[ASR English]"], audio="answers")).fails(
        "a: [ASR English] reads audio", "not those that it reads"
    )
    lm = [source(world, ["[LM]"], name, audio=name) for name in ("read", "spoken")]
    prepare(*lm).says("read.lm", "spoken.lm")  # each set by itself
    call("learn_units", "--source", "fbank:2", "--size", 5, "--data", world / "data",
         "--output", tmp_path / "q")  # fmt: skip
    words = ["--quantiser", tmp_path / "q", "--data", world / "data"]
    call("extract_units", *words, "--output", tmp_path / "units")
    known = [each[:12] for each in read_vocabulary(world / "joint").quantisers]
    prepare(source(world, ["[ASR English]"], audio=tmp_path / "units")).fails(
        "another quantiser", f"({known[0]}, {known[1]})", "one of these"
    )
    llm = ["--llm", world / "text_llm", "--output", tmp_path / "joint", "--quantiser"]
    run("extend_llm", *llm, world / "q_read", world / "q_read").fails("2 quantisers (one of them")
    three = [world / "q_read", world / "q_spoken", tmp_path / "q"]
    run("extend_llm", *llm, *three).fails("3 quantisers", "another one if others are spoken")
    run("extend_llm", *llm, *three[:2]).says(
        "17 more for 6 units of fbank:4 and 9 units of fbank:8"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sets": []}, "is damaged"),
        ({"sets": "none"}, "sets of units are 'none'"),
        ({"sets": [{"first": 3}, {"first": 3}]}, "begin at 3, 3"),
        ({"sets": [{}, {"size": "9"}]}, "size is '9'"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_a_damaged_vocabulary_is_refused(world, tmp_path, change, says):
    facts = json.loads((world / "joint/unit_vocabulary.json").read_text())
    if isinstance(change.get("sets"), list):
        sets = zip(facts["sets"], change["sets"], strict=False)
        change = {"sets": [{**own, **other} for own, other in sets]}
    (tmp_path / "unit_vocabulary.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(ValueError, match=says):
        read_vocabulary(tmp_path)
