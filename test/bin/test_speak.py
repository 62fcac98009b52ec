"""bin/vocoder_train, bin/mean_patches, bin/speak and bin/resynthesise: from recordings to units and
back to recordings."""

import shutil

import numpy as np
import pytest
import soundfile
import yaml
from tiny_speaking import VOCODER, call

from espnet_audiollm.data.audio import read_comment
from espnet_audiollm.data.kaldi_dir import read_dict


@pytest.fixture(scope="module")
def place(systems, tmp_path_factory):
    """Data with lengths, its units (each once, and merged), a vocoder of a table, one of prompts,
    mean patches."""
    place = tmp_path_factory.mktemp("speak")
    data = shutil.copytree(systems / "data", place / "data")
    shutil.copy(data / "shape", data / "utt2num_samples")
    call("learn_units", "--source", "fbank", "--data", data, "--output", place / "q", "--size", 6)
    for name, merged in (("units", "false"), ("merged", "true")):
        words = ["--quantiser", place / "q", "--data", data, "--output", place / name]
        call("extract_units", *words, "--merge_repeats", merged)
    words = ["--data", data, "--units", place / "merged", "--output", place / "patches"]
    call("mean_patches", *words)
    for voice, units in (("table", "units"), ("prompt", "merged")):
        call("vocoder_train", *training(place, place / voice, units), "--voice", voice)
    return place


def training(place, output, units, valid="units"):
    config = place / "vocoder.yaml"
    config.write_text(yaml.safe_dump(VOCODER | {"batch_bins": 60_000}))
    words = ["--config", config, "--output_dir", output]
    for split, of in (("train", units), ("valid", valid)):
        words += [f"--{split}_data", place / "data", f"--{split}_units", place / of]
    return words


def samples(directory):
    return {id_: soundfile.read(path)[0] for id_, path in read_dict(directory / "wav.scp").items()}


def test_units_become_marked_recordings(place, run, tmp_path):
    words = ["--vocoder", place / "table", "--units", place / "units", "--shard_size", 5]
    done = run("speak", *words, "--output", tmp_path / "one")
    done.says("12 utterances", "marked as generated")
    assert "12 utterances" in done.err and "x real time" in done.err
    waves, lengths = samples(tmp_path / "one"), read_dict(tmp_path / "one/utt2num_samples")
    assert {id_: str(len(wave)) for id_, wave in waves.items()} == lengths
    true = read_dict(place / "data/utt2num_samples")
    assert all(abs(len(waves[id_]) - int(true[id_])) < 1_000 for id_ in true)
    assert set(read_dict(tmp_path / "one/utt2spk").values()) == {"s"}
    for path in read_dict(tmp_path / "one/wav.scp").values():
        assert read_comment(path).startswith("Generated speech")
        assert b"ICMT" in open(path, "rb").read()
    again = run("speak", *words, "--output", tmp_path / "one")
    assert "nothing left" in again.err


def test_jobs_formats_and_batches_say_the_same(place, run, tmp_path):
    words = ["--vocoder", place / "table", "--units", place / "units", "--shard_size", 5]
    run("speak", *words, "--output", tmp_path / "one").says()
    flac = [*words, "--format", "flac", "--batch_units", 1, "--output", tmp_path / "two"]
    for job in (2, 1):
        run("speak", *flac, "--num_jobs", 2, "--job", job).says()
    run("speak", *flac, "--num_jobs", 2, "--merge").says("12 utterances")
    one, two = samples(tmp_path / "one"), samples(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) == 12
    close = [np.abs(one[id_] - two[id_]).max() < 0.02 for id_ in one]
    assert all(close), close
    path = next(iter(read_dict(tmp_path / "two/wav.scp").values()))
    assert path.endswith(".flac") and read_comment(path).startswith("Generated speech")


def test_known_durations_do_not_depend_on_the_form_of_the_units(place, run, tmp_path):
    for name in ("units", "merged"):
        words = ["--vocoder", place / "patches", "--units", place / name]
        run("speak", *words, "--output", tmp_path / name).says()
    shutil.copytree(place / "merged", tmp_path / "timeless")
    (tmp_path / "timeless/durations").unlink()
    words = ["--vocoder", place / "patches", "--units", tmp_path / "timeless"]
    run("speak", *words, "--output", tmp_path / "predicted").says()
    plain, merged, predicted = (samples(tmp_path / n) for n in ("units", "merged", "predicted"))
    assert all(np.array_equal(plain[id_], merged[id_]) for id_ in plain)
    assert any(len(plain[id_]) != len(predicted[id_]) for id_ in plain)
    asked = [*words[:2], "--units", place / "units", "--durations", "predicted"]
    run("speak", *asked, "--output", tmp_path / "asked").says()
    assert all(len(w) == len(predicted[id_]) for id_, w in samples(tmp_path / "asked").items())


def test_shuffled_units_are_as_long_and_something_else(place, run, tmp_path):
    words = ["--vocoder", place / "patches", "--units", place / "units"]
    run("speak", *words, "--output", tmp_path / "true").says()
    run("speak", *words, "--shuffle", "true", "--output", tmp_path / "shuffled").says()
    true, shuffled = samples(tmp_path / "true"), samples(tmp_path / "shuffled")
    assert all(len(true[id_]) == len(shuffled[id_]) for id_ in true)
    assert sum(not np.array_equal(true[id_], shuffled[id_]) for id_ in true) > 6


def test_other_patches_speak_anew(place, run, tmp_path):
    words = ["--units", place / "units", "--output", tmp_path / "o", "--vocoder"]
    run("speak", *words, place / "patches").says()
    before = samples(tmp_path / "o")
    louder = shutil.copytree(place / "data", tmp_path / "data")
    for id_, path in read_dict(place / "data/wav.scp").items():
        soundfile.write(tmp_path / f"{id_}.wav", 0.1 * soundfile.read(path)[0], 16_000)
    table = (f"{id_} {tmp_path}/{id_}.wav\n" for id_ in before)
    (louder / "wav.scp").write_text("".join(table))
    learn = ["--data", louder, "--units", place / "units", "--output", tmp_path / "patches"]
    run("mean_patches", *learn).says("mean patches of 6 units")
    run("speak", *words, tmp_path / "patches").says("12 utterances")
    after = samples(tmp_path / "o")
    assert all(np.abs(after[id_]).max() < np.abs(before[id_]).max() for id_ in before)


def test_some_of_the_utterances(place, run, tmp_path):
    (tmp_path / "some").write_text("u03 x\nu07 y\n")
    words = ["--vocoder", place / "patches", "--units", place / "units", "--output", tmp_path / "o"]
    run("speak", *words, "--only", tmp_path / "some").says("2 utterances")
    assert list(read_dict(tmp_path / "o/wav.scp")) == ["u03", "u07"]
    (tmp_path / "some").write_text("v1 x\n")
    run("speak", *words, "--only", tmp_path / "some").fails("no utterance", "nothing to do")


def test_voices_of_prompts(place, run, tmp_path):
    words = ["--vocoder", place / "prompt", "--units", place / "units"]
    given = [*words, "--output", tmp_path / "o"]
    rng = np.random.default_rng(0)
    for name, wave in (
        ("good", rng.normal(0, 0.1, 12_000)),
        ("short", rng.normal(0, 0.1, 7_000)),
        ("silent", np.zeros(16_000)),
        ("late", np.concatenate([np.zeros(50_000), rng.normal(0, 0.1, 12_000)])),
    ):
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000)
    prompt = ["--voice_prompt", tmp_path / "good.wav"]
    run("speak", *given, *prompt).fails("--allow_voice_cloning true")
    allowed = [*given, "--allow_voice_cloning", "true"]
    run("speak", *given).fails("--voice_prompt or --voice_prompts")
    run("speak", *allowed, "--voice_prompt", tmp_path / "short.wav").fails("0.44 s", "0.5 s")
    run("speak", *allowed, "--voice_prompt", tmp_path / "silent.wav").fails("silent")
    run("speak", *allowed, "--voice_prompt", tmp_path / "late.wav").fails("in its first 3.0 s")
    run("speak", *allowed, *prompt, "--voice", "s").fails("one source")
    run("speak", *allowed, *prompt).says("12 utterances")
    path = next(iter(read_dict(tmp_path / "o/wav.scp").values()))
    assert read_comment(path).endswith("its voice imitates a prompt")
    table = ["--voice_prompts", place / "data/wav.scp", "--allow_voice_cloning", "true"]
    run("speak", *words, "--output", tmp_path / "p", *table).says("12 utterances")
    (tmp_path / "few").write_text(f"u00 {tmp_path}/good.wav\n")
    few = ["--voice_prompts", tmp_path / "few", "--allow_voice_cloning", "true"]
    run("speak", *words, "--output", tmp_path / "q", *few).fails("11 of 12", "first: u01")
    wrong = ["--vocoder", place / "table", *words[2:], "--output", tmp_path / "r"]
    run("speak", *wrong, *prompt, "--allow_voice_cloning", "true").fails("chosen by --voice")


def test_a_table_that_somebody_wrote(place, run, tmp_path):
    (tmp_path / "units").write_text("a 1 1 2\nb 0 5 5 5\n")
    words = [
        "--vocoder",
        place / "table",
        "--units",
        tmp_path / "units",
        "--output",
        tmp_path / "o",
    ]
    run("speak", *words).fails("--quantiser")
    words += ["--quantiser", place / "q"]
    run("speak", *words).says("2 utterances")
    assert read_dict(tmp_path / "o/utt2num_samples") == {"a": "2160", "b": "2800"}  # 12, 16 frames
    (tmp_path / "units").write_text("a 1 1 2\nb\n")
    run("speak", *words).fails("b has no units")
    (tmp_path / "units").write_text("a 1 6 2\n")
    run("speak", *words).fails("a: 1 of 3 units (first: 6)", "0 to 5")
    (tmp_path / "units").write_text("")
    run("speak", *words).fails("units has no utterance")


def test_what_is_refused(place, systems, run, tmp_path):
    learn = ["--source", "fbank", "--data", place / "data", "--size", 6, "--seed", 3]
    run("learn_units", *learn, "--output", tmp_path / "q").says()
    other = ["--quantiser", tmp_path / "q", "--data", place / "data", "--output", tmp_path / "u"]
    run("extract_units", *other).says()
    speak = ["--output", tmp_path / "o", "--units"]
    run("speak", "--vocoder", place / "table", *speak, tmp_path / "u").fails("another quantiser")
    units = [*speak, place / "units"]
    run("speak", "--vocoder", systems / "ctc", *units).fails("no vocoder", "bin/vocoder_train")
    run("speak", "--vocoder", place / "table", *units, "--voice", "x").fails(
        "--voice x", "first: s"
    )
    written = ["--quantiser", tmp_path / "q", *speak, place / "units/units"]
    run("speak", "--vocoder", place / "table", *written).fails("another quantiser")
    train = training(place, tmp_path / "v", "units")
    run("vocoder_train", *train[:-2]).fails("1 of 4 directories", "--valid_units")
    run("vocoder_train", *train[:-1], tmp_path / "u").fails("another quantiser")
    run("vocoder_train", *train, "--vocoder_conf", "height=3").fails("--vocoder_conf", "height")
    run("mean_patches", "--data", tmp_path, "--units", place / "units", "--output", "x").fails(
        "does not exist"
    )
    assert not (tmp_path / "o/wav.scp").exists()
    longer = shutil.copytree(place / "data", tmp_path / "longer")
    paths = read_dict(place / "data/wav.scp")
    wave = soundfile.read(paths["u03"])[0]
    soundfile.write(tmp_path / "u03.wav", np.tile(wave, 3), 16_000)
    rows = (f"{id_} {paths[id_] if id_ != 'u03' else tmp_path / 'u03.wav'}\n" for id_ in paths)
    (longer / "wav.scp").write_text("".join(rows))
    for units in ("units", "merged"):
        run("mean_patches", "--data", longer, "--units", place / units, "--output", "x").fails(
            "u03 has", "s of audio", "bin/extract_units"
        )


def test_mel_energies_come_back(place, run, tmp_path):
    run("resynthesise", "--data", place / "data", "--output", tmp_path / "mel").says(
        "12 recordings"
    )
    import torch

    from espnet_audiollm.model.frontend import Filterbank

    true, made = samples(place / "data"), samples(tmp_path / "mel")
    for id_ in ("u00", "u07"):
        mels = [
            Filterbank()(torch.tensor(w[None], dtype=torch.float32), torch.tensor([len(w)]))[0][0]
            for w in (true[id_], made[id_])
        ]
        assert mels[0].shape == mels[1].shape
        loud = mels[0] > mels[0].max() - 5  # 22 dB
        assert (mels[0] - mels[1])[loud].abs().mean() < 0.5
