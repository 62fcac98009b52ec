"""A packed speech LM: one directory that needs nothing else, with the prompts of bin/prepare_tasks
and the answers of bin/respond_tasks."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import tiny_speaking
import torch
import yaml
from tiny_speaking import SPOKEN, SYSTEM, TAGS
from tiny_tasks import ENCODER
from tool_mains import main_of, run_main

import espnet_audiollm
from espnet_audiollm.data.instructions import Wording
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.data.prompt import decode
from espnet_audiollm.data.speech_tasks import Task
from espnet_audiollm.data.task_examples import Encoder
from espnet_audiollm.infer import speech_lm
from espnet_audiollm.infer.chat import Chat
from espnet_audiollm.infer.generate import Generated
from espnet_audiollm.infer.speech_lm import speaks
from espnet_audiollm.infer.systems import Item, reference_ids
from espnet_audiollm.infer.voices import speak_all
from espnet_audiollm.model.response_loss import embed_prompt
from espnet_audiollm.types import Audio, Dialogue, Turn, Units


@pytest.fixture(scope="module")
def system(speech_lm, speaking):
    return espnet_audiollm.load(speech_lm)


@pytest.fixture
def run(root, capfd):
    return lambda name, *words: run_main(main_of(root, name), words, capfd)


def questions(place, tag):
    """The dialogues of a task's examples, by id."""
    audio = Task.parse(tag).given == "audio"
    paths, texts = read_dict(place / "data/wav.scp"), read_dict(place / "data/text")
    asked = {id_: Audio(path) for id_, path in paths.items()} if audio else texts
    return [Dialogue(id_, (Turn("user", each),), task=tag) for id_, each in asked.items()]


def prompts_of(system, dialogues):
    complete = [system.complete(each) for each in dialogues]
    return [list(system.prompt(each.turns, system.speech([each]))) for each in complete]


def numbers(line):
    return list(map(int, line.split()))


def test_prompts_and_answers_are_those_of_the_recipe(system, speaking, tmp_path):
    tasks = ["--tasks", speaking / "tasks", "--llm", speaking / "llm"]
    tiny_speaking.call("respond_tasks", *tasks, "--output", tmp_path / "out")
    lines = (tmp_path / "out/answers.jsonl").read_text().splitlines()
    answers = {row["id"]: row["response_ids"] for row in map(json.loads, lines)}
    prompts, compared = read_dict(speaking / "tasks/prompt_ids"), 0
    for tag in TAGS:
        dialogues = questions(speaking, tag)
        ids = [f"a.{Task.parse(tag).key}!{each.id}" for each in dialogues]
        assert prompts_of(system, dialogues) == [numbers(prompts[id_]) for id_ in ids]
        said = system.respond(dialogues)
        assert [list(each.response_ids) for each in said] == [answers[id_] for id_ in ids]
        compared += len(ids)
    assert compared == len(answers) == 8 * len(TAGS)
    with_speech = [ids for ids in answers.values() if len(ids) > len(SPOKEN)]
    assert with_speech  # it has learned to speak


WAYS = {"ASR": ["Write: {input}", "{input} Type that.", "Which words? {input}"]}
WAYS |= {"QA": ["{input}"], "SQA": ["{input} In {language}, please.", "Answer: {input}"]}


def test_prompts_in_words_are_those_of_the_examples(speaking, tmp_path):
    """Each utterance is asked by the template that its example has, in a pack as in its parts."""
    (tmp_path / "ways.yaml").write_text(yaml.safe_dump(WAYS))
    place = tmp_path / "speaking"
    shutil.copytree(speaking, place)
    tags = ["[ASR English]", "[QA English]", "[SQA English]"]
    tiny_speaking.prepare(place, tmp_path / "tasks", tags, instructions=str(tmp_path / "ways.yaml"))
    tiny_speaking.pack(place, tmp_path / "pack", tasks=tmp_path / "tasks")
    parts = speech_lm.load_parts(place / "llm", place / "q", tmp_path / "tasks")
    prompts = read_dict(tmp_path / "tasks/prompt_ids")
    for system in (espnet_audiollm.load(tmp_path / "pack"), parts):
        asked = set()
        for tag in tags:
            dialogues = questions(speaking, tag)
            made = prompts_of(system, dialogues)
            ids = [f"a.{Task.parse(tag).key}!{each.id}" for each in dialogues]
            assert made == [numbers(prompts[id_]) for id_ in ids]
            asked |= {system.complete(each).turns[1].parts[0] for each in dialogues}
        assert "Answer: " in asked and not any(str(each).startswith("[") for each in asked)
    forget_wordings(tmp_path / "tasks/tasks.json")
    with pytest.raises(ValueError, match=r"do not say how \[ASR English\] is asked for.*stage 7"):
        speech_lm.load_parts(place / "llm", place / "q", tmp_path / "tasks")


def forget_wordings(path):
    """As an earlier version wrote it."""
    facts = json.loads(path.read_text())
    for block in facts["blocks"]:
        del block["wording"]
    path.write_text(json.dumps(facts))


def test_the_task_follows_from_question_and_answer(system):
    audio, text = (Turn("user", Audio("x.wav")),), (Turn("user", "the cat"),)
    assert str(system.task_for(audio)) == "[SQA English]"
    assert str(system.task_for(text)) == "[QA English]"
    assert str(system.task_for(audio, spoken=True)) == "[ASR SQA SQSA English]"
    assert str(system.task_for(text, spoken=True)) == "[QSA English]"
    assert str(system.task_for(audio, "[ASR English]")) == "[ASR English]"
    assert system.can_speak and not speaks(Task.parse("[SQA English]"))


@pytest.mark.parametrize(
    ("turns", "task", "says"),
    [
        (("a", "b", "c"), None, "has 3 turns: send the last question alone"),
        (
            ("the cat",),
            "[AST Spanish English]",
            r"was not trained; this model knows 5 tasks: \[ASR",
        ),
        (("the cat",), "nonsense", "'nonsense' was not trained"),
        (("the cat",), "[SQA English]", "is given audio, and the question is text"),
        ((("hear: ", Audio("x.wav")),), None, "not 2 parts of both"),
    ],
)
def test_what_was_not_trained_is_refused(system, turns, task, says):
    roles = ("user", "assistant") * 2
    talk = tuple(Turn(role, each) for role, each in zip(roles, turns, strict=False))
    with pytest.raises(ValueError, match=says):
        system.respond([Dialogue("a", talk, task=task)])


def test_the_system_prompt_is_that_of_the_training(system):
    for text in (SYSTEM, "sing"):
        turns = (Turn("system", text), Turn("user", "the cat"))
        if text == SYSTEM:
            assert system.complete(Dialogue("a", turns)).turns[0].content == SYSTEM
            continue
        with pytest.raises(ValueError, match="leave the system message out"):
            system.complete(Dialogue("a", turns))


def items_of(system, speaking):
    asked, texts = questions(speaking, "[SQA English]"), read_dict(speaking / "answer")
    return [Item(each, reference_ids(system.llm, texts[each.id])) for each in asked]


def test_likelihoods_are_of_a_choice_among_text(system, speaking):
    """By hand: the softmax of all logits, of which the rows of text are divided by their share."""
    items = items_of(system, speaking)[:2]
    answers = system.answer(items)
    model, spoken = system.llm.model, set(system.units.ids)
    text = [i for i in range(model.get_output_embeddings().weight.shape[0]) if i not in spoken]
    for item, answer in zip(items, answers, strict=True):
        dialogue = system.complete(item.dialogue)
        prompt = list(system.prompt(dialogue.turns, system.speech([dialogue])))
        ids = torch.tensor([[*prompt, *item.reference_ids[:-1]]])
        with torch.inference_mode():
            probs_RV = model(ids).logits[0, len(prompt) - 1 :].float().softmax(-1)
        for p_V, id_, nats in zip(probs_RV, item.reference_ids, answer.token_nats, strict=True):
            assert nats == pytest.approx(-math.log(p_V[id_] / p_V[text].sum()), abs=1e-3)
        assert len(text) + 42 == len(probs_RV[0])  # two marks, 40 units
    assert answers[0].response.response == read_dict(speaking / "answer")[items[0].id]


def test_an_answer_after_a_transcript_is_measured_after_its_own_transcript(system, speaking):
    """As in an example of its training, whose response has the same tokens after a line end."""
    task = Task.parse("[ASR SQA English]")
    chained = replace(system, tasks={task: Wording()})
    item = items_of(system, speaking)[0]
    dialogue = chained.complete(replace(item.dialogue, task=str(task)))
    prompt_LD = chained.embed(dialogue.turns, chained.speech([dialogue]))
    tokenizer, eos_ids = system.llm.tokenizer, system.llm.eos_ids
    values = {"audio": Units((1,)), "text": "the cat", "answer": "ran the"}
    _, example = Encoder(tokenizer, system.units, eos_ids)(task, values)
    reference = reference_ids(system.llm, "ran the")
    said = Generated(tuple(example), "stop", 0.0)
    made = chained.before_reference(dialogue, prompt_LD, said)
    assert tuple(example[-len(reference) :]) == reference
    expected = embed_prompt(system.llm.model, example[: -len(reference)])
    assert torch.equal(made, torch.cat([prompt_LD, expected.to(prompt_LD)]))
    assert decode(example, tokenizer).split() == ["the", "cat", "ran", "the"]
    nothing = Generated(tuple(reference_ids(system.llm, "")), "stop", 0.0)
    made = chained.before_reference(dialogue, prompt_LD, nothing)
    assert len(made) == len(prompt_LD) + 1  # the line end


def test_an_answer_after_speech_is_measured_after_its_own_units(system, speaking):
    task = Task.parse("[SQSA SQA English]")
    last = tuple(range(30, 40))  # as if the units that are spoken were other ones than those read
    for output in (0, 30):
        units = replace(system.units, output=output)
        chained = replace(system, tasks={task: Wording()}, units=units)
        item = items_of(system, speaking)[0]
        dialogue = chained.complete(replace(item.dialogue, task=str(task)))
        prompt_LD = chained.embed(dialogue.turns, chained.speech([dialogue]))
        values = {"audio": Units((1,)), "answer_audio": Units(last), "answer": "ran the"}
        _, example = Encoder(system.llm.tokenizer, units, system.llm.eos_ids)(task, values)
        made = chained.before_reference(dialogue, prompt_LD, Generated(tuple(example), "stop", 0.0))
        reference = reference_ids(system.llm, "ran the")
        expected = embed_prompt(system.llm.model, example[: -len(reference)])
        assert torch.equal(made, torch.cat([prompt_LD, expected.to(prompt_LD)]))


def test_units_of_an_encoder_without_transcripts_are_packed(speaking, tmp_path):
    """bestrq: the pack has its encoder, as it has a recogniser's."""
    place = tmp_path / "speaking"
    shutil.copytree(speaking, place, ignore=shutil.ignore_patterns("exp", "tasks", "q", "joint"))
    (place / "bestrq.yaml").write_text(yaml.safe_dump({**ENCODER, "max_epoch": 1}))
    words = ["--config", place / "bestrq.yaml", "--output_dir", place / "bestrq"]
    words += ["--train_data", place / "data", "--valid_data", place / "data"]
    tiny_speaking.call("bestrq_train", *words)
    data = ["--data", place / "data"]
    source = ["--source", f"bestrq:{place}/bestrq:1", "--size", tiny_speaking.UNITS]
    tiny_speaking.call("learn_units", *source, *data, "--output", place / "q")
    for name in ("units", "answer_audio"):
        facts = json.loads((place / name / "units.json").read_text())
        facts["quantiser"] = json.loads((place / "q/quantiser.json").read_text())["fingerprint"]
        (place / name / "units.json").write_text(json.dumps(facts))
    words = ["--llm", place / "text_llm", "--quantiser", place / "q", "--output", place / "joint"]
    tiny_speaking.call("extend_llm", *words)
    tiny_speaking.prepare(place, place / "tasks")
    tiny_speaking.pack(place, place / "packed", llm="joint")
    shutil.rmtree(place / "bestrq")
    system = espnet_audiollm.load(place / "packed")
    assert system.respond(questions(place, "[SQA English]")[:1])


def test_a_chat_asks_each_question_alone(system, speaking):
    chat = Chat(system, 100)
    texts = list(read_dict(speaking / "data/text").values())[:2]
    for text in texts:
        said = "".join(piece.text for piece in chat.say(text))
        [alone] = system.respond([Dialogue("a", (Turn("user", text),))])
        assert said == alone.response and len(chat.turns) == 2


def test_repeats_are_merged_where_they_were(speaking, tmp_path):
    """Of units with a duration each: the same prompts, and durations are predicted."""
    place = tmp_path / "merged"
    shutil.copytree(speaking, place, ignore=shutil.ignore_patterns("exp", "tasks"))
    shutil.rmtree(place / "units")
    words = ["--quantiser", place / "q", "--data", place / "data", "--output", place / "units"]
    tiny_speaking.call("extract_units", *words, "--merge_repeats", "true")
    facts = json.loads((place / "answer_audio/units.json").read_text())
    (place / "answer_audio/units.json").write_text(json.dumps({**facts, "merged": True}))
    table = place / "answer_audio/units"
    ones = [f"{id_} {' '.join('1' * len(SPOKEN))}\n" for id_ in read_dict(table)]
    (place / "answer_audio/durations").write_text("".join(ones))
    tiny_speaking.prepare(place, place / "tasks")
    tiny_speaking.pack(place, place / "packed", "--vocoder", place / "patches", llm="joint")
    merged = espnet_audiollm.load(place / "packed")
    prompts = read_dict(place / "tasks/prompt_ids")
    expected = [numbers(prompts[id_]) for id_ in sorted(prompts) if "a.sqa_" in id_]
    assert prompts_of(merged, questions(place, "[SQA English]")) == expected
    assert merged.voices.predicts and merged.voices.names == ("mean",)
    assert len(speak_all(merged.voices.speaker(), SPOKEN)) > 0


# --- the pack -----------------------------------------------------------------------------------


def test_a_pack_needs_nothing_else(speech_lm, speaking, ctc_exp, system):
    suffixes = {path.suffix for path in speech_lm.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".md", ".jinja"}
    for path in speech_lm.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            assert str(speaking) not in path.read_text() and str(ctc_exp) not in path.read_text()
    head, _, body = (speech_lm / "README.md").read_text()[4:].partition("---\n")
    assert yaml.safe_load(head)["library_name"] == "espnet_audiollm"
    assert all(f"`{tag}`" in body for tag in TAGS) and "Voice: `s`" in body
    assert system.label == "speech LM tiny"


def parts(place, **other):
    given = {"speech_llm": "llm", "quantiser": "q", "tasks": "tasks", "vocoder": "vocoder"} | other
    return [word for name, path in given.items() for word in (f"--{name}", place / path)]


@pytest.fixture(scope="module")
def others(speaking, tmp_path_factory):
    """Parts that belong to another recipe."""
    place = tmp_path_factory.mktemp("others")
    words = ["--source", "fbank:8", "--size", 40, "--data", speaking / "data"]
    tiny_speaking.call("learn_units", *words, "--output", place / "q")
    quantiser = ["--quantiser", place / "q", "--data", speaking / "data"]
    tiny_speaking.call("extract_units", *quantiser, "--output", place / "units")
    words = ["--data", speaking / "data", "--units", place / "units"]
    tiny_speaking.call("mean_patches", *words, "--output", place / "patches")
    words = [
        "--llm",
        speaking / "text_llm",
        "--quantiser",
        place / "q",
        "--output",
        place / "joint",
    ]
    tiny_speaking.call("extend_llm", *words)
    return place


def test_parts_that_do_not_belong_together_are_refused(speaking, others, run, tmp_path):
    out = ["--output", tmp_path / "out"]
    for wrong, says in (
        ({"quantiser": others / "q"}, "units of another quantiser"),
        ({"vocoder": others / "patches"}, "the vocoder"),
        ({"speech_llm": others / "joint"}, "prepare the tasks again"),
        ({"speech_llm": speaking / "text_llm"}, "no units in its vocabulary"),
        ({"encoder": speaking / "vocoder"}, "no experiment of ctc_train"),
    ):
        run("pack", *parts(speaking, **wrong), *out).fails(says)
    run("pack", "--speech_llm", speaking / "llm", *out).fails("needs --quantiser")
    run("pack", *out).fails("--exp", "--speech_llm")
    run("pack", *parts(speaking), "--voice", "nobody", *out).fails("nobody", "1 voices (first: s)")
    assert not (tmp_path / "out").exists()


def test_a_voice_of_a_recording_needs_leave(speaking, run, tmp_path):
    tiny_speaking.train_vocoder(speaking, "prompted", "--voice", "prompt")
    prompt = ["--voice_prompt", next(iter(read_dict(speaking / "data/wav.scp").values()))]
    words = [*parts(speaking, vocoder="prompted"), "--output", tmp_path / "out"]
    run("pack", *words, *prompt).fails("--allow_voice_cloning true", "agreed")
    run("pack", *words).fails("--voice_prompt")
    run("pack", *words, *prompt, "--allow_voice_cloning", "true").says("MB")
    made = espnet_audiollm.load(tmp_path / "out")
    assert made.voices.names == ("u00",) and "imitates" in made.voices.comment
    assert "imitates a recording" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(ValueError, match="first: u00"):
        made.voices.speaker("s")


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("config.json", b"{", "config.json is damaged"),
        ("config.json", b'{"model_type": "espnet_speechlm"}', "5 fields are wrong, first: tags"),
        ("quantiser/quantiser.safetensors", None, "quantiser.safetensors does not exist"),
        ("encoder/model.safetensors", b"x", "is damaged"),
        ("vocoder/model.safetensors", b"x", "is damaged"),
    ],
)
def test_damage_is_found(speech_lm, tmp_path, file, change, says):
    broken = shutil.copytree(speech_lm, tmp_path / "broken")
    (broken / file).unlink()
    if change is not None:
        (broken / file).write_bytes(change)
    with pytest.raises(ValueError, match=says):
        espnet_audiollm.load(broken)


def test_parts_that_are_exchanged_later_are_refused(speech_lm, speaking, tmp_path):
    broken = shutil.copytree(speech_lm, tmp_path / "broken")
    shutil.copy(speaking / "joint/model.safetensors", broken / "llm/model.safetensors")
    with pytest.raises(ValueError, match="other weights"):
        espnet_audiollm.load(broken)
    with pytest.raises(ValueError, match="has its own llm"):
        espnet_audiollm.load(speech_lm, llm=str(speaking / "llm"))
