"""The local cloud with its traffic and its watchers, and the questions that each row of the table asks."""

import contextlib
import dataclasses
import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin
from uuid import uuid4

import psycopg
from urllib3.exceptions import HTTPError
from websockets.exceptions import WebSocketException

from tests.chaos.ledger import ATTEMPT_SECONDS, Books, Channel, Traffic
from tests.chaos.watchers import Watcher
from tests.e2e.clients import Cloud, Viewer, connect_with_ticket, eventually, request
from tests.e2e.local_cloud import LocalCloud, send

CHANNELS, WATCHERS = 3, 6
EVENTS_PER_SECOND = 8
#: How long a row waits for what is missing, whatever its limits are.
MOST_SECONDS = 240


@dataclasses.dataclass
class Row:
    """A row of the table."""

    name: str
    tries: int = 0
    accepted: int = 0
    recorded: int = 0
    counted: int = 0
    delivered: int = 0
    """Of the accepted events, how many every watcher has."""
    lost: int = 0
    doubled: int = 0
    recorded_after: float | None = None
    """Seconds from the end of the fault until everything accepted was recorded and counted; None: never."""
    delivered_after: float | None = None
    seconds: float = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing and no problem."""

    @property
    def ok(self) -> bool:
        """Whether nothing was lost or doubled, and all was in time."""
        return not (self.lost or self.doubled or self.problems)

    def late(self, check: "Check", without_fault: "Row") -> list[str]:
        """What took longer than is promised, on this machine."""
        return [
            f"{what} {after:.0f} s after it, not {usual + within:.0f} s"
            for what, after, usual, within in (
                ("recorded", self.recorded_after, without_fault.recorded_after, check.recorded_within),
                ("delivered", self.delivered_after, without_fault.delivered_after, check.delivered_within),
            )
            if after is not None and usual is not None and after > usual + within
        ]


@dataclasses.dataclass(frozen=True)
class Check:
    """What is done for a row, and how soon after it everything is right again.

    ``make`` returns when the fault or the attack has ended; the clock of the recovery starts then.
    ``recorded_within`` and ``delivered_within`` are seconds beyond what the same takes without a fault.
    """

    name: str
    make: Callable[["Laboratory"], None]
    recorded_within: float = 30
    delivered_within: float = 10
    short: bool = False
    """Whether it is made in the short form, too."""


class Laboratory:
    """A running local cloud under test."""

    def __init__(self, local: LocalCloud, cloud: Cloud, seconds: int, folder: Path) -> None:
        """``seconds`` is how long a fault lasts; files that explain a row are written to ``folder``."""
        self.local, self.seconds, self.folder = local, seconds, folder
        self.problems: list[str] = []
        """What a row's fault or attack found wrong."""
        self.notes: list[str] = []
        """What it found worth knowing."""
        self.tries = 0
        """How many requests a row's attack made, beside the traffic."""
        self.recoveries: list[tuple[float | None, float | None]] = []
        """Of this row: seconds until everything was recorded and counted, and until everybody had it."""
        self.poisoned = False
        """Whether malformed messages were put into the queues."""
        self._new_channels = 0
        self._begin(cloud)

    def _begin(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._dynamodb = cloud.aws("dynamodb")
        self.viewer = Viewer.sign_in(cloud, "vera_viewer")
        logins = [f"chaos_{number}" for number in range(CHANNELS)]
        channels = []
        for login in logins:
            watched = self.viewer.until_watched(login)
            channels.append(Channel(watched["channel"]["id"], login))
            self.websocket_url = watched["websocket_url"]
            cloud.until_subscribed(login)
        function = cloud.aws("lambda").get_function_configuration(FunctionName="fanfare-local-webhook")
        secret = cloud.aws("secretsmanager").get_secret_value(
            SecretId=function["Environment"]["Variables"]["WEBHOOK_SECRET_ARN"]
        )
        self.traffic = Traffic(cloud, channels, secret["SecretString"], per_second=EVENTS_PER_SECOND)
        self._newcomers = [Viewer.sign_in(cloud, f"newcomer_{number}") for number in range(3)]
        viewers = [Viewer.sign_in(cloud, f"watcher_{number}") for number in range(WATCHERS)]
        self.watchers = [
            (channels[number % CHANNELS], Watcher(cloud, viewer, channels[number % CHANNELS]))
            for number, viewer in enumerate(viewers)
        ]
        eventually("all watchers are connected", lambda: all(each.connections for _, each in self.watchers))

    def wait(self, seconds: float | None = None) -> None:
        """Let the fault last, while traffic goes on."""
        time.sleep(self.seconds if seconds is None else seconds)

    def rest(self) -> None:
        """Stop sending, and wait until everything is recorded."""
        self.traffic.pause(MOST_SECONDS)
        eventually("everything is recorded", lambda: not self._missing()[0], MOST_SECONDS)

    def start_functions_anew(self) -> None:
        """Let all functions start anew, while nothing is under way that would come again later."""
        self.rest()
        send(signal.SIGKILL, self.local.functions())
        self.traffic.begin()

    def restart(self) -> None:
        """Kill everything under load, and start it again: what was recorded is there.

        What is only accepted is in the queues, which the emulator keeps in its memory: SQS does not lose it.
        """
        before = Books.read(self.cloud, self.traffic.channels).recorded
        self.local.stop(signal.SIGKILL)
        accepted, tries = self.traffic.accepted, self.traffic.tries
        self.close()
        self._begin(self.local.start())
        after = Books.read(self.cloud, self.traffic.channels).recorded
        if before - after:
            self.problems.append(f"{len(before - after)} of {len(before)} recorded events are gone")
        self.traffic.accepted = {id_: channel for id_, channel in accepted.items() if id_ in after}
        self.traffic.tries += tries
        self.notes.append(
            f"{len(accepted.keys() - after.keys())} were in the local cloud's queues when it ended"
        )
        self.traffic.begin()
        self.wait(2)

    def stop(self) -> Row:
        """Stop the local cloud while events are sent: it ends by itself, and with all of its processes."""
        row = Row("a stop under load", accepted=len(self.traffic.accepted), tries=-self.traffic.tries)
        began = time.monotonic()
        self.traffic.begin()
        self.wait(2)
        try:
            if (code := self.local.stop()) != 0:
                row.problems.append(f"it ended with {code}")
        except (AssertionError, subprocess.TimeoutExpired) as error:
            row.problems.append(str(error)[:1000])
        row.seconds = time.monotonic() - began
        row.tries += self.traffic.tries
        row.notes.append(f"it ended {row.seconds - 2:.1f} s after SIGTERM")
        return row

    def close(self) -> None:
        """End traffic and watchers."""
        self.traffic.end()
        for _, watcher in self.watchers:
            watcher.end()

    def write_ticket(self, ticket: str, channel: Channel, seconds: int) -> None:
        """Let a ticket open a connection to a channel for some seconds from now."""
        self._dynamodb.put_item(
            TableName="fanfare-local-tickets",
            Item={
                "ticket_hash": {"S": hashlib.sha256(ticket.encode()).hexdigest()},
                "viewer_id": {"S": ticket},
                "streamer_id": {"S": channel.id},
                "streamer_name": {"S": channel.login},
                "expires_at": {"N": str(int(time.time()) + seconds)},
            },
        )

    def watch_a_new_channel(self) -> None:
        """Watch a channel that nobody has watched: the answer is 200, 429 or 503 with Retry-After."""
        self._new_channels += 1
        newcomer = self._newcomers[self._new_channels % len(self._newcomers)]
        answer = newcomer.watch(f"new_{uuid4().hex[:12]}")
        if answer.status not in (200, 429, 503) or (
            answer.status != 200 and "Retry-After" not in answer.headers
        ):
            self.problems.append(f"watch was answered {answer.status}: {answer.data[:200]!r}")

    def try_everything(self) -> None:
        """Do once what viewers and streamers do, whatever comes of it."""
        with contextlib.suppress(WebSocketException, OSError, HTTPError, ValueError, KeyError):
            login = self.traffic.channels[0].login
            key = urljoin(self.cloud.site, f"api/overlays/{login}/key")
            for method in ("POST", "DELETE"):
                request(method, key, headers=self.viewer.headers)
            self.cloud.get(f"api/channels/{login}/counts")
            watched = self.viewer.watch(login).json()
            with connect_with_ticket(watched["websocket_url"], watched["ticket"]) as socket:
                socket.send(json.dumps({"action": "ping"}))

    def let_a_newcomer_watch(self) -> None:
        """Sign somebody in who watches a channel that nobody has watched, within the usual limits."""
        began = time.monotonic()
        newcomer = Viewer.sign_in(self.cloud, f"newcomer_{uuid4().hex[:12]}")
        with newcomer.connect(f"new_{uuid4().hex[:12]}"):
            self.notes.append(f"a newcomer watches a new channel {time.monotonic() - began:.1f} s after it")

    def delete_faults(self) -> None:
        """Let the simulated Twitch work again."""
        assert request("DELETE", f"{self.cloud.twitch}/simulator/faults").status == 200

    def run(self, check: Check) -> Row:
        """Make a fault or an attack while events are sent; wait until all accepted ones are everywhere."""
        row = Row(check.name)
        began, self.tries = time.monotonic(), -self.traffic.tries
        self.traffic.begin()
        try:
            check.make(self)
        except Exception as error:  # noqa: BLE001 -- this row has failed; the others are made
            self.problems.append(f"{type(error).__name__}: {str(error)[:1000]}")
        self._measure(row)
        row.tries = self.tries + self.traffic.tries
        row.seconds = time.monotonic() - began
        return row

    def recover(self) -> None:
        """Stop sending, and wait until everything accepted is everywhere; the slowest of a row counts."""
        ended = time.monotonic()
        self.wait(2)  # some events after the fault
        unfinished = self.traffic.pause(MOST_SECONDS)
        if (accepted_after := time.monotonic() - ended) > 2 * ATTEMPT_SECONDS:
            self.notes.append(f"the last delivery was accepted {accepted_after:.1f} s after it")
        recorded_after: float | None = None
        delivered_after: float | None = None
        while time.monotonic() < ended + MOST_SECONDS and None in (recorded_after, delivered_after):
            unrecorded, unseen = self._missing()
            now = time.monotonic() - ended
            if recorded_after is None and not unrecorded:
                recorded_after = now
            if delivered_after is None and not unseen:
                delivered_after = now
            time.sleep(0.2)
        self.recoveries.append((recorded_after, delivered_after))
        if unfinished:
            self.problems.append(f"{unfinished} deliveries were never accepted")

    def _measure(self, row: Row) -> None:
        self.recover()
        row.recorded_after, row.delivered_after = map(_slowest, zip(*self.recoveries, strict=True))
        self.recoveries = []
        self._fill_in(row)
        for what, after in (("recorded", row.recorded_after), ("delivered", row.delivered_after)):
            if after is None:
                row.problems.append(f"not everything was {what} within {MOST_SECONDS} s")
        if self.traffic.refused:
            row.problems.append(f"valid deliveries were refused: {dict(self.traffic.refused)}")
            self.traffic.refused.clear()
        row.problems += self.problems
        row.notes += self.notes
        self.problems, self.notes = [], []

    def recorded_of(self, channel: Channel) -> int:
        """How many events of a channel the store has."""
        with psycopg.connect(self.cloud.database) as database:
            row = database.execute(
                "select count(*) from events where streamer_id = %s", [channel.id]
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _books(self) -> Books | None:
        """What is recorded and counted; None if it cannot be read now."""
        try:
            return Books.read(self.cloud, self.traffic.channels)
        except (psycopg.Error, HTTPError):
            return None

    def _missing(self) -> tuple[int, int]:
        """How many accepted events are not recorded and counted, and how many not everybody has seen."""
        books = self._books()
        if books is None:
            return len(self.traffic.accepted), self._unseen()
        unrecorded = len(self.traffic.accepted.keys() - books.recorded.keys())
        return unrecorded or int(books.counted < len(books.recorded)), self._unseen()

    def _unseen(self) -> int:
        return sum(
            1
            for id_, channel in list(self.traffic.accepted.items())
            if any(id_ not in watcher.seen for watched, watcher in self.watchers if watched == channel)
        )

    def _fill_in(self, row: Row) -> None:
        books = self._books() or Books.empty()
        accepted = len(self.traffic.accepted)
        row.accepted = accepted
        row.recorded, row.counted = len(books.recorded), books.counted
        row.delivered = accepted - self._unseen()
        row.lost = len(self.traffic.accepted.keys() - books.recorded.keys())
        row.doubled = (
            books.recorded.total() - len(books.recorded) + max(books.counted - len(books.recorded), 0)
        )


def _slowest(seconds: tuple[float | None, ...]) -> float | None:
    """The most seconds; None, which is never, if there is one."""
    known = [one for one in seconds if one is not None]
    return max(known) if len(known) == len(seconds) else None
