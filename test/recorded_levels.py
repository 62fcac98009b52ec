"""Four speakers' recordings with units of two rates, levels, and what speaks them; and how a prompt
is given to bin/speak."""

import pytest
import soundfile
from tool_mains import main_of

from espnet_audiollm.data.audio import read_mono_16k
from espnet_audiollm.data.kaldi_dir import read_dict, write_data_dir, write_table
from espnet_audiollm.types import Utterance

SECONDS = 3.2  # of each recording: more than a prompt


def call(root, name, *words):
    assert main_of(root, name)([str(word) for word in words]) == 0


def make_data(shared, place):
    """The beginnings of four speakers' utterances."""
    paths = sorted((shared / "data/LibriSpeech/dev-clean").rglob("*.flac"))[:4]
    if len(paths) < 4:
        pytest.skip("the shared speech is not here")
    rows, samples = [], int(SECONDS * 16_000)
    place.mkdir()
    for path in paths:
        wave = place / f"{path.stem}.wav"
        soundfile.write(wave, read_mono_16k(path)[:samples], 16_000)
        rows.append(Utterance(path.stem, str(wave), path.stem.split("-")[0], SECONDS, "x"))
    write_data_dir(place, rows)
    write_table(place / "utt2dur", ((u.id, f"{SECONDS}") for u in rows))
    write_table(place / "utt2num_samples", ((u.id, str(samples)) for u in rows))


def make_units(root, shared, place):
    """data/, units/ (12.5 a second, repeats merged), levels/ (three, 25 a second), patches/ of all
    levels, and a table of two ids."""
    make_data(shared, place / "data")
    data = ["--data", place / "data"]
    for name, source, words, merged in (
        ("units", "fbank:8", ["--size", 12], "true"),
        ("levels", "fbank:4", ["--size", 16, "--levels", 3], "false"),
    ):
        call(
            root, "learn_units", "--source", source, *data, *words, "--output", place / f"q_{name}"
        )
        made = ["--quantiser", place / f"q_{name}", "--merge_repeats", merged]
        call(root, "extract_units", *made, *data, "--output", place / name)
    words = ["--units", place / "levels", "--levels", "true", "--output", place / "patches"]
    call(root, "mean_patches", *data, *words)
    ids = sorted(read_dict(place / "data/wav.scp"))
    write_table(place / "only", ((id_, "x") for id_ in ids[:2]))


def prompted(place, wave):
    words = ["--voice_prompt", wave, "--allow_voice_cloning", "true"]
    return [*words, "--quantiser", place / "q_units", "--level_quantiser", place / "q_levels"]


def samples(directory):
    return {id_: soundfile.read(path)[0] for id_, path in read_dict(directory / "wav.scp").items()}


def first_wave(place):
    return next(iter(read_dict(place / "data/wav.scp").values()))
