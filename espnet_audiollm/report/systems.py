"""Systems of one LLM beside each other as tables, for the screen, Markdown, HTML and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..score.results import Results
from ..score.systems import System, Versus, as_dict_of, speech_of
from ..store.training_cost import TrainingCost
from .contents import Part, Section
from .tables import NONE, Table, number, p_text, rate, within

if TYPE_CHECKING:
    from ..infer.answer_cost import AnswerCost

Trainings = Mapping[str, TrainingCost | None]
MEGA = 1_000_000


@dataclass(frozen=True)
class Line:
    """A system and what it costs."""

    system: System
    answer: AnswerCost | None  # None: not measured
    trainings: Trainings  # {name: cost}, in order, what it begins from first


@dataclass(frozen=True)
class Compared:
    """All lines, in the order of the tables."""

    results: Results
    lines: tuple[Line, ...]

    @property
    def other(self) -> str | None:
        """The label of the system that the others are set against; None: there is none."""
        labels = [x.system.row.label for x in self.lines if x.system.against is None]
        return labels[0] if len(labels) == 1 else None


def llm_of(compared: Compared) -> str:
    """The LLM of all systems, by its fingerprint's beginning."""
    return f"fingerprint {compared.results.test_set.references.about['fingerprint'][:12]}"


def parts(compared: Compared) -> list[Part]:
    """The report's contents."""
    sections = [Section("Systems", (quality(compared),), tuple(_notes(compared)))]
    sections.append(Section("Costs", (costs(compared),), tuple(_cost_notes(compared))))
    if rows := _training_rows(compared):
        header = ("Training", "parameters trained", "time, min", "peak memory, MB")
        sections.append(Section("Trainings", (Table(header, rows),), _training_notes(compared)))
    return [Part(compared.results.test_set.name, tuple(sections))]


def screen(compared: Compared) -> str:
    """For the terminal."""
    texts = []
    for section in parts(compared)[0].sections:
        texts += [section.title, *(table.screen() for table in section.tables), *section.notes, ""]
    return "\n".join(texts).rstrip()


def as_dict(compared: Compared, recipe: str) -> dict[str, Any]:
    """What comparison.json holds: results.json, and of each system what is here beside it."""
    found = compared.results.as_dict(recipe, llm_of(compared))
    for item, line in zip(found["systems"], compared.lines, strict=True):
        item |= as_dict_of(line.system)
        item["answer_cost"] = line.answer and line.answer.as_dict()
        item["trainings"] = {name: cost and asdict(cost) for name, cost in line.trainings.items()}
    return found


# --- tables -------------------------------------------------------------------------------------


def quality(compared: Compared) -> Table:
    """What the answers are worth."""
    header = (
        "System",
        "response PPL [95 % CI]",
        "PPL / cascade's",
        "success % [95 % CI]",
        "points from cascade's",
        "success in speech %",
        "its ceiling",
        "its floor",
    )
    return Table(header, tuple(_quality(line.system) for line in compared.lines))


def _quality(system: System) -> tuple[str, ...]:
    row = system.row
    low, high = map(number, row.perplexity.ci95)
    success = NONE
    if row.success:
        ends = row.success.ci95
        success = f"{rate(row.success)} [{ends[0]:.1f}, {ends[1]:.1f}]"
    return (
        row.label,
        f"{number(row.perplexity.value)} [{low}, {high}]",
        _ratio(system.against),
        success,
        _points(system.against),
        *(_spoken(system, control) for control in ("", "true", "shuffled")),
    )


def _ratio(pair: Versus | None) -> str:
    if pair is None:
        return NONE
    return f"{within(pair.ppl_ratio, pair.ppl_ratio_ci95, 3)} ({p_text(pair.ppl_p)})"


def _points(pair: Versus | None) -> str:
    if pair is None or pair.success_points is None or pair.success_p is None:
        return NONE
    ends = pair.success_points_ci95
    return f"{within(pair.success_points, ends, 1)} ({p_text(pair.success_p)})"


def _spoken(system: System, control: str) -> str:
    found = speech_of(system, control).values()
    return "; ".join(f"{within(x.value, x.ci95, 1)} ({x.counts})" for x in found) or NONE


def costs(compared: Compared) -> Table:
    """What an answer and the training cost; means over the questions that were timed."""
    header = (
        "System",
        "positions read",
        "tokens written",
        "both",
        "s an answer",
        "peak memory, MB",
        "parameters trained",
        "training, min",
        "training's peak memory, MB",
    )
    return Table(header, tuple(_costs(line) for line in compared.lines))


def _costs(line: Line) -> tuple[str, ...]:
    answer, known = line.answer, line.trainings
    cells = [NONE] * 5
    if answer:
        read, written = map(_mean, (answer.read, answer.written))
        cells = [f"{x:.1f}" for x in (read, written, read + written)]
        cells += [f"{_mean(answer.seconds):.3f}", _memory(answer.memory, answer.gpu_memory)]
    own = [cost for cost in known.values()][-1:]
    complete = [cost for cost in known.values() if cost]
    all_known = bool(known) and len(complete) == len(known)
    return (
        line.system.row.label,
        *cells,
        f"{own[0].trained:,}" if own and own[0] else NONE,
        f"{sum(cost.seconds for cost in complete) / 60:.1f}" if all_known else NONE,
        _memory(max(cost.memory for cost in complete), max(cost.gpu_memory for cost in complete))
        if all_known and all(cost.memory for cost in complete)
        else NONE,
    )


def _memory(host: int, gpu: int | None) -> str:
    beside = f" + {gpu / MEGA:,.0f} of the GPU" if gpu else ""
    return f"{host / MEGA:,.0f}{beside}"


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _all_trainings(compared: Compared) -> dict[str, TrainingCost | None]:
    return {name: cost for line in compared.lines for name, cost in line.trainings.items()}


def _training_rows(compared: Compared) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            name,
            f"{cost.trained:,}" if cost else NONE,
            f"{cost.seconds / 60:.1f}" if cost else NONE,
            _memory(cost.memory, cost.gpu_memory) if cost and cost.memory else NONE,
        )
        for name, cost in _all_trainings(compared).items()
    )


# --- sentences ----------------------------------------------------------------------------------


def _notes(compared: Compared) -> list[str]:
    notes = [
        "Perplexity: of the same reference response tokens for every system. Of an LLM with units, "
        "the rows of units are left out of the softmax; where it writes something before its "
        "answer, the reference stands after what it wrote itself."
    ]
    if compared.other:
        notes.append(
            f"Set against {compared.other}: over the same draws of utterances; p of the perplexity "
            "by the paired bootstrap, of success by McNemar's exact test."
        )
    if any(line.system.speech for line in compared.lines):
        notes.append(
            "Success in speech is of a recogniser's text, over the utterances that were judged; "
            "its ceiling is the reference answers' true speech, its floor their units shuffled."
        )
    if not all(line.system.speech for line in compared.lines if line.system.row.name == "speechlm"):
        notes.append(
            "Success in speech that is a dash was not judged: bin/judge_speech makes it (stages 10 "
            "and 11 of speechlm1)."
        )
    return notes


def _cost_notes(compared: Compared) -> list[str]:
    measured = [line.answer for line in compared.lines if line.answer]
    notes = []
    if measured:
        where = "; ".join(dict.fromkeys(each.machine for each in measured))
        notes.append(
            f"An answer: mean of {len(measured[0].ids)} questions, from the recording to the last "
            f"token, one by one, each system in a process of its own, whose memory includes Python "
            f"and torch. A cascade recognises greedily, and its time has that in it. Measured on: "
            f"{where}."
        )
    else:
        notes.append("The cost of answers was not measured: --measure 20 does.")
    notes.append(
        "Training: time and memory of all trainings that a system stands on (below), the LLM's own "
        "left out; parameters of the last one."
    )
    return notes


def _training_notes(compared: Compared) -> tuple[str, ...]:
    found = _all_trainings(compared)
    notes = []
    if lacking := [name for name, cost in found.items() if cost is None]:
        notes.append(
            f"Of {len(lacking)} of {len(found)} trainings (first: {lacking[0]}) no cost is known: "
            "trainings write cost.json from now on."
        )
    if logs := [name for name, cost in found.items() if cost and not cost.memory]:
        notes.append(
            f"Of {len(logs)} of {len(found)} trainings (first: {logs[0]}) time and rounded "
            "parameters are those of train.log, and memory is not known: they are older than "
            "cost.json."
        )
    return tuple(notes)
