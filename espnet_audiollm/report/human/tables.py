"""human_eval.md and human_eval.json: the paper's Tables 3 and 4, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, groupby

from ...score.bootstrap import RESAMPLES
from ...score.human import outcome
from ...score.human.outcome import Agreement, Paired, Rate, RaterSummary
from ...score.human.ratings import Ratings
from ...score.human.study import Study
from ...score.wer import WordErrors
from ..tables import NONE, Table, plain

FORMAT = "audiollm human evaluation"
VERSION = 1
ALL = "all"
NOTES = (
    "Success is the share of answers that agree with the reference response, as raters judge. The "
    "unit is the item: with several raters an item counts by the share of them who said yes. "
    "Intervals of rates are Wilson's 95 % over items.",
    "Levels are of the cascade's word error rate in the single utterance; the prompt WER of a "
    "level is errors over reference words of its items. “all” weighs every item drawn the same, so "
    "it is no figure of the test set.",
    "Differences: a paired bootstrap over items ({resamples} resamples), and the p-value of the "
    "exact sign-flip test over items, which with one rater is McNemar's exact test. Where systems "
    "differ on few items the bootstrap is too narrow: go by the counts and p. No correction for "
    "several comparisons.",
    "Agreement: Krippendorff's alpha for nominal ratings (nltk), over answers that two or more "
    "raters judged; 1 is perfect, 0 is chance. Where systems gave the same answer it was judged "
    "once, counts for each of them, and is one answer here.",
)


@dataclass(frozen=True)
class Line:
    """One system at one level."""

    system: str
    level: str
    words: WordErrors | None  # of its prompts. None: its prompt is no text
    rate: Rate | None  # None: nothing of it was rated


@dataclass(frozen=True)
class Outcome:
    """Everything that the ratings say; lines go from the highest word error rate to all."""

    study: Study
    lines: tuple[Line, ...]
    paired: tuple[tuple[str, Paired], ...]  # (level, …)
    agreement: tuple[tuple[str, Agreement], ...]
    raters: tuple[RaterSummary, ...]
    comments: tuple[tuple[int, str, str], ...]  # item, rater, comment
    resamples: int


def evaluate(
    study: Study, raters: Sequence[Ratings], resamples: int = RESAMPLES, seed: int = 0
) -> Outcome:
    """All numbers of a study, for each level and for all of them."""
    levels = [*((str(level), i) for i, level in enumerate(study.levels))][::-1] + [(ALL, None)]
    compared = [
        (name, outcome.paired(study, raters, one, other, level, resamples, seed))
        for one, other in combinations(study.systems, 2)
        for name, level in levels
    ]
    return Outcome(
        study,
        tuple(
            Line(system, name, _words(study, system, level), _success(study, raters, system, level))
            for name, level in levels
            for system in study.systems
        ),
        tuple((name, pair) for name, pair in compared if pair is not None),
        tuple((name, outcome.agreement(study, raters, level)) for name, level in levels),
        tuple(outcome.summarise(study, raters)),
        tuple(
            (i, ratings.rater, ratings.items[i].comment)
            for i in range(len(study.items))
            for ratings in raters
            if i in ratings.items and ratings.items[i].comment
        ),
        resamples,
    )


def _success(
    study: Study, raters: Sequence[Ratings], system: str, level: int | None
) -> outcome.Rate | None:
    return outcome.success(study, raters, system, level)


def _words(study: Study, system: str, level: int | None) -> WordErrors | None:
    counts = [study.items[i].words.get(system) for i in outcome.items_of(study, level)]
    if None in counts:
        return None
    return WordErrors(
        *(
            sum(getattr(words, field) for words in counts)
            for field in ("substitutions", "deletions", "insertions", "reference_words")
        )
    )


# --- tables ---------------------------------------------------------------------------------------


def success_table(found: Outcome) -> Table:
    """The success rate of each system at each level."""
    header = ("System", "level", "prompt WER %", "success % [95 % CI]", "items", "ratings")
    return Table(header, tuple(map(_success_row, found.lines)))


def _success_row(line: Line) -> tuple[str, ...]:
    words, rate = line.words, line.rate
    wer = f"{words.rate:.1f} ({words.errors}/{words.reference_words})" if words else NONE
    if rate is None:
        return line.system, line.level, wer, NONE, "0", "0"
    low, high = rate.ci95
    value = f"{rate.rate:.1f} [{low:.1f}, {high:.1f}]"
    return line.system, line.level, wer, value, str(rate.items), str(rate.ratings)


def paired_table(found: Outcome) -> Table:
    """The difference of each two systems, item by item."""
    header = ("Difference", "level", "points [95 % CI]", "first better", "second better", "equal")
    rows = (
        (
            f"{pair.first} − {pair.second}",
            level,
            f"{pair.difference:+.1f} [{pair.ci95[0]:+.1f}, {pair.ci95[1]:+.1f}]",
            str(pair.better),
            str(pair.worse),
            str(pair.equal),
            f"{pair.p_value:.3f}" if pair.p_value >= 0.001 else "< 0.001",
        )
        for level, pair in found.paired
    )
    return Table((*header, "p"), tuple(rows))


def agreement_table(found: Outcome) -> Table:
    """How well the raters agree."""
    rows = (
        (
            level,
            f"{NONE} ({a.reason})" if a.alpha is None else f"{a.alpha:.3f}",
            f"{100 * a.same / a.pairs:.1f} ({a.same}/{a.pairs})" if a.pairs else NONE,
            str(a.answers),
        )
        for level, a in found.agreement
    )
    header = ("Level", "Krippendorff's alpha", "pairs that agree %", "answers with two raters")
    return Table(header, tuple(rows))


def rater_table(found: Outcome) -> Table:
    """What each rater did."""
    rows = (
        (
            rater.rater,
            f"{rater.ratings}/{rater.wanted}",
            f"{100 * rater.yes / rater.ratings:.1f}" if rater.ratings else NONE,
            f"{100 * rater.same / rater.compared:.1f}" if rater.compared else NONE,
            NONE if rater.seconds is None else f"{rater.seconds:.0f}",
        )
        for rater in found.raters
    )
    header = ("Rater", "rated", "said yes %", "agrees with the others %", "median seconds an item")
    return Table(header, tuple(rows))


def missing_lines(found: Outcome) -> list[str]:
    """A sentence for each rater who has not rated everything."""
    total = len(found.study.items)
    return [
        f"{rater.rater} has not rated {len(rater.missing)} of {total} items: "
        f"{_ranges(rater.missing)}"
        for rater in found.raters
        if rater.missing
    ]


def _ranges(indices: Sequence[int]) -> str:
    """(0, 2, 3, 4) as "1, 3–5": items as the page numbers them."""
    runs = groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])
    ends = [[index + 1 for _, index in run] for _, run in runs]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


# --- the files ------------------------------------------------------------------------------------


def screen(found: Outcome) -> str:
    """The tables and what is missing, for a terminal."""
    total = found.agreement[-1][1]
    alpha = f"none: {total.reason}" if total.alpha is None else f"{total.alpha:.3f}"
    parts = [success_table(found).screen(), paired_table(found).screen()]
    lines = [f"raters: {len(found.raters)}; their agreement, Krippendorff's alpha: {alpha}"]
    return "\n\n".join([*parts, "\n".join([*lines, *missing_lines(found)])])


def markdown(found: Outcome, made: dict[str, str]) -> str:
    """The tables with their origin, for HUMAN_EVAL.md. made: command, versions, commit, date."""
    study = found.study
    parts = [
        f"# Human evaluation: {plain(study.test_set)}",
        f"```\n{made['command']}\n```",
        f"- page {study.page}, seed {study.seed}, levels by {plain(study.cascade)}\n"
        f"- {made['versions']}\n- git commit: {made['commit']}\n- date: {made['date']}",
        success_table(found).markdown(),
        "## Paired comparison",
        paired_table(found).markdown(),
        "## Agreement between raters",
        agreement_table(found).markdown(),
        rater_table(found).markdown(),
        "\n".join(f"- {plain(line)}" for line in missing_lines(found))
        or "Every rater rated every item.",
        *(note.format(resamples=found.resamples) for note in NOTES),
    ]
    if found.comments:
        parts += ["## Comments", "\n".join(_comment(study, *said) for said in found.comments)]
    return "\n\n".join(parts) + "\n"


def _comment(study: Study, index: int, rater: str, comment: str) -> str:
    item = study.items[index]
    answers = enumerate(item.answers)
    shown = ", ".join(f"{chr(ord('A') + a)} {' and '.join(systems)}" for a, systems in answers)
    return "- " + plain(f"item {index + 1} ({item.id}; {shown}), {rater}: {comment}")


def as_dict(found: Outcome, made: dict[str, str]) -> dict:
    """What human_eval.json holds. made: command, versions, commit, date."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "page": found.study.page,
        "test_set": found.study.test_set,
        "cascade": found.study.cascade,
        "systems": list(found.study.systems),
        "success": [_line_as_dict(line) for line in found.lines],
        "paired": [{"level": level, **asdict(pair)} for level, pair in found.paired],
        "agreement": [{"level": level, **asdict(a)} for level, a in found.agreement],
        "raters": [
            {**asdict(rater), "missing": [i + 1 for i in rater.missing]} for rater in found.raters
        ],
        "comments": [
            {"item": i + 1, "id": found.study.items[i].id, "rater": rater, "comment": comment}
            for i, rater, comment in found.comments
        ],
        "made": made,
    }


def _line_as_dict(line: Line) -> dict:
    item: dict = {"system": line.system, "level": line.level}
    item["word_errors"] = line.words.as_dict() if line.words else None
    item["success_rate"] = line.rate.rate if line.rate else None
    if line.rate:
        item |= {"success_rate_ci95": list(line.rate.ci95), **asdict(line.rate)}
    return item
