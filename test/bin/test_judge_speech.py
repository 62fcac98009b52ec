"""bin/judge_speech, and the judge against PocketSphinx used without it. The speech is espeak's."""

import json

import numpy as np
import pytest
import soundfile

from espnet_audiollm.corpus.tts import SpeechJob, Voice, synthesize
from espnet_audiollm.data.kaldi_dir import read_dict, write_data_dir, write_table
from espnet_audiollm.types import Utterance

TEXTS = {
    "u1": "what is the capital of france",
    "u2": "my brother lost the red boat",
    "u3": "tell me the opposite of early",
    "u4": "which language is spoken in peru",
}
VOICE = "announcer"  # the same samples in every run: it has no breath
ANSWERS = {"u1": "capital of france | paris", "u2": "green", "u3": "early", "u4": "peru"}

pytest.importorskip("pocketsphinx")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    place = tmp_path_factory.mktemp("speech")
    voice, silent = Voice(f"en-us+{VOICE}", 160), place / "silent.wav"
    jobs = [SpeechJob(text, voice, f"{place}/{id_}.wav") for id_, text in TEXTS.items()]
    list(synthesize(jobs, 1))
    soundfile.write(silent, np.zeros(16_000), 16_000)
    for name, paths in (
        ("true", [job.path for job in jobs]),
        ("swapped", [job.path for job in jobs[1:] + jobs[:1]]),
        ("silent", [silent] * 4),
    ):
        rows = zip(TEXTS.items(), paths, strict=True)
        write_data_dir(place / name, (Utterance(i, str(p), VOICE, None, t) for (i, t), p in rows))
    write_table(place / "answers", ANSWERS.items())
    return place


def test_true_speech_is_understood_and_others_not(speech, run, tmp_path):
    systems = [f"{name}={speech}/{name}" for name in ("true", "swapped", "silent")]
    words = ["--text", speech / "true/text", "--answers", speech / "answers", "--resamples", 50]
    done = run("judge_speech", *systems, *words, "--nj", 2, "--output", tmp_path / "o")
    done.says("ASR-WER", "swapped", "/24)")
    found = json.loads((tmp_path / "o/speech.json").read_text())
    true, swapped, silent = (found[name] for name in ("true", "swapped", "silent"))
    assert true["wer"] < 20 < 60 < swapped["wer"] and silent["errors"] >= 20
    assert true["asr_bleu"] > 70 > 30 > swapped["asr_bleu"]
    assert true["success"]["count"] == 3 and swapped["success"]["count"] == 0
    assert true["empty"] == 0 and true["utterances"] == 4
    again = [
        systems[0],
        *words,
        "--hypotheses",
        tmp_path / "o/hypotheses",
        "--output",
        tmp_path / "p",
    ]
    run("judge_speech", *again).says("true")
    assert json.loads((tmp_path / "p/speech.json").read_text())["true"] == true
    recognised = read_dict(tmp_path / "o/hypotheses/true")
    assert recognised == by_its_own_decoder(speech, tmp_path)


def test_answers_that_did_not_come_count_as_silence(speech, run, tmp_path):
    """And are judged beside the controls of an earlier call; a page plays them all."""
    rows = [(i, f"{TEXTS[i]} zzyzx" if i == "u2" else TEXTS[i]) for i in TEXTS]
    write_table(tmp_path / "text", rows)
    write_data_dir(tmp_path / "part", [Utterance("u3", f"{speech}/u3.wav", VOICE)])
    words = ["--text", tmp_path / "text", "--resamples", 50, "--leave_out_unknown", "true"]
    done = run("judge_speech", f"true={speech}/true", *words, "--output", tmp_path / "c")
    assert "1 of 4 texts (first: u2)" in done.err
    words += [
        "--beside",
        tmp_path / "c",
        "--missing_is_silence",
        "true",
        "--output",
        tmp_path / "o",
    ]
    systems = [f"answered={tmp_path}/part", f"none={tmp_path}/nowhere"]
    run("judge_speech", *systems, *words).says("answered", "none", "true")
    found = json.loads((tmp_path / "o/speech.json").read_text())
    assert found["true"] == json.loads((tmp_path / "c/speech.json").read_text())["true"]
    assert [found[name]["utterances"] for name in ("true", "answered", "none")] == [3, 3, 3]
    assert (found["answered"]["empty"], found["none"]["empty"]) == (2, 3)
    assert found["none"]["wer"] == 100 and found["answered"]["exact"]["count"] == 1
    run("judge_speech", f"true={speech}/true", *words).fails("true is in --beside", "another name")
    page = ["--judged", tmp_path / "o", "--text", tmp_path / "text", "--number", 4]
    done = run("listen_speech", *systems, *page, "--output", tmp_path / "p.html")
    done.says("4 of 4 utterances")
    html = (tmp_path / "p.html").read_text()
    assert html.count("data:audio/") == 1 and html.count("nothing was spoken") == 7
    assert '"understood": "tell me the opposite of early"' in html
    run("listen_speech", *systems, *page, "--number", 0, "--output", tmp_path / "q").fails(
        "--number 0"
    )


def by_its_own_decoder(speech, tmp_path):
    """What a decoder hears that is made anew for each file, with the language model as a file."""
    from pocketsphinx import Decoder, get_model_path

    from espnet_audiollm.text.arpa import write_arpa
    from espnet_audiollm.text.ngrams import witten_bell

    with open(tmp_path / "lm.arpa", "w") as out:
        write_arpa(witten_bell((t.split() for t in TEXTS.values()), 2), out)
    model = get_model_path("en-us/en-us")
    lexicon, lm = get_model_path("en-us/cmudict-en-us.dict"), str(tmp_path / "lm.arpa")
    recognised = {}
    for id_, path in read_dict(speech / "true/wav.scp").items():
        decoder = Decoder(hmm=model, dict=lexicon, lm=lm, loglevel="FATAL")
        decoder.start_utt()
        samples, _ = soundfile.read(path, dtype="int16")
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        recognised[id_] = decoder.hyp().hypstr
    return recognised


def test_what_is_refused(speech, run, tmp_path):
    (tmp_path / "text").write_text("u1 xqzzy what\nu2 blorbl\n")
    words = ["--output", tmp_path / "o", "--text"]
    true = f"true={speech}/true"
    run("judge_speech", true, *words, tmp_path / "text").fails("2 words", "blorbl, xqzzy")
    leave_out = ["--leave_out_unknown", "true"]
    (tmp_path / "all").write_text("u1 xqzzy\nu2 blorbl\n")
    run("judge_speech", true, *words, tmp_path / "all", *leave_out).fails("all of 2", "first: u1")
    (tmp_path / "text").write_text("u1 what\nu9 is\n")
    run("judge_speech", true, *words, tmp_path / "text").fails("1 of 2", "first: u9")
    run("judge_speech", true, true, *words, tmp_path / "text").fails("each name once")
    run("judge_speech", "true", *words, tmp_path / "text").fails("NAME=DIR")
    run("judge_speech", true, "--nj", 0, *words, tmp_path / "text").fails("--nj 0: at least 1")
    rule = ["--success_rule", "some"]
    run("judge_speech", true, *words, tmp_path / "text", *rule).fails("no success rule", "numeric")
    assert not (tmp_path / "o/speech.json").exists()


def test_spoken_answers_are_judged_by_the_rule(speech, run, tmp_path):
    (tmp_path / "said").mkdir()
    write_table(tmp_path / "said/true", {"u1": "twenty one", "u2": "it is one"}.items())
    write_table(tmp_path / "text", {"u1": "twenty one", "u2": "it is one"}.items())
    write_table(tmp_path / "answers", {"u1": "21", "u2": "one"}.items())
    words = [f"true={speech}/true", "--text", tmp_path / "text", "--answers", tmp_path / "answers"]
    words += ["--hypotheses", tmp_path / "said", "--resamples", 50, "--output", tmp_path / "o"]
    for rule, right in (("contains", 1), ("numeric", 2), ("exact", 0)):
        run("judge_speech", *words, "--success_rule", rule).says("ASR-WER")
        found = json.loads((tmp_path / "o/speech.json").read_text())
        assert found["true"]["success"]["count"] == right
