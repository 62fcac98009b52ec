"""Fixtures of trainings that are interrupted."""

import pytest

import espnet_audiollm.tasks  # noqa: F401 (before ESPnet's own modules, which ask for more packages)


@pytest.fixture
def requests(monkeypatch):
    """Requests to stop that are this test's own."""
    from espnet_audiollm.train import supervision

    monkeypatch.setattr(supervision, "requests", supervision.StopRequest())


@pytest.fixture
def at_beat(monkeypatch):
    """`at_beat(n, do, phase)`: call `do` at the n-th beat of the phase from now on."""
    from espnet_audiollm.train import supervision

    real = supervision.beat

    def arm(number, do, phase="train"):
        seen = [0]

        def beat(now, step):
            real(now, step)
            seen[0] += now == phase
            if now == phase and seen[0] == number:
                do()

        monkeypatch.setattr(supervision, "beat", beat)

    return arm
