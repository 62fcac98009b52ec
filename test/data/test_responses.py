"""The response store with a made-up answerer: what is on disk after every kind of end."""

import dataclasses
import hashlib
import json

import chat_llms
import pytest

from espnet_audiollm.data import responses
from espnet_audiollm.data.responses import Request, ResponseStore, Settings
from espnet_audiollm.types import Response

IDS = [f"utt {i}".replace(" ", "-") for i in range(20)] + ["a$b'c", "é"]
TEXTS = {id_: f"text {id_}" for id_ in IDS}
REQUESTS = [Request(id_, text, 5 + i // 3) for i, (id_, text) in enumerate(TEXTS.items())]
SETTINGS = Settings(
    fingerprint="f",
    chat_template_hash="t",
    system_prompt=None,
    max_tokens_factor=4.0,
    beam=1,
    shard_size=8,
    num_prompts=len(REQUESTS),
    prompts_hash=responses.hash_prompts(TEXTS),
)


class Killed(BaseException):
    pass


def answer(batch):
    """Answers that depend on the batch, as floats do: a rerun must make the same batches."""
    mark = hashlib.sha256("".join(r.id for r in batch).encode()).digest()[0]
    return [Response(r.id, r.text, f"«{r.text}»\n", (mark, r.num_tokens, 2), "stop") for r in batch]


def fill(directory, answer=answer, batch_size=3, job=1, num_jobs=1, settings=SETTINGS):
    store = ResponseStore(directory, settings, {"llm": "tiny"})
    for shard in store.shards(REQUESTS, job, num_jobs):
        for _ in shard.fill(answer, batch_size):
            pass
    return store.finish()


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def whole(tmp_path):
    assert fill(tmp_path / "whole")
    return contents(tmp_path / "whole")


def test_what_a_finished_store_holds(tmp_path, whole):
    names = ["response_ids", "shard.0000.jsonl", "shard.0001.jsonl", "shard.0002.jsonl"]
    assert list(whole) == [*names, "store.json"]
    assert [len(whole[name].splitlines()) for name in names] == [22, 8, 8, 6]
    index = whole["response_ids"].decode().splitlines()
    assert [line.split()[0] for line in index] == sorted(IDS)
    first = json.loads(whole["shard.0000.jsonl"].splitlines()[0])
    assert set(first) == {"id", "prompt", "response", "response_ids", "finish_reason"}
    assert index[sorted(IDS).index("utt-0")] == " ".join(
        ["utt-0", *map(str, first["response_ids"])]
    )
    assert json.loads(whole["store.json"])["llm"] == "tiny"


def test_reading_back(tmp_path, whole):
    read = responses.read_responses(tmp_path / "whole")
    assert list(read) == sorted(IDS)
    assert read["é"] == answer(REQUESTS[19:22])[2]  # the last batch of the last shard
    assert [r.id for r in responses.iter_responses(tmp_path / "whole")] == IDS
    assert list(responses.read_responses(tmp_path / "whole", ["é", "a$b'c"])) == ["a$b'c", "é"]
    with pytest.raises(ValueError, match="1 of 2 utterances have no response .first: new.; rerun"):
        responses.read_responses(tmp_path / "whole", ["é", "new"])


@pytest.mark.parametrize("batches", range(8))  # 3 + 3 + 2 of them
def test_killed_between_batches(tmp_path, whole, batches):
    calls = []

    def dies(batch):
        if len(calls) == batches:
            raise Killed
        calls.append(batch)
        return answer(batch)

    with pytest.raises(Killed):
        fill(tmp_path / "store", dies)
    assert not (tmp_path / "store" / "response_ids").exists()
    again = []
    assert fill(tmp_path / "store", lambda batch: again.append(batch) or answer(batch))
    assert contents(tmp_path / "store") == whole
    assert len(again) == 8 - batches  # nothing twice


@pytest.mark.parametrize("size", [0, 1, 50, 151, 300, 301, 302, 700])
def test_killed_within_a_write(tmp_path, whole, size):
    """A journal cut anywhere: half a line, half a batch, a whole shard not yet renamed."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "store.json").write_bytes(whole["store.json"])
    (store / ".shard.0001.part").write_bytes(whole["shard.0001.jsonl"][:size])
    assert fill(store)
    assert contents(store) == whole


def test_a_whole_journal_is_only_renamed(tmp_path, whole):
    store = tmp_path / "store"
    store.mkdir()
    for name in ("store.json", "shard.0000.jsonl", "shard.0002.jsonl"):
        (store / name).write_bytes(whole[name])
    (store / ".shard.0001.part").write_bytes(whole["shard.0001.jsonl"])
    assert fill(store, answer=None)
    assert contents(store) == whole


@pytest.mark.parametrize("garbage", [b"\0" * 200 + b"\n", b'{"id": "utt-8"}\n', b"[]\n"])
def test_garbage_in_a_journal_is_cut_off(tmp_path, whole, garbage):
    store = tmp_path / "store"
    store.mkdir()
    (store / "store.json").write_bytes(whole["store.json"])
    lines = whole["shard.0001.jsonl"].splitlines(keepends=True)
    (store / ".shard.0001.part").write_bytes(b"".join(lines[:3]) + garbage + b"".join(lines[4:]))
    assert fill(store)
    assert contents(store) == whole


def test_jobs_share_a_store_and_the_last_one_finishes_it(tmp_path, whole):
    ended = [fill(tmp_path / "store", job=job, num_jobs=3) for job in (2, 3, 1)]
    assert ended == [False, False, True]
    assert contents(tmp_path / "store") == whole
    assert fill(tmp_path / "store", answer=None)  # a second run does nothing


def test_more_jobs_than_shards(tmp_path):
    assert [fill(tmp_path, job=job, num_jobs=5) for job in (5, 4, 3, 2, 1)] == [False] * 4 + [True]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fingerprint": "g"}, "another LLM"),
        ({"chat_template_hash": "u"}, "another chat template"),
        ({"system_prompt": ""}, "another system prompt"),
        ({"beam": 10}, "another beam"),
        ({"max_tokens_factor": 2.0}, "another --max_tokens_factor"),
        ({"prompts_hash": "x", "num_prompts": 21}, "another number of prompts, other prompts"),
    ],
)
def test_a_store_made_otherwise_is_refused(tmp_path, whole, change, message):
    with pytest.raises(ValueError, match=f"were made with {message}: delete the directory or"):
        fill(tmp_path / "whole", settings=dataclasses.replace(SETTINGS, **change))
    assert contents(tmp_path / "whole") == whole


def test_another_name_of_the_same_llm_is_no_change(tmp_path, whole):
    ResponseStore(tmp_path / "whole", SETTINGS, {"llm": "moved/elsewhere"})
    assert contents(tmp_path / "whole") == whole


def test_two_writers_of_one_shard(tmp_path):
    store = ResponseStore(tmp_path, SETTINGS)
    first, second = (store.shards(REQUESTS)[0].fill(answer, 3) for _ in range(2))
    next(first)
    with pytest.raises(ValueError, match="another process is writing"):
        next(second)
    assert len(list(first)) == 2


def test_unfinished_store(tmp_path):
    fill(tmp_path, job=1, num_jobs=3)
    with pytest.raises(ValueError, match="2 of 3 shards are missing .first: shard.0001.jsonl"):
        responses.read_responses(tmp_path)
    with pytest.raises(ValueError, match="rerun stage 7"):
        responses.merge(tmp_path)


def test_no_store(tmp_path):
    with pytest.raises(ValueError, match="is not a response store"):
        responses.read_responses(tmp_path)


def test_shards_without_a_store(tmp_path):
    (tmp_path / "shard.0000.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="has 1 shards .* but no store.json"):
        ResponseStore(tmp_path, SETTINGS)


def test_damaged_files(tmp_path, whole):
    shard = tmp_path / "whole" / "shard.0001.jsonl"
    shard.write_bytes(whole["shard.0001.jsonl"][:-20])
    with pytest.raises(ValueError, match="shard.0001.jsonl: line 8 is not a response"):
        responses.read_responses(tmp_path / "whole")
    lines = whole["shard.0001.jsonl"].splitlines(keepends=True)
    shard.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ValueError, match="hold 21 answers to 22 prompts"):
        responses.merge(tmp_path / "whole")
    (tmp_path / "whole" / "store.json").write_text("{")
    with pytest.raises(ValueError, match="store.json is damaged"):
        responses.read_responses(tmp_path / "whole")


def test_full_disk(tmp_path, whole, monkeypatch):
    """The journal takes what fits and then fails: one sentence, and the rerun mends it."""
    store = ResponseStore(tmp_path / "store", SETTINGS, {"llm": "tiny"})
    shard = store.shards(REQUESTS)[0]

    class Full:
        def __init__(self, file):
            self.file = file
            self.room = 500

        def write(self, data):
            if not self.room:
                raise OSError(28, "No space left on device")
            taken = self.file.write(data[: self.room])
            self.room -= taken
            return taken

        def __getattr__(self, name):
            return getattr(self.file, name)

    opened = responses._open_journal

    @responses.contextmanager
    def full(path):
        with opened(path) as journal:
            yield Full(journal)

    monkeypatch.setattr(responses, "_open_journal", full)
    with pytest.raises(ValueError, match=r"cannot write .*shard.0000.part .No space left.* again"):
        list(shard.fill(answer, 3))
    assert shard.journal.stat().st_size == 500
    monkeypatch.setattr(responses, "_open_journal", opened)
    assert fill(tmp_path / "store")
    assert contents(tmp_path / "store") == whole


def test_plan_is_by_length_then_id():
    tokenizer = chat_llms.chatml_trained()
    texts = {"d": "the cat", "c": "the cat sat on the mat", "b": "the dog", "a": "the"}
    plan = responses.plan(texts, tokenizer)
    assert [request.id for request in plan] == ["a", "b", "d", "c"]
    assert plan[0].num_tokens == 3 + 1 + 2 + 3  # <|im_start|> user \n, the, <|im_end|> \n, ...
    with_system = responses.plan(texts, tokenizer, system_prompt="")
    assert with_system[0].num_tokens == plan[0].num_tokens + 5


def test_prompts_hash_is_of_ids_and_texts_in_any_order():
    same = responses.hash_prompts(dict(reversed(TEXTS.items())))
    assert same == SETTINGS.prompts_hash
    assert responses.hash_prompts({**TEXTS, "é": "x"}) != same
    assert responses.hash_prompts({"a": "b c"}) != responses.hash_prompts({"a b": "c"})


def test_transcripts_that_cannot_be_answered():
    tokenizer = chat_llms.chatml_trained()
    with pytest.raises(ValueError, match="1 of 2 transcripts are empty .first: b."):
        responses.plan({"a": "x", "b": " "}, tokenizer)
    with pytest.raises(ValueError, match="no transcripts"):
        responses.plan({}, tokenizer)
