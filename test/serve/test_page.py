"""The server's page in a real Chromium, with a microphone that plays a file."""

import re
import time
import urllib.request
from functools import partial

import browser
import pytest
from serving import counts, listening, wait_until

import espnet_audiollm
from espnet_audiollm.infer.recognise import load_recogniser
from espnet_audiollm.serve.app import Server
from espnet_audiollm.serve.engine import Engine

TOKEN = "a-long-random-text"


@pytest.fixture(scope="module")
def listener(data):
    """A browser whose microphone hears u1.wav."""
    yield from browser.launched(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={data / 'u1.wav'}",
        "--autoplay-policy=no-user-gesture-required",
    )


@pytest.fixture(scope="module")
def server(align_exp, llm_dir, ctc_exp):
    system = espnet_audiollm.load(align_exp, llm=str(llm_dir))
    recognise = load_recogniser(ctc_exp, "valid.loss.ave.pth")
    made = Server(Engine(system, 4), "tiny", recognise=recognise)
    with listening(made) as made.url:
        yield made


class Visit(browser.Visit):
    """Somebody who talks to a server; no other one is asked for anything."""

    def connect(self):
        self.allowed = (self.url, "data:", "blob:")
        self.context.grant_permissions(["microphone"], origin=self.url)

    def turns(self, number):
        """The turns, when there are so many and the last is complete."""
        self.page.locator("#turns .turn").nth(number - 1).wait_for()
        until = time.monotonic() + 60
        while self.busy():
            assert time.monotonic() < until
            time.sleep(0.02)
        return self.page.locator("#turns .turn")

    def busy(self):
        return self.page.locator("#turns").get_attribute("aria-busy") == "true"

    def speak(self, seconds=1.0):
        """Press, speak, release."""
        talk = self.page.locator("#talk")
        talk.hover()
        self.page.mouse.down()
        self.page.locator("#talk[aria-pressed=true]").wait_for()
        assert self.page.locator("#level").is_visible()
        time.sleep(seconds)
        self.page.mouse.up()

    def write(self, text):
        self.page.get_by_label("Write instead of speaking").fill(text)
        self.page.get_by_role("button", name="Send", exact=True).click()


@pytest.fixture
def visit(listener, server):
    visits = []

    def start(url=None, **options):
        visits.append(Visit(listener, f"{url or server.url}/", **options))
        return visits[-1]

    yield start
    for visited in visits:
        visited.close()


def drawn(visited, selector):
    """Whether something is painted on a canvas."""
    script = """(canvas) => {
        const empty = document.createElement("canvas");
        [empty.width, empty.height] = [canvas.width, canvas.height];
        return canvas.toDataURL() !== empty.toDataURL();
    }"""
    return visited.page.locator(selector).evaluate(script)


def test_two_spoken_turns_and_a_file(visit, server, data):
    ann = visit()
    before = counts(server)
    ann.speak()
    first = ann.turns(1).first
    assert first.locator(".recognised").inner_text() and first.locator(".answered").inner_text()
    assert ann.text("#turns h2 >> nth=0") == "The recogniser's text"
    assert ann.text("#turns h2 >> nth=1") == "tiny answered"
    wait_until(lambda: drawn(ann, ".turn canvas"))
    ann.speak()
    assert ann.turns(2).nth(1).locator(".answered").inner_text()
    ann.page.get_by_label("Send a file").set_input_files(data / "u2.wav")
    assert ann.turns(3).nth(2).locator(".recognised").inner_text()
    ann.write("w1 w2")
    assert ann.turns(4).nth(3).locator(".recognised").count() == 0
    after = counts(server)
    assert after["audiollm_dialogues_continued"] == before["audiollm_dialogues_continued"] + 3
    assert after["audiollm_audio_encoded"] == before["audiollm_audio_encoded"] + 3
    ann.page.get_by_role("button", name="New conversation").click()
    assert ann.page.locator(".turn").count() == 0 and ann.page.locator("#welcome").is_visible()


def test_the_page_may_ask_its_own_server_only(server):
    with urllib.request.urlopen(f"{server.url}/") as answer:
        html, headers = answer.read().decode(), answer.headers
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', html)[1]
    assert policy.startswith("default-src 'none'") and "connect-src 'self'" in policy
    assert "unsafe" not in policy and "//" not in policy
    assert not re.search(r"https?://", html)


def test_by_keyboard_only(visit):
    ann = visit()
    ann.page.locator("#talk").focus()
    ann.press("Enter")
    ann.page.locator("#talk[aria-pressed=true]").wait_for()
    time.sleep(0.5)
    ann.press("Tab")  # to the button that stops: nothing is sent
    ann.press("Space")
    ann.page.locator("#talk[aria-pressed=false]").wait_for()
    assert ann.page.locator(".turn").count() == 0
    ann.press("Shift+Tab", "Space")
    ann.page.locator("#talk[aria-pressed=true]").wait_for()
    time.sleep(0.5)
    ann.press("Space")
    assert ann.turns(1).first.locator(".answered").inner_text()
    assert ann.page.evaluate("document.activeElement.id") == "talk"
    assert ann.page.locator("#turns").get_attribute("aria-live") == "polite"
    unnamed = """() => [...document.querySelectorAll("button, input, audio")].filter((each) =>
        !each.labels?.length && !each.getAttribute("aria-label") && !each.textContent).length"""
    assert ann.page.evaluate(unnamed) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1280])
def test_nothing_sticks_out(visit, width, scheme):
    ann = visit(width=width, scheme=scheme)
    ann.write("w" * 300)
    ann.turns(1)
    ann.speak(0.5)
    ann.turns(2)
    assert ann.page.evaluate("document.documentElement.scrollWidth") == width
    small = ann.page.evaluate(
        """() => [...document.querySelectorAll("button, .button")]
            .map((button) => button.getBoundingClientRect())
            .filter((box) => box.width < 24 || box.height < 24 || box.right > innerWidth).length"""
    )
    assert small == 0


def test_errors_are_sentences(visit, tmp_path):
    ann = visit()
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF" + b"x" * 99)
    ann.page.get_by_label("Send a file").set_input_files(broken)
    ann.page.get_by_role("alert").get_by_text("not audio").wait_for()
    assert "Not answered" in ann.turns(1).first.inner_text()
    ann.write("w1 w2")  # the conversation goes on without it
    assert ann.turns(2).nth(1).locator(".answered").inner_text()
    assert not ann.page.locator("#trouble").is_visible()
    assert all("400" in complaint for complaint in ann.complaints)
    ann.complaints.clear()


def test_the_token_is_asked_for(visit, server):
    made = Server(server.engine, "tiny", token=TOKEN)
    with listening(made) as url:
        ann = visit(url)
        ann.page.get_by_label("Access token").fill("wrong")
        ann.write("w1")
        ann.page.get_by_role("alert").get_by_text("access token").wait_for()
        ann.page.get_by_label("Access token").fill(TOKEN)
        ann.write("w1")
        assert ann.turns(1).first.locator(".answered").inner_text()
        assert ann.page.locator(".recognised").count() == 0  # it has no recogniser
        ann.complaints = [each for each in ann.complaints if "401" not in each]
        ann.context.close()


def test_answers_are_spoken_where_the_model_can(visit, speech_lm, speaking):
    made = Server(Engine(espnet_audiollm.load(speech_lm), 2), "tiny")
    recording = min((speaking / "data/wav").iterdir())
    with listening(made) as url:
        ann = visit(url)
        ann.page.get_by_label("Speak the answers").check()
        for number in (1, 2):  # the second question is without context, too
            ann.page.get_by_label("Send a file").set_input_files(recording)
            turn = ann.turns(number).nth(number - 1)
            assert turn.locator(".answered").inner_text().startswith("ran ")
            player = turn.get_by_label("What tiny said")
            player.wait_for()
            wait_until(partial(player.evaluate, "(each) => each.duration > 1"))
        assert ann.page.evaluate("voice.sources.length") == 3  # parts, played as they came
        ann.page.get_by_label("Speak the answers").uncheck()
        ann.page.get_by_label("Send a file").set_input_files(recording)
        assert ann.turns(3).nth(2).get_by_label("What tiny said").count() == 0


def test_a_model_that_writes_only_is_not_asked_to_speak(visit):
    ann = visit()
    ann.page.get_by_text("tiny", exact=True).wait_for()
    assert not ann.page.get_by_label("Speak the answers").is_visible()
