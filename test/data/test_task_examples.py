"""A mixture's file, and its examples as token ids with the loss on outputs only."""

import json
from dataclasses import replace

import chat_llms
import pytest
import torch
import yaml
from tokenizers import AddedToken

from espnet_audiollm.data.index import Table
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.data.prompt import decode
from espnet_audiollm.data.speech_tasks import Task
from espnet_audiollm.data.task_examples import Encoder, read_about, write_examples
from espnet_audiollm.data.task_mixture import read_mixture
from espnet_audiollm.data.unit_tables import UnitSet, write_set
from espnet_audiollm.data.unit_tokens import UnitTokens, UnitVocabulary, VocabularySet, unit_names
from espnet_audiollm.model.response_loss import embed_prompt, response_nats
from espnet_audiollm.types import Units

VOCABULARY = UnitVocabulary((VocabularySet("f" * 64, 9, 25.0),), "e" * 64, "mean", 0)
MAKERS = [chat_llms.llama2_trained, chat_llms.llama3_trained, chat_llms.chatml_trained]
SOURCE = {
    "name": "boats",
    "language": "Spanish",
    "translation_language": "English",
    "tasks": ["[ASR Spanish]", "[ASR AST S2ST Spanish English]"],
    "fields": {
        "audio": "audio",
        "text": "text",
        "translation": "translation",
        "translation_audio": "target",
    },
}


def encoder(make):
    tokenizer = make()
    names = [AddedToken(name, special=True, normalized=False) for name in unit_names(9)]
    tokenizer.add_tokens(names, special_tokens=True)
    return Encoder(tokenizer, UnitTokens.of(tokenizer), [tokenizer.eos_token_id])


@pytest.fixture
def mixture(tmp_path):
    """Writes the tables and a file; `mixture(sources, alpha=...)` reads it."""
    for name, tables in {
        "audio": {"units": "u 1 2 2\nv 8\n"},
        "target": {"units": "u 3 4\nv 0 0\n"},
    }.items():
        (tmp_path / name).mkdir()
        write_set(tmp_path / name, UnitSet("f" * 64, 9, 25.0, False))
        (tmp_path / name / "units").write_text(tables["units"])
    (tmp_path / "text").write_text("u the cat\nv a dog\n")
    (tmp_path / "translation").write_text("u the mat\nv the park\n")

    def read(*sources, **more):
        placed = [{**each, "fields": place(each["fields"], tmp_path)} for each in sources]
        (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"sources": placed, **more}))
        return read_mixture(tmp_path / "mix.yaml")

    return read


def place(fields, root):
    return {k: str(root / v) for k, v in fields.items()} if isinstance(fields, dict) else fields


def said_lines(ids, tokenizer):
    return [line.strip() for line in decode(ids, tokenizer).split("\n")]


@pytest.mark.parametrize("make", MAKERS)
def test_token_ids_of_a_combined_task(make):
    encode = encoder(make)
    task = Task.parse("[ASR AST S2ST Spanish English]")
    values = {
        "audio": Units((1, 2, 2)),
        "text": "the cat",
        "translation": "the mat",
        "translation_audio": Units((3, 4)),
    }
    prompt, response = encode(task, values)
    units = encode.units
    assert units.decode(prompt) == Units((1, 2, 2)) and units.decode(response) == Units((3, 4))
    assert "[ASR AST S2ST Spanish English]" in decode(prompt, encode.tokenizer)
    begin, end = response.index(units.begin), response.index(units.end)
    assert said_lines(response[:begin], encode.tokenizer) == ["the cat", "the mat"]
    _, alone = encode(Task.parse("[AST Spanish English]"), values)
    own = alone[:2]  # as the translation begins by itself
    assert any(response[i : i + len(own)] == own for i in range(begin))
    assert response[begin : end + 1] == units.encode(Units((3, 4)))
    assert response[-1] == encode.tokenizer.eos_token_id and len(response) <= end + 3


@pytest.mark.parametrize("make", MAKERS)
def test_units_spelled_out_in_a_text_stay_text(make):
    encode = encoder(make)
    values = {"text": "<|a_3|><|audio|>", "audio": Units((1,))}
    prompt, _ = encode(Task.parse("[TTS Spanish]"), values)
    assert not encode.units.decode(prompt).ids and encode.units.begin not in prompt
    _, response = encode(Task.parse("[ASR Spanish]"), values)
    assert not encode.units.decode(response).ids


def test_the_loss_is_on_outputs_only():
    """As transformers counts it with every position of the prompt ignored."""
    encode = encoder(chat_llms.llama2_trained)
    values = {"audio": Units((1, 2)), "text": "the cat"}
    prompt, response = encode(Task.parse("[ASR Spanish]"), values)
    model = chat_llms.tiny_llama(len(encode.tokenizer))
    labels = torch.tensor([[-100] * len(prompt) + response])
    with torch.no_grad():
        theirs = model(torch.tensor([prompt + response]), labels=labels).loss
        embedded = embed_prompt(model, prompt)
        [nats_R] = response_nats(model, [embedded], [torch.tensor(response)])
    torch.testing.assert_close(nats_R.mean(), theirs)
    assert len(nats_R) == len(response)


def test_rows_of_a_mixture(mixture, tmp_path):
    read = mixture(SOURCE, {**SOURCE, "name": "b", "tasks": ["[TTS Spanish]"]}, alpha=0.5)
    encode = encoder(chat_llms.llama3_trained)
    blocks = write_examples(tmp_path / "out", read, encode, VOCABULARY, 200)
    names = ["b.tts_spanish", "boats.asr_ast_s2st_spanish_english", "boats.asr_spanish"]
    assert [block.name for block in blocks] == names
    assert list(read_about(tmp_path / "out").blocks) == blocks
    assert [block.size for block in blocks] == [2, 2, 2]
    assert [block.weight for block in blocks] == pytest.approx([1 / 3] * 3)
    tables = [Table(tmp_path / "out" / n) for n in ("prompt_ids", "response_ids", "lengths")]
    assert len({table.ids for table in tables}) == 1 and len(tables[0]) == 6
    assert [tables[0][row][0] for row in range(6)] == [f"{n}!{u}" for n in names for u in "uv"]
    prompt, response = (list(map(int, table[5][1].split())) for table in tables[:2])
    asr = Task.parse("[ASR Spanish]")
    assert (prompt, response) == encode(asr, {"audio": Units((8,)), "text": "a dog"})
    assert tables[2][5][1] == str(len(prompt) + len(response))
    rows = read_dict(tmp_path / "out/response_ids")
    assert blocks[2].tokens == sum(len(rows[f"{names[2]}!{u}"].split()) for u in "uv")
    facts = json.loads((tmp_path / "out/tasks.json").read_text())
    assert facts["vocabulary"]["quantiser"] == "f" * 64 and facts["alpha"] == 0.5


CHAIN = {
    "[ASR SQA SQSA English]": ("audio", "the cat\nthe mat\n", True),
    "[ASR SQA English]": ("audio", "the cat\nthe mat", False),
    "[QA QSA English]": ("text", "the mat\n", True),
    "[QA English]": ("text", "the mat", False),
}


@pytest.mark.parametrize("tag", CHAIN)
@pytest.mark.parametrize("make", MAKERS)
def test_token_ids_of_the_chain_s_four_forms(make, tag):
    """SpeechGPT's third stage: the input is only read, all that follows is learned."""
    encode = encoder(make)
    values = {
        "audio": Units((1, 2)), "text": "the cat", "answer": "the mat", "answer_audio": Units((5,)),
    }  # fmt: skip
    given, text, spoken = CHAIN[tag]
    prompt, response = encode(Task.parse(tag), values, "{input} Tell me.")
    units, eos = encode.units, encode.tokenizer.eos_token_id
    heard = (units.begin, units.first + 1, units.first + 2, units.end) if given == "audio" else ()
    assert tuple(id_ for id_ in prompt if id_ >= units.begin) == heard
    asked = decode(prompt, encode.tokenizer)
    assert "Tell me." in asked and "[" + tag[1:] not in asked
    assert ("the cat" in asked) == (given == "text")
    said = [units.begin, units.first + 5, units.end] if spoken else []
    learned = [id_ for id_ in response if id_ >= units.begin]
    assert learned == said and response[-1] == eos
    begin = response.index(units.begin) if spoken else len(response)
    assert said_lines(response[:begin], encode.tokenizer) == text.strip().split("\n")


@pytest.mark.parametrize("make", MAKERS)
def test_speech_alone_is_packed(mixture, tmp_path, make):
    """No tag, no transcript: u is <1 2 2>, v <8>, one begin of a text before them."""
    read = mixture({"name": "lm", "tasks": ["[LM]"], "fields": {"audio": "audio"}})
    encode = encoder(make)
    begin = encode.tokenizer.bos_token_id
    begin = encode.tokenizer.eos_token_id if begin is None else begin
    u, v = (encode.units.encode(Units(ids)) for ids in ((1, 2, 2), (8,)))
    for context, rows in ((9, {"lm.lm!u": u + v}), (8, {"lm.lm!u": u, "lm.lm!v": v})):
        [block] = write_examples(tmp_path / str(context), read, encode, VOCABULARY, context)
        found = read_dict(tmp_path / str(context) / "response_ids")
        assert {id_: list(map(int, row.split())) for id_, row in found.items()} == rows
        prompts = read_dict(tmp_path / str(context) / "prompt_ids")
        assert set(prompts.values()) == {str(begin)}
        assert (block.size, block.left_out, block.tokens) == (len(rows), 0, len(u + v))
    with pytest.raises(ValueError, match="none of 2 examples fits"):
        write_examples(tmp_path / "none", read, encode, VOCABULARY, 3)


def test_instructions_of_a_source(mixture, tmp_path):
    """Each utterance's own, drawn by the mixture's seed."""
    (tmp_path / "ways.yaml").write_text("ASR: ['One {input}', 'Two {input}', 'Three {input}']")
    ways = {"instructions": str(tmp_path / "ways.yaml"), "tasks": ["[ASR Spanish]"]}
    encode, asked = encoder(chat_llms.chatml_trained), {}
    for seed in range(5):
        read = mixture({**SOURCE, **ways}, seed=seed, system_prompt="Be brief.")
        assert read.system_prompt == "Be brief."
        write_examples(tmp_path / f"{seed}", read, encode, VOCABULARY, 200)
        rows = read_dict(tmp_path / f"{seed}/prompt_ids")
        for id_, row in rows.items():
            words = decode(map(int, row.split()), encode.tokenizer)
            asked[seed, id_] = next(w for w in ("One", "Two", "Three") if w in words)
            [source] = read.sources
            wording = source.wording(source.tasks[0])
            assert wording.template(id_[-1]) == f"{asked[seed, id_]} {{input}}"
    assert len(set(asked.values())) > 1
    with pytest.raises(ValueError, match="no template for .TTS Spanish"):
        mixture({**SOURCE, **ways, "tasks": ["[TTS Spanish]"]})
    with pytest.raises(ValueError, match="seed is 'x'"):
        mixture(SOURCE, seed="x")
    with pytest.raises(ValueError, match="system_prompt is 3"):
        mixture(SOURCE, system_prompt=3)


def test_longer_examples_are_left_out_and_counted(mixture, tmp_path):
    read = mixture({**SOURCE, "tasks": ["[TTS Spanish]"]})
    encode = encoder(chat_llms.chatml_trained)
    lengths = []
    [source] = read.sources
    for _, values in source.examples(source.tasks[0], VOCABULARY):
        lengths.append(sum(map(len, encode(source.tasks[0], values))))
    short, long = sorted(lengths)
    [block] = write_examples(tmp_path / "out", read, encode, VOCABULARY, long - 1)
    assert (block.size, block.left_out) == (1, 1) and short < long
    with pytest.raises(ValueError, match=f"none of 2 examples fits.* {short - 1} positions"):
        write_examples(tmp_path / "none", read, encode, VOCABULARY, short - 1)
    assert not (tmp_path / "none").exists()


def test_utterances_that_a_table_lacks_are_left_out_and_counted(mixture, tmp_path):
    read = mixture({**SOURCE, "incomplete": "leave_out"})
    (tmp_path / "target/units").write_text("u 3 4\n")
    encode = encoder(chat_llms.chatml_trained)
    blocks = write_examples(tmp_path / "out", read, encode, VOCABULARY, 200)
    assert {block.tag: (block.size, block.incomplete) for block in blocks} == {
        "[ASR Spanish]": (2, 0),
        "[ASR AST S2ST Spanish English]": (1, 1),
    }
    assert list(read_about(tmp_path / "out").blocks) == blocks


def test_a_share_has_the_same_utterances_in_all_tasks(mixture, tmp_path):
    read = mixture(SOURCE)
    ids = [f"u{number}" for number in range(400)]
    quarter, half = (
        {id_ for id_ in ids if replace(read, share=share).has(id_)} for share in (0.25, 0.5)
    )
    assert quarter < half and 70 < len(quarter) < 130 and 160 < len(half) < 240
    assert all(read.has(id_) for id_ in ids)
    encode = encoder(chat_llms.chatml_trained)
    part = replace(read, share=0.2)
    assert [part.has(id_) for id_ in "uv"] == [True, False]
    blocks = write_examples(tmp_path / "out", part, encode, VOCABULARY, 200)
    assert [block.size for block in blocks] == [1, 1]
    with pytest.raises(ValueError, match="no utterance is left: .* give a larger share"):
        write_examples(tmp_path / "none", replace(read, share=1e-9), encode, VOCABULARY, 200)


def test_languages_are_given_by_their_codes(mixture, tmp_path):
    tasks = ["[ASR {language}]", "[MT {language} {translation_language}]"]
    names = {"language": "{language}", "translation_language": "{translation_language}"}
    with pytest.raises(ValueError, match="needs a language: give --language CODE"):
        mixture({**SOURCE, **names, "tasks": tasks})
    read = read_mixture(tmp_path / "mix.yaml", ("sv-SE", "en"))
    assert [str(task) for task in read.sources[0].tasks] == [
        "[ASR Swedish]",
        "[MT Swedish English]",
    ]
    with pytest.raises(ValueError, match="no language has the code 'xx'"):
        read_mixture(tmp_path / "mix.yaml", ("xx", "en"))
    with pytest.raises(ValueError, match="give --translation_language CODE"):
        read_mixture(tmp_path / "mix.yaml", ("sv", None))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"incomplete": "maybe"}, "incomplete is 'maybe'"),
        ({"tasks": ["[ASR German]"]}, r"boats has Spanish and English .* \[ASR German\]"),
        ({"tasks": ["[AST English Spanish]"]}, "asks for English to Spanish"),
        ({"translation_language": None}, "boats has Spanish .*Spanish to English"),
        ({"tasks": ["[STT Spanish]"]}, "is unknown"),
        ({"tasks": ["[SQA Spanish]"]}, "needs answer, which the source boats has not"),
        ({"tasks": []}, "a list of tasks"),
        ({"tasks": ["[ASR Spanish]"] * 2}, "boats.asr_spanish comes twice"),
        ({"fields": "text"}, "needs fields"),
        ({"fields": {"texts": "text"}}, "unknown keys .first: texts"),
        ({"name": "a!b"}, "name is 'a!b'"),
        ({"weight": 2}, "unknown keys .first: weight"),
    ],
)
def test_wrong_sources_are_refused(mixture, change, says):
    with pytest.raises(ValueError, match=f"mix.yaml.*{says}.*the same command again"):
        mixture({**SOURCE, **change})


@pytest.mark.parametrize("alpha", [-1, "much", True, 11])
def test_a_wrong_alpha_is_refused(mixture, alpha):
    with pytest.raises(ValueError, match="alpha is"):
        mixture(SOURCE, alpha=alpha)


@pytest.mark.parametrize(
    "file, text, says",
    [
        ("text", "u the cat\n", "v is missing in .*/text"),
        ("text", "u the cat\nv\n", "v has no word in its text"),
        ("audio/units", "u 1\nv\n", "v has no units"),
        ("audio/units", "u 1\nv 9\n", "1 of 1 units"),
    ],
)
def test_wrong_tables_are_refused(mixture, tmp_path, file, text, says):
    read = mixture(SOURCE)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=says):
        write_examples(tmp_path / "out", read, encoder(chat_llms.chatml_trained), VOCABULARY, 200)
    assert not (tmp_path / "out").exists()


def test_units_of_another_quantiser_are_refused(mixture, tmp_path):
    read = mixture(SOURCE)
    read.check_units(VOCABULARY, "joint")
    write_set(tmp_path / "target", UnitSet("a" * 64, 9, 25.0, False))
    with pytest.raises(ValueError, match="target are those of another quantiser.*LLM joint"):
        read.check_units(VOCABULARY, "joint")
    mixture({**SOURCE, "tasks": ["[ASR Spanish]"]}).check_units(VOCABULARY, "joint")  # not needed
