"""Counts for Prometheus: how many and how long, nothing of what was said."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .engine import Engine
from .limits import Places

FIRST_TOKEN = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)  # seconds


class Metrics:
    """Of one server."""

    def __init__(self, engine: Engine, places: Places):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "audiollm_requests",
            "Requests that were answered or refused",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self.disconnects = self._counter("client_disconnects", "Clients that did not wait")
        self.prompt_tokens = self._counter("prompt_tokens", "Positions of prompts")
        self.audio_tokens = self._counter("audio_tokens", "Of these, those of audio")
        self.completion_tokens = self._counter("completion_tokens", "Tokens that were written")
        self.first_token = Histogram(
            "audiollm_time_to_first_token_seconds",
            "From the request to its first token",
            buckets=FIRST_TOKEN,
            registry=self.registry,
        )
        self._gauge("requests_held", "Sent, waiting or answered now", lambda: places.taken)
        self._gauge("requests_waiting", "Without a row yet", lambda: engine.num_waiting)
        self._gauge("rows", "Answers that are written now", lambda: len(engine.writing))
        self._gauge("audio_encoded", "Recordings encoded", lambda: engine.speech.encoded)
        self._gauge("audio_cached", "Recordings known already", lambda: engine.speech.known)
        dialogues = engine.dialogues
        self._gauge("dialogues_kept", "Ended, their caches kept", lambda: len(dialogues))
        self._gauge("dialogues_bytes", "Of these caches", lambda: dialogues.num_bytes)
        self._gauge("dialogues_continued", "From such a cache", lambda: dialogues.continued)
        self._gauge("positions_reused", "Of prompts, not computed", lambda: dialogues.positions)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"audiollm_{name}", about, registry=self.registry)

    def _gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        Gauge(f"audiollm_{name}", about, registry=self.registry).set_function(value)
