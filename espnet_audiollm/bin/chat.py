"""Talk to a trained system in the terminal: write, or let it hear recordings.

Each line is said to it, and the answer is written as it comes; lines that begin with ":" are
commands, which :help lists. Ctrl-C ends an answer, Ctrl-D the chat. MODEL is a packed model or an
experiment of stage 9 (AudioLLM), or one of stage 5 (a cascade: what is recognised is asked). A
packed speech LM takes each question without context; with :speak its answers become recordings,
too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.dialogues import append_dialogue
from ..types import Audio, Dialogue, Turn
from .cli import add_system_options, explain, load_chosen_system, user_errors

if TYPE_CHECKING:
    from ..infer.chat import Chat
    from ..infer.recognise import Recogniser
    from ..infer.spoken_answer import SpokenAnswer
    from ..infer.stream import Piece


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="chat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_system_options(parser, recogniser_for=":transcribe")
    add = parser.add_argument
    add("--max_new_tokens", type=int, default=256, help="of an answer (default: %(default)s)")
    add("--temperature", type=float, default=0.0, help="0: the most probable token (the default)")
    add("--top_p", type=float, default=1.0, help="of the most probable tokens with this much")
    add("--seed", type=int, help="of sampling (default: another each time)")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Load the system, then talk until the input ends."""
    args = get_parser().parse_args(argv)
    from ..infer.chat import Chat
    from ..infer.stream import Sampling

    sampling = Sampling(args.temperature, args.top_p, args.seed)
    if args.max_new_tokens < 1:
        raise ValueError(f"--max_new_tokens {args.max_new_tokens}: at least 1")
    system, recogniser = load_chosen_system(args)
    with tempfile.TemporaryDirectory(prefix="chat-") as recordings:
        chat = Chat(system, args.max_new_tokens, sampling)
        Terminal(chat, recogniser, Path(recordings)).run()
    return 0


class Terminal:
    """Lines in, answers out.

    recogniser: None: only a cascade can say what it recognised. recordings: where :record puts
    audio until the chat ends."""

    def __init__(self, chat: Chat, recogniser: Recogniser | None, recordings: Path):
        self.chat, self.recogniser, self.recordings = chat, recogniser, recordings
        self.tag: str | None = None  # of :task
        self.spoken: Path | None = None  # of :speak
        self.commands: dict[str, tuple[str, Callable[[str], None]]] = {
            "audio": ("FILE: let it hear a recording", self.audio),
            "record": ("let it hear the microphone, until Enter", self.record),
            "said": ("TEXT: the transcript of the last recording, for :save", self.said),
            "transcribe": ("what the recogniser makes of the last recording", self.transcribe),
            "undo": ("take back the last thing said, and its answer", self.undo),
            "restart": ("begin another dialogue", self.restart),
            "speak": ("DIRECTORY: save answers as speech there; nothing: no more", self.speak),
            "task": ("TAG: what a speech LM does, [ASR English]; nothing: as it suits", self.task),
            "save": ("FILE [ID]: add the dialogue to a set of dialogues (JSON lines)", self.save),
            "help": ("these commands", self.help),
        }

    def run(self) -> None:
        """Read lines until they end."""
        prompting = sys.stdin.isatty()
        if prompting:
            _with_history()
            print(f"{self.chat.system.label}. :help lists commands, Ctrl-D ends.", flush=True)
        while True:
            try:
                line = input("> " if prompting else "").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                print()
                continue
            try:
                self.take(line)
            except (ValueError, OSError) as error:
                print(f"error: {explain(error)}", flush=True)
            except KeyboardInterrupt:
                print("[stopped]", flush=True)

    def take(self, line: str) -> None:
        """One line: something said, a command, or nothing."""
        if not line.startswith(":"):
            return self.say(line) if line else None
        name, _, rest = line[1:].partition(" ")
        if name not in self.commands:
            raise ValueError(f"there is no command :{name}; :help lists them")
        self.commands[name][1](rest.strip())

    def say(self, content: str | Audio) -> None:
        """Write the answer as it comes."""
        speaking = self._speaking(content)
        answer = self.chat.say(content, str(speaking.task) if speaking else self.tag)
        piece = None
        try:
            for piece in answer:
                if speaking:
                    speaking.feed(piece)
                print(piece.text, end="", flush=True)
                if piece.finish_reason == "length":
                    print(" [cut at --max_new_tokens]", end="")
        except KeyboardInterrupt:
            print(" [stopped]", end="")
        finally:
            answer.close()
            print(flush=True)
        if speaking and piece and piece.finish_reason:
            self._save_speech(speaking, piece)

    def _speaking(self, content: str | Audio) -> SpokenAnswer | None:
        """Who speaks the answer; None: it is written only."""
        from ..infer.speech_lm import SpeechLM
        from ..infer.spoken_answer import SpokenAnswer

        system = self.chat.system
        if self.spoken is None or not isinstance(system, SpeechLM) or system.voices is None:
            return None
        task = system.task_for((Turn("user", content),), self.tag, spoken=True)
        return SpokenAnswer(system, task, system.voices.speaker())

    def _save_speech(self, speaking: SpokenAnswer, last: Piece) -> None:
        from ..data.audio import write_audio
        from ..infer.spoken_answer import FAULTS

        if fault := speaking.fault(last):
            raise ValueError(f"the answer cannot be spoken: {FAULTS[fault]}")
        assert self.spoken is not None and speaking.system.voices is not None
        number = 1
        while (path := self.spoken / f"answer-{number}.wav").exists():
            number += 1
        write_audio(path, speaking.speaker.rest(), comment=speaking.system.voices.comment)
        print(path, flush=True)

    def speak(self, directory: str) -> None:
        """Save answers as speech. Errors (ValueError): the model does not speak."""
        from ..infer.speech_lm import SpeechLM

        system = self.chat.system
        if not isinstance(system, SpeechLM) or not system.can_speak:
            raise ValueError("this model does not speak: pack a speech LM with --vocoder")
        self.spoken = Path(directory).expanduser() if directory else None
        if self.spoken:
            self.spoken.mkdir(parents=True, exist_ok=True)

    def task(self, tag: str) -> None:
        """Choose a task. Errors (ValueError): the model has none."""
        from ..infer.speech_lm import SpeechLM

        if not isinstance(self.chat.system, SpeechLM):
            raise ValueError("tasks are for speech LMs, and this model is none")
        self.tag = tag or None

    def audio(self, file: str) -> None:
        """Let it hear a file. Errors (ValueError): there is none."""
        if not file:
            raise ValueError("which file? :audio FILE")
        path = Path(file).expanduser()
        if not path.is_file():
            raise ValueError(f"{path} is no file")
        self.say(Audio(str(path)))

    def record(self, _: str) -> None:
        """Let it hear the microphone."""
        from ..infer.microphone import record

        path = self.recordings / f"{len(list(self.recordings.iterdir())) + 1}.wav"
        print("recording; Enter ends it", flush=True)
        record(path, until=lambda: bool(input() or True))
        self.say(Audio(str(path)))

    def transcribe(self, _: str) -> None:
        """Print what was recognised of the last recording."""
        print(self._transcript(self._last_audio()), flush=True)

    def said(self, text: str) -> None:
        """Note the transcript of the last recording."""
        if not text:
            raise ValueError("what was said? :said TEXT")
        old = self._last_audio()
        turns = self.chat.turns
        self.chat.turns = tuple(
            replace(turn, content=replace(old, text=text)) if turn.content is old else turn
            for turn in turns
        )

    def undo(self, _: str) -> None:
        """Take back the last exchange."""
        self.chat.undo()

    def restart(self, _: str) -> None:
        """Begin another dialogue."""
        self.chat.restart()

    def save(self, words: str) -> None:
        """Add the dialogue to a set; it must have begun."""
        file, _, id_ = words.partition(" ")
        if not file:
            raise ValueError("to which file? :save FILE [ID]")
        if not self.chat.turns:
            raise ValueError("nothing has been said yet")
        *asked, answer = self.chat.turns
        turns = tuple(self._written(turn) for turn in asked)
        dialogue = Dialogue(id_.strip(), turns, "chat", reference=str(answer.content))
        added = append_dialogue(Path(file).expanduser(), dialogue)
        print(f"{file}: {added} added", flush=True)

    def help(self, _: str) -> None:
        """List the commands."""
        width = max(map(len, self.commands))
        for name, (about, _run) in self.commands.items():
            print(f":{name:<{width}}  {about}")
        print(flush=True, end="")

    def _last_audio(self) -> Audio:
        found = [turn.audio for turn in self.chat.turns if turn.audio]
        if not found:
            raise ValueError("there is no recording yet: :audio FILE")
        return found[-1]

    def _transcript(self, audio: Audio) -> str:
        from ..types import Utterance

        read = self.chat.read(audio)
        if isinstance(read, str):
            return read
        if self.recogniser is None:
            raise ValueError("AudioLLM has no transcript: start the chat with --recogniser EXP")
        return self.recogniser([Utterance("chat", audio.path or "", "")])[0]

    def _written(self, turn: Turn) -> Turn:
        """A turn with its transcript: as stated by :said, else the recogniser's."""
        audio = turn.audio
        if audio is None or audio.text:
            return turn
        try:
            return replace(turn, content=replace(audio, text=self._transcript(audio)))
        except ValueError as error:
            raise ValueError(f"{audio.path} has no transcript: tell it by :said TEXT") from error


def _with_history() -> None:
    """Arrow keys and earlier lines, where the Python was built with readline."""
    try:
        import readline  # noqa: F401
    except ImportError:
        pass


if __name__ == "__main__":
    sys.exit(main())
