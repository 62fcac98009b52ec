"""Tags, and the dialogues that they stand for."""

import pytest

from espnet_audiollm.data.speech_tasks import NAMES, STEPS, Task, check_values
from espnet_audiollm.types import Turn, Units

VALUES = {
    "audio": Units((1, 2)),
    "text": "el barco rojo",
    "translation": "the red boat",
    "translation_audio": Units((7, 8)),
    "answer": "It is red.",
    "answer_audio": Units((5,)),
}
CASES = [
    ("[ASR Spanish]", ("[ASR Spanish] ", Units((1, 2))), "el barco rojo"),
    ("[TTS Spanish]", "[TTS Spanish] el barco rojo", Units((1, 2))),
    ("[MT Spanish English]", "[MT Spanish English] el barco rojo", "the red boat"),
    ("[AST Spanish English]", ("[AST Spanish English] ", Units((1, 2))), "the red boat"),
    ("[S2ST Spanish English]", ("[S2ST Spanish English] ", Units((1, 2))), Units((7, 8))),
    (
        "[ASR AST S2ST Spanish English]",
        ("[ASR AST S2ST Spanish English] ", Units((1, 2))),
        ("el barco rojo\nthe red boat\n", Units((7, 8))),
    ),
    (
        "[S2ST AST Spanish English]",
        ("[S2ST AST Spanish English] ", Units((1, 2))),
        (Units((7, 8)), "\nthe red boat"),
    ),
    ("[SQA English]", ("[SQA English] ", Units((1, 2))), "It is red."),
    ("[QA QSA English]", "[QA QSA English] el barco rojo", ("It is red.\n", Units((5,)))),
    (
        "[ASR SQA SQSA English]",
        ("[ASR SQA SQSA English] ", Units((1, 2))),
        ("el barco rojo\nIt is red.\n", Units((5,))),
    ),
]


@pytest.mark.parametrize("tag, asked, said", CASES, ids=[tag for tag, _, _ in CASES])
def test_tags_as_dialogues(tag, asked, said):
    task = Task.parse(tag)
    assert str(task) == tag
    assert task.prompt(VALUES[task.given]) == (Turn("user", asked),)
    assert task.outputs(VALUES) == lines(said)


def lines(said):
    parts = said if isinstance(said, tuple) else (said,)
    texts = [part.strip().split("\n") if isinstance(part, str) else [part] for part in parts]
    return [line for text in texts for line in text]


def test_every_task_has_a_case():
    assert {step for tag, _, _ in CASES for step in Task.parse(tag).steps} == set(STEPS) - {"LM"}


def test_only_speech_asks_nothing():
    task = Task.parse("[LM]")
    assert (task.given, task.fields, task.key, str(task)) == (None, ("audio",), "lm", "[LM]")


def test_what_a_task_needs():
    task = Task.parse("[ASR AST S2ST Spanish English]")
    assert task.fields == ("audio", "text", "translation", "translation_audio")
    assert task.key == "asr_ast_s2st_spanish_english"
    system, _ = task.prompt(Units((1,)), "Be brief.")
    assert system == Turn("system", "Be brief.")


def test_text_is_one_line():
    task = Task.parse("[ASR AST Spanish English]")
    said = task.outputs({"text": "el\nbarco ", "translation": "the\t boat\n"})
    assert said == ["el barco", "the boat"]


@pytest.mark.parametrize(
    "tag, says",
    [
        ("ASR Spanish", "is unknown.*ASR, TTS"),
        ("[]", "is unknown"),
        ("[Spanish ASR]", "is unknown"),
        ("[STT Spanish]", "is unknown"),
        ("[ASR Spansh]", r"'Spansh' .*\(Spanish\?\)"),
        ("[ASR STT Spanish]", "'STT' is no task and no language"),
        ("[ASR]", "0 languages.*one language"),
        ("[ASR Spanish English]", "2 languages.*one language"),
        ("[AST Spanish]", "1 languages.*two languages"),
        ("[AST Spanish Spanish]", "two languages"),
        ("[ASR ASR Spanish]", "ASR twice"),
        ("[LM Spanish]", "1 languages.*needs none"),
        ("[LM ASR Spanish]", "LM, which is given nothing, and ASR, which is given audio"),
        ("[ASR TTS Spanish]", "ASR, which is given audio, and TTS, which is given text"),
    ],
)
def test_wrong_tags_are_refused(tag, says):
    with pytest.raises(ValueError, match=says):
        Task.parse(tag)


def test_names_of_languages_have_no_blanks():
    assert {"Spanish", "English", "French"} < NAMES
    assert not [name for name in NAMES if len(name.split()) != 1 or name in STEPS]


def test_an_empty_text_is_refused():
    task = Task.parse("[AST Spanish English]")
    check_values("u", task, VALUES | {"text": ""})  # not needed
    with pytest.raises(ValueError, match=r"u has no word in its translation, and \[AST Spanish"):
        check_values("u", task, VALUES | {"translation": ""})
