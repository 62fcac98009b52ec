"""Shards with a made-up answerer: what is on disk after every kind of end, with one job or many."""

import hashlib
import json
import socket
from collections import namedtuple

import pytest
from damage import file_size_limit
from written_runs import NO_PROCESS

from espnet_audiollm.store import shards as module
from espnet_audiollm.store.shards import Shards, shard_size, to_line

Item = namedtuple("Item", "id length")
IDS = sorted([f"utt-{i:02d}" for i in range(20)] + ["a$b'c", "é"])
ITEMS = [Item(id_, hashlib.sha256(id_.encode()).digest()[0]) for id_ in IDS]
NAMES = ["shard.00000.jsonl", "shard.00001.jsonl", "shard.00002.jsonl"]  # of 8, 8 and 6


class Killed(BaseException):
    pass


def shards_of(directory, items=ITEMS):
    return Shards(directory, len(items), 8, ("id", "value"), 6)


def plan(items, batch_size=3):
    items = sorted(items, key=lambda item: item.length)
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def answer(batch):
    """Answers that depend on the batch, as floats do: a rerun must make the same batches."""
    mark = hashlib.sha256("".join(item.id for item in batch).encode()).hexdigest()
    return [{"id": item.id, "value": f"{mark[:8]} «{item.length}»\n"} for item in batch]


def fill(directory, answer=answer, job=1, num_jobs=1, items=ITEMS):
    """Do a job's work; the number of its shards that still lack."""
    shards = shards_of(directory, items)
    for shard in shards.windows(iter(items), job, num_jobs):
        for _ in shard.fill(plan(shard.items), answer):
            pass
    return len(shards.missing())


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def complete(tmp_path):
    assert fill(tmp_path / "complete") == 0
    return contents(tmp_path / "complete")


def journal_of(complete, number):
    """The shard's lines in the order in which they were made."""
    lines = {json.loads(line)["id"]: line for line in complete[NAMES[number]].splitlines(True)}
    batches = plan(ITEMS[number * 8 : (number + 1) * 8])
    return b"".join(lines[item.id] for batch in batches for item in batch)


def test_what_there_is(tmp_path, complete):
    assert list(complete) == NAMES
    assert [len(content.splitlines()) for content in complete.values()] == [8, 8, 6]
    records = list(shards_of(tmp_path / "complete").records())
    assert [record["id"] for record in records] == IDS
    first = next(batch for batch in plan(ITEMS[:8]) if any(item.id == IDS[0] for item in batch))
    assert records[0] in answer(first)


@pytest.mark.parametrize("batches", range(8))  # 3 + 3 + 2 of them
def test_killed_between_batches(tmp_path, complete, batches):
    calls = []

    def dies(batch):
        if len(calls) == batches:
            raise Killed
        calls.append(batch)
        return answer(batch)

    with pytest.raises(Killed):
        fill(tmp_path / "store", dies)
    again = []
    assert fill(tmp_path / "store", lambda batch: again.append(batch) or answer(batch)) == 0
    assert contents(tmp_path / "store") == complete
    assert len(again) == 8 - batches  # nothing twice


@pytest.mark.parametrize("size", [0, 1, 50, 99, 100, 101, 102, 240, 10_000])
def test_killed_within_a_write(tmp_path, complete, size):
    """A journal cut anywhere: half a line, half a batch, a complete one without its shard."""
    store = tmp_path / "store"
    store.mkdir()
    (store / ".shard.00001.part").write_bytes(journal_of(complete, 1)[:size])
    assert fill(store) == 0
    assert contents(store) == complete


def test_a_complete_journal_needs_no_answers(tmp_path, complete):
    store = tmp_path / "store"
    store.mkdir()
    for name in (NAMES[0], NAMES[2]):
        (store / name).write_bytes(complete[name])
    (store / ".shard.00001.part").write_bytes(journal_of(complete, 1))
    assert fill(store, answer=None) == 0
    assert contents(store) == complete


@pytest.mark.parametrize("garbage", [b"\0" * 200, b'{"id": "utt-08"}', b"[]", b"\xff"])
def test_garbage_in_a_journal_is_cut_off(tmp_path, complete, garbage):
    store = tmp_path / "store"
    store.mkdir()
    lines = journal_of(complete, 1).splitlines()
    lines[3] = garbage
    (store / ".shard.00001.part").write_bytes(b"\n".join(lines) + b"\n")
    assert fill(store) == 0
    assert contents(store) == complete


def test_other_batches_than_before_keep_what_is_complete_in_both(tmp_path, complete):
    """A journal of two batches of 2, gone on with batches of 3: three of eight answers stay."""
    (shard, *_) = shards_of(tmp_path / "store").windows(ITEMS)
    two = shard.fill(plan(shard.items, 2), answer)
    for _ in range(2):
        next(two)
    two.close()
    asked = []
    list(shard.fill(plan(shard.items, 3), lambda batch: asked.extend(batch) or answer(batch)))
    assert len(asked) == 5


@pytest.mark.parametrize("num_jobs", [2, 3, 5])
def test_jobs_make_what_one_makes(tmp_path, complete, num_jobs):
    left = [fill(tmp_path / "store", job=job, num_jobs=num_jobs) for job in range(num_jobs, 0, -1)]
    assert left[-1] == 0 and all(left[:-1])
    assert contents(tmp_path / "store") == complete


def test_another_number_of_jobs_goes_on(tmp_path, complete):
    fill(tmp_path / "store", job=2, num_jobs=3)
    asked = []
    assert fill(tmp_path / "store", lambda batch: asked.extend(batch) or answer(batch)) == 0
    assert len(asked) == 14
    assert contents(tmp_path / "store") == complete


def test_missing_shards_are_named_with_their_jobs(tmp_path):
    fill(tmp_path, job=2, num_jobs=3)
    shards = shards_of(tmp_path)
    assert shards.left(1, 3) == 8 and shards.left(2, 3) == 0 and shards.left(3, 3) == 6
    message = "2 of 3 shards are missing .first: shard.00000.jsonl.: those of job 1, 3 of 3; rerun"
    with pytest.raises(ValueError, match=message):
        shards.check_whole(3)
    with pytest.raises(ValueError, match="2 of 3 shards are missing .*: rerun stage 6"):
        list(shards.records())


def test_errors_name_shard_and_utterances(tmp_path):
    def fails(batch):
        raise ValueError("the moon is full")

    first = plan(ITEMS[:8])[0]
    message = f"shard.00000.jsonl, {first[0].id} to {first[-1].id}: the moon is full"
    with pytest.raises(ValueError, match=message.replace("$", "[$]")):
        fill(tmp_path, fails)


def test_data_that_shrank(tmp_path):
    shards = shards_of(tmp_path)
    with pytest.raises(ValueError, match="2.jsonl is to hold 6 utterances, and 5 are left"):
        list(shards.windows(ITEMS[:-1], job=3, num_jobs=3))


def test_items_are_read_no_further_than_needed(tmp_path):
    items = iter(ITEMS)
    (shard,) = shards_of(tmp_path).windows(items, job=2, num_jobs=3)
    assert shard.items == ITEMS[8:16]
    assert next(items) == ITEMS[16]


def test_two_writers_of_one_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    shards = shards_of(tmp_path)
    first, second = (next(shards.windows(ITEMS)) for _ in range(2))
    fills = first.fill(plan(first.items), answer)
    next(fills)
    with pytest.raises(ValueError, match="another process is writing"):
        next(second.fill(plan(second.items), answer))
    assert len(list(fills)) == 2
    assert list(second.fill(plan(second.items), None)) == []  # done meanwhile
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[0]]


def test_the_writer_after_the_killed_one_waits(tmp_path, complete):
    """The lock of a process that is about to go: it is taken as soon as it is free."""
    import threading

    store = tmp_path / "store"
    (shard, *_) = shards_of(store).windows(ITEMS)
    dying = shard.fill(plan(shard.items), answer)
    next(dying)
    timer = threading.Timer(0.5, dying.close)
    timer.start()
    assert fill(store) == 0
    timer.join()
    assert contents(store) == complete


def test_sweeping(tmp_path, complete):
    store = tmp_path / "complete"
    killed = f"{socket.gethostname()}.{NO_PROCESS}.tmp"
    left = [".shard.00001.part", f".shard.00001.jsonl.{killed}"]
    for name in left:
        (store / name).write_text("half")
    (store / NAMES[2]).rename(tmp_path / "away")
    with pytest.raises(ValueError, match="1 of 3 shards are missing"):
        shards_of(store).sweep()
    (tmp_path / "away").rename(store / NAMES[2])
    shards_of(store).sweep()
    assert contents(store) == complete


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-20], "line 8 is not a result .* delete the file and rerun stage 6"),
        (lambda text: text + text, ".* comes after .* delete the file and rerun stage 6"),
        (lambda text: b"".join(text.splitlines(True)[:-1]), "it holds 7 answers to 8 prompts"),
        (lambda text: text.replace(b"value", b"worth", 1), "line 1 .* fields are not"),
        (lambda text: b"[]\n", "line 1 is not a result"),
    ],
)
def test_damaged_shards(tmp_path, complete, damage, message):
    path = tmp_path / "complete" / NAMES[1]
    path.write_bytes(damage(complete[NAMES[1]]))
    with pytest.raises(ValueError, match=f"{NAMES[1]}: {message}"):
        list(shards_of(tmp_path / "complete").records())


def test_full_disk(tmp_path, complete):
    """The journal takes what fits and then fails: one sentence, and the rerun completes it."""
    (shard, *_) = shards_of(tmp_path / "store").windows(ITEMS)
    with file_size_limit(300):
        with pytest.raises(ValueError, match=r"cannot write .*shard.00000.part .* again"):
            list(shard.fill(plan(shard.items), answer))
    assert shard.journal.stat().st_size == 300
    assert fill(tmp_path / "store") == 0
    assert contents(tmp_path / "store") == complete


@pytest.mark.parametrize(
    ("utterances", "size"), [(1, 128), (300, 128), (28_539, 446), (10_808_037, 4096)]
)
def test_size_of_shards(utterances, size):
    assert shard_size(utterances) == size


def test_lines_are_readable_text():
    assert to_line({"id": "é", "value": "a\nb"}) == '{"id": "é", "value": "a\\nb"}\n'
