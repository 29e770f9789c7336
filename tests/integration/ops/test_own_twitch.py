"""`make doctor TWITCH=real`, and what `make run TWITCH=real` reads, against a simulated Twitch."""

import asyncio
import time
from pathlib import Path

import pytest

from ops.checks import Failure, run
from ops.own_twitch import Doctor, addresses, application, redirect_url
from tests.integration.twitch.support import CLIENT_ID, CLIENT_SECRET, simulated_twitch

SECRET = "a secret nobody may see"


def test_the_application_is_in_the_environment_or_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / ".twitch.json"
    file.write_text('{"client_id": "mine", "client_secret": "s"}')
    assert application({}, file) == ("mine", "s")
    given = {"TWITCH_CLIENT_ID": "other", "TWITCH_CLIENT_SECRET": "t"}
    assert application(given, file) == ("other", "t")


@pytest.mark.parametrize("content", ["{", "[]", '{"client_id": "mine"}', None])
def test_what_is_missing_is_said_with_where_to_register(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / ".twitch.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Failure, match=r"client_secret|JSON object"):
        application({}, file)


def test_git_ignores_the_file_of_the_application() -> None:
    ignored = (Path(__file__).resolve().parents[3] / ".gitignore").read_text().splitlines()
    assert ".twitch.json" in ignored


def test_the_redirect_url_has_the_port_of_the_site() -> None:
    assert redirect_url({}) == "http://localhost:8600/callback"
    assert redirect_url({"FANFARE_PORT": "9000"}) == "http://localhost:9000/callback"
    assert addresses({}).socket_url == "wss://eventsub.wss.twitch.tv/ws"


@pytest.mark.parametrize(
    ("client_id", "client_secret", "ahead", "failed"),
    [
        (CLIENT_ID, CLIENT_SECRET, 0, []),
        (CLIENT_ID, SECRET, 0, ["Twitch application"]),
        ("unknown", SECRET, 0, ["Twitch application", "redirect URL"]),
        (CLIENT_ID, CLIENT_SECRET, 3600, ["clock"]),
    ],
)
async def test_the_doctor_says_what_twitch_refuses(
    capsys: pytest.CaptureFixture[str], client_id: str, client_secret: str, ahead: int, failed: list[str]
) -> None:
    async with simulated_twitch() as twitch:
        environ = {"TWITCH_CLIENT_ID": client_id, "TWITCH_CLIENT_SECRET": client_secret}
        environ["FANFARE_REAL_TWITCH"] = twitch.settings.base_url
        doctor = Doctor(environ, now=lambda: time.time() + ahead)
        assert await asyncio.to_thread(run, doctor.checks()) == len(failed)
    shown = capsys.readouterr().out
    assert [line[2:].partition(":")[0] for line in shown.splitlines() if line[0] == "✗"] == failed
    assert client_secret not in shown
