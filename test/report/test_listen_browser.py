"""The page of utils/data/listen.py in a real Chromium, without network: hear, mark, keys, looks."""

import json
import re
import subprocess
import time

import browser
import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import kaldi_dir
from espnet_audiollm.types import Utterance

ATTACK = "</script><script>document.title='stolen'</script><img src=x onerror=alert(1)>"
IDS = [f"u{number}" for number in range(6)] + ["broken"]


@pytest.fixture(scope="module")
def make_page(tmp_path_factory, root):
    """make_page("--number", "3"): the page of seven utterances, one of whose recordings is bad."""
    place = tmp_path_factory.mktemp("listen")
    utterances = []
    for number, id_ in enumerate(IDS):
        path = place / f"{id_}.flac"
        seconds = 0.4 + 0.1 * number
        samples = 0.4 * np.sin(0.1 * np.arange(int(seconds * 16_000)))
        soundfile.write(path, samples, 16_000)
        utterances.append(Utterance(id_, str(path), "ann", text=f"these are the words of {id_}"))
    (place / "broken.flac").write_bytes(b"fLaC")
    utterances[3] = Utterance("u3", utterances[3].audio, "ann", text=ATTACK)
    utterances[4] = Utterance("u4", utterances[4].audio, "ann", text="")
    kaldi_dir.write_data_dir(place / "data", utterances, answers={id_: ATTACK for id_ in IDS})

    def make(*options, name="page.html"):
        command = [root / "utils/data/listen.py", place / "data", "--output", place / name]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return place / name, done.stdout

    return make


def listed(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1])


@pytest.fixture(scope="module")
def page(make_page):
    return make_page()[0]


@pytest.fixture
def visit(chromium, page):
    visits = []

    def start(**options):
        visits.append(browser.Visit(chromium, page, **options))
        return visits[-1]

    yield start
    for visited in visits:
        visited.close()


def current(visited):
    return visited.text(".item.current .id")


def test_every_recording_plays(visit):
    ann = visit()
    shown = ann.page.locator(".item .id").all_inner_texts()
    assert shown == sorted(IDS)
    for number in range(6):
        ann.page.get_by_label(f"Play u{number}", exact=True).click()
        duration = ann.once("player", "readyState >= 1", "duration")
        assert duration == pytest.approx(0.4 + 0.1 * number, abs=0.08)
    assert ann.once("player", "ended", "currentTime") == pytest.approx(duration)
    assert "broken.flac: not audio" in ann.text(".item .notice")


def test_keys(visit):
    ann = visit()
    assert current(ann) == "broken"
    ann.press("j", "j", "m")
    assert current(ann) == "u1"
    ann.press("k", " ")
    assert current(ann) == "u0"
    assert ann.once("player", "currentTime > 0.05", "duration") == pytest.approx(0.4, abs=0.08)
    ann.press("n")  # the next, and play
    assert current(ann) == "u1"
    assert ann.once("player", "ended", "duration") == pytest.approx(0.5, abs=0.08)
    ann.press("k", "k", "k")
    assert current(ann) == "broken"
    ann.press(" ", "?")
    assert ann.page.locator("#help").is_visible()
    ann.press("j", "Escape")
    assert current(ann) == "broken"


def test_one_after_the_other(visit):
    ann = visit()
    ann.press("a", "j", "j", "j", "j", " ")
    until = time.monotonic() + 60
    while current(ann) != "u5":
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_wave_leads_anywhere(visit):
    ann = visit()
    wave = ann.page.locator(".wave").nth(5)  # of u5
    wave.scroll_into_view_if_needed()
    box = wave.bounding_box()
    ann.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    assert 0.35 < ann.once("player", "currentTime > 0.35", "currentTime")
    assert current(ann) == "u5"


def test_marks_stay_and_are_saved(visit, tmp_path):
    ann = visit()
    ann.page.get_by_label("Mark u2").click()
    ann.press("j", "m")
    assert ann.text("#count") == "2"
    ann.page.reload()
    assert ann.text("#count") == "2"
    ann.page.get_by_label("Mark u3").click()
    ann.page.click("#open-marked")
    with ann.page.expect_download() as download:
        ann.page.click("#save")
    download.value.save_as(tmp_path / "marked.txt")
    assert (tmp_path / "marked.txt").read_text() == "u2\n"


def test_text_is_text(visit):
    ann = visit()
    assert ATTACK in ann.page.locator(".text").all_inner_texts()
    assert f"answers: {ATTACK}" in ann.page.locator(".facts li").all_inner_texts()
    assert "(an empty transcript)" in ann.page.locator(".text").all_inner_texts()
    assert ann.page.title().endswith("/data") and ann.page.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_sticks_out(visit, width, scheme):
    ann = visit(width=width, scheme=scheme)
    assert ann.page.evaluate("document.documentElement.scrollWidth") == width
    small = ann.page.evaluate(
        """() => [...document.querySelectorAll("button")].filter((button) => button.offsetParent)
            .map((button) => button.getBoundingClientRect())
            .filter((box) => box.width < 24 || box.height < 24 || box.right > innerWidth).length"""
    )
    assert small == 0
    background = ann.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")


def test_what_is_chosen(make_page):
    path, said = make_page("--number", "3", "--seed", "1", name="three.html")
    three = [item["id"] for item in listed(path)]
    assert len(three) == 3 and three == sorted(three) and "3 of 7 utterances" in said
    again, _ = make_page("--number", "3", "--seed", "1", name="again.html")
    assert again.read_text() == path.read_text()
    other, _ = make_page("--number", "3", "--seed", "2", name="other.html")
    assert [item["id"] for item in listed(other)] != three
    path, _ = make_page("--ids", "u4", "u1", name="ids.html")
    assert [item["id"] for item in listed(path)] == ["u4", "u1"]
    path, said = make_page("--choose", "outliers", "--number", "3", name="outliers.html")
    found = {item["id"]: item["reason"] for item in listed(path)}
    assert found["u5"] == "among the longest" and found["u0"] == "among the shortest"
    assert len(found) == 3 and "fLaC" not in said
