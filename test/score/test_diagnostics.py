import json
from dataclasses import replace

import numpy as np
import pytest

from espnet_audiollm.score.diagnostics import diagnose, first_difference, loops, refuses
from espnet_audiollm.score.test_set import read_references
from espnet_audiollm.store.runs import read_run
from espnet_audiollm.store.series import Series


@pytest.mark.parametrize(
    "text, expected",
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\u2019m sorry.", True),
        ("As an AI language model, I have no name.", True),
        ("I do not have access to the weather.", True),
        ("Paris is the capital.", False),
        ("I canter through the park.", False),  # whole words
        ("Magical scant", False),
        ("", False),
    ],
)
def test_refusals(text, expected):
    assert refuses(text) is expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("no no no no no no no no", True),  # eight words
        ("no no no no no no no", False),
        ("ha ha ha", False),
        ("yes No YES no yes no yes no", True),  # two words four times
        ("well: the cat sat the cat sat the cat sat down", True),  # three words three times
        ("the cat sat the cat sat down", False),
        ("a b c d e f g h " * 3, True),
        ("a b c d e f g h " * 2, False),
        ("a b c d e f g h i " * 3, False),  # a stretch of nine
        ("one day it is one day it was one day it is not", False),
        ("", False),
    ],
)
def test_loops(text, expected):
    assert loops(text) is expected


@pytest.mark.parametrize(
    "ours, theirs, expected",
    [([1, 2], [1, 2], None), ([1, 3], [1, 2], 1), ([1], [1, 2], 1), ([1, 2], [1], 1), ([], [5], 0)],
)
def test_first_difference(ours, theirs, expected):
    assert first_difference(ours, theirs) == expected


def of(experiment, answers):
    """The diagnostics of answers (text, ids, finish reason) to utt1 ... utt4."""
    run = read_run(experiment.system("audiollm", "A", 0.1))
    ids, (texts, tokens, reasons) = list(experiment.texts), zip(*answers, strict=True)
    numbers = np.concatenate([*map(np.array, tokens)])
    answered = replace(
        run,
        responses=dict(zip(ids, texts, strict=True)),
        response_ids=Series(ids, numbers, [*map(len, tokens)]),
        finish_reasons=dict(zip(ids, reasons, strict=True)),
    )
    return diagnose(answered, read_references(experiment.store))


def test_counts_of_a_set(experiment):
    """The references are 6, 4, 3 and 2 times the token 7."""
    found = of(
        experiment,
        [
            ("The capital is Paris.", [7] * 6, "stop"),
            (" ", [2], "stop"),
            ("I cannot say.", [7, 7, 7, 7, 9], "stop"),
            ("on and on and on and on and", [7, 8] * 4, "length"),
        ],
    )
    assert (found.total, found.empty, found.refusals, found.loops, found.length) == (4, 1, 1, 1, 1)
    assert found.unit == "tokens" and found.same_as_reference == 1
    assert found.length_ratio == pytest.approx((6 + 1 + 5 + 8) / 15)
    assert found.first_difference_mean == pytest.approx((0 + 3 + 1) / 3)
    assert found.first_difference_median == 1.0
    assert found.rate("loops") == 25.0
    assert json.loads(json.dumps(found.as_dict()))["length_ratio"] == found.length_ratio


def test_what_equals_the_reference(experiment):
    run = read_run(experiment.system("reference", "R", 0.1))
    found = diagnose(run, read_references(experiment.store))
    assert found.unit == "tokens" and found.same_as_reference == 4 and found.length == 0
    assert found.length_ratio == 1.0 and found.first_difference_mean is None
