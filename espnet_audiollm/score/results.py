"""All numbers of a test set: from system directories to the rows of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from ..store.tables import check_known_ids, check_same_ids
from ..text.normalize import Normalizer, normalizer
from .bootstrap import RESAMPLES
from .measures import Measures, measure
from .noisy import NoisyCopy
from .perplexity import Perplexity, PerplexityTable, compare
from .success import SuccessCount, count, count_by_category, judge, read_answers
from .systems import NAMES, References, System, check_system
from .wer import WordErrors, group, group_by_length, total, utterance_errors

VERSION = 1  # of results.json; another one is an error where it is read
SECOND_EDGES = (1, 2, 3, 4, 6, 8, 12, 16)  # s, between groups of utterances by length
WORD_EDGES = (3, 5, 8, 12, 20, 40)  # reference words, where durations are not known


@dataclass(frozen=True)
class TestSet:
    """What the systems are scored against, besides the reference responses."""

    __test__ = False  # not a test case of pytest

    name: str
    references: References
    texts: dict[str, str] | None = None  # transcripts. None: the test set has none
    answers: dict[str, str] | None = None  # None: success cannot be judged
    categories: dict[str, str] | None = None
    speakers: dict[str, str] | None = None
    seconds: dict[str, float] | None = None
    translations: dict[str, str] | None = None  # of some utterances, to compare responses with
    summaries: dict[str, str] | None = None  # likewise
    target_lang: str | None = None  # of translations and summaries. None: one with spaces
    rule: str = "contains"  # of success, one of success.RULES
    normalize: Normalizer = normalizer("basic")  # of transcripts
    noisy: NoisyCopy | None = None  # None: no noise was added


@dataclass(frozen=True)
class Row:
    system: System
    perplexity: Perplexity
    errors_of: dict[str, WordErrors] | None  # by utterance. None: no transcripts to count them on
    verdicts: dict[str, bool] | None  # {id: success}. None: not judged
    by_category: dict[str, SuccessCount]  # empty when not judged, or without categories
    measures: Measures = Measures()

    @cached_property
    def word_errors(self) -> WordErrors | None:
        return total(self.errors_of.values()) if self.errors_of is not None else None

    @property
    def prompt_wer(self) -> float | None:
        """%: counted here if we can, else what stage 10 was told. None: no text prompt."""
        return self.word_errors.rate if self.word_errors else self.system.prompt_wer

    @property
    def success(self) -> SuccessCount | None:
        return count(self.verdicts) if self.verdicts else None


@dataclass(frozen=True)
class Results:
    test_set: TestSet
    rows: tuple[Row, ...]  # reference, cascades by WER, audiollm, no_prompt
    comparison: PerplexityTable  # of the rows, in their order

    def of(self, name: str) -> list[Row]:
        return [row for row in self.rows if row.system.name == name]

    def p_value(self, a: Row, b: Row) -> float:
        """Two-sided paired-bootstrap p-value of a difference in perplexity."""
        return self.comparison.p_value(self.rows.index(a), self.rows.index(b))

    @property
    def length_unit(self) -> str:
        return "words" if self.test_set.seconds is None else "s"

    def by_length(self, row: Row) -> list[tuple[str, WordErrors]]:
        """[(label, word errors)] of utterances by seconds, or by reference words."""
        lengths, edges = self.test_set.seconds, SECOND_EDGES
        if lengths is None:
            lengths, edges = {id: e.reference_words for id, e in row.errors_of.items()}, WORD_EDGES
        return group_by_length(row.errors_of, lengths, edges)

    def by_speaker(self, row: Row) -> dict[str, WordErrors]:
        """Empty where the test set names no speakers."""
        return group(row.errors_of, self.test_set.speakers) if self.test_set.speakers else {}

    def as_dict(self, recipe: str, llm: str) -> dict:
        """The object of results.json (its form is fixed in DESIGN.md; extra keys are ours)."""
        return {
            "version": VERSION,
            "recipe": recipe,
            "llm": llm,
            "test_set": self.test_set.name,
            "success_rule": self.test_set.rule,
            "normalizer": self.test_set.normalize.name,
            "systems": [self._row_as_dict(row) for row in self.rows],
            "p_values": {
                a.system.label: {
                    b.system.label: self.p_value(a, b) for b in self.rows if b is not a
                }
                for a in self.rows
            },
        }

    def _row_as_dict(self, row: Row) -> dict:
        item = _row_as_dict(row, len(self.test_set.references.ids))
        if row.errors_of is not None:
            item["word_errors_by_length"] = {k: v.as_dict() for k, v in self.by_length(row)}
            item["word_errors_by_length_unit"] = self.length_unit
            by_speaker = self.by_speaker(row)
            item["word_errors_by_speaker"] = {k: v.as_dict() for k, v in by_speaker.items()}
        return item


def _row_as_dict(row: Row, num_utts: int) -> dict:
    success = row.success
    item = {
        "name": row.system.name,
        "label": row.system.label,
        "prompt_wer": row.prompt_wer,
        "response_ppl": row.perplexity.value,
        "response_ppl_ci95": list(row.perplexity.ci95),
        "success_rate": success.rate if success else None,
        "num_utts": num_utts,
        "num_response_tokens": row.perplexity.tokens,
        "response_nats": row.perplexity.nats,
    }
    if row.word_errors:
        item["word_errors"] = row.word_errors.as_dict()
    if success:
        item["success_counts"] = asdict(success)
        item["success_rate_ci95"] = list(success.ci95)
        item["success_counts_by_category"] = {k: asdict(v) for k, v in row.by_category.items()}
    return item | row.measures.as_dict()


def score(
    test_set: TestSet, systems: Sequence[System], resamples: int = RESAMPLES, seed: int = 0
) -> Results:
    """Score `systems` on `test_set`. ValueError where they are not of the same utterances."""
    _check(test_set, systems)
    ids = test_set.references.ids
    judged = None
    if test_set.answers is not None:
        judged = read_answers(test_set.answers, ids, test_set.rule)
    scored = [
        (system, _words(system, test_set), _judge(system, test_set, judged)) for system in systems
    ]
    scored.sort(key=lambda item: _table_order(*item[:2]))
    nats = [np.array([system.nats[id] for id in ids]) for system, _, _ in scored]
    comparison = compare(nats, test_set.references.tokens_N, resamples, seed)
    measures = measure([system for system, _, _ in scored], test_set, resamples, seed)
    rows = tuple(
        Row(system, perplexity, words, verdicts, _categories(verdicts, test_set), measured)
        for (system, words, verdicts), perplexity, measured in zip(
            scored, comparison.perplexities, measures, strict=True
        )
    )
    return Results(test_set, rows, comparison)


def _check(test_set: TestSet, systems: Sequence[System]) -> None:
    if not systems:
        raise ValueError(f"{test_set.name}: no system to score; give directories of stage 10")
    labels = [system.label for system in systems]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(
            f"{test_set.name}: {len(twice)} systems have the same label (first: {twice[0]}), so "
            "their rows could not be told apart; rename them in system.json"
        )
    ids = test_set.references.ids
    stages = "prepare and format this test set again (stages 1, 2)"
    tables = {"text": test_set.texts, "category": test_set.categories}
    tables |= {"utt2spk": test_set.speakers, "utt2dur": test_set.seconds}
    for what, table in tables.items():
        if table is not None:
            check_same_ids(ids, table, f"{test_set.name}: {what}", stages)
    for what, table in (("translation", test_set.translations), ("summary", test_set.summaries)):
        check_known_ids(ids, table or {}, f"{test_set.name}: {what}", stages)
    for system in systems:
        check_system(system, test_set.references)


def _words(system: System, test_set: TestSet) -> dict[str, WordErrors] | None:
    if system.hyp is None or test_set.texts is None:
        return None
    try:
        return utterance_errors(test_set.texts, system.hyp, test_set.normalize)
    except ValueError as error:
        raise ValueError(f"{system.directory} ({system.label}): {error}") from None


def _judge(system: System, test_set: TestSet, answers: Mapping | None) -> dict[str, bool] | None:
    if answers is None or system.responses is None:
        return None
    return judge(system.responses, test_set.references.responses, answers, test_set.rule)


def _categories(verdicts: dict[str, bool] | None, test_set: TestSet) -> dict[str, SuccessCount]:
    if verdicts is None or test_set.categories is None:
        return {}
    return count_by_category(verdicts, test_set.categories)


def _table_order(system: System, errors: Mapping | None) -> tuple[int, float]:
    wer = total(errors.values()).rate if errors else system.prompt_wer
    in_wer_order = system.name == "cascade" and wer is not None
    return NAMES.index(system.name), wer if in_wer_order else 0.0
