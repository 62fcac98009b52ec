"""Earlier turns are not computed again, and the answers are those that they would be without."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import openai
import pytest
from serving import ask, assistant, counts, listening, recording, user, user_text, wait_until

import espnet_audiollm
from espnet_audiollm.infer.decoder import Session
from espnet_audiollm.serve.app import Server
from espnet_audiollm.serve.dialogue_cache import DialogueCache
from espnet_audiollm.serve.engine import Engine
from espnet_audiollm.types import Audio, Turn

TOKENS = 12  # of each answer


@pytest.fixture(scope="module")
def system(align_exp, llm_dir):
    return espnet_audiollm.load(align_exp, llm=str(llm_dir))


@pytest.fixture
def serve(system):
    """serve(number): a server that keeps as many dialogues, and its client."""
    with ExitStack() as stack:

        def begin(number, size=1 << 30):
            engine = Engine(system, 4, dialogues=DialogueCache(system.llm, number, size))
            made = Server(engine, "tiny")
            made.url = stack.enter_context(listening(made))
            url = f"{made.url}/v1"
            return made, stack.enter_context(
                openai.OpenAI(base_url=url, api_key="none", max_retries=0)
            )

        yield begin


def talk(client, questions):
    """The answers to the questions of one dialogue, one after the other."""
    messages, answers = [], []
    for question in questions:
        answers.append(ask(client, *messages, question, max_tokens=TOKENS))
        messages += [question, assistant(answers[-1].choices[0].message.content)]
    return answers


def texts(answers):
    return [each.choices[0].message.content for each in answers]


def cached(answers):
    return [each.usage.prompt_tokens_details.cached_tokens for each in answers]


def test_the_same_answers_from_less_work(serve, data):
    server, client = serve(16)
    _, afresh = serve(0)
    dialogues = [
        [user_text(f"w{n} w2"), user(recording(data, n)), user_text("w3"), user(recording(data, 1))]
        for n in range(4)
    ]
    expected = [texts(talk(afresh, each)) for each in dialogues]
    with ThreadPoolExecutor(4) as pool:  # beside each other
        found = list(pool.map(lambda each: talk(client, each), dialogues))
    assert [texts(each) for each in found] == expected
    for answers in found:
        # Known is the prompt before, with all of its answer but what the template puts after it.
        prompts = [each.usage.prompt_tokens for each in answers]
        assert cached(answers)[0] == 0
        assert all(known >= prompts[i] for i, known in enumerate(cached(answers)[1:]))
    wait_until(lambda: len(server.engine.dialogues) == 16)
    shown = counts(server)
    assert shown["audiollm_dialogues_continued"] == 12 and shown["audiollm_dialogues_kept"] == 16
    assert shown["audiollm_positions_reused"] == sum(map(sum, map(cached, found)))
    assert shown["audiollm_dialogues_bytes"] > 0


def test_none_is_kept_where_none_is_wanted(serve):
    for number, size in ((0, 1 << 30), (8, 0)):
        server, client = serve(number, size)
        assert cached(talk(client, [user_text("w1"), user_text("w2")])) == [0, 0]
        assert counts(server)["audiollm_dialogues_kept"] == 0


def test_another_answer_is_not_taken_for_the_own(serve):
    _, client = serve(8)
    _, afresh = serve(0)
    first = user_text("w1 w2")
    [own] = talk(client, [first])
    changed = (first, assistant("w5 w6 w7"), user_text("w3"))
    found, expected = (ask(each, *changed, max_tokens=TOKENS) for each in (client, afresh))
    assert texts([found]) == texts([expected])
    assert 0 < cached([found])[0] <= own.usage.prompt_tokens + 1
    other = ask(client, user_text("w1 w3"), assistant("w5"), user_text("w3"))
    assert cached([other]) == [0]


def test_an_answer_that_was_stopped_is_continued(serve):
    server, client = serve(8)
    _, afresh = serve(0)
    stream = ask(client, user_text(), stream=True, max_tokens=1000)
    pieces = [chunk.choices[0].delta.content or "" for chunk in itertools.islice(stream, 6)]
    stream.close()
    wait_until(lambda: server.places.taken == 0 and len(server.engine.dialogues) == 1)
    turns = (user_text(), assistant("".join(pieces)), user_text("w3"))
    found, expected = (ask(each, *turns, max_tokens=TOKENS) for each in (client, afresh))
    assert texts([found]) == texts([expected]) and cached([found])[0] > 0


def test_the_oldest_are_forgotten_first(system):
    def asked(n):
        return (Turn("user", f"w{n}"),)

    def read(n):
        session = Session(system.llm)
        session.read([5, 6, 7, n])
        return session

    def known(cache, n):
        return len(cache.session((*asked(n), Turn("assistant", "w"), Turn("user", "w")))) > 0

    size = read(1).num_bytes
    for cache in (DialogueCache(system.llm, 2), DialogueCache(system.llm, 9, 2 * size + 1)):
        cache.keep(asked(1), read(1))
        cache.keep(asked(2), read(2))
        assert known(cache, 1) and cache.num_bytes == 2 * size
        cache.keep(asked(3), read(3))
        assert [known(cache, n) for n in (1, 2, 3)] == [True, False, True]
        cache.keep(asked(3), read(4))
        assert len(cache) == 2 and cache.num_bytes == 2 * size
    spoken = [(Turn("user", Audio(f"/somewhere/{n}/{name}.wav")),) for n, name in enumerate("aab")]
    cache.keep(spoken[0], read(1))
    rest = (Turn("assistant", "w"), Turn("user", "w"))
    lengths = [len(cache.session((*each, *rest))) for each in spoken]
    assert lengths == [4, 4, 0]  # known by the recording, wherever it lies


def test_less_than_none_is_refused(system):
    with pytest.raises(ValueError, match="--cache_dialogues -1: at least 0"):
        DialogueCache(system.llm, -1)
