"""The mini recipe's spoken splits: Kaldi directories, complete or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "egs2" / "mini" / "audiollm1" / "local" / "synthesize.py"
TABLES = ("wav.scp", "text", "utt2spk", "answers", "category")


def synthesize(output, split="test", num=6):
    return subprocess.run(
        [sys.executable, SCRIPT, "--split", split, "--num", str(num), "--nj", "1", str(output)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def table(path):
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


def test_the_tables_agree_and_the_audio_is_there(tmp_path):
    run = synthesize(tmp_path / "test")
    assert run.returncode == 0, run.stderr
    tables = {name: table(tmp_path / "test" / name) for name in TABLES}
    ids = list(tables["text"])
    assert len(ids) == 6 and ids == sorted(ids)
    assert all(list(rows) == ids for rows in tables.values())
    for utt, path in tables["wav.scp"].items():
        assert Path(path).stat().st_size > 16_000  # half a second
        assert utt.startswith(tables["utt2spk"][utt])


def test_what_is_complete_is_kept_and_what_is_not_is_made_again(tmp_path):
    data = tmp_path / "valid"
    synthesize(data, "valid", 2)
    before = (data / "text").stat().st_mtime_ns
    assert "skipped" in synthesize(data, "valid", 2).stderr
    assert (data / "text").stat().st_mtime_ns == before
    text = (data / "text").read_text()
    (data / ".done").unlink()  # as after a kill
    (data / "text").write_text("half")
    assert synthesize(data, "valid", 2).returncode == 0
    assert (data / "text").read_text() == text
    assert synthesize(data, "valid", 3).returncode == 0  # not what was made
    assert len((data / "text").read_text().splitlines()) == 3


def test_an_empty_split_is_refused(tmp_path):
    run = synthesize(tmp_path / "none", num=0)
    assert run.returncode == 1 and "at least one utterance" in run.stderr
    assert "Traceback" not in run.stderr and not (tmp_path / "none").exists()


def test_sentences_of_one_turn_are_spoken_with_a_pause(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import synthesize as script
    from world import Item

    two = Item("it is hot my cat ran", "ok .", "pair", ("ok",), (), (), ("it is hot", "my cat ran"))
    assert script.sentences(two) == "it is hot. my cat ran"
    planned = [item.category for _, item, _ in script.plan("train", 600, 3)]
    assert 0.03 < planned.count("pair") / 600 < 0.1
    assert "pair" not in [item.category for _, item, _ in script.plan("test", 600, 3)]


def test_a_conversation_set_is_complete_and_can_be_read(tmp_path):
    from espnet_audiollm.data.dialogues import read_dialogues
    from espnet_audiollm.types import Audio

    script = SCRIPT.with_name("speak_conversations.py")
    out = tmp_path / "conversations"
    command = [sys.executable, script, "--num", "4", "--nj", "1", str(out)]
    for note in ("16 conversations", "skipped"):
        run = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert run.returncode == 0 and note in run.stderr, run.stderr
    found = read_dialogues(out / "abilities.jsonl")
    shapes = {
        d.id: "".join("TA"[isinstance(t.content, Audio)] for t in d.turns if t.role == "user")
        for d in found
    }
    assert [shapes[f"switching-000{i}"] for i in range(4)] == ["AT", "TA", "AA", "ATA"]
    assert {shape for id_, shape in shapes.items() if "switching" not in id_} == {"TA"}
    audios = [audio for d in found for audio in d.recordings().values()]
    assert all(Path(audio.path).stat().st_size > 10_000 for audio in audios)
