"""The engine's thread by itself: what one request does to those beside it."""

import dataclasses
import threading

import pytest
from serving import wait_until

import espnet_audiollm
from espnet_audiollm.infer import systems
from espnet_audiollm.infer.decoder import Session
from espnet_audiollm.infer.stream import Sampling, Writer
from espnet_audiollm.serve import remote_engine
from espnet_audiollm.serve.dialogue_cache import DialogueCache
from espnet_audiollm.serve.engine import Begun, Engine, Request
from espnet_audiollm.serve.speech_cache import SpeechCache
from espnet_audiollm.types import Audio, Turn

SAID = "what a client said"


@pytest.fixture(scope="module")
def system(align_exp, llm_dir):
    """Its answers end at their limit only."""
    made = espnet_audiollm.load(align_exp, llm=str(llm_dir))
    return dataclasses.replace(made, llm=dataclasses.replace(made.llm, eos_ids=()))


@pytest.fixture
def engine(system):
    made = Engine(system, 4)
    yield made
    made.close()


class Asked(Request):
    """A request, and what its client was told."""

    def __init__(self, *parts, tokens=6):
        self.told = []
        turns = (Turn("user", parts),)
        super().__init__(turns, tokens, Sampling(), (), self.told.append)

    @property
    def ended(self):
        last = self.told[-1] if self.told else None
        return isinstance(last, Exception) or getattr(last, "finish_reason", None) is not None

    @property
    def text(self):
        return "".join(piece.text for piece in self.told[1:])


def in_time(future):
    return future.result(timeout=60)


def answered(engine, *requests):
    for each in requests:
        engine.submit(each)
    wait_until(lambda: all(each.ended for each in requests))
    return requests


def held(engine):
    """Keep the thread busy until the event is set, so that all that is submitted waits together."""
    event = threading.Event()
    engine.call(event.wait)
    return event


def test_who_leaves_while_the_prompt_is_read_leaves_the_others_alone(engine, monkeypatch):
    (alone,) = answered(engine, Asked("w1 w2"))
    stays, leaves = Asked("w1 w2", tokens=60), Asked("w3 w4")
    read = Session.read

    def left_meanwhile(self, prompt, name):
        if stays.told:
            leaves.cancel()
        return read(self, prompt, name)

    monkeypatch.setattr(Session, "read", left_meanwhile)
    release = held(engine)
    engine.submit(stays)
    engine.submit(leaves)
    release.set()
    wait_until(lambda: stays.ended)
    assert len(stays.told) == 61 and stays.text.startswith(alone.text)
    assert [type(event) for event in leaves.told] == [Begun]
    wait_until(lambda: len(engine.dialogues) == 2)  # what was read of both


def test_the_failure_of_one_answer_is_told_to_its_client_only(engine, monkeypatch, caplog):
    (alone,) = answered(engine, Asked("w1 w2"))
    write = Writer.write

    def fails(self, logp_V):
        if self.limit == 7 and self.tokens == 2:
            raise RuntimeError(SAID)
        return write(self, logp_V)

    monkeypatch.setattr(Writer, "write", fails)
    release = held(engine)
    requests = Asked("w3 w4", tokens=7), Asked("w1 w2")
    for each in requests:
        engine.submit(each)
    release.set()
    wait_until(lambda: all(each.ended for each in requests))
    broken, whole = requests
    assert [type(event).__name__ for event in broken.told] == [
        "Begun",
        *["Piece"] * 2,
        "RuntimeError",
    ]
    assert "middle of the answer" in str(broken.told[-1])
    assert whole.text == alone.text
    assert caplog.records and SAID not in caplog.text


def test_an_answer_that_cannot_be_kept_disturbs_nobody(engine, monkeypatch, caplog):
    def fails(self, turns, session):
        raise RuntimeError(SAID)

    monkeypatch.setattr(DialogueCache, "keep", fails)
    release = held(engine)
    requests = Asked("w3 w4", tokens=3), Asked("w1 w2", tokens=20)
    for each in requests:
        engine.submit(each)
    release.set()
    wait_until(lambda: all(each.ended for each in requests))
    assert [len(each.told) for each in requests] == [4, 21]
    assert caplog.records and SAID not in caplog.text


def test_other_things_are_done_between_two_steps(engine):
    """Transcriptions that wait in a row do not hold up the answers that are written."""
    writing = Asked("w1 w2", tokens=200)
    engine.submit(writing)
    wait_until(lambda: writing.told)
    release = held(engine)
    calls = [engine.call(lambda: len(writing.told)) for _ in range(5)]
    release.set()
    tokens = [in_time(call) for call in calls]
    assert tokens == list(range(tokens[0], tokens[0] + 5))
    writing.cancel()


def test_where_nothing_is_written_all_else_is_done(engine):
    assert [in_time(call) for call in [engine.call(lambda n=n: n) for n in range(3)]] == [0, 1, 2]


def test_text_beyond_the_context_is_refused_before_it_is_embedded(engine, data, monkeypatch):
    embedded, embed = [], systems.embed_prompt

    def watched(model, prompt, audios=()):
        embedded.append(len(prompt))
        return embed(model, prompt, audios)

    monkeypatch.setattr(systems, "embed_prompt", watched)
    recording = Audio(f"{data}/u1.wav")
    (refused,) = answered(engine, Asked(recording, "w1 " * 30_000))
    assert "the LLM's context is 2048" in str(refused.told[0])
    assert not embedded and engine.speech.encoded == 0
    answered(engine, Asked(recording, "w1 " * 700))  # more bytes than positions, and it fits
    assert len(embedded) == 1


def test_recordings_are_not_encoded_for_those_who_left(engine, data, monkeypatch):
    asked = Asked(*[Audio(f"{data}/u{n}.wav") for n in range(3)])
    read = SpeechCache._one

    def left_meanwhile(self, audio):
        asked.cancel()
        return read(self, audio)

    monkeypatch.setattr(SpeechCache, "_one", left_meanwhile)
    engine.submit(asked)
    in_time(engine.call(lambda: None))
    assert engine.speech.encoded == 1 and asked.told == []


def test_the_coldest_temperature_is_greedy(engine):
    greedy, cold = Asked("w1 w2"), Asked("w1 w2")
    cold.sampling = Sampling(5e-324)
    answered(engine, greedy, cold)
    assert cold.told == greedy.told
    assert remote_engine._sampled(cold.sampling) == remote_engine._sampled(greedy.sampling)


def test_a_failure_beside_vllm_is_told(system):
    """Whatever fails in an answer's own thread, its client does not wait for ever."""

    class Broken:
        def stream(self, name, body):
            raise KeyError("what nobody thought of")

    engine = remote_engine.RemoteEngine.__new__(remote_engine.RemoteEngine)
    engine.system, engine.server, engine._lock = system, Broken(), threading.Lock()
    asked = Asked(SAID)
    row = remote_engine.Row(asked, Writer(system.llm, 2, (), Sampling()), [1, 2])
    engine.writing = [row]
    engine._write(row, 0)
    assert isinstance(asked.told[0], RuntimeError) and not engine.writing
