"""The server as a program: what it prints, refuses and does when it is ended."""

import re
import signal
import socket

import openai
import pytest
from serving import start

from espnet_audiollm.bin import serve
from espnet_audiollm.infer.chat import Chat
from espnet_audiollm.infer.systems import load_system

START = 120.0  # s
SAID = "w1 w2 w3"


def test_a_packed_model_is_served_until_the_process_is_ended(packed, llm_dir):
    process = start(packed, llm_dir, "--host", "0.0.0.0", AUDIOLLM_TOKEN="secret")
    try:
        line = next((line for line in process.stdout if line.startswith("tiny: ")), "")
        found = re.fullmatch(r"tiny: (http://0\.0\.0\.0:\d+/v1)\n", line)
        assert found, line
        client = openai.OpenAI(base_url=found[1], api_key="secret", max_retries=0)
        said = [{"role": "user", "content": SAID}]
        answer = client.chat.completions.create(model="tiny", messages=said, max_tokens=5)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="tiny", messages=said * 65)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="w1").models.list()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=START)
    finally:
        process.kill()
    chat = Chat(load_system("audiollm", str(llm_dir), packed), 5)
    expected = "".join(piece.text for piece in chat.say(SAID))
    assert answer.choices[0].message.content == expected
    assert (process.returncode, out) == (0, "")
    assert "w1" not in err and "POST" not in err  # nothing of requests is logged


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a trained experiment"),
        (["PACK", "--host", "0.0.0.0"], "set AUDIOLLM_TOKEN"),
        (["PACK", "--host", "some.example"], "set AUDIOLLM_TOKEN"),
        (["PACK", "--cache_bytes", "-1"], "--cache_bytes -1: at least 0"),
        (["PACK", "--max_rows", "0"], "--max_rows 0: at least 1"),
        (["PACK", "--max_seconds", "nan"], "--max_seconds nan"),
        (["PACK", "--port", "TAKEN"], "ddress already in use"),
    ],
)
def test_what_cannot_begin(packed, llm_dir, capsys, monkeypatch, words, message):
    monkeypatch.delenv("AUDIOLLM_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"PACK": str(packed), "TAKEN": str(taken.getsockname()[1])}
        words = [values.get(word, word) for word in words]
        with pytest.raises(SystemExit):
            serve.main([*words, "--llm", str(llm_dir)])
    assert message in capsys.readouterr().err
