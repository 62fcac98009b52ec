"""The mini recipe's contexts: those that its LLM knows, and nothing that the test holds out."""

import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from espnet_audiollm.data.behaviours import Corpus, read_behaviours

RECIPE = Path(__file__).parents[2] / "egs2/mini/audiollm1"
FILE = RECIPE / "conf/behaviours/mini.yaml"


@pytest.fixture(scope="module", autouse=True)
def local():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RECIPE / "local")
        yield


@pytest.fixture(scope="module")
def items():
    """What training says."""
    from world import sample

    rng = random.Random(3)
    return [sample(rng, train=True) for _ in range(2000)]


def follow_up_like(item, text):
    """The follow-up of the LLM's own training that says `text` after the item."""
    from follow_ups import follow_up

    rng = random.Random(text)
    for _ in range(2000):
        made = follow_up(rng, item)
        if made is not None and made.prompt == text:
            return made
    raise AssertionError(f"{item.prompt!r} is never followed by {text!r}")


def test_the_file_is_what_the_script_writes(root, tmp_path):
    command = [sys.executable, RECIPE / "local/write_behaviours.py", tmp_path / "mini.yaml"]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(root)})
    assert (tmp_path / "mini.yaml").read_text() == FILE.read_text()


def test_what_is_asked_later_is_of_training(items):
    """Each question after an utterance is one that the LLM's training asks there, not held out."""
    from world import is_train

    seen = Counter()
    for context in read_behaviours(FILE).contexts:
        first, last = context.lines[0], context.lines[-1]
        if first.texts != ("{speech}",) or last is first:
            continue
        fitting = [item for item in items if context.fits.search(item.prompt)]
        for item in fitting[:10]:
            text = random.Random(item.prompt).choice(last.texts)
            if context.name != "and_spanish":  # its phrases are many: looked at below
                assert is_train(follow_up_like(item, text)), (item.prompt, text)
            else:
                assert item.about[0] == "translate"
            seen[context.name] += 1
    assert len(seen) == 8 and min(seen.values()) >= 5


def test_what_is_said_before_is_of_training():
    from world import ADJECTIVES, NOUNS, held_out

    pair = re.compile(rf"({'|'.join(ADJECTIVES)}) ({'|'.join(NOUNS)})")
    place = re.compile(r"(jok|skor|thin|vatn|hol)[a-z]+")
    looked = 0
    for context in read_behaviours(FILE).contexts:
        for text in (text for line in context.lines for text in line.texts):
            if context.name == "after_text" and not pair.search(text):
                assert text == "{speech}" or not held_out(text)
            for adjective, noun in pair.findall(text):
                assert not held_out(f"phrase {adjective} {noun}")
                looked += 1
            if context.name == "place" and (name := place.search(text)):
                city = text.split("near ")[1].split()[0]
                assert not held_out(f"{name[0]} near {city}")
                looked += 1
    assert looked > 20


def test_most_contexts_come_often(items, tmp_path):
    """Of ten utterances four are asked without context, the others after turns or before."""
    rows = sorted((f"u{i:04d}", item.prompt) for i, item in enumerate(items))
    (tmp_path / "text").write_text("".join(f"{id_} {text}\n" for id_, text in rows))
    examples = list(Corpus(tmp_path).examples(read_behaviours(FILE)))
    names = Counter(example.id.split("!")[1] for example in examples)
    assert 0.25 < names["answer"] / len(items) < 0.45
    several = sum(len(example.turns) > 1 and bool(example.turns[0].audio) for example in examples)
    assert several > 0.2 * len(items)
    assert names.keys() >= {"after_text", "after_audio", "third", "place", "translation"}
