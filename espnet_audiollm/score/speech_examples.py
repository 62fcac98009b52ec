"""Whether a speech LM's examples answer what the references answer, in the same tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import read_table
from ..data.prompt import decode
from ..data.speech_tasks import BETWEEN, Task
from ..data.task_examples import RESPONSES, read_about
from ..data.task_mixture import MARK
from ..store.series import first_difference
from ..types import Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_references(
    tasks: str | Path, references: Mapping[str, Response], tokenizer: PreTrainedTokenizerBase
) -> int:
    """How many of the references have the same text in other tokens in the examples of spoken
    questions that are answered in text.

    Errors (ValueError): examples of none of the references, or that answer in other words."""
    blocks = {
        block.name
        for block in read_about(tasks).blocks
        if Task.parse(block.tag).given == "audio" and Task.parse(block.tag).made[-1] == "answer"
    }
    compared, tokens, words = 0, 0, []
    for key, line in read_table(Path(tasks) / RESPONSES):
        block, _, id_ = key.partition(MARK)
        if block not in blocks or id_ not in references:
            continue
        compared += 1
        expected = [*references[id_].response_ids]
        found = [int(word) for word in line.split()]
        if found[-len(expected) :] == expected:
            continue
        text = decode(found, tokenizer).rpartition(BETWEEN)[2].strip()
        tokens += text == _in_a_line(references[id_].response)
        if text != _in_a_line(references[id_].response):
            words.append(f"{id_}, {first_difference(found[-len(expected) :], expected)}")
    if not compared:
        raise ValueError(
            f"{tasks} has no example of a spoken question that is answered in text and is one of "
            f"the {len(references)} references: give the examples of this test set, with a task "
            "such as [SQA English] (bin/prepare_tasks)"
        )
    if words:
        raise ValueError(
            f"{tasks}: {len(words)} of {compared} examples have other responses than the "
            f"references (first: {words[0]}): make the tasks again from these responses "
            "(stages 3 and 7 of speechlm1), and train on them"
        )
    return tokens


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
