"""A handful of noises, a random Llama as a directory, and both tasks trained on them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_tasks.py

from tiny_tasks import ctc_options, make_data, make_llm, task_options  # noqa: E402

from espnet_audiollm.tasks.audiollm import AudioLLMTask  # noqa: E402
from espnet_audiollm.tasks.ctc import CTCTask  # noqa: E402


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def ctc_exp(data, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("ctc")
    CTCTask.main(cmd=ctc_options(data, exp, max_epoch=3, keep_epochs=[1], accum_grad=2))
    return exp


@pytest.fixture(scope="session")
def llm_dir(tmp_path_factory) -> Path:
    return make_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="session")
def align_exp(data, ctc_exp, llm_dir, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("align")
    init = f"{ctc_exp}/valid.loss.ave.pth"
    cmd = task_options(data, exp, "response_ids,response,text_int", max_epoch=2)
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), "--init_ctc", init])
    return exp
