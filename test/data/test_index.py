"""Tables by row and id, batches by size: no list of ids, and the answers of the slow way."""

import errno
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

from espnet_audiollm.data import batches, index, kaldi_dir
from espnet_audiollm.data.batches import Plan, Rules
from espnet_audiollm.data.index import Table, check_same_ids


def write(path, rows):
    kaldi_dir.write_table(path, rows)
    return path


def cache(directory):
    return sorted(p.name for p in directory.iterdir() if p.name.startswith("."))


def odd_rows(number):
    """Ids of one to 40 bytes, not all ASCII; values that are empty, long, or hold spaces."""
    chooser = random.Random(number)
    ids = {"".join(chooser.choices("abé日_-9", k=chooser.randint(1, 13))) for _ in range(number)}
    values = ["", "x", "two words", "é" * 200, "tab\there"]
    return sorted((id_, chooser.choice(values)) for id_ in ids)


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_rows_and_ids_are_those_of_the_table(tmp_path, monkeypatch, block):
    monkeypatch.setattr(index, "BLOCK", block)  # 64 bytes: lines longer than a block
    rows = odd_rows(500)
    table = Table(write(tmp_path / "text", rows))
    assert [table[i] for i in range(len(table))] == rows
    assert all(table.find(id_) == i for i, (id_, _) in enumerate(rows))
    assert table.find("nobody") is None and table.find("") is None
    with pytest.raises(IndexError):
        table[len(rows)]


def test_a_last_line_without_its_end(tmp_path):
    (tmp_path / "text").write_text("a 1\nb 2")
    table = Table(tmp_path / "text")
    assert (len(table), table[1]) == (2, ("b", "2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("b 1\na 2\n", r"out of order, or ids come twice \(first: a\)"),
        ("a 1\na 2\n", r"first: a\)"),
        ("a 1\n\nb 2\n", "line at byte 4 has no id"),
        ("a 1\n b 2\n", "has no id"),
    ],
)
def test_a_table_that_is_not_one(tmp_path, text, message):
    (tmp_path / "text").write_text(text)
    with pytest.raises(ValueError, match=message):
        Table(tmp_path / "text")
    assert cache(tmp_path) == []


def test_order_is_checked_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "BLOCK", 8)
    (tmp_path / "text").write_text("a 1\nc 2\nb 3\nd 4\n")
    with pytest.raises(ValueError, match="first: b"):
        Table(tmp_path / "text")


def test_the_index_is_made_once_and_again_after_a_change(tmp_path):
    path = write(tmp_path / "text", [("a", "1"), ("b", "2")])
    Table(path)
    (first,) = cache(tmp_path)
    made = (tmp_path / first).stat()
    assert Table(path)[1] == ("b", "2")
    assert (tmp_path / first).stat() == made
    old = Table(path)
    write(path, [("a", "1"), ("aa", "5"), ("b", "3")])
    assert [Table(path)[i] for i in range(3)] == [("a", "1"), ("aa", "5"), ("b", "3")]
    assert cache(tmp_path) != [first] and len(cache(tmp_path)) == 1
    assert old[1] == ("b", "2")  # who had opened it still reads what it opened


def test_a_damaged_index_is_named(tmp_path):
    path = write(tmp_path / "text", [("a", "1"), ("b", "2")])
    Table(path)
    (name,) = cache(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{name} is damaged: delete it"):
        Table(path)


def test_a_directory_that_cannot_be_written(tmp_path):
    path = write(tmp_path / "data" / "text", [("a", "1"), ("b", "2")])
    code = (
        "import os, sys, numpy\n"
        "from espnet_audiollm.data.index import Table\n"
        "os.geteuid() or os.setuid(65534)\n"
        "print(Table(sys.argv[1])[1])"
    )
    for directory in (tmp_path, *tmp_path.parents):  # pytest's own directories are private
        if directory.stat().st_uid == os.geteuid() and directory != directory.parent:
            directory.chmod(directory.stat().st_mode | 0o055)
    path.parent.chmod(0o555)
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "('b', '2')\n"
    assert cache(path.parent) == []


def test_several_processes_make_it_at_once(tmp_path):
    path = write(tmp_path / "text", [(f"u{i:06d}", str(i)) for i in range(30_000)])
    code = "import sys; from espnet_audiollm.data.index import Table; print(Table(sys.argv[1])[77])"
    command = [sys.executable, "-c", code, str(path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    for process in started:
        assert process.communicate()[0] == b"('u000077', '77')\n"
    assert len(cache(tmp_path)) == 1


@pytest.mark.parametrize("links", [True, False])
def test_file_systems_that_can_do_less(tmp_path, monkeypatch, links):
    """A new file needs a name; files cannot have two."""
    real = os.open

    def no_unnamed(path, flags, *mode, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no unnamed files")
        return real(path, flags, *mode, **more)

    def no_links(*_, **__):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "open", no_unnamed)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = write(tmp_path / "text", [("a", "1"), ("b", "2")])
    assert Table(path)[1] == ("b", "2")
    (made,) = cache(tmp_path)
    assert made.endswith(".index") and Table(path)[0] == ("a", "1")


def test_a_table_goes_to_another_process(tmp_path):
    table = Table(write(tmp_path / "text", [("a", "1"), ("b", "2")]))
    assert pickle.loads(pickle.dumps(table))[1] == ("b", "2")


def test_tables_that_differ_are_found(tmp_path):
    same = [write(tmp_path / name, [("a", name), ("b", name), ("c", name)]) for name in "xy"]
    other = write(tmp_path / "z", [("a", "z"), ("c", "z"), ("d", "z")])
    check_same_ids((t.path, t.ids) for t in map(Table, same))
    with pytest.raises(ValueError, match="x and .*z do not hold the same ids: b is missing in .*z"):
        check_same_ids((t.path, t.ids) for t in map(Table, [*same, other]))
    with pytest.raises(ValueError, match="d is missing in .*x"):
        write(other, [("a", ""), ("b", ""), ("c", ""), ("d", "")])
        check_same_ids((t.path, t.ids) for t in map(Table, [same[0], other]))


# --- batches ------------------------------------------------------------------------------------


@pytest.fixture
def shapes(tmp_path):
    """Two shape files of 500 utterances: few distinct lengths, so that ties are many."""
    chooser = np.random.default_rng(0)
    lengths = {"speech": chooser.integers(1000, 1100, 500), "text": chooser.integers(1, 90, 500)}
    return [
        str(write(tmp_path / f"{name}_shape", ((f"u{i:03d}", str(n)) for i, n in enumerate(found))))
        for name, found in lengths.items()
    ]


def ids_of(plan):
    return [tuple(f"u{row:03d}" for row in plan.batch(i)) for i in range(len(plan))]


ORDERS = ("ascending", "descending")


@pytest.mark.parametrize("batch_type", ["numel", "length"])
@pytest.mark.parametrize("sort_in_batch", ORDERS)
@pytest.mark.parametrize("sort_batch", ORDERS)
def test_batches_by_size_are_espnets(tmp_path, shapes, batch_type, sort_in_batch, sort_batch):
    from espnet2.samplers.build_batch_sampler import build_batch_sampler

    for bins, smallest, drop_last in ((7000, 1, False), (7000, 8, False), (100_000, 7, True)):
        rules = Rules(batch_type, bins, 0, sort_in_batch, sort_batch, drop_last, smallest)
        plan = Plan(shapes, rules, tmp_path / ".batches")
        theirs = build_batch_sampler(
            batch_type,
            batch_size=1,
            batch_bins=bins,
            shape_files=shapes,
            sort_in_batch=sort_in_batch,
            sort_batch=sort_batch,
            drop_last=drop_last,
            min_batch_size=smallest,
        )
        assert ids_of(plan) == list(theirs)
        sizes = [len(batch) for batch in theirs]
        assert (plan.smallest, plan.largest) == (min(sizes), max(sizes))


@pytest.mark.parametrize("batch_type", ["sorted", "unsorted"])
@pytest.mark.parametrize("sort_in_batch", ORDERS)
@pytest.mark.parametrize("sort_batch", ORDERS)
def test_batches_by_number_are_espnets(tmp_path, shapes, batch_type, sort_in_batch, sort_batch):
    from espnet2.samplers.build_batch_sampler import build_batch_sampler

    for size, drop_last in ((7, False), (7, True), (600, False), (600, True)):
        rules = Rules(batch_type, 0, size, sort_in_batch, sort_batch, drop_last)
        theirs = build_batch_sampler(
            batch_type,
            batch_size=size,
            batch_bins=0,
            shape_files=shapes,
            sort_in_batch=sort_in_batch,
            sort_batch=sort_batch,
            drop_last=drop_last,
        )
        plan = Plan(shapes, rules, tmp_path / ".batches")
        assert ids_of(plan) == [tuple(batch) for batch in theirs]


def test_frames_of_features_count_with_their_width(tmp_path):
    from espnet2.samplers.num_elements_batch_sampler import NumElementsBatchSampler

    path = write(tmp_path / "shape", ((f"u{i:03d}", f"{i % 17 + 1},80") for i in range(60)))
    plan = Plan([path], Rules("numel", 4000, 0), tmp_path / ".batches")
    assert ids_of(plan) == list(NumElementsBatchSampler(4000, [str(path)], sort_batch="descending"))


def test_a_plan_made_apart_is_the_same(tmp_path, shapes, monkeypatch):
    rules = Rules("numel", 7000, 0)
    here = Plan(shapes, rules, tmp_path / "here")
    monkeypatch.setattr(batches, "APART", 0)
    monkeypatch.setattr(batches, "AT_ONCE", 64)
    apart = Plan(shapes, rules, tmp_path / "apart")
    assert ids_of(here) == ids_of(apart) and here.digest == apart.digest
    with pytest.raises(ValueError, match="no length"):
        write(tmp_path / "bad_shape", [("u000", "")])
        Plan([tmp_path / "bad_shape"], rules, tmp_path / "apart")


def test_a_plan_is_kept_until_what_it_depends_on_changes(tmp_path, shapes):
    def made(rules):
        Plan(shapes, rules, tmp_path / "exp" / ".train.batches")
        return cache(tmp_path / "exp")

    (tmp_path / "exp").mkdir()
    first = made(Rules("numel", 7000, 0))
    assert len(first) == 1 and made(Rules("numel", 7000, 0)) == first
    second = made(Rules("numel", 8000, 0))
    assert len(second) == 1 and second != first
    write(shapes[1], ((f"u{i:03d}", "5") for i in range(500)))
    third = made(Rules("numel", 8000, 0))
    assert len(third) == 1 and third != second


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("u000", "12"), ("u001", "many")], "not all an id and its length"),
        ([("u000", "12"), ("u001", "12,80")], "not all an id and its length"),
        ([("u000", "12,80"), ("u001", "12,81")], "u001 has frames of another width"),
        ([("u000", "12")], r"do not hold the same ids \(500 and 1\)"),
    ],
)
def test_bad_shapes_are_named(tmp_path, shapes, rows, message):
    path = write(tmp_path / "bad_shape", rows)
    with pytest.raises(ValueError, match=message):
        Plan([shapes[0], path], Rules("numel", 7000, 0), tmp_path / ".batches")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Rules("folded", 1, 1), "--batch_type folded is not supported; choose one of numel"),
        (Rules("numel", 0, 1), "--batch_bins 0"),
        (Rules("sorted", 1, 0), "--batch_size 0"),
        (Rules("numel", 1, 1, sort_batch="up"), "--sort_batch up: choose ascending or descending"),
    ],
)
def test_rules_that_are_not_ours_are_refused(tmp_path, shapes, rules, message):
    with pytest.raises(ValueError, match=message):
        Plan(shapes, rules, tmp_path / ".batches")
    with pytest.raises(ValueError, match="does not exist"):
        Plan([tmp_path / "none"], Rules("numel", 1, 1), tmp_path / ".batches")
