"""A dialogue's cache: continued turns give the tokens of turns read from the beginning."""

import chat_llms
import pytest
import torch
from transformers import DynamicCache

from espnet_audiollm.data.prompt import decode, encode
from espnet_audiollm.infer.decoder import Decoder, Session
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.infer.stream import stream
from espnet_audiollm.model import llm as llms
from espnet_audiollm.model.response_loss import embed_prompt
from espnet_audiollm.types import Audio, Turn

LIMIT = 12


def wrapped(make_tokenizer, **options):
    tokenizer = make_tokenizer()
    model = chat_llms.tiny_llama(len(tokenizer), seed=3, dtype=torch.float64, **options)
    return llms.wrap(model, tokenizer, "tiny")


@pytest.fixture(
    params=[chat_llms.llama2_trained, chat_llms.llama3_trained, chat_llms.chatml_trained]
)
def llm(request):
    return wrapped(request.param)


@pytest.fixture
def stories(shared):
    return llms.load(str(shared / "models/stories260k"), "{{ messages[0].content }}")


def tokens(session, prompt):
    return tuple(piece.token for piece in stream(session, prompt, LIMIT))


def afresh(llm, prompt):
    return generate(llm, [prompt], LIMIT)[0].ids


def audio(positions, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(positions, 16, generator=generator, dtype=torch.float64)


def test_text_turns_are_continued(llm):
    session, turns = Session(llm), ()
    for said in ("what is the capital of france ?", "and the cat ?", "fine , thank you ."):
        turns += (Turn("user", said),)
        prompt = encode(turns, llm.tokenizer)
        before, cached = session.positions_read, len(session)
        answer = tokens(session, prompt)
        assert answer == afresh(llm, prompt)
        # All but the last token of the answer is read; the rest of the prompt was cached.
        computed = session.positions_read - before
        assert len(session) == len(prompt) + len(answer) - 1
        assert computed < len(prompt) + len(answer) - 1 if cached else computed == len(session)
        turns += (Turn("assistant", decode(answer, llm.tokenizer)),)


def test_only_what_is_new_is_computed():
    """Counted by hand: 6 positions; then 4 of them stand, and 3 are new."""
    llm = wrapped(chat_llms.llama2_trained)
    session = Session(llm)
    session.read([1, 300, 301, 302, 303, 304])
    assert (session.positions_read, len(session)) == (6, 6)
    session.step(305)
    assert (session.positions_read, len(session)) == (7, 7)
    logp_V = session.read([1, 300, 301, 302, 310, 311, 312])
    assert (session.positions_read, len(session)) == (10, 7)
    torch.testing.assert_close(
        logp_V, Decoder(llm).read([[1, 300, 301, 302, 310, 311, 312]])[0], rtol=1e-9, atol=1e-9
    )
    session.read([1, 300, 301, 302, 310, 311, 312])  # the same: its last position once more
    assert (session.positions_read, len(session)) == (11, 7)
    session.read([1, 300])  # shorter
    assert (session.positions_read, len(session)) == (12, 2)
    session.read([2])  # nothing in common
    assert (session.positions_read, len(session)) == (13, 1)


def test_audio_turns_are_continued(llm):
    """Audio in the first and the third turn; the positions of the first are not read again."""
    session, turns, audios = Session(llm), (), []
    contents = (Audio(), "the cat ran", Audio())
    for number, content in enumerate(contents):
        turns += (Turn("user", content),)
        audios += [audio(7, number)] if isinstance(content, Audio) else []
        prompt = embed_prompt(llm.model, encode(turns, llm.tokenizer), audios)
        before = session.positions_read
        answer = tokens(session, prompt)
        assert answer == afresh(llm, prompt)
        computed = session.positions_read - before
        assert computed <= len(prompt) + len(answer) - 1 - (7 if number else 0)
        turns += (Turn("assistant", decode(answer, llm.tokenizer)),)


def test_other_audio_in_the_same_place_is_read():
    llm = wrapped(chat_llms.chatml_trained)
    session, ids = Session(llm), encode((Turn("user", Audio()),), chat_llms.chatml_trained())
    before = ids.index(-1)
    first, other = (embed_prompt(llm.model, ids, [audio(5, seed)]) for seed in (1, 2))
    session.read(first)
    read = session.positions_read
    assert tokens(session, other) == afresh(llm, other)
    assert session.positions_read - read == len(other) - before + LIMIT - 1
    late = first.clone()
    late[before + 4] += 1.0  # only the audio's last position differs
    session.read(first)
    read = session.positions_read
    session.read(late)
    assert session.positions_read - read == len(first) - before - 4


def test_a_real_model_continues(stories):
    session, prompt = Session(stories), [1, 403, 407, 261, 378]
    for more in ([], [270, 401, 290], [346]):
        prompt = [*prompt, *more]
        answer = tokens(session, prompt)
        assert answer == afresh(stories, prompt)
        prompt += answer
    assert session.positions_read == len(prompt) - 1


def test_a_sliding_window_is_continued_beyond_its_window():
    """Such an LLM's own cache forgets what a changed turn would need again."""
    llm = chat_llms.tiny_windowed_llm(4)
    session = Session(llm)
    for prompt in ([1, *range(260, 272)], [1, *range(260, 269), 300, 301]):
        assert tokens(session, prompt) == afresh(llm, prompt)


def test_an_interrupted_step_leaves_no_half_read_cache():
    llm = wrapped(chat_llms.llama2_trained)
    session, prompt = Session(llm), [1, 300, 301, 302]
    session.read(prompt)

    def interrupt(module, arguments):
        raise KeyboardInterrupt  # as Ctrl-C between two layers

    hook = llm.model.model.layers[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.step(303)
    hook.remove()
    assert len(session) == 0
    assert tokens(session, [*prompt, 303]) == afresh(llm, [*prompt, 303])


def test_prompts_that_cannot_be_read():
    llm = wrapped(chat_llms.llama2_trained, context=16)
    with pytest.raises(ValueError, match="the prompt is empty"):
        Session(llm).read([])
    with pytest.raises(ValueError, match="dialogue 7 has 16 positions, the LLM's context is 16"):
        Session(llm).read([1] * 16, "dialogue 7")


def test_rows_read_in_two_steps_are_rows_read_at_once():
    """Rows of different lengths, each continued by a different number of positions."""
    llm = wrapped(chat_llms.llama2_trained)
    first, second = [[1, 300], [1, 5, 6, 7]], [[301, 302, 303], [8]]
    decoder = Decoder(llm)
    decoder.read(first)
    together = decoder.read(second)
    for logp_V, a, b in zip(together, first, second, strict=True):
        torch.testing.assert_close(logp_V, Decoder(llm).read([[*a, *b]])[0], rtol=1e-9, atol=1e-9)


def test_rows_join_and_leave_without_a_trace(llm):
    """A short row joins a long one and outlives it: its log-probabilities stay."""
    prompts = [encode((Turn("user", text),), llm.tokenizer) for text in ("the cat sat " * 9, "a")]
    ends = [torch.tensor([7]), torch.tensor([9])]
    single = []
    for prompt in prompts:
        decoder = Decoder(llm, DynamicCache())
        single.append([decoder.read([prompt]), *(decoder.step(end) for end in ends)])
    long, short = (Decoder(llm, DynamicCache()) for _ in prompts)
    torch.testing.assert_close(long.read(prompts[:1]), single[0][0])
    first = long.step(ends[0])
    torch.testing.assert_close(first, single[0][1])
    short.read(prompts[1:])
    long.join(short)
    both = long.step(torch.cat([ends[1], ends[0]]))
    torch.testing.assert_close(both, torch.cat([single[0][2], single[1][1]]))
    long.select([1])
    long.trim()
    assert long.mask_BT.shape[1] == len(prompts[1]) + 1 and bool(long.mask_BT.all())
    torch.testing.assert_close(long.step(ends[1]), single[1][2])
