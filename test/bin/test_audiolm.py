"""From real recordings to units of two rates, AudioLM's two stages, and speech in the voice of a
prompt."""

import numpy as np
import pytest
import tiny_levels
from recorded_levels import (
    SECONDS,
    call,
    first_wave,
    make_units,
    prompted,
    prompts_that_cannot_be_used,
    samples,
)

from espnet_audiollm.data.audio import read_comment
from espnet_audiollm.data.kaldi_dir import read_dict

SOON = dict(max_epoch=1, batch_bins=200_000)


@pytest.fixture(scope="module")
def place(root, shared, tmp_path_factory):
    """Units of two rates, patches of three levels, and both stages, of two coarse levels."""
    place = tmp_path_factory.mktemp("audiolm")
    make_units(root, shared, place)
    for stage in ("coarse", "fine"):
        words = tiny_levels.stage_options(place, place / stage, stage, coarse_levels=2, **SOON)
        call(root, "audiolm_train", *words)
    return place


def speaking(place, output, *more):
    words = ["--acoustic", place / "coarse", "--fine", place / "fine", "--units", place / "units"]
    return [
        *words,
        "--vocoder",
        place / "patches",
        "--only",
        place / "only",
        "--output",
        output,
        *more,
    ]


def test_in_the_voice_of_a_prompt(place, run, tmp_path):
    prompt = prompted(place, first_wave(place))
    run("speak", *speaking(place, tmp_path / "one"), *prompt).says("2 utterances", "generated")
    waves = samples(tmp_path / "one")
    assert all(abs(len(wave) / 16_000 - SECONDS) < 0.2 for wave in waves.values())  # no prompt
    paths = read_dict(tmp_path / "one/wav.scp").values()
    assert all(read_comment(path).endswith("its voice imitates a prompt") for path in paths)
    single = speaking(place, tmp_path / "two", "--batch_units", 1)
    run("speak", *single, *prompt).says("2 utterances")
    two = samples(tmp_path / "two")
    assert all(np.abs(wave - two[id_]).max() < 0.02 for id_, wave in waves.items())
    table = ["--voice_prompts", place / "data/wav.scp", *prompt[2:]]
    run("speak", *speaking(place, tmp_path / "own"), *table).says("2 utterances")
    own = samples(tmp_path / "own")
    assert sum(np.array_equal(own[id_], wave) for id_, wave in waves.items()) < 2


def test_how_units_are_drawn(place, run, tmp_path):
    """Without a prompt chance decides the voice; the likeliest units do not depend on the seed."""
    spoken = {}
    for name, words in {
        "zero": [],
        "one": ["--seed", 1],
        "likeliest": ["--temperature", 0],
        "one_likeliest": ["--temperature", 0, "--seed", 1],
        "first_of_all": ["--top_k", 1, "--seed", 2],
        "fine_drawn": ["--temperature", 0, "--fine_temperature", 1],
    }.items():
        run("speak", *speaking(place, tmp_path / name, *words)).says("2 utterances")
        spoken[name] = samples(tmp_path / name)

    def same(one, other):
        return all(np.array_equal(spoken[one][id_], spoken[other][id_]) for id_ in spoken[one])

    assert same("likeliest", "one_likeliest") and same("likeliest", "first_of_all")
    assert not same("zero", "one") and not same("likeliest", "fine_drawn")
    path = next(iter(read_dict(tmp_path / "zero/wav.scp").values()))
    assert "imitates" not in read_comment(path)
    assert read_comment(path).startswith("Generated speech")


def test_prompts_that_cannot_be_used(place, run, tmp_path):
    prompts_that_cannot_be_used(place, run, speaking, tmp_path)


def test_parts_that_do_not_fit(place, root, run, tmp_path):
    def fails(*says, acoustic="coarse", fine="fine", more=()):
        words = ["--acoustic", place / acoustic, *(["--fine", place / fine] if fine else [])]
        run("speak", *speaking(place, tmp_path / "o")[4:], *words, *more).fails(*says)

    levels = place / "levels"
    fails("another quantiser", str(place / "coarse"), more=("--units", levels))
    fails("coarse stage", "as --fine", fine=None)
    fails("fine stage", "--acoustic is a coarse", acoustic="fine")
    fails("coarse stage", "--fine a fine one", fine="coarse")
    fails("no model of levels", "audiolm_train", fine="patches")
    fails("--iterations", "leave it out", more=("--iterations", 3))
    fails("--top_k", "--fine", fine=None, more=("--top_k", 3))
    fails("negative", more=("--temperature", -1))
    fails("negative", more=("--top_k", -1))
    run("speak", *speaking(place, tmp_path / "o")[2:]).fails("--fine without --acoustic")
    words = tiny_levels.stage_options(place, place / "one", "fine", coarse_levels=1, **SOON)
    run("audiolm_train", *words).says()
    fails("2 coarse levels", "reads 1", "--coarse_levels", fine="one")
    learn = ["--source", "fbank:4", "--data", place / "data", "--size", 16, "--levels", 3]
    run("learn_units", *learn, "--seed", 7, "--output", tmp_path / "q").says()
    made = [
        "--quantiser",
        tmp_path / "q",
        "--data",
        place / "data",
        "--output",
        tmp_path / "levels",
    ]
    run("extract_units", *made).says()
    (tmp_path / "data").symlink_to(place / "data")
    words = tiny_levels.stage_options(tmp_path, place / "other", "fine", coarse_levels=2, **SOON)
    run("audiolm_train", *words).says()
    fails("two quantisers", "train both", fine="other")
    assert not (tmp_path / "o/wav.scp").exists()


def test_a_training_that_cannot_begin(place, run, tmp_path):
    words = tiny_levels.stage_options(place, tmp_path / "exp", "coarse", coarse_levels=3)
    run("audiolm_train", *words).fails("--coarse_levels 3", "3 levels")
