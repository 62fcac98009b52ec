"""All numbers of a test set: from runs to the rows of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from ..store.kinds import Input, rank
from ..store.runs import Run
from . import against
from .against import Against
from .bootstrap import RESAMPLES, percentile_interval, resampled_rates
from .measures import Measures, measure
from .perplexity import Perplexity, PerplexityTable, compare
from .success import SuccessCount, count, count_by_category, judge
from .test_set import TestSet, check_run
from .wer import WordErrors, group, group_by_length, total, utterance_errors

VERSION = 1  # of results.json; another one is an error where it is read
SECOND_EDGES: tuple[float, ...] = (
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
)  # s, between groups by length
WORD_EDGES = (3, 5, 8, 12, 20, 40)  # reference words, where durations are not known


@dataclass(frozen=True)
class Row:
    """One system of a test set, scored."""

    run: Run
    perplexity: Perplexity
    errors_of: dict[str, WordErrors] | None  # by dialogue. None: no transcripts to count them on
    verdicts: dict[str, bool] | None  # {id: success}. None: not judged
    by_category: dict[str, SuccessCount]  # empty when not judged, or without categories
    measures: Measures = Measures()
    # %, in each resample (R,), of the draws of the perplexity; nan: it has no words. None: no WER
    wer_R: np.ndarray | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Of its kind."""
        return self.run.info.kind

    @property
    def label(self) -> str:
        """What the tables call the system."""
        return self.run.info.label

    @cached_property
    def word_errors(self) -> WordErrors | None:
        """Of all hypotheses. None: no transcripts to count them on."""
        return total(self.errors_of.values()) if self.errors_of is not None else None

    @property
    def wer_ci95(self) -> tuple[float, float] | None:
        """Of the word error rate, %. None: there is none."""
        if self.wer_R is None:
            return None
        return percentile_interval(self.wer_R[~np.isnan(self.wer_R)])

    @property
    def cascade_wer(self) -> float:
        """%, of a cascade with transcripts to count it on."""
        assert self.word_errors is not None
        return self.word_errors.rate

    @property
    def prompt_wer(self) -> float | None:
        """%; None: not known, or it has no text prompt."""
        if self.word_errors:
            return self.word_errors.rate
        return 0.0 if self.run.kind.input == "transcript" else None

    @property
    def success(self) -> SuccessCount | None:
        """Over the complete set. None: not judged."""
        return count(self.verdicts) if self.verdicts else None


@dataclass(frozen=True)
class Results:
    """All numbers of one test set."""

    test_set: TestSet
    rows: tuple[Row, ...]  # in the order of KINDS, cascades by WER
    comparison: PerplexityTable  # of the rows, in their order
    against: tuple[Against, ...] = ()  # success of each AudioLLM against the best cascade's

    def of(self, input: Input) -> list[Row]:
        """The rows of the systems with this in their prompts."""
        return [row for row in self.rows if row.run.kind.input == input]

    def p_value(self, a: Row, b: Row) -> float:
        """Two-sided paired-bootstrap p-value of a difference in perplexity."""
        return self.comparison.p_value(self.rows.index(a), self.rows.index(b))

    @property
    def length_unit(self) -> str:
        """Of the groups by length: seconds, or words where durations are not known."""
        return "words" if self.test_set.seconds is None else "s"

    def by_length(self, row: Row) -> list[tuple[str, WordErrors]]:
        """[(label, word errors)] of utterances by seconds, or by reference words."""
        errors_of, lengths, edges = row.errors_of or {}, self.test_set.seconds, SECOND_EDGES
        if lengths is None:
            lengths, edges = {id: e.reference_words for id, e in errors_of.items()}, WORD_EDGES
        return group_by_length(errors_of, lengths, edges)

    def by_speaker(self, row: Row) -> dict[str, WordErrors]:
        """Empty where the test set names no speakers."""
        speakers = self.test_set.speakers
        return group(row.errors_of or {}, speakers) if speakers else {}

    def as_dict(self, recipe: str, llm: str) -> dict:
        """The object of results.json (its form is fixed in DESIGN.md; extra keys are ours)."""
        return {
            "version": VERSION,
            "recipe": recipe,
            "llm": llm,
            "test_set": self.test_set.name,
            "success_rule": self.test_set.rule,
            "normalizer": self.test_set.normalize.name,
            "resample_by": self.test_set.resample_by,
            "systems": [self._row_as_dict(row) for row in self.rows],
            "p_values": {
                a.label: {b.label: self.p_value(a, b) for b in self.rows if b is not a}
                for a in self.rows
            },
            "success_against_best_cascade": [each.as_dict() for each in self.against],
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
    item: dict[str, object] = {
        "name": row.name,
        "label": row.label,
        "model": row.run.info.model,
        "prompt_wer": row.prompt_wer,
        "prompt_wer_ci95": list(row.wer_ci95) if row.wer_ci95 else None,
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
    test_set: TestSet, runs: Sequence[Run], resamples: int = RESAMPLES, seed: int = 0
) -> Results:
    """Score the runs of one context on `test_set`.

    Errors (ValueError): no run, two with one label, one of other dialogues or responses."""
    _check(test_set, runs)
    ids = test_set.references.ids
    errors = {run.directory: _word_errors(run, test_set) for run in runs}
    runs = sorted(runs, key=lambda run: _table_order(run, errors[run.directory]))
    how = (resamples, seed, test_set.units_of(ids))
    comparison = compare([nats_of(run, ids) for run in runs], test_set.references.tokens_N, *how)
    read = [run.directory for run in runs if errors[run.directory]]
    counts = (test_set.counts(_counts(errors[directory] or {})) for directory in read)
    wers = dict(zip(read, resampled_rates(list(counts), *how), strict=True))
    measures = measure(runs, test_set, resamples, seed)
    rows = []
    for run, perplexity, measured in zip(runs, comparison.perplexities, measures, strict=True):
        verdicts = success_of(run, test_set)
        by_category = _categories(verdicts, test_set)
        found = errors[run.directory], verdicts, by_category, measured
        rows.append(Row(run, perplexity, *found, wers.get(run.directory)))
    return Results(test_set, tuple(rows), comparison, _against(rows, test_set, resamples, seed))


def _against(
    rows: Sequence[Row], test_set: TestSet, resamples: int, seed: int
) -> tuple[Against, ...]:
    """Each AudioLLM against the cascade that is right most often; of equal ones the one of the
    lower perplexity."""
    cascades = [row for row in rows if row.run.kind.input == "hypothesis" and row.verdicts]
    if not cascades:
        return ()
    best = max(cascades, key=_merit)
    verdicts = {row.label: row.verdicts for row in rows if row.verdicts}
    how = (best.label, verdicts, test_set.units, resamples, seed)
    audio = [r.label for r in rows if r.run.kind.input in ("audio", "units") and r.verdicts]
    return tuple(against.compare(label, *how) for label in audio)


def _merit(row: Row) -> tuple[float, float]:
    return sum((row.verdicts or {}).values()), -row.perplexity.value


def nats_of(run: Run, ids: Sequence[str]) -> np.ndarray:
    """What the reference responses cost (N,)."""
    return np.array([run.nats[id] for id in ids])


def success_of(run: Run, test_set: TestSet) -> dict[str, bool] | None:
    """{id: success}; what was not answered is none. None: the test set does not say what is
    right."""
    if test_set.accepted is None:
        return None
    references = test_set.references.responses
    verdicts = judge(run.responses, references, test_set.aliases, test_set.rule)
    return verdicts | dict.fromkeys(run.unanswered, False)


def _check(test_set: TestSet, runs: Sequence[Run]) -> None:
    if not runs:
        raise ValueError(f"{test_set.name}: no system to score; rerun stage 10")
    labels = [run.info.label for run in runs]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(
            f"{test_set.name}: {len(twice)} systems have the same label (first: {twice[0]}), so "
            "their rows could not be distinguished; leave one of them out of --runs"
        )
    for run in runs:
        check_run(run, test_set)


def _word_errors(run: Run, test_set: TestSet) -> dict[str, WordErrors] | None:
    if run.hyp is None or test_set.texts is None:
        return None
    try:
        found = utterance_errors(test_set.texts, run.hyp, test_set.normalize)
    except ValueError as error:
        raise ValueError(f"{run.directory} ({run.info.label}): {error}") from None
    return test_set.by_dialogue(found, total)


def _counts(errors: Mapping[str, WordErrors]) -> dict[str, tuple[int, int]]:
    return {id: (each.errors, each.reference_words) for id, each in errors.items()}


def _categories(verdicts: dict[str, bool] | None, test_set: TestSet) -> dict[str, SuccessCount]:
    if verdicts is None or test_set.categories is None:
        return {}
    return count_by_category(verdicts, test_set.categories)


def _table_order(run: Run, errors: Mapping[str, WordErrors] | None) -> tuple[int, float]:
    return rank(run.info.kind), total(errors.values()).rate if errors else 0.0
