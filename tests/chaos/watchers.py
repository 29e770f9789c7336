"""Viewers with real WebSockets that merge as the site does: by event id, with the record after each gap."""

import contextlib
import json
import threading
import time

from urllib3.exceptions import HTTPError
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection

from tests.chaos.ledger import Channel
from tests.e2e.clients import Cloud, Viewer

PING_SECONDS = 20
#: Seconds after a connection and after a mark at which the record is read: what is late comes with the last.
AFTER_CONNECTING, AFTER_A_MARK = (0, 3, 15), (0, 15)


class Watcher:
    """A viewer of one channel, who connects again as long as it takes."""

    def __init__(self, cloud: Cloud, viewer: Viewer, channel: Channel) -> None:
        self.seen: set[str] = set()
        """The ids of the events that it would show."""
        self.connections = 0
        self._cloud, self._viewer, self._channel = cloud, viewer, channel
        self._ended = threading.Event()
        # When (monotonic) to read the record, and what was read of it.
        self._due: list[float] = []
        self._recorded: set[str] = set()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Close the connection."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                with self._viewer.connect(self._channel.login) as socket:
                    self.connections += 1
                    self._read_after(AFTER_CONNECTING)
                    self._receive(socket)
            except (WebSocketException, OSError, AssertionError, HTTPError, EOFError, ValueError):
                self._ended.wait(1)

    def _receive(self, socket: ClientConnection) -> None:
        next_ping = time.monotonic() + PING_SECONDS
        while not self._ended.is_set():
            now = time.monotonic()
            if self._due and self._due[0] <= now and self._read_the_record():
                self._due = [at for at in self._due if at > now]
            if time.monotonic() > next_ping:
                next_ping = time.monotonic() + PING_SECONDS
                socket.send(json.dumps({"action": "ping"}))
            with contextlib.suppress(TimeoutError):
                frame = json.loads(socket.recv(0.5))
                if frame["type"] == "events":
                    self.seen.update(event["id"] for event in frame["events"])
                    if frame.get("missed"):
                        self._read_after(AFTER_A_MARK)

    def _read_after(self, seconds: tuple[int, ...]) -> None:
        self._due = [time.monotonic() + each for each in seconds]

    def _read_the_record(self) -> bool:
        """Read the newest events, page by page, back to those that were read before; whether all was."""
        read: set[str] = set()
        before = ""
        while True:
            answer = self._cloud.get(f"api/channels/{self._channel.login}/events?limit=100{before}")
            if answer.status != 200:
                return False
            page = answer.json()
            ids = {event["id"] for event in page["events"]}
            self.seen |= ids
            read |= ids
            if ids & self._recorded or page["next"] is None:
                self._recorded |= read
                return True
            before = f"&before={page['next']}"
