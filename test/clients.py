"""Clients of a server that cost little themselves: many of them beside each other, and how long
they wait. They speak to it over one connection for each request, as the page does."""

import http.client
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serving import assistant, audio_part, user


@dataclass(frozen=True)
class Answered:
    """An answer, and when it came; seconds since the request began."""

    text: str
    first: float  # until the first token with text
    last: float
    cached: int  # positions of the prompt that were not computed


def stream(url, body):
    """The answer to a request. RuntimeError: there was none, or it broke off."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.read().decode()}")
        return _answered(answer, begin)
    finally:
        connection.close()


def _answered(lines, begin):
    text, first, usage = "", None, None
    for line in lines:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[len(b"data: ") :])
        if "error" in event:
            raise RuntimeError(event["error"]["message"])
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            if piece and first is None:
                first = time.monotonic() - begin
            text += piece
    if usage is None:
        raise RuntimeError("the answer broke off")
    last = time.monotonic() - begin
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Answered(text, last if first is None else first, last, cached)


def dialogue(url, model, recordings, max_tokens=64):
    """Say recordings (bytes) one after the other; an Answered for each."""
    messages, answers = [], []
    for recording in recordings:
        messages.append(user(audio_part(recording)))
        asked = {"model": model, "messages": messages, "max_tokens": max_tokens, "stream": True}
        asked["stream_options"] = {"include_usage": True}
        answers.append(stream(url, json.dumps(asked)))
        messages.append(assistant(answers[-1].text))
    return answers


def crowd(url, model, recordings, clients, seconds, turns=1, seed=0, max_tokens=64, new=False):
    """Clients that begin one dialogue after the other for some time: all that was answered.

    new: no recording is known to the server, which keeps what it has encoded: bytes behind the
    audio differ."""
    end = time.monotonic() + seconds

    def one(number):
        choice, answers = random.Random(seed * 1000 + number), []
        while time.monotonic() < end:
            said = choice.choices(recordings, k=turns)
            if new:
                said = [recording + os.urandom(8) for recording in said]
            answers += dialogue(url, model, said, max_tokens)
        return answers

    with ThreadPoolExecutor(clients) as pool:
        return [answer for answers in pool.map(one, range(clients)) for answer in answers]
