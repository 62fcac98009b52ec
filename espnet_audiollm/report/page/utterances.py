"""Which utterances the page lists, and what it says of each.

N utterances, S systems
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...score.results import Results, Row
from ...score.wer import Edit, edits

Errors = list[list[str]]  # [operation, reference words, hypothesis words], of one transcript


def spread(results: Results) -> np.ndarray:
    """How far the systems that hear are apart on each utterance (N,): nats per response token of
    the worst less those of the best."""
    ids = results.test_set.references.ids
    rows = [row for row in results.rows if row.system.name in ("cascade", "audiollm")]
    nats_SN = np.array([[row.system.nats[id] for id in ids] for row in rows or results.rows])
    return np.ptp(nats_SN, axis=0) / results.test_set.references.tokens_N


def choose(spread_N: np.ndarray, most: int) -> list[int]:
    """Places of at most `most` utterances, in order: all; or half where the systems differ most,
    the others at even steps through the rest, so that the list is not of strange ones alone."""
    n = len(spread_N)
    if n <= most:
        return list(range(n))
    far = _furthest(spread_N)[: -(-most // 2)]
    rest = np.setdiff1d(np.arange(n), far)
    steps = np.linspace(0, len(rest) - 1, most - len(far)).round().astype(int)
    return sorted([*far.tolist(), *rest[steps].tolist()])


def by_spread(spread_N: np.ndarray, chosen: Sequence[int]) -> list[int]:
    """The chosen places, those where the systems differ most first."""
    return [chosen[i] for i in _furthest(spread_N[list(chosen)])]


def _furthest(spread_N: np.ndarray) -> np.ndarray:
    return np.argsort(-spread_N, kind="stable")


def listing(results: Results, chosen: Sequence[int], sounds: Sequence[str]) -> dict:
    """What the page's script reads of a test set. `sounds`: ids of those that can be heard."""
    ids = results.test_set.references.ids
    heard = set(sounds)
    return {
        "name": results.test_set.name,
        "total": len(ids),
        "systems": [
            {
                "name": row.system.name,
                "label": row.system.label,
                "reads": row.system.hyp is not None,
            }
            for row in results.rows
        ],
        "utterances": [_utterance(results, i, ids[i] in heard) for i in chosen],
    }


def _utterance(results: Results, place: int, sound: bool) -> dict:
    test_set = results.test_set
    id = test_set.references.ids[place]
    item = {
        "id": id,
        "place": place,
        "sound": sound,
        "reference": test_set.references.responses[id],
        "tokens": int(test_set.references.tokens_N[place]),
        "systems": [_answer(row, id, test_set) for row in results.rows],
    }
    tables = {
        "text": test_set.texts,
        "category": test_set.categories,
        "speaker": test_set.speakers,
        "seconds": test_set.seconds,
    }
    item |= {name: table[id] for name, table in tables.items() if table and id in table}
    accepted = (test_set.answers or {}).get(id, "")
    item["accepted"] = [alias.strip() for alias in accepted.split("|") if alias.strip()]
    return item


def _answer(row: Row, id: str, test_set) -> dict:
    system = row.system
    item: dict = {"nats": round(system.nats[id], 4)}
    if system.responses is not None:
        item["said"] = system.responses[id]
    if row.verdicts is not None:
        item["right"] = row.verdicts[id]
    if system.hyp is not None:
        item["heard"] = _errors(system.hyp[id], test_set, id)
    return item


def _errors(hypothesis: str, test_set, id: str) -> Errors:
    if test_set.texts is None:
        return [["equal", hypothesis, hypothesis]]
    return [_plain(edit) for edit in edits(test_set.texts[id], hypothesis, test_set.normalize)]


def _plain(edit: Edit) -> list[str]:
    return [edit.op, " ".join(edit.reference_words), " ".join(edit.hypothesis_words)]
