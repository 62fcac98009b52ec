"""From real recordings to units of two rates, SoundStorm, and speech in the voice of a prompt."""

import numpy as np
import pytest
import tiny_levels
from codecs_of_tests import save_codec
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
from espnet_audiollm.data.kaldi_dir import read_dict, write_table


@pytest.fixture(scope="module")
def place(root, shared, tmp_path_factory):
    """Semantic units (12.5 a second, repeats merged), three levels (25 a second), patches of all
    levels, and a model of both."""
    place = tmp_path_factory.mktemp("soundstorm")
    make_units(root, shared, place)
    options = dict(max_epoch=1, batch_bins=200_000)
    call(root, "soundstorm_train", *tiny_levels.options(place, place / "exp", **options))
    return place


def speaking(place, output, vocoder="patches"):
    words = ["--acoustic", place / "exp", "--vocoder", place / vocoder, "--iterations", 3, 1]
    return [*words, "--units", place / "units", "--only", place / "only", "--output", output]


def test_patches_of_all_levels_are_nearer_than_those_of_the_first(place, root, run, tmp_path):
    import torch

    from espnet_audiollm.model.frontend import Filterbank

    def mel(wave):
        wave = torch.tensor(wave[None], dtype=torch.float32)
        return Filterbank()(wave, torch.tensor([wave.shape[1]]))[0][0].clamp(min=-12)

    words = ["--data", place / "data", "--units", place / "levels", "--output", tmp_path / "one"]
    run("mean_patches", *words).says("4 recordings")
    true, apart = samples(place / "data"), {}
    for name, vocoder in (("first", tmp_path / "one"), ("all", place / "patches")):
        words = ["--vocoder", vocoder, "--units", place / "levels", "--output", tmp_path / name]
        run("speak", *words, "--only", place / "only").says("2 utterances")
        pairs = [(mel(true[id_]), mel(wave)) for id_, wave in samples(tmp_path / name).items()]
        rows = [(a[: len(b)] - b[: len(a)]).abs().mean() for a, b in pairs]
        apart[name] = float(sum(rows) / len(rows))
    assert apart["all"] < 0.9 * apart["first"], apart


def test_in_the_voice_of_a_prompt(place, run, tmp_path):
    prompt = prompted(place, first_wave(place))
    run("speak", *speaking(place, tmp_path / "one"), *prompt).says("2 utterances", "generated")
    waves = samples(tmp_path / "one")
    assert all(abs(len(wave) / 16_000 - SECONDS) < 0.2 for wave in waves.values())  # no prompt
    paths = read_dict(tmp_path / "one/wav.scp").values()
    assert all(read_comment(path).endswith("its voice imitates a prompt") for path in paths)
    single = [*speaking(place, tmp_path / "two"), *prompt, "--batch_units", 1]
    run("speak", *single).says("2 utterances")
    two = samples(tmp_path / "two")
    assert all(np.abs(wave - two[id_]).max() < 0.02 for id_, wave in waves.items())
    table = ["--voice_prompts", place / "data/wav.scp", *prompt[2:]]
    run("speak", *speaking(place, tmp_path / "own"), *table).says("2 utterances")
    own = samples(tmp_path / "own")
    same = [np.array_equal(own[id_], wave) for id_, wave in waves.items()]
    assert sum(same) < 2  # other prompts, other levels


def test_without_a_prompt_chance_decides_the_voice(place, run, tmp_path):
    for seed in (0, 1):
        words = [*speaking(place, tmp_path / f"{seed}"), "--seed", seed]
        run("speak", *words).says("2 utterances")
    waves, others = samples(tmp_path / "0"), samples(tmp_path / "1")
    assert any(not np.array_equal(waves[id_], others[id_]) for id_ in waves)
    path = next(iter(read_dict(tmp_path / "0/wav.scp").values()))
    assert "imitates" not in read_comment(path)
    assert read_comment(path).startswith("Generated speech")


def test_prompts_that_cannot_be_used(place, run, tmp_path):
    prompt = prompts_that_cannot_be_used(place, run, speaking, tmp_path)
    words = speaking(place, tmp_path / "p")
    run("speak", *words, "--voice", "s").fails("--voice s", "--voice_prompt")
    run("speak", *words, *prompt[:4]).fails("--quantiser")
    run("speak", *words, *prompt[:6]).fails("--level_quantiser")


def test_parts_that_do_not_fit(place, root, run, tmp_path):
    words = speaking(place, tmp_path / "o")
    run("speak", *words, "--units", place / "levels").fails("another quantiser", str(place / "exp"))
    run("speak", *words, "--iterations", 0).fails("--iterations 0", "at least 1")
    run("speak", *words, "--acoustic", place / "patches").fails("no model of levels")
    run("speak", *words, "--vocoder", place / "exp").fails("several levels", "codec:DIR")
    made = ["--data", place / "data", "--units", place / "levels", "--output", tmp_path / "one"]
    run("mean_patches", *made).says()
    run("speak", *words, "--vocoder", tmp_path / "one").fails("several levels", "--levels true")
    made = ["--data", place / "data", "--units", place / "units", "--output", tmp_path / "two"]
    run("mean_patches", *made, "--levels", "true").fails("merged", "--merge_repeats false")
    codec = save_codec("dac", tmp_path / "dac")
    run("speak", *words, "--vocoder", f"codec:{codec}").fails("not those of the codec")
    learn = ["--source", "fbank:4", "--data", place / "data", "--size", 16, "--levels", 3]
    run("learn_units", *learn, "--seed", 7, "--output", tmp_path / "q").says()
    made = ["--quantiser", tmp_path / "q", "--data", place / "data", "--output", tmp_path / "u"]
    run("extract_units", *made).says()
    made = ["--data", place / "data", "--units", tmp_path / "u", "--output", tmp_path / "p"]
    run("mean_patches", *made, "--levels", "true").says()
    run("speak", *words, "--vocoder", tmp_path / "p").fails("another quantiser", "extract them")
    assert not (tmp_path / "o/wav.scp").exists()


def test_a_codec_speaks_and_reads_the_prompt(place, root, run, tmp_path):
    """200 frames a second, for 12.5 semantic units."""
    codec = save_codec("dac", tmp_path / "dac")
    learn = ["--source", f"codec:{codec}", "--levels", 2, "--output", tmp_path / "q"]
    run("learn_units", *learn).says()
    made = ["--quantiser", tmp_path / "q", "--data", place / "data", "--output", tmp_path / "u"]
    run("extract_units", *made).says()
    words = tiny_levels.options(place, tmp_path / "exp", max_epoch=1, batch_bins=200_000)
    levels = [f"--{split}_levels" for split in ("train", "valid")]
    levels = [word for name in levels for word in (name, tmp_path / "u")]
    run("soundstorm_train", *words, *levels).says()
    only = tmp_path / "only"
    write_table(only, [(next(iter(read_dict(place / "only"))), "x")])
    words = ["--acoustic", tmp_path / "exp", "--vocoder", f"codec:{codec}", "--only", only]
    words += ["--units", place / "units", "--output", tmp_path / "o", "--iterations", 2, 1]
    prompt = prompted(place, first_wave(place))[:6]  # the codec is its own quantiser
    run("speak", *words, *prompt).says("1 utterances")
    [wave] = samples(tmp_path / "o").values()
    assert abs(len(wave) / 16_000 - SECONDS) < 0.2
