"""The server as the official client of OpenAI sees it: over HTTP, from a real uvicorn."""

import dataclasses
import io
import json
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import openai
import pytest
import soundfile
from serving import ask, audio_part, counts, listening, recording, user, user_text, wait_until

import espnet_audiollm
from espnet_audiollm.infer.chat import Chat
from espnet_audiollm.infer.decoder import Decoder
from espnet_audiollm.infer.recognise import load_recogniser
from espnet_audiollm.infer.stream import Sampling
from espnet_audiollm.serve import replies
from espnet_audiollm.serve.app import Server
from espnet_audiollm.serve.engine import Engine
from espnet_audiollm.serve.limits import Limits
from espnet_audiollm.types import Audio

LIMITS = Limits(
    bytes=400_000,
    seconds=2.0,
    recordings=3,
    characters=20_000,
    turns=5,
    new_tokens=1900,
    rows=2,
    queue=1,
)
TOKEN = "a-long-random-text"
SAID = "what a client said"


@pytest.fixture(scope="module")
def system(align_exp, llm_dir):
    return espnet_audiollm.load(align_exp, llm=str(llm_dir))


@pytest.fixture(scope="module")
def server(system, ctc_exp):
    recognise = load_recogniser(ctc_exp, "valid.loss.ave.pth")
    made = Server(Engine(system, LIMITS.rows), "tiny", LIMITS, recognise)
    with listening(made) as made.url:
        yield made


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_the_same_dialogue_draws_the_same_tokens(client, system, data):
    """Text and audio in several turns, against the chat, whose tokens are those of stage 10."""
    said = [Audio(f"{data}/u1.wav"), "w3 w4", Audio(f"{data}/u2.wav")]
    sent = [user(recording(data, 1)), {"role": "user", "content": "w3 w4"}]
    sent += [user(recording(data, 2))]
    chat, messages = Chat(system, 6), []
    for ours, theirs in zip(said, sent, strict=True):
        expected = list(chat.say(ours))
        messages.append(theirs)
        answer = ask(client, *messages)
        choice = answer.choices[0]
        assert choice.message.content == "".join(piece.text for piece in expected)
        assert choice.finish_reason == expected[-1].finish_reason
        assert answer.usage.completion_tokens == len(expected)
        messages.append({"role": "assistant", "content": choice.message.content})
    positions = len(chat.read(said[0])) + len(chat.read(said[2]))
    assert answer.usage.prompt_tokens_details.audio_tokens == positions
    assert answer.usage.prompt_tokens > positions


def test_a_stream_has_the_same_text(client, data):
    messages = user({"type": "text", "text": "w1 "}, recording(data, 1))
    complete = ask(client, messages)
    chunks = list(ask(client, messages, stream=True, stream_options={"include_usage": True}))
    *pieces, last = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == complete.choices[0].message.content
    assert pieces[0].choices[0].delta.role == "assistant" and len(pieces) > 2
    assert pieces[-1].choices[0].finish_reason == complete.choices[0].finish_reason
    assert last.usage == complete.usage and last.choices == []


def test_two_recordings_in_a_turn_are_both_read(client, data):
    both = ask(client, user(recording(data, 1), recording(data, 2)))
    one = ask(client, user(recording(data, 1)))
    assert (
        both.usage.prompt_tokens_details.audio_tokens > one.usage.prompt_tokens_details.audio_tokens
    )


def test_a_recording_is_encoded_once(client, server, data):
    ask(client, user(recording(data, 5)))
    before = counts(server)
    ask(
        client,
        user(recording(data, 5)),
        {"role": "assistant", "content": "w1"},
        user(recording(data, 5), {"type": "text", "text": "w2"}),
    )
    after = counts(server)
    assert after["audiollm_audio_encoded"] == before["audiollm_audio_encoded"]
    assert after["audiollm_audio_cached"] == before["audiollm_audio_cached"] + 2


def test_sampling_and_stops(client, system):
    hot = {"temperature": 2.0, "top_p": 0.9, "max_tokens": 20}
    texts = [
        ask(client, user_text(), seed=seed, **hot).choices[0].message.content for seed in (7, 7, 8)
    ]
    assert texts[0] == texts[1] != texts[2]
    chat = Chat(system, 20, Sampling(2.0, 0.9, 7))
    assert texts[0] == "".join(piece.text for piece in chat.say("w1 w2"))
    first, stop, *_ = texts[0].split()
    assert stop != first
    cut = ask(client, user_text(), seed=7, stop=[stop], **hot).choices[0]
    assert cut.message.content == texts[0].partition(stop)[0].rstrip()
    assert cut.finish_reason == "stop"


def test_answers_beside_each_other_are_those_of_single_requests(client, data):
    dialogues = [(user(recording(data, n)),) for n in range(3)]
    dialogues[1] = (user_text("w1 " * 40), {"role": "assistant", "content": "w2"}, user_text())
    single = [ask(client, *each, max_tokens=12).choices[0].message.content for each in dialogues]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            answers = pool.map(lambda each: ask(client, *each, max_tokens=12), dialogues)
            assert [answer.choices[0].message.content for answer in answers] == single


def test_models_and_transcriptions(client, data, ctc_exp):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "espnet_audiollm"
    path = data / "u3.wav"
    from espnet_audiollm.types import Utterance

    [expected] = load_recogniser(ctc_exp, "valid.loss.ave.pth")([Utterance("a", str(path), "")])
    found = client.audio.transcriptions.create(model="tiny", file=path)
    assert found.text == expected
    text = client.audio.transcriptions.create(model="tiny", file=path, response_format="text")
    assert text == expected


def wav(seconds, rate=16_000, channels=1, form="WAV"):
    out = io.BytesIO()
    soundfile.write(out, np.zeros((int(seconds * rate), channels)), rate, format=form)
    return out.getvalue()


CASES = {
    "no base64": ([user(audio_part(b""))], {}, 400, "empty"),
    "address": (
        [user({"type": "image_url", "image_url": {"url": "http://x"}})],
        {},
        400,
        "fetched",
    ),
    "no audio": ([user(audio_part(b"RIFF" + b"x" * 99))], {}, 400, "not audio"),
    "cut": ([user(audio_part(wav(1)[:9000]))], {}, 400, "the audio"),
    "too long": ([user(audio_part(wav(2.5)))], {}, 400, "2 s are allowed"),
    "together": ([user(*[audio_part(wav(1.1))] * 2)], {}, 400, "0.9 s are allowed"),
    "bomb": ([user(audio_part(wav(3600, 8000, 1, "FLAC")))], {}, 400, "3600.0 s long"),
    "bytes": ([user_text("w1 " * 200_000)], {}, 413, "400000 bytes"),
    "recordings": ([user(*[audio_part(wav(0.1))] * 4)], {}, 400, "4 recordings: at most 3"),
    "characters": (
        [user_text("w1 " * 4000), user({"type": "text", "text": "w1 " * 4000})],
        {},
        400,
        "24000 characters of text: at most 20000",
    ),
    "turns": ([user_text()] * 6, {}, 400, "6 messages: at most 5"),
    "tokens": ([user_text()], {"max_tokens": 5000}, 400, "at most 1900"),
    "context": ([user_text("w1 " * 3000)], {}, 400, "context is 2048"),
    "model": ([user_text()], {"model": "gpt-4o"}, 404, "no model 'gpt-4o'"),
    "tools": ([user_text()], {"tools": [{"type": "function"}]}, 400, "tools is not supported"),
    "n": ([user_text()], {"n": 2}, 400, "n is not supported"),
    "temperature": ([user_text()], {"temperature": -1}, 400, "temperature"),
    "stop": ([user_text()], {"stop": [""]}, 400, "none of them empty"),
    "long stop": (
        [user_text()],
        {"stop": ["w" * 1000, "w" * 1001]},
        400,
        "1 of 2 strings are too long (first: 1001 characters)",
    ),
    "last": ([user_text(), {"role": "assistant", "content": "w"}], {}, 400, "the user's"),
    "system": ([user_text(), {"role": "system", "content": "w"}, user_text()], {}, 400, "first"),
    "none": ([], {}, 400, "messages"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_answered_is_a_4xx(client, case, stream):
    messages, more, status, says = CASES[case]
    with pytest.raises(openai.APIStatusError) as error:
        ask(client, *messages, stream=stream, **more)
    assert error.value.status_code == status
    assert says in error.value.body["message"] and "/tmp" not in error.value.body["message"]
    assert error.value.type in ("invalid_request_error", "rate_limit_error")


def post(url, body, **headers):
    headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("chat/completions", b"{", {}, 400),
        ("chat/completions", b"[" * 100_000, {}, 400),
        ("chat/completions", b"\xff\xfe", {}, 400),
        ("chat/completions", b"{}", {"Content_Type": "text/plain"}, 415),
        ("chat/completions", b"{}", {"Host": "evil.example"}, 403),
        ("audio/transcriptions", b"{}", {}, 400),
        ("nowhere", b"{}", {}, 404),
        ("models", b"{}", {}, 405),
    ],
)
def test_nonsense_gets_the_form_of_an_error(server, path, body, headers, status):
    found, sent, answer = post(f"{server.url}/v1/{path}", body, **headers)
    assert found == status and json.loads(answer)["error"]["message"]
    assert "access-control-allow-origin" not in sent


@contextmanager
def endless(system, monkeypatch, limits=LIMITS, token=None):
    """A server whose answers end at their limit only, and slowly."""
    step = Decoder.step

    def slow(self, ids):
        time.sleep(0.02)
        return step(self, ids)

    monkeypatch.setattr(Decoder, "step", slow)
    llm = dataclasses.replace(system.llm, eos_ids=())
    made = Server(Engine(dataclasses.replace(system, llm=llm), limits.rows), "tiny", limits)
    made.token = token
    with listening(made) as made.url:
        yield made


def test_who_goes_away_frees_its_place(system, monkeypatch, caplog):
    with endless(system, monkeypatch) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        streams = [ask(client, user_text(), stream=True, max_tokens=1900) for _ in range(2)]
        for stream in streams:
            next(stream), next(stream)
        hurried = client.with_options(timeout=0.5)
        with pytest.raises(openai.APITimeoutError):  # it waits for a row, and is gone
            ask(hurried, user_text(), max_tokens=1900)
        wait_until(lambda: server.places.taken == 2)
        for stream in streams:
            stream.close()
        wait_until(lambda: server.places.taken == 0 and not server.engine.writing)
        assert ask(client, user_text(), max_tokens=3).usage.completion_tokens == 3
        written = counts(server)["audiollm_completion_tokens_total"]
        assert written < 1000  # nobody wrote on for those who left
    assert not caplog.records


def test_who_stops_reading_loses_its_place(system, monkeypatch):
    event = replies.event
    padding = b": " + b"x" * 1_000_000 + b"\n\n"  # what connections hold is soon full
    monkeypatch.setattr(replies, "event", lambda item: padding + event(item))
    limits = dataclasses.replace(LIMITS, body_seconds=1.0)
    with endless(system, monkeypatch, limits) as server, socket.socket() as deaf:
        host, port = server.url.removeprefix("http://").split(":")
        deaf.connect((host, int(port)))
        body = {"model": "tiny", "messages": [user_text()], "stream": True, "max_tokens": 1900}
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}"
        deaf.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + data)
        wait_until(lambda: server.engine.writing)
        begin = time.monotonic()
        wait_until(lambda: server.places.taken == 0 and not server.engine.writing)
        assert time.monotonic() - begin > 0.9


def test_who_comes_when_it_is_full_is_told_so(system, monkeypatch):
    with endless(system, monkeypatch) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(ask, client, user_text(), max_tokens=60) for _ in range(3)]
            wait_until(lambda: server.places.taken == 3)
            with pytest.raises(openai.RateLimitError, match="3 requests") as error:
                ask(client, user_text())
            assert error.value.response.headers["retry-after"] == "1"
            tokens = [each.result().usage.completion_tokens for each in waiting]
        assert tokens == [60] * 3


def test_a_failure_of_the_engine_is_told_and_overcome(system, monkeypatch, caplog):
    with endless(system, monkeypatch) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        stream = ask(client, user_text(), stream=True, max_tokens=1900)
        next(stream), next(stream)
        with monkeypatch.context() as broken:

            def fail(self, ids):
                raise RuntimeError(SAID)

            broken.setattr(Decoder, "step", fail)
            with pytest.raises(openai.APIError, match="the engine failed"):
                list(stream)
            with pytest.raises(openai.InternalServerError, match="try again"):
                ask(client, user_text())
        assert ask(client, user_text()).choices[0].finish_reason == "length"
    assert caplog.records and SAID not in caplog.text


def test_a_token_is_asked_for(system, monkeypatch):
    with endless(system, monkeypatch, token=TOKEN) as server:
        good = openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0)
        assert ask(good, user_text(), max_tokens=1).usage.completion_tokens == 1
        for key in ("wrong", f"{TOKEN} "[:-2]):
            with pytest.raises(openai.AuthenticationError):
                ask(good.with_options(api_key=key), user_text())
        assert post(f"{server.url}/metrics", None)[0] == 401
        assert post(f"{server.url}/health", None)[0] == 200
        with pytest.raises(openai.NotFoundError, match="--recogniser"):
            good.audio.transcriptions.create(model="tiny", file=("a.wav", wav(1)))
