"""One's own application at Twitch, for ``make run TWITCH=real``; ``make doctor TWITCH=real`` checks it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3

from cdk.settings import Twitch
from ops.checks import Check, Failure, run

# Git ignores it.
FILE = Path(__file__).resolve().parents[1] / ".twitch.json"
CONSOLE = "https://dev.twitch.tv/console/apps"
SITE_PORT = 8600
# A token that was issued in the future, or a message of more than ten minutes ago, is refused.
CLOCK_SECONDS = 30
SECONDS = 10


class Application(NamedTuple):
    """The credentials of the application, never to be shown."""

    client_id: str
    client_secret: str


class Addresses(NamedTuple):
    """Where Twitch is, as the stage's settings name it, and its EventSub WebSocket."""

    settings: Twitch
    socket_url: str


def redirect_url(environ: Mapping[str, str]) -> str:
    """The OAuth redirect URL that has to be registered at Twitch."""
    return f"http://localhost:{environ.get('FANFARE_PORT') or SITE_PORT}/callback"


def application(environ: Mapping[str, str], file: Path = FILE) -> Application:
    """The application in the environment, else in the file. Raises Failure, which says what to do."""
    found = {name: environ.get(f"TWITCH_{name.upper()}", "") for name in Application._fields}
    if not any(found.values()) and file.exists():
        try:
            content = json.loads(file.read_text())
            found = {name: str(content.get(name) or "") for name in Application._fields}
        except (ValueError, AttributeError):
            raise Failure(f"{file} must be a JSON object with client_id and client_secret.") from None
    if missing := [name for name, value in found.items() if not value]:
        raise Failure(
            f"not set: {' and '.join(missing)} of your application at Twitch. Register it at "
            f"{CONSOLE}, with the OAuth redirect URL {redirect_url(environ)} and the client type "
            f'Confidential. Then write {file.name} ({{"client_id": "…", "client_secret": "…"}}; git ignores '
            "it), or set TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET."
        )
    return Application(**found)


def addresses(environ: Mapping[str, str]) -> Addresses:
    """Twitch's addresses. FANFARE_REAL_TWITCH is, for tests, the base of a simulated one in its place."""
    if base := environ.get("FANFARE_REAL_TWITCH"):
        return Addresses(simulated(base), f"{base.replace('http', 'ws', 1)}/ws")
    return Addresses(Twitch(), "wss://eventsub.wss.twitch.tv/ws")


def simulated(base: str) -> Twitch:
    """The addresses of a simulated Twitch at ``base``."""
    return Twitch(
        issuer=f"{base}/oauth2",
        auth_url=f"{base}/oauth2",
        api_url=f"{base}/helix",
        player_url=f"{base}/player",
        chat_url=base,
        image_origins=(base,),
    )


class Doctor:
    """The checks, in the order in which they help."""

    def __init__(
        self, environ: Mapping[str, str], file: Path = FILE, now: Callable[[], float] = time.time
    ) -> None:
        self._environ, self._file, self._now = environ, file, now
        self._auth_url = addresses(environ).settings.auth_url

    def checks(self) -> Iterator[Check]:
        """All of them."""
        yield Check("Twitch application", self.credentials)
        yield Check("redirect URL", self.redirect)
        yield Check("clock", self.clock)

    def credentials(self) -> str:
        """Whether Twitch gives an app access token for the id and the secret."""
        found = application(self._environ, self._file)
        form = {**found._asdict(), "grant_type": "client_credentials"}
        status, _, text = self._ask("/token", form)
        if status != 200:
            raise Failure(
                f"Twitch refused the client id or the secret: {status} {text[:200]}. Copy the id from "
                f"{CONSOLE}, and make a new secret there if need be."
            )
        return "Twitch gives an app access token for the client id and the secret"

    def redirect(self) -> str:
        """Whether Twitch begins a sign-in that leads back here; it refuses a URL that is not registered."""
        url = redirect_url(self._environ)
        query = {
            "client_id": application(self._environ, self._file).client_id,
            "redirect_uri": url,
            "response_type": "code",
            "scope": "openid",
        }
        status, headers, text = self._ask(f"/authorize?{urlencode(query)}")
        if status >= 400 or "redirect_mismatch" in headers.get("Location", ""):
            raise Failure(
                f"Twitch does not begin a sign-in that leads to {url}: {status} {text[:200]}. Add exactly "
                f"this OAuth redirect URL to the application at {CONSOLE}."
            )
        return f"Twitch begins a sign-in that leads to {url}"

    def clock(self) -> str:
        """Whether this machine's clock is Twitch's."""
        _, headers, _ = self._ask("/keys")
        ahead = self._now() - parsedate_to_datetime(headers["Date"]).timestamp()
        if abs(ahead) > CLOCK_SECONDS:
            raise Failure(f"this machine's clock is {ahead:+.0f} s off Twitch's. Set it by NTP.")
        return f"within {CLOCK_SECONDS} s of Twitch's"

    def _ask(self, path: str, form: dict[str, str] | None = None) -> tuple[int, Mapping[str, str], str]:
        """Status, headers and text of an answer; redirections are not followed."""
        method, body = ("POST", urlencode(form)) if form else ("GET", None)
        url, headers = f"{self._auth_url}{path}", {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            answer = urllib3.request(
                method, url, body=body, headers=headers, redirect=False, retries=False, timeout=SECONDS
            )
        except urllib3.exceptions.HTTPError as error:
            raise Failure(f"Twitch cannot be reached: {error}.") from None
        return answer.status, answer.headers, answer.data.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(run(Doctor(os.environ).checks(), stop_at_failure=True))
