"""The processes of the local cloud cannot call the real AWS."""

import os

import pytest

from local import environment


def test_the_callers_aws_settings_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "production")
    before = dict(os.environ)
    try:
        environment.point_at_emulator("http://127.0.0.1:4242")
        settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert "production" not in settings.values()
    assert settings["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4242"
    assert settings["AWS_CONFIG_FILE"] == settings["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull


def test_no_proxy_is_used_for_local_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    before = dict(os.environ)
    try:
        environment.point_at_emulator("http://127.0.0.1:4242")
        assert os.environ["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"
    finally:
        os.environ.clear()
        os.environ.update(before)
