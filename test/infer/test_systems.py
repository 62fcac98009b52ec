"""The identity: audio that says exactly what the text says elicits exactly the text's answer.

Everything is the code that runs in stages 7 and 10; only the encoder is replaced by one that looks
up the transcript's own embeddings, in one turn and in several, in every chat form.
"""

import pytest
import torch
from chat_llms import chatml_trained, llama2_trained, llama3_trained, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT, encode, reply_ids, user_prompt
from espnet_audiollm.infer.batches import by_length, in_halves
from espnet_audiollm.infer.embeddings import embed_transcript
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.infer.systems import Item, System, check_context, load_system, reference_ids
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.llm import wrap
from espnet_audiollm.model.response_loss import response_logits, response_nats
from espnet_audiollm.store.kinds import KINDS
from espnet_audiollm.text.casing import Caser
from espnet_audiollm.types import Audio, Dialogue, Turn

TEXTS = {"a": "what is the capital of france ?", "b": "the cat ran", "c": "Hello"}
SHORT = 0.3  # x the prompt: random weights rarely end a turn


def spoken(id_):
    return Turn("user", Audio(f"{id_}.wav", TEXTS[id_]))


def single(id_):
    return Dialogue(id_, (spoken(id_),), duration=1.0)


ASK = Turn("user", "how are you today ?")
OWN, GIVEN = Turn("assistant", None), Turn("assistant", "the dog .")
TALKS = [
    Dialogue("p", (spoken("a"), GIVEN, spoken("b"))),
    Dialogue("q", (spoken("c"), OWN, ASK, OWN, spoken("a"))),
    Dialogue("r", (ASK, OWN, spoken("b"))),
    Dialogue("s", (spoken("b"), GIVEN, ASK)),
    Dialogue("t", (ASK, OWN, Turn("user", (spoken("b").content, " to the park .")))),
]


@pytest.fixture(params=[llama2_trained, llama3_trained, chatml_trained])
def llm(request):
    tokenizer = request.param()
    return wrap(tiny_llama(len(tokenizer)), tokenizer, "tiny")


@pytest.fixture
def text(llm):
    return load_system("reference", llm)


@pytest.fixture
def audio(llm):
    """Takes the embeddings of each recording's transcript for those of its audio."""
    table = {text: embed_transcript(llm, text, None)[1] for text in TEXTS.values()}
    return System(KINDS["audiollm"], llm, lambda batch: [table[each.text] for each in batch], "")


@pytest.fixture
def items(llm):
    """The references of the single turns are the LLM's answers to the texts."""
    prompts = [encode(user_prompt(text), llm.tokenizer) for text in TEXTS.values()]
    said = generate(llm, prompts, 6)
    return [Item(single(id_), each.ids) for id_, each in zip(TEXTS, said, strict=True)]


@pytest.fixture
def talks(llm):
    ids = reference_ids(llm, "the capital is paris .")
    return [Item(dialogue, ids) for dialogue in TALKS]


def test_logits_are_the_texts(llm, audio, items):
    speech = audio.speech([item.dialogue for item in items])
    prompts = [audio.embed(item.dialogue.turns, speech) for item in items]
    responses = [torch.tensor(item.reference_ids) for item in items]
    by_audio = response_logits(llm.model, prompts, responses)
    start = 0
    for item, response_R in zip(items, responses, strict=True):
        ids = encode(user_prompt(TEXTS[item.id]), llm.tokenizer)
        assert AUDIO_SLOT not in ids
        sequence = torch.tensor([ids + response_R.tolist()])
        by_text = llm.model(sequence).logits[0, len(ids) - 1 : -1]
        ours = by_audio[start : start + len(response_R)]
        torch.testing.assert_close(ours, by_text, rtol=1e-5, atol=1e-5)
        start += len(response_R)


def test_answers_and_costs_are_the_texts(audio, text, items, talks):
    for batch in (items, talks):
        answers = zip(audio.answer(batch, SHORT), text.answer(batch, SHORT), batch, strict=True)
        for ours, theirs, item in answers:
            assert ours.response.response_ids == theirs.response.response_ids
            assert ours.response.id == item.id
            assert [turn.text for turn in ours.turns] == [turn.text for turn in theirs.turns]
            assert all(turn.content is not None for turn in ours.turns)
            assert ours.nats == pytest.approx(theirs.nats, rel=1e-4)
            assert len(ours.token_nats) == len(item.reference_ids)
            assert ours.token_nats == pytest.approx(theirs.token_nats, rel=1e-3, abs=1e-5)


def test_responses_without_references_are_the_same(audio, items, talks):
    for batch in (items, talks):
        dialogues = [item.dialogue for item in batch]
        answers = [answer.response for answer in audio.answer(batch, SHORT)]
        assert audio.respond(dialogues, SHORT) == answers


def test_other_audio_in_any_turn_changes_the_costs(audio, talks):
    (before,) = audio.answer(talks[:1], SHORT)
    speech = audio.speech([TALKS[0]])
    for turn in (TALKS[0].turns[0], TALKS[0].turns[2]):
        other = {**speech, turn.content: speech[turn.content].flip(0) * 2}
        (changed,) = audio.answer(talks[:1], SHORT, speech=other)
        assert changed.token_nats != pytest.approx(before.token_nats, abs=1e-3)


def test_packed_padded_and_one_at_a_time_cost_the_same(llm, audio):
    """Two slots a prompt, of other lengths in each."""
    talks = [(spoken(x), GIVEN, spoken(y)) for x, y in ("ab", "ca", "bc", "aa")]
    speech = audio.speech([Dialogue("x", turns) for turns in talks])
    prompts = [audio.embed(turns, speech) for turns in talks]
    assert len({len(each) for each in prompts}) > 2
    said = reference_ids(llm, "the dog ran to the park .")
    targets = [torch.tensor(said[:n]) for n in range(2, 6)]
    packed = response_nats(llm.model, prompts, targets, packed=True)
    padded = response_nats(llm.model, prompts, targets, packed=False)
    for one, two, each, target in zip(packed, padded, prompts, targets, strict=True):
        (single_,) = response_nats(llm.model, [each], [target])
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one, single_, rtol=1e-5, atol=1e-5)


def test_a_batch_says_what_one_at_a_time_says(audio, talks):
    for item, answer in zip(talks, audio.answer(talks, SHORT), strict=True):
        (one,) = audio.answer([item], SHORT)
        assert (one.turns, one.response) == (answer.turns, answer.response)
        assert one.token_nats == pytest.approx(answer.token_nats, abs=1e-4)


def test_kinds_differ_in_what_stands_for_speech(llm, tmp_path):
    (tmp_path / "hyp").write_text("p:1 paris\np:3 the cat\n")
    asked = {
        "reference": [TEXTS["a"], TEXTS["b"]],
        "cascade": ["paris", "the cat"],
        "no_prompt": ["", ""],
    }
    for kind, texts in asked.items():
        system = load_system(kind, llm, hyp=tmp_path / "hyp" if kind == "cascade" else None)
        assert list(system.speech([TALKS[0]]).values()) == texts
        assert system.respond([TALKS[0]], SHORT)[0].prompt == texts[-1]
    cascade = load_system("cascade", llm, hyp=tmp_path / "hyp")
    with pytest.raises(ValueError, match="no hypothesis of q:1: rerun stage 6"):
        cascade.speech([TALKS[1]])


def test_a_system_turn_is_put_before_dialogues_without_one(llm):
    system = load_system("reference", llm, system_prompt="be kind")
    with_turn = system.complete(TALKS[0])
    assert with_turn.turns == (Turn("system", "be kind"), *TALKS[0].turns)
    assert system.complete(with_turn) == with_turn
    plain = load_system("reference", llm)
    (ours,), (theirs,) = system.respond([TALKS[0]], SHORT), plain.respond([with_turn], SHORT)
    assert ours == theirs


def test_what_a_kind_needs_is_asked_for(llm):
    with pytest.raises(ValueError, match="'oracle' is not one of reference, cascade"):
        load_system("oracle", llm)
    for kind in ("cascade", "audiollm"):
        with pytest.raises(ValueError, match=f"of the kind {kind} needs the experiment"):
            load_system(kind, llm)


def test_errors_name_the_dialogue(llm, text, items):
    llm.model.config.max_position_embeddings = 4
    with pytest.raises(ValueError, match="^3 of 3 prompts do not fit .* 4 tokens .*first: a"):
        text.respond([item.dialogue for item in items])
    with pytest.raises(ValueError, match="^3 of 3 prompts do not fit .* 4 tokens .*first: a with"):
        check_context(text, [items[0].dialogue, *TALKS[:2]])


@pytest.fixture
def rambling(llm):
    """The LLM never ends a turn."""
    with torch.no_grad():
        llm.model.get_output_embeddings().weight[list(llm.eos_ids)] = 0  # others are above 0
    return llm


def lengths(answers):
    """Tokens of each response, in the order of ids."""
    assert all(each.response.finish_reason == "length" for each in answers)
    return [len(each.response.response_ids) for each in answers]


def test_all_systems_have_the_limit_of_the_text(rambling, items, talks, tmp_path):
    """However many positions the audio has, whatever was recognised or said before."""
    llm = rambling
    long_BD = torch.zeros(30, llm.model.config.hidden_size, dtype=llm.model.dtype)
    ids = [f"{id_}:{n}" for id_ in "pqrst" for n in (1, 3, 5)] + list(TEXTS)
    (tmp_path / "hyp").write_text("".join(f"{id_} what what what what\n" for id_ in sorted(ids)))
    systems = [
        load_system("reference", llm),
        load_system("no_prompt", llm),
        load_system("cascade", llm, hyp=tmp_path / "hyp"),
        System(KINDS["audiollm"], llm, lambda batch: [long_BD for _ in batch], ""),
    ]
    for batch in (items, talks):
        expected = []
        for item in batch:
            turns = [Turn(t.role, t.text or "") for t in item.dialogue.turns]
            expected.append(2 * len(encode(tuple(turns), llm.tokenizer)))
        for system in systems:
            assert lengths(system.answer(batch, 2.0)) == expected, system.kind


def test_the_limit_is_that_of_the_form_in_which_transcripts_are_asked(llm):
    shout = Caser("upper")
    upper = System(KINDS["audiollm"], llm, lambda batch: [], "", casing=shout)
    for id_ in TEXTS:
        asked = user_prompt(TEXTS[id_].upper())
        assert upper.limit((spoken(id_),), 1.0) == len(encode(asked, llm.tokenizer))
    assert upper.limit((Turn("user", Audio("a.wav")),), 1.0) is None


def test_earlier_answers_leave_room_for_later_ones(rambling, talks):
    """All answers together fill the context, and no turn is refused."""
    llm = rambling
    text = load_system("reference", llm)
    bare = {t.id: text.num_positions(t.dialogue) for t in talks}
    llm.model.config.max_position_embeddings = max(bare.values()) + 12
    for item, answer in zip(talks, text.answer(talks, 100.0), strict=True):
        assert answer.response.finish_reason == "length"
        assert 1 <= len(answer.response.response_ids) <= llm.context - bare[item.id]
        assert sum(turn.content is None for turn in item.dialogue.turns) < 3


def test_a_dialogue_without_room_is_not_answered_and_the_others_are(llm, text, talks):
    """Its reference costs what it costs after an empty prompt."""
    bare = {t.id: text.num_positions(t.dialogue) for t in talks}
    llm.model.config.max_position_embeddings = bare["q"] + 2  # three answers need three tokens
    longer = [id_ for id_ in bare if bare[id_] >= bare["q"]]
    found = {a.response.id: a for a in text.answer(talks, SHORT)}
    lost = [id_ for id_, a in found.items() if a.response.finish_reason == "context"]
    assert lost == longer == ["q"]
    assert found["q"].response.response_ids == () and found["q"].response.response == ""
    assert [turn.role for turn in found["q"].turns] == [turn.role for turn in TALKS[1].turns]
    (nothing,) = load_system("no_prompt", llm).answer(
        [Item(single("a"), talks[1].reference_ids)], SHORT
    )
    assert found["q"].token_nats == pytest.approx(nothing.token_nats, abs=1e-4)


def test_training_loss_is_the_references_cost(llm, text, items):
    """The loss that training minimises is the perplexity that scoring reports."""
    model = AudioLLMESPnetModel(
        Oracle(llm), Oracle(llm), llm, encode(user_prompt(Audio()), llm.tokenizer)
    )
    lengths_B = torch.tensor([1_000, 1_001, 1_002])
    ids = [torch.tensor(item.reference_ids) for item in items]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    loss, stats, weight = model(
        torch.zeros(3, 1_002), lengths_B, padded, torch.tensor([len(i) for i in ids])
    )
    costs = text.answer(items, max_tokens_factor=0.1)
    assert weight == sum(len(answer.token_nats) for answer in costs)
    total = sum(answer.nats for answer in costs)
    assert loss.item() == pytest.approx(total / weight.item(), rel=1e-4)


class Oracle(torch.nn.Module):
    """Stands for encoder and adapter: the length of the audio says which transcript it holds."""

    def __init__(self, llm):
        super().__init__()
        self.tables = {
            1_000 + i: embed_transcript(llm, text, None)[1] for i, text in enumerate(TEXTS.values())
        }

    def forward(self, x, lengths_B):
        if x.dim() == 2:  # as the speech encoder: hand the lengths on
            return x[..., None], lengths_B
        found = [self.tables[n] for n in lengths_B.tolist()]
        padded = torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
        return padded, torch.tensor([len(each) for each in found])


def test_a_model_needs_one_slot(llm):
    with pytest.raises(ValueError, match="0 audio slots"):
        AudioLLMESPnetModel(Oracle(llm), Oracle(llm), llm, [1, 2, 3])


@pytest.mark.parametrize("texts", [("a", "b"), ("the cat sat on the mat", "x")])
def test_what_the_llm_would_say_ends_its_turn_whatever_was_asked(llm, texts):
    ids = reference_ids(llm, "hello there .")
    turns = (Turn("user", texts[0]), Turn("assistant", texts[1]), Turn("user", texts[0]))
    assert tuple(reply_ids(turns, "hello there .", llm.tokenizer, llm.eos_ids)) == ids
    assert ids[-1] in llm.eos_ids


@pytest.mark.parametrize(
    ("lengths", "bound", "expected"),
    [
        ([1, 5, 2, 4], 8, [[5], [4, 2], [1]]),
        ([3, 3, 3], 6, [[3, 3], [3]]),
        ([9], 4, [[9]]),
        ([], 4, []),
    ],
)
def test_batches_by_length(lengths, bound, expected):
    assert list(by_length(lengths, lambda n: n, bound)) == expected


def test_batches_of_texts_and_of_audio(text, audio, items):
    lengths = {item.id: text.num_positions(item.dialogue) for item in items}
    batches = text.batches(items, positions=2 * lengths["b"])
    assert [[item.id for item in batch] for batch in batches] == [["a"], ["b", "c"]]
    assert [len(batch) for batch in audio.batches(items, 2.0)] == [2, 1]  # of a second each


class Memory:
    """Stands for a GPU that holds so many items: PyTorch's own error beyond that."""

    def __init__(self, holds):
        self.holds, self.sizes = holds, []

    def run(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return [item.id for item in batch]


def test_what_does_not_fit_is_done_in_halves(items, capsys):
    memory = Memory(holds=1)
    assert in_halves(memory.run, items) == ["a", "b", "c"]
    assert memory.sizes == [3, 1, 2, 1, 1]
    assert capsys.readouterr().err.count("does not fit into the GPU's memory: done in halves") == 2


def test_one_that_does_not_fit(items):
    with pytest.raises(ValueError, match="a by itself does not fit into the GPU's memory: take a"):
        in_halves(Memory(holds=0).run, items)


def test_answers_in_halves_are_the_same(llm, text, items):
    """The LLM's own forward pass runs out of memory for more than one row."""
    memory = Memory(holds=1)
    hook = llm.model.register_forward_pre_hook(
        lambda module, args, kwargs: memory.run(rows_of(kwargs)) and None, with_kwargs=True
    )
    halves = in_halves(text.answer, items)
    hook.remove()
    for ours, theirs in zip(halves, text.answer(items), strict=True):
        assert ours.response == theirs.response
        assert ours.nats == pytest.approx(theirs.nats, rel=1e-5)
    assert max(memory.sizes) == 3


def rows_of(kwargs):
    """As many items as the rows of a forward pass."""
    rows = kwargs["inputs_embeds"] if kwargs.get("inputs_embeds") is not None else None
    rows = kwargs["input_ids"] if rows is None else rows
    return [Item(Dialogue(str(i), ()), ()) for i in range(len(rows))]
