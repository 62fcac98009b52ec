"""validate.py and fix.py: what an author sees of a directory with faults."""

import pytest

UTTS = {f"u{i}": "s" for i in range(6)}
TEXTS = dict.fromkeys(UTTS, "one two")


@pytest.fixture
def data(make_dir):
    return make_dir("data", utt2spk=UTTS, text=TEXTS)


def test_validate(tool, data):
    done = tool("validate", data, "--require_text", "true")
    done.says("6 utterances with wav.scp, utt2spk, text: no error found")


def test_validate_reports_all_directories_at_once(tool, data, tmp_path):
    (data / "text").write_bytes(b"u0 one\r\nu0 \xff\n")
    tool("validate", data, tmp_path / "none", "--require_text", "true").fails(
        "validate: error: 5 kinds of error",
        "CRLF",
        "not UTF-8",
        "1 duplicate ids (first: u0)",
        "5 ids missing (first: u1); run utils/data/fix.py",
        "missing directory",
    )


def test_fix_then_validate(tool, data):
    lines = (data / "text").read_text().splitlines()
    (data / "text").write_bytes("\r\n".join(reversed(lines[1:])).encode())
    tool("validate", data).fails("out of order", "CRLF", "ids missing")
    tool("fix", data).says("1 utterances removed from wav.scp")
    assert tool("validate", data).status == 0


def test_further_tables(tool, data):
    """They may leave utterances out, and name none that is not there."""
    (data / "utt2lang").write_text("u1 en\nu3 de\n")
    assert tool("validate", data).status == 0
    (data / "utt2lang").write_text("u3 de\nu1 en\nu7 en\n")
    (data / "notes").write_text("All of this\nis no table\n")
    done = tool("validate", data)
    done.fails("utt2lang: 1 lines out of order", "utt2lang: 1 ids not in wav.scp (first: u7)")
    assert "notes" not in done.err
    (data / "text").write_text("".join(f"u{n} one\n" for n in (0, 1, 4)))
    done = tool("fix", data)
    done.says("3 utterances removed from wav.scp", "2 utterances removed from utt2lang")
    assert (data / "utt2lang").read_text() == "u1 en\n"
    assert (data / "notes").read_text().startswith("All of this")
    tool("validate", data).says("3 utterances with wav.scp, utt2spk, text, utt2lang: no error")
