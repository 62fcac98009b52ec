"""What an answer says, by modality; what is wrong with it."""

from dataclasses import replace

import chat_llms
import pytest
from tokenizers import AddedToken

from espnet_audiollm.data.speech_replies import SpeechReply, read_reply
from espnet_audiollm.data.speech_tasks import Task
from espnet_audiollm.data.task_examples import Encoder
from espnet_audiollm.data.unit_tokens import UnitTokens, unit_names
from espnet_audiollm.types import Units

MAKERS = [chat_llms.llama2_trained, chat_llms.llama3_trained, chat_llms.chatml_trained]
VALUES = {
    "audio": Units((1,)),
    "text": "the cat",
    "translation": "the <|a_3|> mat",
    "translation_audio": Units((3, 4, 4)),
}
TAGS = ["[ASR Spanish]", "[S2ST Spanish English]", "[S2ST AST Spanish English]"]
TAGS += ["[ASR AST S2ST Spanish English]"]


@pytest.fixture(params=MAKERS)
def tokenizer(request):
    tokenizer = request.param()
    names = [AddedToken(name, special=True, normalized=False) for name in unit_names(9)]
    tokenizer.add_tokens(names, special_tokens=True)
    return tokenizer


@pytest.mark.parametrize("tag", TAGS)
def test_what_was_taught_is_read(tokenizer, tag):
    task, units = Task.parse(tag), UnitTokens.of(tokenizer)
    _, ids = Encoder(tokenizer, units, [tokenizer.eos_token_id])(task, VALUES)
    expected = {field: VALUES[field] for field in task.made}
    assert read_reply(task, ids, "stop", tokenizer, units) == SpeechReply(expected)


def test_faults(tokenizer):
    units = UnitTokens.of(tokenizer)
    two, chain = Task.parse("[S2ST Spanish English]"), Task.parse("[AST S2ST Spanish English]")

    def read(task, *parts, finish="stop"):
        ids = []
        for part in parts:
            new = tokenizer(part, add_special_tokens=False)["input_ids"] if part[:0] == "" else part
            ids += new
        found = read_reply(task, ids, finish, tokenizer, units)
        return found.fault, found.values

    spoken, text = units.encode(Units((3, 4))), "the mat"
    good = {"translation": text, "translation_audio": Units((3, 4))}
    assert read(chain, "the mat\n", spoken) == (None, good)
    assert read(two, text) == ("wrong modality", {})
    assert read(chain, spoken, text) == ("wrong modality", {})
    assert read(chain, text) == ("too few", {"translation": text})
    assert read(two) == ("too few", {})
    assert read(two, spoken, text)[0] == "too many"
    assert read(two, spoken, spoken)[0] == "too many"
    assert read(two, spoken[:-1]) == ("broken units", {})
    assert read(two, spoken[1:]) == ("broken units", {})
    assert read(two, [units.begin, units.end]) == ("broken units", {})
    assert read(two, spoken[:2], text) == ("broken units", {})
    assert read(chain, "the mat\n", spoken[:-1], finish="length") == (
        "no end",
        {"translation": text},
    )
    assert read(chain, "the m", finish="length") == ("no end", {})
    assert read(two, [], finish="context") == ("no end", {})


def test_units_of_two_sets(tokenizer):
    """Nine units: four are read, five are spoken, which their quantiser calls 0 to 4."""
    units = replace(UnitTokens.of(tokenizer), output=4)
    task, eos = Task.parse("[S2ST Spanish English]"), tokenizer.eos_token_id

    def read(*numbers):
        ids = [*units.encode(Units(numbers)), eos]
        return read_reply(task, ids, "stop", tokenizer, units)

    assert read(4, 8, 8) == SpeechReply({"translation_audio": Units((0, 4, 4))})
    for wrong in ((3, 0), (4, 3), (0, 8)):  # of the other set, of both
        assert read(*wrong) == SpeechReply({}, "wrong units")
    spoken = [units.spoken(units.first + unit) for unit in (3, 4, 8, 9)]
    assert spoken == [None, 0, 4, None]
