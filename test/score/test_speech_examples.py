"""Whether a speech LM learned to answer what the references answer."""

import json

import pytest

from espnet_audiollm.score.speech_examples import check_references
from espnet_audiollm.types import Response

WORDS = dict(enumerate(["</s>", "Paris", "Rome", "what", "\n", "Par", "is", " Par"]))
VOCABULARY = {"quantiser": "q", "size": 6, "frames_per_second": 25.0, "llm": "e", "init": "mean"}


class Tokenizer:
    """Its tokens are the words above."""

    def decode(self, ids, skip_special_tokens=True, **_):
        return "".join(WORDS[id_] for id_ in ids if id_)


@pytest.fixture
def check(tmp_path):
    """Compares references {id: (text, ids)} with examples of tags, {id: ids} of each."""

    def run(references, **examples):
        tags = {"asr": "[ASR English]", "sqa": "[SQA English]", "chain": "[ASR SQA English]"}
        blocks = [
            {"name": f"s.{name}", "tag": tags[name], "size": len(rows), "left_out": 0}
            | {"tokens": 1, "weight": 1.0}
            for name, rows in examples.items()
        ]
        about = {"alpha": 1.0, "vocabulary": {**VOCABULARY, "seed": 0}, "merged": False}
        facts = {**about, "system_prompt": None, "blocks": blocks}
        (tmp_path / "tasks.json").write_text(json.dumps(facts))
        rows = ((n, id_, ids) for n, table in examples.items() for id_, ids in table.items())
        lines = (f"s.{name}!{id_} {' '.join(map(str, ids))}\n" for name, id_, ids in rows)
        (tmp_path / "response_ids").write_text("".join(lines))
        made = {id_: Response(id_, "", *row, "stop") for id_, row in references.items()}
        return check_references(tmp_path, made, Tokenizer())

    return run


def test_the_same_tokens_and_the_same_words(check):
    references = {"u1": ("Paris", (1, 0)), "u2": ("Rome", (2, 0))}
    assert check(references, asr={"u1": [3, 0]}, sqa={"u1": [1, 0], "u2": [2, 0]}) == 0
    assert check(references, chain={"u1": [3, 4, 1, 0], "u2": [3, 4, 2, 0]}) == 0
    assert check(references, sqa={"u1": [5, 6, 0], "u2": [2, 0]}) == 1  # "Par" "is"
    assert check(references, chain={"u1": [3, 4, 7, 6, 0], "u2": [3, 4, 2, 0]}) == 1  # " Par"


def test_other_words_are_refused_by_the_first(check):
    references = {"u1": ("Paris", (1, 0)), "u2": ("Rome", (2, 0))}
    with pytest.raises(ValueError, match=r"1 of 2 .*\(first: u2, token 1 is 1, expected 2\)"):
        check(references, sqa={"u1": [1, 0], "u2": [1, 0]})


def test_examples_without_answers_are_refused(check):
    with pytest.raises(ValueError, match=r"no example .* the 1 references.*bin/prepare_tasks"):
        check({"u1": ("Paris", (1, 0))}, asr={"u1": [3, 0]}, sqa={"u9": [1, 0]})
