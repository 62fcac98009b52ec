"""What a speech LM's answers are worth, task by task: the texts that it makes, and its faults.

ASR is measured in words and characters, AST and MT by BLEU and chrF, QA and SQA by success. An
output that did not come (no end, the wrong modality) is an empty hypothesis: it counts as wrong,
and is not left out. Of speech, what bin/judge_speech found is taken (BLOCK/judged/FIELD), beside
true speech and the other controls that were judged with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..data.kaldi_dir import existing, read_dict
from ..data.speech_tasks import SPOKEN, STEPS, Task
from ..data.task_replies import FAULTS, REFERENCE, BlockReplies, read_facts
from ..store.json_files import read_object
from ..store.tables import check_known_ids
from ..text.languages import LANGUAGES, PLAIN
from ..text.normalize import normalizer
from .bootstrap import RESAMPLES, rate_intervals
from .success import count, judge, normalize_all, split_answers, wilson95
from .translation import translation_scores
from .wer import total, total_characters, utterance_characters, utterance_errors

Texts = Mapping[str, str]
T = TypeVar("T")
JUDGED, SPEECH, ANSWERED = "judged", "speech.json", "answered"
JUDGE_AGAIN = "judge the speech again (bin/judge_speech)"


@dataclass(frozen=True)
class Measure:
    """One figure of one output."""

    block: str
    step: str  # ASR, AST, ...
    name: str  # WER %, BLEU, ...
    value: float
    ci95: tuple[float, float]
    counts: str  # "311/2785", "450 utterances"

    def as_dict(self) -> dict[str, Any]:
        """For results.json."""
        return {**vars(self), "ci95": list(self.ci95)}


@dataclass(frozen=True)
class How:
    """How answers are compared."""

    rule: str = "contains"  # of success
    normalizer: str = ""  # of transcripts ("": that of the task's language)
    resamples: int = RESAMPLES
    seed: int = 0


def score_replies(
    directory: str | Path, accepted: Mapping[str, str | Path] | None = None, how: How | None = None
) -> list[Measure]:
    """The figures of all blocks of bin/respond_tasks.

    accepted: {source: table of accepted answers}, "id Paris | the city of Paris"; success of a
        source without one is that its answer is the reference's.

    Errors (ValueError): no answers there; accepted answers of a source that there is not."""
    blocks, _ = read_facts(directory)
    tables, how = accepted or {}, how or How()
    check_sources(blocks, tables)
    return [
        measure
        for block in blocks
        for measure in score_block(Path(directory) / block.name, block, tables, how)
    ]


def check_sources(blocks: Sequence[BlockReplies], names: Iterable[str]) -> None:
    """Refuse (ValueError) names that no block comes from."""
    sources = sorted({_source(block) for block in blocks})
    unknown = sorted(set(names) - set(sources))
    if unknown:
        raise ValueError(
            f"--answers {unknown[0]}=...: there is no source of this name; there are "
            f"{', '.join(sources)}"
        )


def of_sources(blocks: Iterable[BlockReplies], tables: Mapping[str, T]) -> dict[str, T]:
    """Those of {source: value} that some block comes from."""
    sources = {_source(block) for block in blocks}
    return {name: table for name, table in tables.items() if name in sources}


def score_block(
    place: Path, block: BlockReplies, accepted: Mapping[str, str | Path], how: How
) -> list[Measure]:
    """The figures of one block: each text that it makes, then its faults."""
    found = []
    for step in block.task.steps:
        field = STEPS[step].made
        if field in SPOKEN:
            found += _spoken(place / JUDGED / field / SPEECH, block, step)
            continue
        reference, hypotheses = (read_dict(existing(p / field)) for p in (place / REFERENCE, place))
        texts = (reference, hypotheses)
        if step == "ASR":
            figures = _recognition(*texts, how.normalizer or _code(block.task, 0), how)
        elif STEPS[step].languages == 2:
            figures = _translation(*texts, _code(block.task, 1), how)
        else:
            figures = _success(*texts, accepted.get(_source(block)), how)
        found += [Measure(block.name, step, *figure) for figure in figures]
    return found + _faults(place, block)


Figure = tuple[str, float, tuple[float, float], str]


def _recognition(reference: Texts, hypotheses: Texts, form: str, how: How) -> list[Figure]:
    words = utterance_errors(reference, hypotheses, normalizer(form))
    characters = utterance_characters(reference, hypotheses, normalizer(form))
    counts = [
        [(each.errors, each.reference_words) for each in words.values()],
        [(each.errors, each.reference_characters) for each in characters.values()],
    ]
    arrays = [np.array(pairs, dtype=np.float64) for pairs in counts]
    intervals = rate_intervals(arrays, how.resamples, how.seed)
    all_words, all_characters = total(words.values()), total_characters(characters.values())
    spelled = [f"{int(each[:, 0].sum())}/{int(each[:, 1].sum())}" for each in arrays]
    return [
        ("WER %", all_words.rate, intervals[0], spelled[0]),
        ("CER %", all_characters.rate, intervals[1], spelled[1]),
    ]


def _translation(reference: Texts, hypotheses: Texts, language: str, how: How) -> list[Figure]:
    scores = translation_scores(reference, hypotheses, language, how.resamples, how.seed)
    number = f"{scores.utterances} utterances"
    return [
        ("BLEU", scores.bleu, scores.bleu_ci95, number),
        ("chrF", scores.chrf, scores.chrf_ci95, number),
    ]


def _success(
    reference: Texts, hypotheses: Texts, answers: str | Path | None, how: How
) -> list[Figure]:
    found: dict[str, tuple[str, ...]] = {}
    if answers is not None:
        table = read_dict(existing(Path(answers)))
        given = {id_: split_answers(line) for id_, line in table.items() if id_ in reference}
        check_known_ids(reference, given, str(answers), "give the answers of these utterances")
        found = normalize_all(given, how.rule)
    right = count(judge(hypotheses, reference, found, how.rule))
    return [("success %", right.rate, right.ci95, f"{right.successes}/{right.total}")]


def _spoken(path: Path, block: BlockReplies, step: str) -> list[Measure]:
    """What a judge understood of the answers, then of the controls; nothing where none judged."""
    if not path.is_file():
        return []
    found = read_object(path, JUDGE_AGAIN)
    names = sorted(found, key=lambda name: name != ANSWERED)
    try:
        return [
            Measure(block.name, step, f"{figure[0]}{_beside(name)}", *figure[1:])
            for name in names
            for figure in _understood(found[name])
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): {JUDGE_AGAIN}") from error


def _beside(name: str) -> str:
    return "" if name == ANSWERED else f", {name}"


def _understood(found: Mapping[str, Any]) -> list[Figure]:
    number = found["utterances"]
    counts = f"{found['errors']}/{found['reference_words']}"
    figures: list[Figure] = [
        ("ASR-WER %", found["wer"], _interval(found["wer_ci95"]), counts),
        ("ASR-BLEU", found["asr_bleu"], _interval(found["asr_bleu_ci95"]), f"{number} utterances"),
    ]
    if success := found["success"]:
        counts = f"{success['count']}/{number}"
        figures.append(("spoken success %", success["rate"], _interval(success["ci95"]), counts))
    return figures


def _interval(found: Sequence[float]) -> tuple[float, float]:
    low, high = found
    return low, high


def _faults(place: Path, block: BlockReplies) -> list[Measure]:
    """What share of the answers has each fault; those two always, also where there are none."""
    found = list(read_dict(existing(place / FAULTS)).values())
    names = dict.fromkeys(["no end", "wrong modality", *sorted(found)])
    return [
        Measure(
            block.name,
            "faults",
            f"{name} %",
            100 * found.count(name) / block.size,
            wilson95(found.count(name), block.size),
            f"{found.count(name)}/{block.size}",
        )
        for name in names
    ]


def _source(block: BlockReplies) -> str:
    return block.name.removesuffix(f".{block.task.key}")


def _code(task: Task, place: int) -> str:
    """ISO 639 of the language given (0), or translated into (1)."""
    known = (*LANGUAGES.values(), *PLAIN.values())
    return next(each.code for each in known if each.name == task.languages[place])
