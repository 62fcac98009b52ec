"""Fixtures: a handful of noises, a random Llama as a directory, and both tasks trained on them.

The imports are in the fixtures: every run of pytest reads this file, and ESPnet takes 10 s."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    from tiny_tasks import make_data

    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def ctc_exp(data, tmp_path_factory) -> Path:
    from tiny_tasks import ctc_options

    from espnet_audiollm.tasks.ctc import CTCTask

    exp = tmp_path_factory.mktemp("ctc")
    CTCTask.main(cmd=ctc_options(data, exp, max_epoch=3, keep_epochs=[1], accum_grad=2))
    return exp


@pytest.fixture(scope="session")
def llm_dir(tmp_path_factory) -> Path:
    from tiny_tasks import make_llm

    return make_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="session")
def align_exp(data, ctc_exp, llm_dir, tmp_path_factory) -> Path:
    from tiny_tasks import task_options

    from espnet_audiollm.tasks.audiollm import AudioLLMTask

    exp = tmp_path_factory.mktemp("align")
    init = f"{ctc_exp}/valid.loss.ave.pth"
    cmd = task_options(data, exp, "response_ids,response,text_int", max_epoch=2)
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), "--init_ctc", init])
    return exp


@pytest.fixture(scope="session")
def packed(align_exp, tmp_path_factory) -> Path:
    from espnet_audiollm.bin import pack

    output = tmp_path_factory.mktemp("pack") / "tiny"
    pack.main(["--exp", str(align_exp), "--output", str(output)])
    return output


@pytest.fixture(scope="session")
def speaking(ctc_exp, tmp_path_factory) -> Path:
    """The parts of a tiny speech LM that has learned its tasks (test/tiny_speaking.py)."""
    import tiny_speaking

    return tiny_speaking.make(tmp_path_factory.mktemp("speaking"), ctc_exp)


@pytest.fixture(scope="session")
def speech_lm(speaking, tmp_path_factory) -> Path:
    """The same packed, with a voice."""
    import tiny_speaking

    output = tmp_path_factory.mktemp("speech_lm") / "tiny"
    tiny_speaking.pack(speaking, output, "--vocoder", speaking / "vocoder")
    return output
