"""Files that training leaves: complete or absent, and damage is noticed."""

import zipfile

import pytest
import torch
from damage import file_size_limit, flip

from espnet_audiollm.bin.cli import explain
from espnet_audiollm.train import checkpoints

STATE = {"weight": torch.arange(6.0), "epoch": 3, "scheduler": {"lr": 0.5}}


def saved(directory, steps, state=STATE):
    path = directory / f"checkpoint_{steps:09d}.pth"
    checkpoints.save(state, path)
    return path


def same(state):
    return (
        torch.equal(state["weight"], STATE["weight"])
        and state["weight"].dtype == STATE["weight"].dtype
        and {**state, "weight": 0} == {**STATE, "weight": 0}
    )


def test_no_byte_changes_unnoticed(tmp_path):
    """Whichever byte of the file changes: an error, or the same values (between the records)."""
    path = saved(tmp_path, 1)
    content, noticed = path.read_bytes(), 0
    for position in range(len(content)):
        flip(path, position, bits=0x41)
        try:
            assert same(checkpoints.load(path)), position
        except ValueError as error:
            assert "cannot be read" in str(error)
            noticed += 1
        path.write_bytes(content)
    assert noticed > len(content) // 4


def test_torch_by_itself_would_not_notice(tmp_path):
    """Why the CRC is compared here."""
    path = saved(tmp_path, 1)
    flip(path, path.read_bytes().index(STATE["weight"].numpy().tobytes()) + 6)
    assert not torch.equal(torch.load(path)["weight"], STATE["weight"])
    with pytest.raises(ValueError, match="checkpoint_000000001.pth .*CRC of its record"):
        checkpoints.load(path)


def cut(content):
    return content[: len(content) // 2]


def without_end(content):
    return content[:-1]


def zeros_at_the_end(content):
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def zeros(content):
    return bytes(len(content))


def nothing(content):
    return b""


@pytest.mark.parametrize("damage", [cut, without_end, zeros_at_the_end, zeros, nothing])
def test_the_newest_undamaged_one_is_used(tmp_path, damage, caplog):
    old, undamaged, newest = (saved(tmp_path, steps) for steps in (7, 90, 1_000))
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.raises(ValueError, match=f"{newest.name} cannot be read"):
        checkpoints.load(newest)
    assert checkpoints.newest_undamaged(tmp_path) == undamaged
    assert f"{newest} is damaged" in caplog.text
    assert checkpoints.resumable(tmp_path) == [undamaged, old]
    assert (tmp_path / f"{newest.name}.damaged").exists()


def test_all_damaged_is_an_error_every_time(tmp_path):
    for steps in (1, 2):
        flip(saved(tmp_path, steps), 100)
    for _ in range(2):
        with pytest.raises(ValueError, match="all 2 checkpoints in .* are damaged"):
            checkpoints.newest_undamaged(tmp_path)


def test_newest_is_by_steps(tmp_path):
    """More steps than nine digits; other files are not taken for checkpoints."""
    for steps in (2, 10**9, 10):
        saved(tmp_path, steps)
    for name in ("checkpoint.pth", "checkpoint_best.pth", "checkpoint_000000003.pth.damaged"):
        (tmp_path / name).touch()
    names = [path.name for path in checkpoints.resumable(tmp_path)]
    assert names == [f"checkpoint_{n}.pth" for n in ("1000000000", "000000010", "000000002")]
    assert checkpoints.newest_undamaged(tmp_path / "nothing here") is None


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    """The disk is full while a checkpoint is written: the older one stays, nothing else is left."""
    path = tmp_path / "checkpoint.pth"
    checkpoints.save({"epoch": 1}, path)
    with file_size_limit(10_000), pytest.raises(OSError) as caught:
        checkpoints.save({"epoch": 2, "weights": torch.zeros(100_000)}, path)
    assert "checkpoint.pth: the disk is full or a size limit" in explain(caught.value)
    assert checkpoints.load(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_every_record_has_a_crc(tmp_path):
    """torch can be told to leave them out."""
    with zipfile.ZipFile(saved(tmp_path, 1)) as archive:
        assert all(record.CRC for record in archive.infolist() if record.file_size)
