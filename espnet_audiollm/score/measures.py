"""What is measured of a run besides perplexity, word errors and success, where it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ..store.runs import Run
from .alignment import Alignment, aggregate
from .diagnostics import Diagnostics, diagnose
from .perplexity import PositionPerplexity, compare_positions
from .success import SuccessCount, count
from .summaries import RougeScores, rouge
from .test_set import TestSet
from .translation import TranslationScores, translation_scores
from .wer import CharacterErrors, character_errors


@dataclass(frozen=True)
class Measures:
    """None: the run or the test set has not what it takes."""

    characters: CharacterErrors | None = None
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
        if self.positions:
            found["ppl_by_position"] = [asdict(p) | {"ppl": p.value} for p in self.positions]
        if self.judged is not None:
            found["judged_success_counts"] = asdict(self.judged)
        return found


def measure(runs: Sequence[Run], test_set: TestSet, resamples: int, seed: int) -> list[Measures]:
    """The measures of each run. ValueError where a table does not fit the test set."""
    positions = compare_positions([r.token_nats for r in runs], resamples=resamples, seed=seed)
    return [
        Measures(
            characters=_characters(run, test_set),
            positions=tuple(of_run),
            judged=count(run.judged.successes) if run.judged else None,
            translation=_translation(run, test_set, resamples, seed),
            summaries=_summaries(run, test_set, resamples, seed),
            diagnostics=diagnose(run, test_set.references),
            alignment=_alignment(run, resamples, seed),
        )
        for run, of_run in zip(runs, positions, strict=True)
    ]


def _characters(run: Run, test_set: TestSet) -> CharacterErrors | None:
    if run.hyp is None or test_set.texts is None:
        return None
    return character_errors(test_set.texts, run.hyp, test_set.normalize)


def _alignment(run: Run, resamples: int, seed: int) -> Alignment | None:
    if run.similarity is None or not run.similarity.ids:
        return None
    return aggregate(run.similarity, resamples, seed)


def _translation(
    run: Run, test_set: TestSet, resamples: int, seed: int
) -> TranslationScores | None:
    if not test_set.translations:
        return None
    responses = _of(test_set.translations, run.responses)
    return translation_scores(
        test_set.translations, responses, test_set.target_lang, resamples, seed
    )


def _summaries(run: Run, test_set: TestSet, resamples: int, seed: int) -> RougeScores | None:
    if not test_set.summaries:
        return None
    responses = _of(test_set.summaries, run.responses)
    language = test_set.target_lang or "en"
    return rouge(test_set.summaries, responses, language, resamples=resamples, seed=seed)


def _of(expected: Mapping[str, str], responses: Mapping[str, str]) -> dict[str, str]:
    return {id: responses[id] for id in expected}
