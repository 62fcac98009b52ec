"""The response store: what it holds, what it refuses, and the prompts it is planned from."""

import dataclasses
import json
import os
import socket

import pytest
from written_runs import NO_PROCESS, read_store

from espnet_audiollm.store import responses
from espnet_audiollm.store.responses import Settings, to_record
from espnet_audiollm.types import Dialogue, Response, Turn

IDS = sorted([f"utt-{i}" for i in range(20)] + ["a$b'c", "é"])
TEXTS = {id_: f"text {id_}" for id_ in IDS}
PROMPTS = responses.survey(TEXTS.items())
SETTINGS = Settings(
    fingerprint="f",
    chat_template_hash="t",
    system_prompt=None,
    max_tokens_factor=4.0,
    beam=1,
    shard_size=8,
    num_prompts=PROMPTS.num,
    prompts_hash=PROMPTS.hash,
    prompt_casing="asis",
)


def response(id_):
    return Response(id_, TEXTS[id_], f"«{id_}»\n", (len(id_), ord(id_[-1]), 2), "stop")


def fill(directory, job=1, num_jobs=1, settings=SETTINGS):
    shards = responses.open_store(directory, settings, {"llm": "tiny"})
    for shard in shards.windows(TEXTS.items(), job, num_jobs):
        items = [Dialogue(id_, (Turn("user", text),)) for id_, text in shard.items]
        for _ in shard.fill([items], lambda batch: [to_record(response(d.id)) for d in batch]):
            pass


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def complete(tmp_path):
    fill(tmp_path / "complete")
    assert responses.merge(tmp_path / "complete") == 22
    return contents(tmp_path / "complete")


def test_what_a_finished_store_holds(tmp_path, complete):
    names = ["response_ids", "shard.00000.jsonl", "shard.00001.jsonl", "shard.00002.jsonl"]
    assert list(complete) == [*names, "store.json"]
    assert [len(complete[name].splitlines()) for name in names] == [22, 8, 8, 6]
    index = complete["response_ids"].decode().splitlines()
    assert [line.split()[0] for line in index] == IDS
    first = json.loads(complete["shard.00000.jsonl"].splitlines()[0])
    assert first == {
        "id": "a$b'c",
        "prompt": "text a$b'c",
        "response": "«a$b'c»\n",
        "response_ids": [5, 99, 2],
        "finish_reason": "stop",
    }
    assert index[0] == "a$b'c 5 99 2"
    assert json.loads(complete["store.json"])["llm"] == "tiny"


def test_reading_back(tmp_path, complete):
    read = read_store(tmp_path / "complete")
    assert list(read) == IDS
    assert read["é"] == response("é")


def test_jobs_share_a_store(tmp_path, complete):
    store = tmp_path / "store"
    for job in (2, 3, 1):
        fill(store, job, 3)
    assert not (store / "response_ids").exists()
    responses.merge(store, 3)
    assert contents(store) == complete


def test_merging_again(tmp_path, complete):
    """A new index is kept; one older than a shard, or none, is made again."""
    index, shard = (tmp_path / "complete" / name for name in ("response_ids", "shard.00001.jsonl"))
    made = index.stat().st_ino
    responses.merge(tmp_path / "complete")
    assert index.stat().st_ino == made
    later = index.stat().st_mtime_ns + 10**9
    os.utime(shard, ns=(later, later))
    responses.merge(tmp_path / "complete")
    assert index.stat().st_ino != made
    index.unlink()
    responses.merge(tmp_path / "complete")
    assert contents(tmp_path / "complete") == complete


def test_merging_removes_what_killed_runs_left(tmp_path, complete):
    killed = f"{socket.gethostname()}.{NO_PROCESS}.tmp"
    left = (f".response_ids.{killed}", f".store.json.{killed}", ".shard.00001.part")
    for name in (*left, ".generate.log.lock"):
        (tmp_path / "complete" / name).write_text("half")
    responses.merge(tmp_path / "complete")
    assert contents(tmp_path / "complete") == complete | {".generate.log.lock": b"half"}


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
def test_a_store_made_otherwise_is_refused(tmp_path, complete, change, message):
    with pytest.raises(ValueError, match=f"were made with {message}: delete the directory or"):
        fill(tmp_path / "complete", settings=dataclasses.replace(SETTINGS, **change))
    assert contents(tmp_path / "complete") == complete


def test_another_name_of_the_same_llm_is_no_change(tmp_path, complete):
    responses.open_store(tmp_path / "complete", SETTINGS, {"llm": "moved/elsewhere"})
    assert contents(tmp_path / "complete") == complete


def test_unfinished_store(tmp_path):
    fill(tmp_path, job=1, num_jobs=3)
    with pytest.raises(ValueError, match="2 of 3 shards are missing .first: shard.00001.jsonl"):
        read_store(tmp_path)
    with pytest.raises(ValueError, match="those of job 2, 3 of 3; rerun stage 7"):
        responses.merge(tmp_path, 3)
    assert not (tmp_path / "response_ids").exists()


def test_no_store(tmp_path):
    with pytest.raises(ValueError, match="is not a response store"):
        read_store(tmp_path)


def test_shards_without_a_store(tmp_path):
    (tmp_path / "shard.00000.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="has 1 shards .* but no store.json"):
        responses.open_store(tmp_path, SETTINGS)


def test_damaged_files(tmp_path, complete):
    shard = tmp_path / "complete" / "shard.00001.jsonl"
    shard.write_bytes(complete["shard.00001.jsonl"][:-20])
    with pytest.raises(ValueError, match="shard.00001.jsonl: line 8 is not a result"):
        read_store(tmp_path / "complete")
    lines = complete["shard.00001.jsonl"].splitlines(keepends=True)
    shard.write_bytes(b"".join(lines[:-1]))
    (tmp_path / "complete" / "response_ids").unlink()
    with pytest.raises(ValueError, match="shard.00001.jsonl: it holds 7 answers to 8 prompts"):
        responses.merge(tmp_path / "complete")
    assert not (tmp_path / "complete" / "response_ids").exists()
    (tmp_path / "complete" / "store.json").write_text("{")
    with pytest.raises(ValueError, match="store.json is damaged"):
        read_store(tmp_path / "complete")


def test_survey_is_of_ids_and_texts():
    assert PROMPTS.num == 22
    assert responses.survey({**TEXTS, "é": "x"}.items()) != PROMPTS
    assert responses.survey([("a", "b c")]) != responses.survey([("a", "b"), ("c", "x")])


def test_transcripts_that_cannot_be_answered():
    with pytest.raises(ValueError, match="1 of 2 transcripts are empty .first: b."):
        responses.survey([("a", "x"), ("b", " ")])
    with pytest.raises(ValueError, match="no transcripts"):
        responses.survey([])
