"""Requests to a vLLM server: token ids or embeddings in, token ids out. It is waited for if away.

Only `/health`, `/v1/models` and `/v1/completions` are used, as every unmodified vLLM has them.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import httpx2
import torch

from ..store.json_files import parse_json
from ..types import Seconds
from .decoder import Prompt

KEY = "AUDIOLLM_VLLM_KEY"  # environment variable: the key of a server that wants one
PATIENCE: Seconds = 600.0  # with a server that does not answer
ATTEMPTS = 3  # of one request, where the server fails each time
AWAY = (500, 502, 503, 504)  # statuses of a server that loads, dies, or is behind a proxy
POLL: Seconds = 0.5
REPORT: Seconds = 10.0  # between two lines about waiting


class VllmError(ValueError):
    """The server cannot be used as it is, or does not answer: a sentence for the user."""


class Away(Exception):
    """The server did not answer one request; it may be back soon."""


@dataclass(frozen=True)
class Choice:
    """What the server said to one prompt."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each token
    finish_reason: str  # vLLM's: stop, length, ...
    prompt_logprobs: tuple[float, ...] = ()  # of the prompt's tokens from the second on, if asked


class Server:
    """A vLLM server behind an address.

    Args:
        url: http://HOST:PORT, with or without /v1.
        key: None: that of the environment variable AUDIOLLM_VLLM_KEY, if there is one.
        patience: how long it is waited for, each time that it does not answer.
        check: called while the server does not answer. Raises when waiting has no sense; true when
            the server was started again just now, so that waiting begins anew.
        log: what more errors say of a server that fails at a prompt again and again.
        connections: requests at the same time.

    Errors (VllmError): no such address."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        patience: Seconds = PATIENCE,
        check: Callable[[], bool] = lambda: False,
        log: Callable[[], str] = lambda: "see its log",
        connections: int = 256,
    ):
        self.url = url.rstrip("/").removesuffix("/v1")
        if not self.url.startswith(("http://", "https://")):
            raise VllmError(f"--vllm_url {url}: an address begins with http:// or https://")
        self.patience, self.check, self.log = patience, check, log
        self.key = key = key or os.environ.get(KEY)
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(patience, connect=10.0),
            limits=httpx2.Limits(max_connections=connections),
            trust_env=False,  # no proxy stands between a cluster's nodes
        )
        self.on_return: Callable[[], None] = lambda: None  # called when it is back after a failure
        self._name: str | None = None  # of the model
        self._returns, self._returning = 0, threading.Lock()
        self.answered, self._counting = 0, threading.Lock()  # prompts, by `complete`

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def wait(self, why: str = "") -> None:
        """Until it answers.

        Errors (VllmError): it does not in time. Those of `check`."""
        begun = time.monotonic()
        said = begun
        while not self.healthy():
            if self.check():
                begun = said = time.monotonic()
            now = time.monotonic()
            if now - begun > self.patience:
                raise VllmError(
                    f"the vLLM server {self.url} has not answered for {self.patience:.0f} s"
                    f"{why and f' ({why})'}: see whether it runs (curl {self.url}/health), then "
                    "run the same command again; what was answered is kept"
                )
            if now - said >= REPORT:
                said = now
                print(
                    f"waiting for the vLLM server {self.url}{why and f' ({why})'}: "
                    f"{now - begun:.0f} of {self.patience:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(min(POLL, self.patience / 4))

    def healthy(self) -> bool:
        """Whether it answers now."""
        try:
            return self._http.get(f"{self.url}/health", timeout=10.0).status_code == 200
        except httpx2.TransportError:
            return False

    def model(self) -> dict[str, Any]:
        """What it says of its model: `id`, `max_model_len`.

        Errors (VllmError): it refuses. Away: it does not answer."""
        answer = self._read("GET", "/v1/models")
        models = answer.get("data") or [{}]
        if not isinstance(models[0], dict) or "id" not in models[0]:
            raise VllmError(f"{self.url} is no vLLM server (/v1/models names no model)")
        return models[0]

    def complete(self, what: str, body: dict[str, Any]) -> Choice:
        """The answer to one prompt; the server is waited for where it is away.

        what: what errors call the prompt. Errors (VllmError): it refuses the prompt, fails with it
        again and again, or stays away."""
        for attempt in range(1, ATTEMPTS + 1):
            before = self._returns
            try:
                choice = self.ask(what, body)
            except Away as error:
                if attempt == ATTEMPTS:
                    raise VllmError(
                        f"the vLLM server {self.url} failed {ATTEMPTS} times at {what} ({error}); "
                        f"what was answered is kept; {self.log()}"
                    ) from error
                self._await_return(before, str(error))
            else:
                with self._counting:
                    self.answered += 1
                return choice
        raise AssertionError

    def ask(self, what: str, body: dict[str, Any]) -> Choice:
        """`complete` without waiting. Errors (Away): the server does not answer."""
        answer = self._read("POST", "/v1/completions", self._named(body), what)
        return _choice(self.url, answer)

    def stream(self, what: str, body: dict[str, Any]) -> Generator[tuple[int, ...], None, None]:
        """The same in steps as they come, token ids. Closing the iterator ends the request there.

        Errors: VllmError, Away."""
        body = self._named(body) | {"stream": True}
        try:
            with self._http.stream("POST", f"{self.url}/v1/completions", json=body) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._refuse(answer, what)
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        yield _step(self.url, line.removeprefix("data: "))
        except httpx2.TransportError as error:
            raise Away(_reason(error)) from error

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._name is None:
            self._name = self.model()["id"]
        return {"model": self._name, **body}

    def _await_return(self, before: int, why: str) -> None:
        """Of many requests that failed together, one waits and has the model checked again."""
        with self._returning:
            if self._returns != before:
                return
            self.check()
            time.sleep(min(POLL, self.patience / 4))  # a dying server may answer for a moment
            self.wait(why)
            self._name = None
            try:
                self.on_return()
            except Away:
                return  # gone again: the next attempt waits
            self._returns += 1

    def _read(self, method: str, path: str, body: Any = None, what: str = "") -> dict[str, Any]:
        try:
            answer = self._http.request(method, self.url + path, json=body)
        except httpx2.TransportError as error:
            raise Away(_reason(error)) from error
        if answer.status_code != 200:
            self._refuse(answer, what)
        found = parse_json(answer.text)
        if not isinstance(found, dict):
            raise VllmError(f"{self.url} is no vLLM server (its answer is not an object)")
        return found

    def _refuse(self, answer: httpx2.Response, what: str) -> None:
        status = answer.status_code
        if status in AWAY:
            raise Away(f"status {status}")
        if status in (401, 403):
            raise VllmError(
                f"the vLLM server {self.url} wants a key (status {status}): put it into the "
                f"environment variable {KEY}"
            )
        said = _message(answer)
        raise VllmError(f"the vLLM server {self.url} refuses {what or 'a request'}: {said}")


def to_body(prompt: Prompt) -> dict[str, Any]:
    """A prompt as a request has it: token ids, or embeddings (T, D)."""
    if not isinstance(prompt, torch.Tensor):
        return {"prompt": list(prompt)}
    buffer = io.BytesIO()
    torch.save(prompt.detach().cpu().contiguous().clone(), buffer)
    return {"prompt_embeds": base64.b64encode(buffer.getvalue()).decode()}


def _choice(url: str, answer: dict[str, Any]) -> Choice:
    try:
        (choice,) = answer["choices"]
        ids = tuple(choice["token_ids"])
        logprobs = tuple((choice.get("logprobs") or {}).get("token_logprobs") or ())
        prompt_ids = choice.get("prompt_token_ids") or ()
        measured = zip(prompt_ids, choice.get("prompt_logprobs") or (), strict=False)
        prompt = tuple(of[str(id_)]["logprob"] for id_, of in measured if of)
        return Choice(ids, logprobs, choice["finish_reason"], prompt)
    except (KeyError, TypeError, ValueError) as error:
        raise VllmError(
            f"the answer of {url} lacks {error}: it is no vLLM server, or one that is too old "
            "(0.32 was tested)"
        ) from error


def _step(url: str, data: str) -> tuple[int, ...]:
    found: Any = parse_json(data)
    try:
        if "error" in found:
            raise Away(str(found["error"].get("message", found["error"]))[:200])
        if not found["choices"]:
            return ()
        return tuple(found["choices"][0].get("token_ids") or ())
    except (KeyError, TypeError, AttributeError) as error:
        raise VllmError(f"the stream of {url} lacks {error}: it is no vLLM server") from error


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _message(answer: httpx2.Response) -> str:
    """The server's own words, one line."""
    try:
        found: Any = parse_json(answer.text)
        said = found.get("error", found)
        said = said.get("message", said) if isinstance(said, dict) else said
    except (ValueError, AttributeError):
        said = answer.text
    return f"{' '.join(str(said).split())[:300]} (status {answer.status_code})"
