"""What the logs of jobs say of the environment: no secrets."""

import pytest
from jobs import logs


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("https_proxy", "http://proxy:3128", "http://proxy:3128"),
        ("https_proxy", "http://me:hidden@proxy:3128", "http://***@proxy:3128"),
        ("HTTP_PROXY", "me:hidden@proxy:3128", "***@proxy:3128"),
        ("http_proxy", "http://me:hid/den@proxy:3128/", "http://***@proxy:3128/"),
        ("all_proxy", "socks5://me:hid@den@proxy", "socks5://***@proxy"),
        ("all_proxy", "//me:hidden@proxy", "***@proxy"),
        ("no_proxy", "localhost,10.0.0.0/8", "localhost,10.0.0.0/8"),
        ("HF_ENDPOINT", "https://me:hid/den@mirror/x", "https://***@mirror/x"),
        ("HF_HOME", "/models@site/hf", "/models@site/hf"),
    ],
)
def test_passwords_are_masked(monkeypatch, name, value, shown):
    monkeypatch.setenv(name, value)
    assert f"{name}={shown}" in logs.shown_environment().split(", ")


@pytest.mark.parametrize("name", ["HF_TOKEN", "HF_HUB_PASSWORD", "NCCL_SECRET"])
def test_secrets_are_not_there(monkeypatch, name):
    monkeypatch.setenv(name, "hidden")
    assert "hidden" not in logs.shown_environment()
