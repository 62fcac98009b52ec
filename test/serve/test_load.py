"""Many clients for a while: nobody gets an error, and the server's memory does not grow."""

import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import crowd
from serving import counts, process

MIB = 1 << 20
GROWTH = 48 * MIB  # of the allocator's pools; what is kept of dialogues is counted apart


@pytest.fixture(scope="module")
def recordings(data):
    return [(data / f"u{number}.wav").read_bytes() for number in range(8)]


def anonymous_bytes(pid):
    """Memory of a process that is no file's."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


@contextmanager
def watched(pid, every=1.0):
    """A list of (seconds, bytes), filled while the block runs."""
    seen, ended, begin = [], threading.Event(), time.monotonic()

    def watch():
        while not ended.wait(every):
            seen.append((time.monotonic() - begin, anonymous_bytes(pid)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def when_idle(server, seconds=20):
    """Its counts, once no row computes: a client has its answer before the row is free."""
    end = time.monotonic() + seconds
    while (shown := counts(server))["audiollm_rows"] and time.monotonic() < end:
        time.sleep(0.1)
    return shown


def everything_answered(server, answers, clients):
    shown = when_idle(server)
    good = 'audiollm_requests_total{endpoint="/v1/chat/completions",status="200"}'
    assert len(answers) == shown[good] >= 2 * clients
    bad = [name for name in shown if "status=" in name and 'status="200"' not in name]
    assert [name for name in bad if "_total" in name] == []
    assert shown["audiollm_requests_held"] == shown["audiollm_rows"] == 0
    assert shown["audiollm_dialogues_kept"] <= 64
    assert any(answer.cached for answer in answers)


def test_eight_clients_for_some_seconds(packed, llm_dir, recordings):
    with process(packed, llm_dir) as server:
        answers = crowd(server.url, server.name, recordings, clients=8, seconds=20, turns=3)
        everything_answered(server, answers, 8)


@pytest.mark.slow
def test_thirty_two_clients_for_minutes(packed, llm_dir, recordings, request):
    seconds = 60 * request.config.getoption("--load_minutes")
    assert seconds > 90, "memory is compared with that after a minute: --load_minutes 2 or more"
    with process(packed, llm_dir) as server, watched(server.pid) as seen:
        answers = crowd(server.url, server.name, recordings, clients=32, seconds=seconds, turns=3)
        everything_answered(server, answers, 32)
        after_a_minute = next(size for at, size in seen if at >= 60)
        end = seen[-1][1]
    about = f"{len(answers)} answers in {seconds:.0f} s; RssAnon {after_a_minute / MIB:.0f} MiB "
    print(f"{about}after a minute, {end / MIB:.0f} at the end")
    assert end - after_a_minute < GROWTH
