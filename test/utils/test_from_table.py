"""from_table.py: each form of list, what is refused in one report, what is left out on request."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import validation

SAMPLES = np.linspace(-0.5, 0.5, 16_000)


@pytest.fixture
def clips(tmp_path):
    """clips/1.wav to 4.wav, one second each."""
    for number in range(1, 5):
        (tmp_path / "clips").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"clips/{number}.wav", SAMPLES, 16_000)
    return tmp_path / "clips"


def expected(clips, texts, speakers=None, ending="wav"):
    return {
        "wav.scp": {id_: f"{clips}/{id_}.{ending}" for id_ in texts},
        "utt2spk": speakers or {id_: id_ for id_ in texts},
        "text": texts,
    }


def test_tsv(tool, clips, tmp_path, tables_of):
    """Quotation marks are letters; white space is made single; rows are sorted."""
    (clips / "clips.tsv").write_text(
        "﻿client_id\tpath\tsentence\tage\r\n"
        'bob\t2.wav\the said "so"  and\u00a0left\tforty\r\n'
        "ann\t1.wav\tone\t\r\n",
        encoding="utf-8",
    )
    options = ["--audio", "path", "--text", "sentence", "--speaker", "client_id"]
    done = tool("from_table", "clips/clips.tsv", "data", *options, "--extra", "utt2age=age")
    done.says("data: 2 utterances of 2 speakers with wav.scp, utt2spk, text, utt2age\n")
    texts = {"1": "one", "2": 'he said "so" and left'}
    found = tables_of(tmp_path / "data")
    assert found.pop("utt2age") == {"2": "forty"}
    assert found == expected(clips, texts, {"1": "ann", "2": "bob"})
    assert tool("validate", "data").status == 0


def test_a_column_named_like_a_table_is_taken_or_named(tool, clips, tmp_path, tables_of):
    text = "audio\ttext\tcategory\tanswers\tmood\n1.wav\tone\tnumber\tuno | un\tgood\n"
    (clips / "clips.tsv").write_text(text)
    done = tool("from_table", "clips/clips.tsv", "data")
    done.says("left out columns named like tables", "--extra answers=answers category=category\n")
    assert "answers" not in tables_of(tmp_path / "data")
    extra = ["--extra", "answers=answers", "category=category"]
    done = tool("from_table", "clips/clips.tsv", "other", *extra)
    assert "left out" not in done.out
    assert tables_of(tmp_path / "other")["answers"] == {"1": "uno | un"}


def test_csv(tool, clips, tmp_path, tables_of):
    """Fields in quotation marks hold commas and line breaks; --audio_root."""
    text = 'id,audio,text\nb,2.wav,"two, ""then""\nthree"\na,../clips/1.wav,one\n'
    with gzip.open(tmp_path / "list.csv.gz", "wt") as out:
        out.write(text)
    tool("from_table", "list.csv.gz", "data").fails("2 audio files that do not exist", "line 3 b")
    done = tool("from_table", "list.csv.gz", "data", "--audio_root", "clips")
    done.says("2 utterances of 2 speakers")
    found = tables_of(tmp_path / "data")
    assert found["text"] == {"a": "one", "b": 'two, "then" three'}
    assert found["wav.scp"] == {"a": f"{clips}/1.wav", "b": f"{clips}/2.wav"}


def test_json_lines(tool, clips, tmp_path, tables_of):
    rows = [
        {"path": "clips/2.wav", "text": "zwei", "duration": 1.0, "answers": ["Rome", "Roma"]},
        {"path": str(clips / "1.wav"), "text": 1, "duration": 2, "answers": ["x"]},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    extra = ["--extra", "utt2dur=duration", "answers=answers"]
    tool("from_table", "m.jsonl", "data", "--audio", "path", *extra).says("2 utterances")
    found = tables_of(tmp_path / "data")
    assert found.pop("utt2dur") == {"1": "2", "2": "1.0"}
    assert found.pop("answers") == {"1": "x", "2": "Rome | Roma"}
    assert found == expected(clips, {"1": "1", "2": "zwei"})


def test_all_faults_in_one_report(tool, clips, tmp_path):
    (clips / "4.wav").write_bytes(b"")
    rows = [
        {"id": "a", "audio": "clips/1.wav", "text": "one", "speaker": "s"},
        {"id": "a", "audio": "clips/1.wav", "text": "one", "speaker": "s"},
        {"id": "b b", "audio": "clips/1.wav", "text": "one", "speaker": "s"},
        {"id": "", "audio": "clips/1.wav", "text": "one", "speaker": "s"},
        {"id": "c", "audio": "clips/9.wav", "text": "one", "speaker": "s"},
        {"id": "d", "audio": "touch pwned |", "text": "one", "speaker": "s"},
        {"id": "e", "audio": "clips/4.wav", "text": "one", "speaker": "s"},
        {"id": "f", "audio": "clips/1.wav", "text": " ", "speaker": "s"},
        {"id": "g", "audio": "clips/1.wav", "text": "one", "speaker": "s t"},
        {"id": "h", "audio": "clips/1.wav", "text": {"no": "text"}, "speaker": "s"},
        {"id": "i", "audio": None, "text": "a\0b\ud800", "speaker": ""},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join([*map(json.dumps, rows), "{", "[1]"]))
    tool("from_table", "m.jsonl", "data").fails(
        "m.jsonl: 2 lines that are no JSON object (first: line 12); correct these lines",
        "1 ids that come twice (first: a); give each utterance its own id",
        "1 ids with white space (first: line 3 b b); replace",
        "1 rows without an id (first: line 4); fill them in, or name the column of ids with --id",
        "1 audio files that do not exist (first: line 5 c: clips/9.wav); relative paths start",
        "1 pipes (first: line 6 d: touch pwned |); convert the audio to files: commands",
        "1 audio files that are empty (first: line 7 e",
        "1 rows without text (first: line 8 f); write these transcripts, or leave",
        "1 speakers with white space (first: line 9 g); replace",
        "2 values that are no text, or hold what no table can (first: line 10, text)",
        "1 rows without a speaker (first: line 11 i); fill them in; with --speaker ''",
    )
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "data").exists()
    assert not list(tmp_path.glob(".*"))


def test_rows_to_leave_out(tool, clips, tmp_path, tables_of):
    (clips / "4.wav").write_bytes(b"")
    lines = ["audio,text", "1.wav,one", "9.wav,x", "4.wav,x", "2.wav,", ",x", "3.wav,three"]
    (clips / "m.csv").write_text("\n".join(lines))
    options = ["--id", "audio"]  # a row without audio has no id then, which is a fault
    tool("from_table", "clips/m.csv", "x", "--drop", "true", *options).fails("1 rows without an id")
    (clips / "m.csv").write_text("\n".join([*lines[:5], *lines[6:]]))
    tool("from_table", "clips/m.csv", "data", "--drop", "true").says(
        "left out 1 audio files that do not exist (first: line 3 9: 9.wav)",
        "left out 1 audio files that are empty (first: line 4 4: 4.wav)",
        "left out 1 rows without text (first: line 5 2)",
        "data: 2 utterances",
    )
    assert tables_of(tmp_path / "data") == expected(clips, {"1": "one", "3": "three"})


@pytest.mark.parametrize(
    "name, content, options, words",
    [
        ("m.csv", "path,text\n1.wav,x\n", [], ["no column audio; it has path, text: say which"]),
        ("m.csv", "audio\n1.wav\n", ["--text", "t"], ["m.csv has no column t; it has audio"]),
        ("m.csv", "a,a\n1,2\n", [], ["names the columns, each once; it has a, a"]),
        ("m.csv", "", [], ["m.csv is empty"]),
        ("m.csv", "audio,text\n", [], ["not a single utterance"]),
        ("m.csv", "audio,text\n1.wav\n", [], ["1 lines that have not 2 fields (first: line 2)"]),
        ("m.csv", 'audio,text\n1.wav,"x\n' + "y\n" * 70_000, [], ["quotation mark not closed"]),
        ("m.json", '[{"audio": 1}]', [], ["is one JSON list", "jq -c"]),
        ("m.txt", "audio\n", [], ["give --format auto|tsv"]),
        ("m.csv", "audio\n1.wav\n", ["--extra", "text=audio"], ["--extra text=...: a further"]),
        ("m.csv", "audio\n1.wav\n", ["--extra", "../x=audio"], ["--extra ../x=...: a further"]),
        ("m.csv", "audio\n1.wav\n", ["--extra", "x"], ["write each table once, as TABLE=COLUMN"]),
    ],
)
def test_lists_that_are_none(tool, clips, name, content, options, words):
    (clips / name).write_text(content)
    tool("from_table", f"clips/{name}", "data", *options).fails("from_table: error: ", *words)
    tool("from_table", "none.csv", "data").fails("none.csv: there is no such file")


# --- lhotse -------------------------------------------------------------------------------------


def cut(id_, source, start=0.0, duration=1.0, recorded=1.0, said=None, channels=1, **more):
    """As lhotse writes a MonoCut."""
    said = [{"text": f"text of {id_}", "speaker": "s"}] if said is None else said
    return {
        "id": id_,
        "start": start,
        "duration": duration,
        "channel": 0,
        "supervisions": [
            {"id": f"{id_}-{n}", "start": 0.0, "duration": 0.5, **each}
            for n, each in enumerate(said)
        ],
        "recording": {
            "id": Path(source).stem,
            "sources": [{"type": "file", "channels": list(range(channels)), "source": source}],
            "sampling_rate": 16_000,
            "num_samples": 16_000,
            "duration": recorded,
        },
        "type": "MonoCut",
        **more,
    }


def write_cuts(path, *cuts):
    with gzip.open(path, "wt") as out:
        out.writelines(json.dumps(each) + "\n" for each in cuts)


def test_cuts_of_complete_recordings(tool, clips, tmp_path, tables_of):
    write_cuts(tmp_path / "cuts.jsonl.gz", cut("b", "clips/2.wav"), cut("a", "clips/1.wav"))
    tool("from_table", "cuts.jsonl.gz", "data", "--extra", "utt2dur=duration").says("2 utterances")
    assert tables_of(tmp_path / "data") == {
        "wav.scp": {"a": f"{clips}/1.wav", "b": f"{clips}/2.wav"},
        "utt2spk": {"a": "s", "b": "s"},
        "text": {"a": "text of a", "b": "text of b"},
        "utt2dur": {"a": "1.000", "b": "1.000"},
    }


def test_cuts_of_parts(tool, clips, tmp_path, tables_of):
    """Several supervisions are several utterances; the second of two channels; a complete one."""
    two = [
        {"text": "one", "speaker": "s", "start": 0.0, "duration": 0.25, "language": "en"},
        {"text": "two", "speaker": "t", "start": 0.25, "duration": 0.5},
    ]
    write_cuts(
        tmp_path / "cuts.jsonl.gz",
        cut("a", "clips/1.wav", start=0.125, duration=0.5, said=two),
        cut("b", "clips/2.wav", channels=2, channel=1),
        cut("c", "clips/3.wav"),
    )
    done = tool("from_table", "cuts.jsonl.gz", "data", "--extra", "utt2lang=language")
    done.says("4 utterances of 2 speakers with segments, utt2spk, text, utt2lang, wav.scp")
    found = tables_of(tmp_path / "data")
    assert found["segments"] == {
        "a-0": "1 0.125 0.375",
        "a-1": "1 0.375 0.625",
        "b": "2 0 1 1",
        "c": "3 0 -1",
    }
    assert found["wav.scp"] == {str(n): f"{clips}/{n}.wav" for n in (1, 2, 3)}
    assert found["utt2spk"] == {"a-0": "s", "a-1": "t", "b": "s", "c": "s"}
    assert found["utt2lang"] == {"a-0": "en"}
    assert validation.validate(tmp_path / "data") == []


def test_cuts_that_cannot_be_expressed(tool, clips, tmp_path):
    command = cut("c", "touch pwned")
    command["recording"]["sources"][0]["type"] = "command"
    write_cuts(
        tmp_path / "cuts.jsonl.gz",
        {"id": "m", "type": "MixedCut", "tracks": []},
        command,
        cut("d", "clips/1.wav", start=0.5, duration=1.0),
        {"id": "e", "type": "MonoCut", "recording": {}},
    )
    tool("from_table", "cuts.jsonl.gz", "data").fails(
        "2 cuts that are no MonoCut of a recording with one audio file (first: line 1: m); save",
        "2 cuts that lack a part, or whose times are not within the recording (first: line 3)",
    )
    assert not (tmp_path / "pwned").exists()


def test_one_recording_with_two_files(tool, clips, tmp_path):
    cuts = [cut("a", "clips/1.wav", duration=0.5), cut("b", "clips/2.wav", duration=0.5)]
    for each in cuts:
        each["recording"]["id"] = "r"
    write_cuts(tmp_path / "cuts.jsonl.gz", *cuts)
    done = tool("from_table", "cuts.jsonl.gz", "data")
    done.fails("1 recordings with two audio files (first: r)")
