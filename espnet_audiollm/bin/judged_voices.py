"""The columns of bin/judge_speech on voices: how alike they are, and whether a voice stays itself.

Voice similarity is the cosine of a recording and the reference of the same id, acoustic consistency
that of a recording's first half and the rest. The ceiling compares the reference in place of the
recording (or its first half) with another recording of its speaker, the floor with one of another
speaker."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import load_utterances
from ..data.trials import other_recordings
from ..score.voices import VoiceScores, mean_cosine
from ..store.json_files import read_object, write_json
from ..store.tables import check_same_ids
from ..types import Utterance

if TYPE_CHECKING:
    from ..infer.speaker import Halves, SpeakerModel

RESULTS = "voices.json"
HEADER = ("voice similarity [95 % CI]", "acoustic consistency [95 % CI]")
CEILING, FLOOR = "same speaker, another recording", "another speaker"
JUDGE_AGAIN = "judge the speech again"


@dataclass(frozen=True)
class JudgedVoices:
    """What one encoder finds of each system, and of true speech."""

    encoder: str  # fingerprint
    systems: dict[str, VoiceScores]
    controls: dict[str, VoiceScores]

    def write(self, output: Path) -> None:
        """voices.json."""
        parts = {"systems": self.systems, "controls": self.controls}
        found = {name: {k: v.as_dict() for k, v in part.items()} for name, part in parts.items()}
        write_json(output / RESULTS, {"encoder": self.encoder, **found})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the voices."""
    add = parser.add_argument
    add("--speaker_encoder", help="experiment of bin/speaker_train: voices are compared, too")
    add(
        "--voice_references",
        help="data directory: whose voice each utterance should have, and other recordings for "
        "ceiling and floor (default: the directory of --text)",
    )


def judge_voices(
    args: argparse.Namespace, systems: Mapping[str, Mapping[str, Utterance | None]]
) -> JudgedVoices | None:
    """Compare the voices of {name: {id: recording or None}}, all of the same ids. None: it is not
    asked for.

    Errors (ValueError): references without an encoder; references that lack some of the ids."""
    if not args.speaker_encoder:
        if args.voice_references:
            raise ValueError("--voice_references: give --speaker_encoder, too")
        return None
    ids = sorted(next(iter(systems.values())))
    references = read_references(args, ids)
    from ..infer.speaker import load_speaker_encoder

    encoder = load_speaker_encoder(args.speaker_encoder)
    measured = Voices(encoder, references, ids, args.resamples, args.seed)
    found = {name: measured.of_system(each) for name, each in systems.items()}
    judged = JudgedVoices(encoder.fingerprint, found, measured.controls())
    return beside(args.beside, judged)


def read_references(args: argparse.Namespace, ids: list[str]) -> dict[str, Utterance]:
    """{id: reference}, of more than `ids` where there are more.

    Errors (ValueError): there are none, or they lack some."""
    directory = Path(args.voice_references or Path(args.text).parent)
    if not (directory / "wav.scp").exists():
        raise ValueError(
            f"{directory} has no recordings: give --voice_references with a data directory of "
            "true speech of the voices"
        )
    found = {utt.id: utt for utt in load_utterances(directory)}
    wanted = {id_: found[id_] for id_ in ids if id_ in found}
    next_step = "give a reference for each utterance"
    check_same_ids(ids, wanted, f"--voice_references {directory}", next_step)
    return found


class Voices:
    """The references with their embeddings, and what is compared with them."""

    def __init__(
        self,
        encoder: SpeakerModel,
        references: dict[str, Utterance],
        ids: list[str],
        resamples: int,
        seed: int,
    ):
        from ..infer.speaker import embed_halves

        self._encoder, self._references = encoder, references
        self._speakers = {id_: utt.speaker for id_, utt in references.items()}
        self._bootstrap = (resamples, seed)
        audio = {id_: utt.audio for id_, utt in references.items()}
        self._same, self._other = other_recordings(audio, self._speakers, ids, seed)
        needed = {*ids, *self._same.values(), *self._other.values()}
        self._halves = embed_halves(encoder, [references[id_] for id_ in sorted(needed)])

    def of_system(self, spoken: Mapping[str, Utterance | None]) -> VoiceScores:
        """A recording that is the reference itself is not compared with it."""
        from ..infer.speaker import embed_halves

        there = [utt for utt in spoken.values() if utt]
        halves = embed_halves(self._encoder, there)
        others = [utt.id for utt in there if utt.audio != self._references[utt.id].audio]
        return self._scores({id_: id_ for id_ in others}, {id_: id_ for id_ in halves}, halves)

    def controls(self) -> dict[str, VoiceScores]:
        """The ceiling and the floor."""
        pairs = {CEILING: self._same, FLOOR: self._other}
        return {name: self._scores(each, each, self._halves) for name, each in pairs.items()}

    def _scores(
        self, similar: dict[str, str], consistent: dict[str, str], halves: Mapping[str, Halves]
    ) -> VoiceScores:
        """similar: {reference: recording in `halves`}; consistent: {whose first half: whose rest},
        both in `halves`."""
        from ..infer.speaker import cosine

        mine = self._halves
        alike = {a: cosine(mine[a].complete, halves[b].complete) for a, b in similar.items()}
        steady = {a: cosine(halves[a].first, halves[b].rest) for a, b in consistent.items()}
        means = []
        for cosines in (alike, steady):
            known = {id_: value for id_, value in cosines.items() if value is not None}
            means.append(mean_cosine(known, self._speakers, *self._bootstrap))
        return VoiceScores(*means)


def beside(directory: str | None, judged: JudgedVoices) -> JudgedVoices:
    """With the systems of an earlier judgement that compared voices.

    Errors (ValueError): it did with another encoder."""
    if directory is None or not (path := Path(directory) / RESULTS).exists():
        return judged
    found = read_object(path, JUDGE_AGAIN)
    if found.get("encoder") != judged.encoder:
        raise ValueError(f"{path} is of another --speaker_encoder: {JUDGE_AGAIN} with this one")
    earlier = {name: VoiceScores.from_dict(each) for name, each in found.get("systems", {}).items()}
    return replace(judged, systems=earlier | judged.systems)


def cells(found: VoiceScores | None) -> tuple[str, str]:
    """Of a row of the table."""
    means = (found.similarity, found.consistency) if found else (None, None)
    similarity, consistency = (
        f"{each.mean:.3f} [{each.ci95[0]:.3f}, {each.ci95[1]:.3f}] ({each.recordings})"
        if each
        else "–"
        for each in means
    )
    return similarity, consistency
