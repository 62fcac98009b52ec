"""Scores of a speech LM's answers, by hand."""

import json
import shutil

import pytest

from espnet_audiollm.bin import score_tasks
from espnet_audiollm.score.speech_tasks import How, score_replies

HOW = How(resamples=50)


@pytest.fixture
def replies(tmp_path):
    """Writes the answers of blocks: {block: (tag, {field: (references, hypotheses)}, faults)}."""

    def write(**blocks):
        about = []
        for name, (tag, fields, faults) in blocks.items():
            name = name.replace("__", ".")
            for field, texts in fields.items():
                for place, lines in zip(("reference", "."), texts, strict=True):
                    where = tmp_path / "out" / name / place
                    where.mkdir(parents=True, exist_ok=True)
                    rows = (f"u{i} {line}".strip() + "\n" for i, line in enumerate(lines))
                    (where / field).write_text("".join(rows))
            (tmp_path / "out" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "out" / name / "faults").write_text("".join(f"{f}\n" for f in faults))
            about.append({"name": name, "tag": tag, "size": 4})
        (tmp_path / "out/replies.json").write_text(json.dumps({"llm": "exp/llm", "blocks": about}))
        return tmp_path / "out"

    return write


def by_name(measures):
    return {(m.block, m.step, m.name): m for m in measures}


ASR = (
    "[ASR English]",
    {"text": (["the cat", "a dog", "a b", "c d"], ["the cat", "A dog.", "a", ""])},
)


def test_recognition_counts_what_did_not_come(replies):
    """One word is missing in the third, two in the fourth; case and full stops do not count."""
    out = replies(m__asr_english=(*ASR, ["u3 no end"]))
    found = by_name(score_replies(out, how=HOW))
    wer = found["m.asr_english", "ASR", "WER %"]
    assert wer.value == pytest.approx(100 * 3 / 8) and wer.counts == "3/8"
    assert wer.ci95[0] < wer.value < wer.ci95[1]
    assert found["m.asr_english", "ASR", "CER %"].counts == "5/18"
    end = found["m.asr_english", "faults", "no end %"]
    assert (end.value, end.counts) == (25.0, "1/4")
    assert found["m.asr_english", "faults", "wrong modality %"].value == 0


def test_steps_of_one_tag_are_measured_each(replies):
    """An answer is right where an accepted one is in it, or, without any, as the reference."""
    text, answers = ASR[1]["text"], (["blue"] * 4, ["It is blue!", "red", "blue", "navy"])
    fields = {"text": text, "answer": answers}
    out = replies(m__asr_sqa_english=("[ASR SQA English]", fields, []))
    found = by_name(score_replies(out, how=HOW))
    assert found["m.asr_sqa_english", "ASR", "WER %"].counts == "3/8"
    assert found["m.asr_sqa_english", "SQA", "success %"].counts == "1/4"
    (out / "answers").write_text("u0 blue\nu1 blue | red\nu2 green\nu3 blue | navy\n")
    found = by_name(score_replies(out, {"m": out / "answers"}, HOW))
    assert found["m.asr_sqa_english", "SQA", "success %"].counts == "3/4"


def test_translations(replies):
    texts = (["the big cat sat on a mat"] * 4, ["the big cat sat on a mat"] * 4)
    out = replies(m__ast_spanish_english=("[AST Spanish English]", {"translation": texts}, []))
    found = by_name(score_replies(out, how=HOW))
    assert found["m.ast_spanish_english", "AST", "BLEU"].value == pytest.approx(100)
    assert found["m.ast_spanish_english", "AST", "chrF"].value == pytest.approx(100)


def test_reports(replies, tmp_path, capsys):
    out = replies(m__asr_english=(*ASR, ["u3 no end"]), m__tts_english=("[TTS English]", {}, []))
    words = [str(out), "--output", str(tmp_path / "exp"), "--resamples", "50"]
    assert score_tasks.main(words) == 0
    assert "37.5 [" in capsys.readouterr().out
    results = json.loads((tmp_path / "exp/results.json").read_text())
    [system] = results["task_systems"]
    assert system["llm"] == "exp/llm" and len(system["measures"]) == 6
    assert "| WER % | 37.5 [" in (tmp_path / "exp/RESULTS.md").read_text()


def recognised(wer, errors, success=None):
    """What bin/judge_speech leaves of one system."""
    return {
        "utterances": 4, "wer": wer, "wer_ci95": [wer - 1, wer + 1], "errors": errors,
        "reference_words": 8, "asr_bleu": 50.0, "asr_bleu_ci95": [40.0, 60.0], "success": success,
    }  # fmt: skip


def test_judged_speech_stands_in_the_table(replies, tmp_path, capsys):
    """Answers first, then the controls; a system without it has no figure there."""
    chain = "[ASR SQA SQSA English]"
    fields = {"text": ASR[1]["text"], "answer": (["blue"] * 4, ["blue"] * 4)}
    out = replies(m__asr_sqa_sqsa_english=(chain, fields, []))
    judged = out / "m.asr_sqa_sqsa_english/judged/answer_audio"
    judged.mkdir(parents=True)
    success = {"count": 3, "rate": 75.0, "ci95": [40.0, 90.0]}
    found = {"true": recognised(12.5, 1), "answered": recognised(25.0, 2, success)}
    (judged / "speech.json").write_text(json.dumps(found))
    measures = [m for m in score_replies(out, how=HOW) if m.step == "SQSA"]
    assert [(m.name, m.value, m.counts) for m in measures] == [
        ("ASR-WER %", 25.0, "2/8"),
        ("ASR-BLEU", 50.0, "4 utterances"),
        ("spoken success %", 75.0, "3/4"),
        ("ASR-WER %, true", 12.5, "1/8"),
        ("ASR-BLEU, true", 50.0, "4 utterances"),
    ]
    other = shutil.copytree(out, tmp_path / "other")
    shutil.rmtree(other / "m.asr_sqa_sqsa_english/judged")
    words = [f"one={out}", f"two={other}", "--output", f"{tmp_path}/exp", "--resamples", "50"]
    assert score_tasks.main(words) == 0
    table = (tmp_path / "exp/RESULTS.md").read_text()
    assert "| SQSA | ASR-WER % | 25.0 [24.0, 26.0] (2/8) | – |" in table
    assert "| Task | output | measure | one | two |" in table
    (judged / "speech.json").write_text(json.dumps({"answered": {"wer": 1}}))
    with pytest.raises(ValueError, match="speech.json is damaged.*judge the speech again"):
        score_replies(out, how=HOW)


def test_what_is_refused(replies, tmp_path):
    out = replies(m__asr_english=(*ASR, []))
    with pytest.raises(ValueError, match="--answers n=.*there are m"):
        score_replies(out, {"n": "x"}, HOW)
    with pytest.raises(ValueError, match="has no answers; answer again"):
        score_replies(tmp_path, how=HOW)
    (out / "m.asr_english/text").write_text("u0 the cat\n")
    with pytest.raises(ValueError, match="u1"):
        score_replies(out, how=HOW)
