"""What is measured of a system besides perplexity, word errors and success, where it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .alignment import Alignment, aggregate
from .diagnostics import Diagnostics, diagnose
from .perplexity import PositionPerplexity, compare_positions
from .success import SuccessCount, count
from .summaries import RougeScores, rouge
from .systems import References, System
from .translation import TranslationScores, translation_scores
from .wer import CharacterErrors, character_errors

if TYPE_CHECKING:
    from .results import TestSet


@dataclass(frozen=True)
class Measures:
    """None: the system or the test set has not what it takes."""

    characters: CharacterErrors | None = None
    positions: tuple[PositionPerplexity, ...] | None = None
    judged: SuccessCount | None = None  # by a judge model
    translation: TranslationScores | None = None
    summaries: RougeScores | None = None
    diagnostics: Diagnostics | None = None
    alignment: Alignment | None = None

    def as_dict(self) -> dict:
        """For results.json: what was measured alone."""
        single = {
            "character_errors": self.characters,
            "translation": self.translation,
            "summaries": self.summaries,
            "diagnostics": self.diagnostics,
            "alignment": self.alignment,
        }
        found = {name: measure.as_dict() for name, measure in single.items() if measure is not None}
        if self.positions is not None:
            found["ppl_by_position"] = [asdict(p) | {"ppl": p.value} for p in self.positions]
        if self.judged is not None:
            found["judged_success_counts"] = asdict(self.judged)
        return found


def measure(
    systems: Sequence[System], test_set: TestSet, resamples: int, seed: int
) -> list[Measures]:
    """The measures of each system. ValueError where a table does not fit the test set."""
    positions = _positions(systems, resamples, seed)
    return [
        Measures(
            characters=_characters(system, test_set),
            positions=positions.get(system.label),
            judged=count(system.judged) if system.judged else None,
            translation=_translation(system, test_set, resamples, seed),
            summaries=_summaries(system, test_set, resamples, seed),
            diagnostics=_diagnostics(system, test_set.references),
            alignment=aggregate(system.similarity, resamples, seed) if system.similarity else None,
        )
        for system in systems
    ]


def _positions(
    systems: Sequence[System], resamples: int, seed: int
) -> dict[str, tuple[PositionPerplexity, ...]]:
    """{label: perplexity by position}, all systems drawn together."""
    found = [system for system in systems if system.token_nats is not None]
    if not found:
        return {}
    nats = [system.token_nats for system in found]
    all_positions = compare_positions(nats, resamples=resamples, seed=seed)
    return {s.label: tuple(p) for s, p in zip(found, all_positions, strict=True)}


def _characters(system: System, test_set: TestSet) -> CharacterErrors | None:
    if system.hyp is None or test_set.texts is None:
        return None
    return character_errors(test_set.texts, system.hyp, test_set.normalize)


def _translation(system: System, test_set: TestSet, resamples: int, seed: int):
    if not test_set.translations or system.responses is None:
        return None
    responses = _of(test_set.translations, system.responses)
    return translation_scores(
        test_set.translations, responses, test_set.target_lang, resamples, seed
    )


def _summaries(system: System, test_set: TestSet, resamples: int, seed: int):
    if not test_set.summaries or system.responses is None:
        return None
    responses = _of(test_set.summaries, system.responses)
    language = test_set.target_lang or "en"
    return rouge(test_set.summaries, responses, language, resamples=resamples, seed=seed)


def _of(expected: Mapping[str, str], responses: Mapping[str, str]) -> dict[str, str]:
    return {id: responses[id] for id in expected}


def _diagnostics(system: System, references: References) -> Diagnostics | None:
    return None if system.responses is None else diagnose(system, references)
