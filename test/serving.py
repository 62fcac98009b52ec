"""Servers for tests: in this process or in one of their own, and what clients send them."""

import base64
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import uvicorn


@contextmanager
def listening(server):
    with socket.create_server(("127.0.0.1", 0)) as place:
        quiet = {"access_log": False, "log_level": "warning", "timeout_graceful_shutdown": 1}
        config = uvicorn.Config(server.app(), **quiet)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()


ENDLESS = """
import dataclasses, sys, time
from espnet_audiollm.bin import serve
from espnet_audiollm.infer.decoder import Decoder
from espnet_audiollm.serve import engine

step = Decoder.step
Decoder.step = lambda self, ids: (time.sleep(0.3), step(self, ids))[1]

class Endless(engine.Engine):
    def __init__(self, system, *words, **more):
        llm = dataclasses.replace(system.llm, eos_ids=())
        super().__init__(dataclasses.replace(system, llm=llm), *words, **more)

engine.Engine = Endless
sys.exit(serve.main())
"""


def start(model, llm_dir, *words, endless=False, **env):
    """endless: answers end at their limit only, and each token takes 0.3 s more."""
    program = ["-c", ENDLESS] if endless else ["-m", "espnet_audiollm.bin.serve"]
    command = [sys.executable, *program, str(model), "--port", "0"]
    return subprocess.Popen(
        [*command, "--llm", str(llm_dir), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


@contextmanager
def process(model, llm_dir, *words, **how):
    """A server in a process of its own, killed at the end; its `url`, and `name` of the model."""
    running = start(model, llm_dir, *words, **how)
    try:
        line = next((line for line in running.stdout if ": http://" in line), "")
        assert line, running.stderr.read()
        running.name, running.url = line.strip().removesuffix("/v1").split(": ")
        yield running
    finally:
        running.kill()
        running.communicate()


def audio_part(data):
    encoded = base64.b64encode(data).decode()
    return {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}


def recording(data, number):
    return audio_part((data / f"u{number}.wav").read_bytes())


def user(*parts):
    return {"role": "user", "content": list(parts)}


def assistant(text):
    return {"role": "assistant", "content": text}


def ask(client, *messages, **more):
    options = {"model": "tiny", "max_tokens": 6, **more}
    return client.chat.completions.create(messages=list(messages), **options)


def counts(server):
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        text = answer.read().decode()
    return {k: float(v) for k, v in re.findall(r"^(\S+) (\S+)$", text, re.M)}


def user_text(text="w1 w2"):
    return {"role": "user", "content": text}


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()
