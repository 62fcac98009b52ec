"""Spoken answers of the server, as the official client of OpenAI asks for them."""

import base64
import io
import time

import numpy as np
import openai
import pytest
import soundfile
from serving import ask, audio_part, listening, user, user_text
from tiny_speaking import SPOKEN, UNITS

import espnet_audiollm
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.infer.decoder import Decoder
from espnet_audiollm.infer.voices import AHEAD, FIRST, speak_all
from espnet_audiollm.serve.app import Server
from espnet_audiollm.serve.engine import Engine

SPEAK = {"modalities": ["text", "audio"], "max_tokens": 200}
PCM = {**SPEAK, "audio": {"format": "pcm16"}}


@pytest.fixture(scope="module")
def system(speech_lm):
    return espnet_audiollm.load(speech_lm)


@pytest.fixture(scope="module")
def server(system):
    made = Server(Engine(system, 2), "tiny")
    with listening(made) as made.url:
        yield made


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def question(speaking):
    path = next(iter(read_dict(speaking / "data/wav.scp").values()))
    with open(path, "rb") as file:
        return user(audio_part(file.read()))


@pytest.fixture(scope="module")
def expected(system):
    """16-bit samples of the units that every spoken answer consists of."""
    return np.round(speak_all(system.voices.speaker(), SPOKEN) * 32768)


def samples(data):
    return np.frombuffer(base64.b64decode(data), "<i2")


def test_an_answer_is_spoken(client, question, expected):
    message = ask(client, question, **SPEAK).choices[0].message
    assert message.content is None and message.audio.id.startswith("audio_")
    written = ask(client, question).choices[0].message
    assert message.audio.transcript.startswith("ran ") and written.content.startswith("ran ")
    assert written.audio is None and message.audio.expires_at <= time.time()
    data = base64.b64decode(message.audio.data)
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        assert (sound.samplerate, sound.format) == (16_000, "WAV")
        assert sound.comment.startswith("Generated speech")
        assert np.abs(sound.read(dtype="int16") - expected).max() <= 1


@pytest.mark.parametrize("form", ["flac", "pcm16"])
def test_formats_have_the_same_samples(client, question, expected, form):
    message = ask(client, question, **{**SPEAK, "audio": {"format": form}}).choices[0].message
    data = base64.b64decode(message.audio.data)
    if form == "flac":
        found, _ = soundfile.read(io.BytesIO(data), dtype="int16")
    else:
        found = samples(message.audio.data)
    assert len(found) == len(expected) and np.abs(found - expected).max() <= 1


def stream(client, *messages, **more):
    """(transcript, pieces of samples, the last chunk) of a stream."""
    text, sound, last = "", [], None
    for chunk in ask(client, *messages, stream=True, **{**PCM, **more}):
        last = chunk.choices[0]
        audio = last.delta.audio
        text += audio.transcript or "" if audio else ""
        sound += [samples(audio.data)] if audio and audio.data else []
    return text, sound, last


def test_a_stream_joins_to_the_complete_answer(client, question, system):
    whole = ask(client, question, **PCM).choices[0].message.audio
    text, sound, last = stream(client, question)
    assert len(sound) == 3 and last.finish_reason == "stop"
    assert np.array_equal(np.concatenate(sound), samples(whole.data))
    assert text == whole.transcript
    assert last.delta.audio.expires_at <= time.time()


def test_the_first_sound_comes_before_the_last_token(server, client, question, monkeypatch):
    step, steps = Decoder.step, 0

    def slow(self, ids_B):
        nonlocal steps
        steps += 1
        time.sleep(0.03)
        return step(self, ids_B)

    monkeypatch.setattr(Decoder, "step", slow)
    seen = []
    for chunk in ask(client, question, stream=True, **PCM):
        audio = chunk.choices[0].delta.audio
        if audio and audio.data:
            seen.append((steps, len(server.engine.writing)))
    assert seen[0][0] < steps and seen[0][1] == 1  # it is still written
    assert seen[0][0] >= FIRST + AHEAD and steps > UNITS


def test_a_stream_counts_its_tokens(client, question):
    usage = {"stream_options": {"include_usage": True}}
    *_, last = ask(client, question, stream=True, **PCM, **usage)
    whole = ask(client, question, **PCM)
    assert last.usage.completion_tokens == whole.usage.completion_tokens > UNITS
    assert last.usage.prompt_tokens_details.audio_tokens > 2


def test_speech_without_an_end_is_text_with_an_error(client, question):
    few = {"max_tokens": 25}
    answer = ask(client, question, **{**SPEAK, **few}).choices[0]
    assert answer.message.audio is None and "ran " in answer.message.content
    assert answer.message.error["code"] == "no_end" and answer.finish_reason == "length"
    text, sound, last = stream(client, question, **few)
    assert last.delta.error["code"] == "no_end" and last.finish_reason == "length"
    assert text.startswith("ran ") and len(sound) == 1  # what had been said until then


def test_a_task_by_its_tag(client, question, speaking):
    text = next(iter(read_dict(speaking / "data/text").values()))
    heard = ask(client, question, extra_body={"task": "[ASR English]"}).choices[0].message
    assert heard.content and "\n" not in heard.content
    assert ask(client, user_text(text)).choices[0].message.content.startswith("ran ")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({**SPEAK, "audio": {"voice": "nobody"}}, "'nobody' is unknown; there are 1 (first: s)"),
        ({**SPEAK, "audio": {"format": "mp3"}}, "audio.format"),
        ({**SPEAK, "stream": True, "audio": {"format": "wav"}}, "a stream has pcm16"),
        ({"audio": {"format": "wav"}}, "modalities"),
        ({"modalities": []}, "modalities"),
        ({"extra_body": {"task": "[MT English Spanish]"}}, "was not trained"),
        ({**SPEAK, "extra_body": {"task": "[QA English]"}}, "speech is wanted"),
    ],
)
def test_what_cannot_be_spoken_is_refused(client, more, says):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, user_text("the cat"), **more)
    assert says in str(caught.value)


def test_questions_are_without_context(client):
    talk = [user_text("a"), {"role": "assistant", "content": "b"}, user_text("c")]
    with pytest.raises(openai.BadRequestError, match="send the last question alone"):
        ask(client, *talk)
    talk[1]["content"] = None
    with pytest.raises(openai.BadRequestError, match="send the transcript in its place"):
        ask(client, *talk)


def test_models_say_what_they_can(client, align_exp, llm_dir):
    known = client.models.list().data[0]
    assert known.modalities == ["text", "audio"] and known.single_turn
    assert known.audio == {"voices": ["s"], "sample_rate": 16_000} and len(known.tasks) == 5
    silent = espnet_audiollm.load(align_exp, llm=str(llm_dir))
    with listening(Server(Engine(silent, 1), "tiny")) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as other:
            assert other.models.list().data[0].modalities == ["text"]
            with pytest.raises(openai.BadRequestError, match="does not speak; it writes text only"):
                ask(other, user_text(), **SPEAK)


def test_parts_are_measured(speaking, capsys):
    from bench import bench_spoken_parts

    words = [str(speaking / name) for name in ("patches", "answer_audio")]
    found = bench_spoken_parts.main([*words, "--number", "1"])
    assert found["parts"] == 3 and found["mel of parts"] < 1.2 * found["mel of whole"]
    assert found["largest joint"] <= 1.05 and "first sound" in capsys.readouterr().out
