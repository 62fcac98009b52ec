"""A server that is killed in the middle of an answer, and one that takes its place."""

import browser
import openai
import pytest
from serving import ask, process, user_text


@pytest.fixture(scope="module")
def plain():
    """A browser."""
    yield from browser.launched()


def write(page, text):
    page.get_by_label("Write instead of speaking").fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def test_the_clients_are_told_and_the_next_server_answers(packed, llm_dir, plain):
    page = plain.new_context().new_page()
    page.set_default_timeout(300_000)  # ms; machines are shared
    with process(packed, llm_dir, endless=True) as running:
        port = running.url.rpartition(":")[2]
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
        page.goto(running.url)
        stream = ask(client, user_text(), stream=True, max_tokens=1000)
        next(stream), next(stream)
        write(page, "w1 w2")
        page.locator(".answered").get_by_text("w").wait_for()
        running.kill()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
        page.get_by_role("alert").get_by_text("broke in the middle").wait_for()
        running.wait()
        write(page, "w3")
        page.get_by_role("alert").get_by_text("cannot be reached").wait_for()
        with pytest.raises(openai.APIConnectionError):
            ask(client, user_text())
    with process(packed, llm_dir, "--port", port):
        assert ask(client, user_text()).usage.completion_tokens > 0
        write(page, "w3")
        page.locator(".turn:not(.failed) .answered").get_by_text("w").wait_for()
        assert page.locator(".failed").count() == 2
    page.context.close()
