"""A real Chromium for the tests of pages, off the net."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def launched():
    """Yield a browser; skips, with the reason, where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: run tools/install.sh")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium; Debian: apt-get install chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=root)
        yield browser
        browser.close()


class Visit:
    """A person with a browser of their own, off the net; what the page asked for and complained."""

    def __init__(self, browser, path, width=1280, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.context.set_offline(True)
        self.context.set_default_timeout(60_000)  # ms; machines are shared
        self.url = path.as_uri()
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(self.url)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector):
        return self.page.inner_text(selector)

    def close(self):
        """The page asked nobody for anything, and nothing went wrong in it."""
        self.context.close()
        assert self.complaints == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in self.asked)
