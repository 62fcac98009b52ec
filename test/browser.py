"""A real Chromium for the tests of pages, off the net."""

import atexit
import os
import shutil
import time
from functools import cache

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def launched(*words):
    """Yield a browser, with more options; skips, with the reason, where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: run tools/install.sh")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium; Debian: apt-get install chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
    browser = driver(api).chromium.launch(executable_path=program, args=[*root, *words])
    yield browser
    browser.close()


@cache
def driver(api):
    """What drives all browsers of this process: a second one beside it would be refused."""
    playwright = api.sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright


class Visit:
    """A person with a browser of their own, off the net; what the page asked for and complained."""

    allowed = ("file:", "data:", "blob:")  # how the addresses of what it asks for begin

    def __init__(self, browser, path, width=1280, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.url = path if isinstance(path, str) else path.as_uri()
        self.connect()
        self.context.set_default_timeout(60_000)  # ms; machines are shared
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(self.url)

    def connect(self):
        """There is no network."""
        self.context.set_offline(True)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector):
        return self.page.inner_text(selector)

    def once(self, player, condition, value):
        """`value` of a player once `condition` holds; policies forbid Playwright's wait.

        player: JavaScript; a page's `const`s can be evaluated."""
        until = time.monotonic() + 60  # as for all else: machines are shared
        while not self.page.evaluate(f"{player}.{condition}"):
            assert time.monotonic() < until, condition
            time.sleep(0.02)
        return self.page.evaluate(f"{player}.{value}")

    def is_refused_scripts_and_requests(self):
        """By the page's Content Security Policy, which complains of both."""
        ran = self.page.evaluate(
            """async () => {
                const script = document.createElement("script");
                script.textContent = "window.ran = true";
                document.body.append(script);
                const image = document.createElement("img");
                image.src = "file:///none.png";
                const failed = await new Promise((done) => { image.onerror = () => done(true); });
                return [window.ran === true, failed];
            }"""
        )
        assert ran == [False, True]
        assert len(self.complaints) == 2
        assert all("Content Security Policy" in complaint for complaint in self.complaints)
        self.complaints.clear()

    def close(self):
        """The page asked nobody for anything, and nothing went wrong in it."""
        self.context.close()
        assert self.complaints == [], self.complaints
        assert all(url.startswith(self.allowed) for url in self.asked)
