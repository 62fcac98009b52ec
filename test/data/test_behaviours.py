"""Files of contexts: what is drawn for each utterance, and what a file must not have."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from espnet_audiollm.data.behaviours import Corpus, read_behaviours
from espnet_audiollm.types import Audio, Turn

TEXTS = {f"u{i:03d}": ("the cat sat", "what is it", "my dog ran")[i % 3] for i in range(60)}
PLAIN = {"name": "answer", "weight": 1}
SPEECH = {"role": "user", "text": "{speech}"}
OWN = {"role": "assistant"}


def user(text):
    return {"role": "user", "text": text}


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "text").write_text("".join(f"{id_} {text}\n" for id_, text in TEXTS.items()))
    return Corpus(tmp_path)


@pytest.fixture
def read(tmp_path):
    """Behaviours of contexts, as a file has them."""

    def read(*contexts, number=1, seed=0, name="some.yaml"):
        path = tmp_path / name
        if path.suffix == ".jsonl":
            path.write_text("\n".join(map(json.dumps, contexts)) + "\n\n")
        else:
            path.write_text(yaml.safe_dump(list(contexts)))
        return read_behaviours(path, number, seed)

    return read


def drawn(corpus, behaviours):
    return {example.id: example.turns for example in corpus.examples(behaviours)}


def test_without_context_is_what_the_paper_asks(corpus, read):
    examples = drawn(corpus, read(PLAIN))
    assert list(examples) == [f"{id_}!answer" for id_ in TEXTS]
    assert examples["u001!answer"] == (Turn("user", Audio(None, "what is it", "u001")),)


def test_turns_by_hand(corpus, read):
    talk = [user("Say {speech} twice."), {"role": "assistant", "text": "ok"}, user("again")]
    later = [user("{other}"), OWN, SPEECH]
    contexts = (
        {"name": "talk", "weight": 1, "system": "", "turns": talk},
        {"name": "later", "weight": 1, "turns": later, "other_fits": "^what"},
    )
    examples = drawn(corpus, read(*contexts, number=2))
    assert len(examples) == 120
    said = Audio(None, "the cat sat", "u000")
    assert examples["u000!talk"] == (
        Turn("system", ""),
        Turn("user", ("Say ", said, " twice.")),
        Turn("assistant", "ok"),
        Turn("user", "again"),
    )
    other, own, speech = examples["u000!later"]
    assert own == Turn("assistant", None) and speech == Turn("user", said)
    assert other.content.text == "what is it"
    assert TEXTS[other.content.utterance] == "what is it"


def test_other_is_never_the_utterance_itself(corpus, read):
    later = {"name": "later", "weight": 1, "turns": [user("{other}"), OWN, SPEECH]}
    spoken = [
        [turn.audio.utterance for turn in turns if turn.audio]
        for turns in drawn(corpus, read(later)).values()
    ]
    assert all(first != second for first, second in spoken)
    assert len({first for first, _ in spoken}) > 20  # any of 60


def test_draws_follow_from_seed_and_utterance(corpus, read):
    contexts = [
        {"name": f"c{i}", "weight": i, "turns": [SPEECH, OWN, user(["a", "b"])]} for i in (1, 2, 3)
    ]
    once = drawn(corpus, read(*contexts, seed=1))
    assert drawn(corpus, read(*contexts, seed=1)) == once
    assert drawn(corpus, read(*contexts, seed=2)) != once
    lines = (corpus.directory / "text").read_text().splitlines(keepends=True)
    (corpus.directory / "text").write_text("".join(lines[30:]))  # the others do not matter
    half = drawn(Corpus(corpus.directory), read(*contexts, seed=1))
    assert half == {id_: turns for id_, turns in once.items() if id_ >= "u030"}
    assert {turns[-1].text for turns in once.values()} == {"a", "b"}


def test_known_draws(corpus, read):
    """Of a file and a seed, on any machine and in any version: stores go on being the same."""
    contexts = [{"name": name, "weight": 1} for name in "abcd"]
    examples = list(drawn(corpus, read(*contexts, number=2, seed=7)))[:8]
    assert examples == KNOWN


KNOWN = "u000!b u000!d u001!a u001!b u002!a u002!d u003!a u003!d".split()


def test_weights_and_no_context_twice(corpus, read):
    contexts = [{"name": "often", "weight": 9}, {"name": "seldom", "weight": 1}]
    names = Counter(id_.split("!")[1] for id_ in drawn(corpus, read(*contexts)))
    assert 45 <= names["often"] <= 60 and names["seldom"]
    names = Counter(id_.split("!")[1] for id_ in drawn(corpus, read(*contexts, number=2)))
    assert names == {"often": 60, "seldom": 60}


def test_a_context_for_some_utterances(corpus, read):
    some = {"name": "some", "weight": 1e9, "fits": r"^my \w+ ran"}
    examples = drawn(corpus, read(PLAIN, some))
    assert Counter(id_.split("!")[1] for id_ in examples) == {"answer": 40, "some": 20}
    assert {turns[0].text for id_, turns in examples.items() if "!some" in id_} == {"my dog ran"}


def test_ids_are_in_order_whatever_utterances_are_called(tmp_path, read):
    ids = sorted(["a", "a-1", "a.b", "a1", "a:1", "A", "é"])
    (tmp_path / "text").write_text("".join(f"{id_} hello\n" for id_ in ids))
    names = [{"name": name, "weight": 1} for name in ("zz", "answer", "-")]
    examples = list(drawn(Corpus(tmp_path), read(*names, number=3)))
    assert len(examples) == 21 and examples == sorted(examples)


def test_json_lines_are_the_same_file(read, tmp_path):
    contexts = (PLAIN, {"name": "b", "weight": 2.5})
    assert read(*contexts, name="some.jsonl") == read(*contexts)
    (tmp_path / "commented.yaml").write_text("# why\n" + yaml.safe_dump(list(contexts)))
    assert read_behaviours(tmp_path / "commented.yaml").hash == read(*contexts).hash
    assert read(PLAIN).hash != read(*contexts).hash


@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        ("answer", "not an object"),
        ({"weight": 1}, "the name 'None'"),
        ({"name": "a b", "weight": 1}, "the name 'a b'"),
        ({"name": "a"}, "the weight 'None'"),
        ({"name": "a", "weight": 0}, "the weight '0'"),
        ({"name": "a", "weight": True}, "the weight 'True'"),
        ({"name": "a", "weight": "much"}, "the weight 'much'"),
        ({**PLAIN, "wieght": 1}, "unknown field 'wieght'"),
        (PLAIN, "this name comes twice"),
        ({"turns": []}, "no list of turns"),
        ({"turns": ["{speech}"]}, "turn 1: not an object"),
        ({"turns": [user("Repeat it.")]}, "0 turns have {speech}"),
        ({"turns": [SPEECH, OWN, SPEECH]}, "2 turns have {speech}"),
        ({"turns": [user("{speech} and {speech}")]}, "turn 1: 2 recordings"),
        ({"turns": [user("{other}: {speech}")]}, "turn 1: 2 recordings"),
        ({"turns": [user(["{speech}", "hello"])]}, "turn 1: some of its 2 texts"),
        ({"turns": [user("{Speech}")]}, "turn 1: {Speech} is neither"),
        ({"turns": [{"role": "human", "text": "{speech}"}]}, "turn 1: the role 'human'"),
        ({"turns": [{"role": "system", "text": "x"}, SPEECH]}, "turn 1: the role 'system'"),
        ({"turns": [{**SPEECH, "audio": "a.wav"}]}, "turn 1: unknown field 'audio'"),
        ({"turns": [{"role": "user"}]}, "turn 1: text is None"),
        (
            {"turns": [SPEECH, {"role": "assistant", "text": "{speech}"}, SPEECH]},
            "turn 2: the assistant has",
        ),
        ({"turns": [SPEECH, OWN]}, "the last turn is the assistant's"),
        ({"turns": [SPEECH, user("and?")]}, "user and assistant take turns"),
        ({"system": 3}, "system is 3"),
        ({"fits": "("}, "fits: '(' is no pattern"),
        ({"other_fits": ""}, "other_fits is ''"),
    ],
)
def test_bad_contexts(read, context, complaint):
    if isinstance(context, dict) and not context.keys() & {"name", "weight"}:
        context = {"name": "bad", "weight": 1, **context}
    with pytest.raises(ValueError) as error:
        read(PLAIN, context)
    message = str(error.value)
    assert "some.yaml: context 2 (" in message and complaint in message
    assert message.endswith("correct the file and run the same command again")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "a: b", "- [", "just words"])
def test_files_without_contexts(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match="bad.yaml .*; correct the file|bad.yaml .*: correct the"):
        read_behaviours(tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        (tmp_path / "bad.jsonl").write_text("- name: answer\n")
        read_behaviours(tmp_path / "bad.jsonl")
    with pytest.raises(ValueError, match="none.yaml: there is no such file"):
        read_behaviours(tmp_path / "none.yaml")


def test_more_or_fewer_than_there_are(read):
    for number in (0, 3):
        with pytest.raises(ValueError, match=f"--behaviours_per_utterance {number}: .* 2 contexts"):
            read(PLAIN, {"name": "b", "weight": 1}, number=number)


def test_some_context_fits_all(read):
    with pytest.raises(ValueError, match="all of its 1 contexts .*: add one without fits"):
        read({**PLAIN, "fits": "^what"})


def test_nobody_else_to_hear(corpus, read):
    later = {**PLAIN, "turns": [user("{other}"), OWN, SPEECH], "other_fits": "zebra"}
    with pytest.raises(
        ValueError, match="none of 1000 utterances .* context answer: let its other"
    ):
        drawn(corpus, read(later))


def test_an_id_with_the_mark(tmp_path, read):
    (tmp_path / "text").write_text("u!v hello\n")
    with pytest.raises(ValueError, match="the id u!v has a '!'"):
        drawn(Corpus(tmp_path), read(PLAIN))


READY = sorted((Path(__file__).parents[2] / "egs2/TEMPLATE/audiollm1/conf/behaviours").iterdir())


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_ready_files(path):
    """Each has speech without context, in an instruction, in a later turn, and to remember."""
    contexts = {context.name: context for context in read_behaviours(path).contexts}
    assert len(contexts) >= 12 and len(READY) >= 4
    share = contexts["answer"].weight / sum(context.weight for context in contexts.values())
    assert 0.3 < share < 0.5
    texts = {name: [line.texts for line in each.lines] for name, each in contexts.items()}
    assert all(len(text) > len("{speech}") for text in texts["repeat"][0])
    assert texts["after_audio"][0] == ("{other}",) and texts["after_audio"][-1] == ("{speech}",)
    assert texts["repeat_later"][0] == ("{speech}",) and "{" not in texts["repeat_later"][-1][0]


def test_ready_files_have_english_as_their_model():
    names = {path.stem: {each.name for each in read_behaviours(path).contexts} for path in READY}
    assert all(found <= names["english"] for found in names.values())


def test_the_digit_recipes_contexts_can_be_drawn():
    path = Path(__file__).parents[2] / "egs2/fsdd/audiollm1/local/behaviours_digits.yaml"
    assert len(read_behaviours(path, 2, 0).contexts) == 3
