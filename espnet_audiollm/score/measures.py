"""What is measured of a run besides perplexity, word errors and success, where it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ..store.runs import Run
from .alignment import Alignment, aggregate
from .bootstrap import rate_intervals
from .diagnostics import Diagnostics, diagnose
from .perplexity import PositionPerplexity, compare_positions
from .success import SuccessCount, count
from .summaries import RougeScores, rouge
from .test_set import TestSet
from .translation import TranslationScores, translation_scores
from .wer import CharacterErrors, total_characters, utterance_characters


@dataclass(frozen=True)
class Measures:
    """None: the run or the test set has not what it takes."""

    characters: CharacterErrors | None = None
    cer_ci95: tuple[float, float] | None = None  # %
    positions: tuple[PositionPerplexity, ...] = ()
    judged: SuccessCount | None = None  # by a judge model
    translation: TranslationScores | None = None
    summaries: RougeScores | None = None
    diagnostics: Diagnostics | None = None
    alignment: Alignment | None = None

    def as_dict(self) -> dict:
        """For results.json: what was measured."""
        single = {
            "character_errors": self.characters,
            "translation": self.translation,
            "summaries": self.summaries,
            "diagnostics": self.diagnostics,
            "alignment": self.alignment,
        }
        found: dict[str, object] = {
            name: measure.as_dict() for name, measure in single.items() if measure is not None
        }
        if self.characters is not None and self.cer_ci95 is not None:
            found["character_errors"] = {
                **self.characters.as_dict(),
                "cer_ci95": list(self.cer_ci95),
            }
        if self.positions:
            found["ppl_by_position"] = [asdict(p) | {"ppl": p.value} for p in self.positions]
        if self.judged is not None:
            found["judged_success_counts"] = asdict(self.judged)
        return found


def measure(runs: Sequence[Run], test_set: TestSet, resamples: int, seed: int) -> list[Measures]:
    """The measures of each run. ValueError where a table does not fit the test set."""
    units = test_set.units_of(test_set.references.ids)
    tokens = [run.token_nats for run in runs]
    positions = compare_positions(tokens, resamples=resamples, seed=seed, units=units)
    characters = {run.directory: found for run in runs if (found := _characters(run, test_set))}
    counts = [test_set.counts(_counts(each)) for each in characters.values()]
    ends = rate_intervals(counts, resamples, seed, units)
    intervals = dict(zip(characters, ends, strict=True))
    return [
        Measures(
            characters=_total(characters.get(run.directory)),
            cer_ci95=intervals.get(run.directory),
            positions=tuple(of_run),
            judged=_judged(run),
            translation=_translation(run, test_set, resamples, seed),
            summaries=_summaries(run, test_set, resamples, seed),
            diagnostics=diagnose(run, test_set.references),
            alignment=_alignment(run, test_set, resamples, seed),
        )
        for run, of_run in zip(runs, positions, strict=True)
    ]


def _characters(run: Run, test_set: TestSet) -> dict[str, CharacterErrors]:
    """By dialogue; empty where there are no hypotheses, or no transcripts."""
    if run.hyp is None or test_set.texts is None:
        return {}
    found = utterance_characters(test_set.texts, run.hyp, test_set.normalize)
    return test_set.by_dialogue(found, total_characters)


def _total(errors: Mapping[str, CharacterErrors] | None) -> CharacterErrors | None:
    return total_characters(errors.values()) if errors else None


def _counts(errors: Mapping[str, CharacterErrors]) -> dict[str, tuple[int, int]]:
    return {id: (each.errors, each.reference_characters) for id, each in errors.items()}


def _judged(run: Run) -> SuccessCount | None:
    if run.judged is None:
        return None
    return count(run.judged.successes | dict.fromkeys(run.unanswered, False))


def _alignment(run: Run, test_set: TestSet, resamples: int, seed: int) -> Alignment | None:
    if run.similarity is None or not run.similarity.ids:
        return None
    return aggregate(run.similarity, resamples, seed, test_set.units_of(run.similarity.ids))


def _translation(
    run: Run, test_set: TestSet, resamples: int, seed: int
) -> TranslationScores | None:
    if not test_set.translations:
        return None
    responses = _of(test_set.translations, run.responses)
    return translation_scores(
        test_set.translations,
        responses,
        test_set.target_lang,
        resamples,
        seed,
        test_set.units_of(responses),
    )


def _summaries(run: Run, test_set: TestSet, resamples: int, seed: int) -> RougeScores | None:
    if not test_set.summaries:
        return None
    responses = _of(test_set.summaries, run.responses)
    language = test_set.target_lang or "en"
    units = test_set.units_of(responses)
    return rouge(test_set.summaries, responses, language, resamples, seed, units)


def _of(expected: Mapping[str, str], responses: Mapping[str, str]) -> dict[str, str]:
    return {id: responses[id] for id in expected}
