"""Which utterances the page lists, and what it says of each.

N utterances, S systems
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...score.results import Results, Row
from ...score.test_set import TestSet
from ...score.wer import edits

Edits = list[list[str]]  # [operation, reference words, hypothesis words], of one transcript


def spread(results: Results) -> np.ndarray:
    """How far apart the systems that use audio are on each utterance (N,): nats per response token
    of the worst less those of the best."""
    ids = results.test_set.references.ids
    rows = [row for row in results.rows if row.run.kind.uses_audio]
    nats_SN = np.array([[row.run.nats[id] for id in ids] for row in rows or results.rows])
    return np.ptp(nats_SN, axis=0) / results.test_set.references.tokens_N


def choose(spread_N: np.ndarray, most: int) -> list[int]:
    """Places of at most `most` utterances, in order: all; or half where the systems differ most,
    the others at even steps through the rest, so that the list is not only of strange ones."""
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
    """What the page's script reads of a test set. `sounds`: ids of those with a recording."""
    ids = results.test_set.references.ids
    audible = set(sounds)
    return {
        "name": results.test_set.name,
        "total": len(ids),
        "systems": [
            {"name": row.name, "label": row.label, "input": row.run.kind.input}
            for row in results.rows
        ],
        "utterances": [_utterance(results, i, ids[i] in audible) for i in chosen],
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
    if (text := _text(test_set, id)) is not None:
        item["text"] = text
    tables = {
        "category": test_set.categories,
        "speaker": test_set.speakers,
        "seconds": test_set.seconds,
    }
    item |= {name: table[id] for name, table in tables.items() if table and id in table}
    item["accepted"] = list((test_set.accepted or {}).get(id, ()))
    return item


def _text(test_set: TestSet, id: str) -> str | None:
    """What is asked; of a dialogue all turns. None: there is no transcript."""
    if test_set.dialogues is None:
        return (test_set.texts or {}).get(id)
    return " / ".join(
        f"{turn.role}{' (spoken)' * bool(turn.audio)}: {turn.text or '…'}"
        for turn in test_set.dialogues[id].turns
    )


def _answer(row: Row, id: str, test_set: TestSet) -> dict:
    run = row.run
    item: dict = {"nats": round(run.nats[id], 4), "said": run.responses[id]}
    if row.verdicts is not None:
        item["right"] = row.verdicts[id]
    if run.hyp is not None:
        recordings = test_set.recordings(id)
        item["hyp"] = [
            edit for each in recordings for edit in _edits(run.hyp[each], test_set, each)
        ]
    return item


def _edits(hypothesis: str, test_set: TestSet, recording: str) -> Edits:
    if test_set.texts is None:
        return [["equal", hypothesis, hypothesis]]
    return [
        [edit.op, " ".join(edit.reference_words), " ".join(edit.hypothesis_words)]
        for edit in edits(test_set.texts[recording], hypothesis, test_set.normalize)
    ]
