"""Voices of espeak-ng without breath, spoken at several speeds and pitches, and the options of a
speaker encoder that learns them in less than a minute."""

import random
import wave
from pathlib import Path

import yaml
from tiny_tasks import QUICK

from espnet_audiollm.corpus.tts import SpeechJob, Voice, synthesize
from espnet_audiollm.corpus.voices import PITCHES, SPEEDS
from espnet_audiollm.data.kaldi_dir import write_data_dir, write_table
from espnet_audiollm.types import Utterance

TRAIN = "f4 m1 m7 belinda steph2 grandma boris iven2 Andy Mario pablo Hugo".split()
UNSEEN = ("quincy", "rob")
BOUND = 25.0  # EER, %, that an encoder without training does not reach with these two
WORDS = "the red boat lost my brother early green language spoken capital what tell".split()
OPTIONS = QUICK | {
    "speaker_encoder_conf": dict(channels=32, groups=2, blocks=2, pooled=64, width=32, stride=2),
    "crop_seconds": 1.5,
    "batch_type": "sorted",
    "batch_size": 24,
    "optim": "adamw",
    "optim_conf": {"lr": 0.005},
    "max_epoch": 10,
}


def speak(place: Path, voices, number: int, seed: int) -> Path:
    """A data directory of `number` recordings of each voice."""
    place.mkdir(parents=True)
    rng, jobs, rows = random.Random(seed), [], []
    for voice in voices:
        for n in range(number):
            text = " ".join(rng.sample(WORDS, 7))
            spoken = Voice(f"en-us+{voice}", rng.randint(*SPEEDS), rng.randint(*PITCHES))
            path = f"{place}/{voice}-{n}.wav"
            jobs.append(SpeechJob(text, spoken, path))
            rows.append(Utterance(f"{voice}-{n}", path, voice, None, text))
    list(synthesize(jobs, 1))
    write_data_dir(place, rows)
    lengths = {utt.id: frames(utt.audio) for utt in rows}
    write_table(place / "utt2num_samples", ((id_, str(n)) for id_, n in lengths.items()))
    return place


def frames(path: str) -> int:
    with wave.open(path) as file:
        return file.getnframes()


def options(train: Path, valid: Path, output: Path, **more) -> list[str]:
    """The command line of bin/speaker_train."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "given.yaml").write_text(yaml.safe_dump({**OPTIONS, **more}))
    words = ["--config", output / "given.yaml", "--output_dir", output]
    words += ["--train_data", train, "--valid_data", valid]
    return [str(word) for word in words]
