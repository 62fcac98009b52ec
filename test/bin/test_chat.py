"""A chat in a terminal: a real one (a pseudo-terminal), with trained systems."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from espnet_audiollm.bin import chat, pack
from espnet_audiollm.data.dialogues import append_dialogue, read_dialogues
from espnet_audiollm.infer.chat import Chat
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.types import Audio, Dialogue, Turn

START = 120.0  # s


class Terminal:
    """The program at the other end of a pseudo-terminal."""

    def __init__(self, *words):
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "espnet_audiollm.bin.chat", *map(str, words)]
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # Tests in the background of a shell ignore Ctrl-C, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(slave)
        self.seen = ""

    def wait_for(self, text, seconds=START):
        end = time.monotonic() + seconds
        while text not in self.seen and time.monotonic() < end:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode()
                except OSError:  # the other end is closed
                    break
        assert text in self.seen, self.seen
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text):
        os.write(self.master, text.encode())

    def ask(self, line):
        """What it says of a line. The next prompt has come by then: what is typed before it is
        read by the terminal, where Ctrl-D is no end."""
        self.type(f"{line}\n")
        return self.wait_for("\n> ")

    def interrupt(self):
        """Ctrl-C at the prompt. One that comes before readline waits is noticed with the next."""
        self.seen = ""
        end = time.monotonic() + START
        while "\n> " not in self.seen and time.monotonic() < end:
            self.process.send_signal(signal.SIGINT)
            self.look(1.0)
        assert "\n> " in self.seen, self.seen
        self.seen = ""

    def look(self, seconds):
        """Read what comes in this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 4096).decode()


@pytest.fixture
def talk(align_exp, ctc_exp, llm_dir):
    terminal = Terminal(
        *(align_exp, "--llm", llm_dir, "--recogniser", ctc_exp, "--max_new_tokens", 4)
    )
    terminal.wait_for("> ")
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.master)


def test_a_conversation_in_a_terminal(talk, data, tmp_path, align_exp, llm_dir):
    for line in ("w1 w2", f":audio {data}/u0.wav", ":said w3", f":save {tmp_path}/set.jsonl"):
        talk.ask(line)
    assert "error: to which file?" in talk.ask(":save")
    assert "error: nowhere.wav is no file" in talk.ask(":audio nowhere.wav")
    assert "there is no command :sing" in talk.ask(":sing")
    talk.ask(":transcribe")
    talk.interrupt()
    assert ":transcribe  what the recogniser makes" in talk.ask(":help")
    talk.type("\x04")
    assert talk.process.wait(START) == 0
    [dialogue] = read_dialogues(tmp_path / "set.jsonl")
    assert [turn.text for turn in dialogue.turns][::2] == ["w1 w2", "w3"]
    assert dialogue.turns[2].audio.path == f"{tmp_path}/set_audio/chat-1-3.wav"
    system = load_system("audiollm", str(llm_dir), align_exp)
    again = Chat(system, 4)
    list(again.say("w1 w2"))
    assert again.turns[1].text == dialogue.turns[1].text


def test_lines_of_a_file_are_answered_without_a_prompt(ctc_exp, llm_dir, data, monkeypatch, capsys):
    """A cascade says what it recognised."""
    said = iter(["w1", f":audio {data}/u1.wav", ":transcribe", ":undo", ":undo", ":transcribe"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(said, None) or _end())
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    assert chat.main([str(ctc_exp), "--llm", str(llm_dir), "--max_new_tokens", "3"]) == 0
    out = capsys.readouterr().out
    assert "> " not in out and out.endswith("error: there is no recording yet: :audio FILE\n")


def _end():
    raise EOFError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a trained experiment"),
        (["EXP", "--max_new_tokens", "0"], "--max_new_tokens 0: at least 1"),
        (["EXP", "--top_p", "0"], "a top_p of 0.0"),
    ],
)
def test_what_cannot_begin(align_exp, llm_dir, capsys, words, message):
    words = [word.replace("EXP", str(align_exp)) for word in words]
    with pytest.raises(SystemExit):
        chat.main([*words, "--llm", str(llm_dir)])
    assert message in capsys.readouterr().err


def test_a_dialogue_is_added_or_the_file_stays(data, tmp_path):
    path = tmp_path / "set.jsonl"
    turns = (Turn("user", Audio(f"{data}/u0.wav", "one")),)
    assert append_dialogue(path, Dialogue("", turns, "chat", reference="two")) == "chat-1"
    assert append_dialogue(path, Dialogue("mine", turns, "chat", reference="two")) == "mine"
    before = path.read_bytes()
    with pytest.raises(ValueError, match="has a dialogue mine already"):
        append_dialogue(path, Dialogue("mine", turns, "chat", reference="two"))
    with pytest.raises(ValueError, match="the audio has no text"):
        untold = (Turn("user", Audio(f"{data}/u0.wav")),)
        append_dialogue(path, Dialogue("", untold, "chat", reference="two"))
    assert path.read_bytes() == before and len(read_dialogues(path)) == 2
    assert sorted(p.name for p in (tmp_path / "set_audio").iterdir()) == [
        "chat-1-1.wav",
        "mine-1.wav",
    ]


def test_what_makes_a_bridge_is_in_a_pack():
    made = {"audio_adapter": "token_bridge", "ctc_weight": 0.5, "ctc_tokens": {"token_list": []}}
    assert {**made, "normalize_audio": False}.items() <= pack.portable(
        {**made, "normalize_audio": False, "max_epoch": 3}
    ).items()


def test_spoken_answers_become_recordings(speech_lm, speaking, tmp_path, monkeypatch, capsys):
    from espnet_audiollm.data.audio import read_comment

    recording = min((speaking / "data/wav").iterdir())
    lines = [":speak " + str(tmp_path / "said"), f":audio {recording}", ":speak"]
    lines += [":task [ASR English]", f":audio {recording}", ":task [MT English Spanish]", "a"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert chat.main([str(speech_lm)]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "said/answer-1.wav") in out and out.count("ran ") == 1
    assert "error: the task '[MT English Spanish]' was not trained" in out
    [made] = (tmp_path / "said").iterdir()
    assert read_comment(made).startswith("Generated speech")


def test_others_do_not_speak(align_exp, llm_dir, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(":speak x\n:task [QA English]\n"))
    assert chat.main([str(align_exp), "--llm", str(llm_dir)]) == 0
    out = capsys.readouterr().out
    assert "does not speak" in out and "tasks are for speech LMs" in out
