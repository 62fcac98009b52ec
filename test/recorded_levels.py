"""Four speakers' recordings with units of two rates, levels, and what speaks them; and how a prompt
is given to bin/speak."""

import numpy as np
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


def prompts_that_cannot_be_used(place, run, speaking, directory):
    """A check of any `bin/speak --acoustic`; returns the words of a prompt that is too short.

    run: of a tool; speaking(place, output): the words of bin/speak."""
    wave = read_mono_16k(first_wave(place))
    soundfile.write(directory / "short.wav", wave[:40_000], 16_000)
    soundfile.write(directory / "silent.wav", np.zeros(60_000), 16_000)
    words, prompt = speaking(place, directory / "o"), prompted(place, directory / "short.wav")
    run("speak", *words, *prompt).fails("short.wav has 2.50 s", "at least 3 s", "--min_prompt")
    run("speak", *words, *prompt, "--min_prompt", 2).says("2 utterances")
    words = speaking(place, directory / "p")
    run("speak", *words, *prompted(place, directory / "silent.wav")).fails("silent")
    run("speak", *words, "--voice_prompt", directory / "short.wav").fails("--allow_voice_cloning")
    swapped = [*prompt[:5], place / "q_levels", *prompt[6:]]
    run("speak", *words, *swapped).fails("--quantiser", "another quantiser")
    swapped = [*prompt[:-1], place / "q_units"]
    run("speak", *words, *swapped).fails("--level_quantiser", "another quantiser")
    return prompt
