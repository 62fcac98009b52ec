"""What local/voices.sh needs besides the commands of the package.

voices.py joined SRC DST            each recording of utils/data/segments.py join is an utterance
voices.py prompts TABLE JOINED OUT  a voice prompt for each utterance of TABLE (utt2spk)
voices.py table JUDGED              the table, of the three judgements of local/voices.sh
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_audiollm.bin.cli import new_parser, user_errors
from espnet_audiollm.bin.judge_speech import RESULTS as SPEECH
from espnet_audiollm.bin.judged_voices import RESULTS as VOICES
from espnet_audiollm.bin.judged_voices import cells
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.data.segments import NAME as SEGMENTS
from espnet_audiollm.model.voices import PROMPT_SECONDS
from espnet_audiollm.report.tables import NONE, Table, within
from espnet_audiollm.score.voices import VoiceScores
from espnet_audiollm.store.atomic import new_directories
from espnet_audiollm.store.json_files import read_object
from espnet_audiollm.store.tables import write_table

AGAIN = "run local/voices.sh again"
HEADER = ("Speech", "ASR-WER % [95 % CI]", "like its prompt", "like the true recording")
HEADER += ("like itself",)
WHOSE = ("own", "other")  # voice a prompt has


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, words in (
        ("joined", ["src", "dst"]),
        ("prompts", ["utt2spk", "joined", "dst"]),
        ("table", ["judged"]),
    ):
        action = actions.add_parser(name)
        for word in words:
            action.add_argument(word, type=Path)
        if name == "prompts":
            action.add_argument("--whose", choices=WHOSE, required=True, help="voice")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Run an action; its exit status."""
    args = get_parser().parse_args(argv)
    if args.action == "joined":
        write_joined(args.src, args.dst)
    elif args.action == "prompts":
        write_prompts(args)
    else:
        print(table(args.judged).markdown())
    return 0


def parts_of(directory: Path) -> dict[str, list[tuple[float, float, str]]]:
    """(begin, end, utterance) in each recording, in order; seconds."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for id_, line in read_dict(directory / SEGMENTS).items():
        recording, begin, end = line.split()[:3]
        found.setdefault(recording, []).append((float(begin), float(end), id_))
    return {recording: sorted(parts) for recording, parts in found.items()}


def write_joined(src: Path, dst: Path) -> None:
    """A data directory whose utterances are the recordings."""
    texts, speakers = read_dict(src / "text"), read_dict(src / "utt2spk")
    parts = sorted(parts_of(src).items())
    with new_directories(dst) as (aside,):
        write_table(aside / "wav.scp", read_dict(src / "wav.scp").items())
        said = ((name, " ".join(texts[id_] for *_, id_ in each)) for name, each in parts)
        write_table(aside / "text", said)
        write_table(aside / "utt2spk", ((name, speakers[each[0][2]]) for name, each in parts))


def write_prompts(args: argparse.Namespace) -> None:
    """A data directory with a recording of 3 s or more for each utterance, which is not in it.

    Errors (ValueError): a speaker has none."""
    asked, joined = read_dict(args.utt2spk), args.joined
    speakers, sources = read_dict(joined / "utt2spk"), read_dict(joined / "wav.scp")
    long: dict[str, list[tuple[str, set[str]]]] = {}
    for recording, parts in sorted(parts_of(joined).items()):
        if parts[-1][1] > PROMPT_SECONDS:
            ids = {id_ for *_, id_ in parts}
            long.setdefault(speakers[parts[0][2]], []).append((recording, ids))
    order = sorted(set(asked.values()))
    chosen = {}
    for id_, speaker in asked.items():
        voice = speaker
        if args.whose == "other":  # far away in order of names, which begin with the accent
            voice = order[(order.index(speaker) + len(order) // 2) % len(order)]
        fit = [recording for recording, ids in long.get(voice, []) if id_ not in ids]
        if not fit:
            raise ValueError(
                f"{voice} has no recording of {PROMPT_SECONDS:.1f} s without {id_} in {joined}: "
                "join more of the speaker's utterances"
            )
        chosen[id_] = (voice, fit[0])
    with new_directories(args.dst) as (aside,):
        write_table(aside / "wav.scp", ((id_, sources[r]) for id_, (_, r) in chosen.items()))
        write_table(aside / "utt2spk", ((id_, voice) for id_, (voice, _) in chosen.items()))


def table(judged: Path) -> Table:
    """A row for each system of JUDGED/true, then same and other speakers."""
    speech = read_object(judged / "true" / SPEECH, AGAIN)
    true = scores_in(judged / "true")
    prompted = [scores_in(judged / whose)["systems"] for whose in WHOSE]
    like_prompt = prompted[0] | prompted[1]
    rows = []
    for name, each in speech.items():
        wer = within(each["wer"], each["wer_ci95"], 1)
        alike, itself = cells(true["systems"].get(name))
        rows.append((name, wer, cells(like_prompt.get(name))[0], alike, itself))
    for name, each in true["controls"].items():
        alike, itself = cells(each)
        rows.append((name, NONE, NONE, alike, itself))
    return Table(HEADER, tuple(rows))


def scores_in(directory: Path) -> dict[str, dict[str, VoiceScores]]:
    """{"systems" or "controls": {name: scores}} of a judgement."""
    found = read_object(directory / VOICES, AGAIN)
    return {
        part: {name: VoiceScores.from_dict(each) for name, each in found[part].items()}
        for part in ("systems", "controls")
    }


if __name__ == "__main__":
    sys.exit(main())
