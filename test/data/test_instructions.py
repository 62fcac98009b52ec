"""Ways to ask for a task: which one an example has, and what is refused."""

import json
from dataclasses import asdict

import pytest

from espnet_audiollm.data.instructions import Instructions, Wording, read_instructions
from espnet_audiollm.data.speech_tasks import Task
from espnet_audiollm.types import Turn, Units

ASR = Task.parse("[ASR English]")


def test_templates_become_dialogues():
    task = Task.parse("[AST Spanish English]")
    template = "From {language} to {translation_language}: {input} Thanks."
    system, user = task.prompt(Units((1, 2)), "Be brief.", template)
    assert system == Turn("system", "Be brief.")
    assert user.content == ("From Spanish to English: ", Units((1, 2)), " Thanks.")
    assert Task.parse("[QA English]").prompt("who\nis it", None, "{input}") == (
        Turn("user", "who is it"),
    )
    assert ASR.prompt(Units((3,)), template="{input}") == (Turn("user", Units((3,))),)
    said = Task.parse("[TTS English]").prompt("the {language} boat", template="Say: {input}")
    assert said == (Turn("user", "Say: the {language} boat"),)  # what is given is no template


def test_an_example_keeps_its_template():
    """Whatever else is in the file; another seed draws others, and all are drawn."""
    templates = tuple(f"{n} {{input}}" for n in range(4))
    ids = [f"u{n}" for n in range(100)]

    def draw(seed, source="s", **more):
        wording = Instructions({"ASR": templates, **more}, seed).wording(ASR, source)
        return [wording.template(id_) for id_ in ids]

    drawn, other = draw(1), draw(2)
    assert drawn == draw(1, TTS=("{input}",)) != draw(1, "t")
    assert drawn[0] == "2 {input}" and set(drawn) == set(templates)  # one is worked out by hand
    assert sum(a != b for a, b in zip(drawn, other, strict=True)) > 50


@pytest.mark.parametrize(
    "text, says",
    [
        ("ASR: ['Write: {input}', 'Write this']", "template 2 of ASR .*0 times"),
        ("ASR: ['{input} {input}']", "template 1 of ASR .*2 times"),
        ("TTS: ['Say {text}: {input}']", "template 1 of TTS .*unknown slot {text}.*{input}"),
        ("ASX: ['{input}']", "'ASX' is no task: tasks are ASR"),
        ("ASR SQX: ['{input}']", "'SQX' in 'ASR SQX' is no task"),
        ("ASR: '{input}'", "ASR has no list of templates"),
        ("ASR: []", "ASR has no list of templates"),
    ],
)
def test_wrong_templates_are_refused(tmp_path, text, says):
    (tmp_path / "i.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"i.yaml: .*{says}.*run the same command again"):
        read_instructions(tmp_path / "i.yaml")


def test_a_wording_goes_through_its_record():
    made = Instructions({"ASR": ("Write: {input}",)}, 3).wording(ASR, "s")
    assert Wording.of_record(json.loads(json.dumps(asdict(made)))) == made
    assert Wording().template("u") is None
    for record, says in (
        (None, "None, not templates and a salt"),
        ({"templates": ["x"], "salt": "s"}, r"the template 'x' has {input} 0 times"),
        ({"templates": [3], "salt": "s"}, "a template is 3, not a text"),
    ):
        with pytest.raises(ValueError, match=says):
            Wording.of_record(record)


def test_a_task_needs_templates_that_fit():
    made = Instructions({"ASR": ("To {translation_language}: {input}",)})
    with pytest.raises(ValueError, match="x has no template for .TTS English.*it has ASR"):
        made.check(Task.parse("[TTS English]"), "x")
    with pytest.raises(ValueError, match="template 1 of ASR has {translation_language}"):
        made.check(ASR, "x")


def test_the_project_s_own_templates(root):
    found = read_instructions(root / "egs2/TEMPLATE/speechlm1/conf/instructions/english.yaml")
    assert len(found.templates["ASR"]) >= 8 and len(found.templates["TTS"]) >= 8
    assert all(len(set(each)) == len(each) for each in found.templates.values())
