"""``make smoke STAGE=…``: does a deployed stage work?

It sends messages as Twitch does, signed with the stage's secret, for a channel that exists for this run only,
and expects the event in the reads and on a WebSocket. At the end it erases the channel.
"""

import contextlib
import hashlib
import hmac
import json
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cdk.settings import DEFAULT_STAGE
from ops.checks import Check, Failure, run
from ops.deployed_stage import DeployedStage

Response = urllib3.BaseHTTPResponse

# A paused database resumes in 15 to 30 seconds, while the recorder tries again.
RECORDED_WITHIN_SECONDS = 120
DELIVERED_WITHIN_SECONDS = 15
# Meanwhile reads are answered 503 with Retry-After.
RESUMED_WITHIN_SECONDS = 60
HEADERS = (
    "content-security-policy",
    "permissions-policy",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
)
_pool = urllib3.PoolManager(retries=False, timeout=20)


def request(method: str, url: str, **kwargs: Any) -> Response:
    """One HTTP request, redirects not followed. `*.localhost` is this machine, whatever the resolver says."""
    parts = urlsplit(url)
    if (parts.hostname or "").endswith(".localhost"):
        kwargs["headers"] = {"Host": parts.netloc, **kwargs.get("headers", {})}
        url = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
    return _pool.request(method, url, redirect=False, **kwargs)


def signed_headers(
    secret: str,
    body: bytes,
    *,
    message_type: str = "notification",
    message_id: str | None = None,
    timestamp: datetime | None = None,
) -> dict[str, str]:
    """The headers that Twitch sends with a body.

    https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#verifying-the-event-message
    """
    message_id = message_id or secrets.token_hex(16)
    sent = (timestamp or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    signature = hmac.new(secret.encode(), message_id.encode() + sent.encode() + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "Twitch-Eventsub-Message-Id": message_id,
        "Twitch-Eventsub-Message-Retry": "0",
        "Twitch-Eventsub-Message-Type": message_type,
        "Twitch-Eventsub-Message-Signature": f"sha256={signature.hexdigest()}",
        "Twitch-Eventsub-Message-Timestamp": sent,
        "Twitch-Eventsub-Subscription-Type": "channel.update",
        "Twitch-Eventsub-Subscription-Version": "2",
    }


class Channel(NamedTuple):
    """A streamer that Twitch does not have: Twitch's ids are shorter."""

    id: str
    login: str


class Smoke:
    """One run: its checks, each of which needs those before it."""

    def __init__(
        self,
        stage: DeployedStage,
        *,
        delivered_within: float = DELIVERED_WITHIN_SECONDS,
        recorded_within: float = RECORDED_WITHIN_SECONDS,
        clock: Any = time,
    ) -> None:
        """The limits are seconds; ``clock`` tells the time while the database resumes."""
        self.stage = stage
        self._clock = clock
        self._delivered_within, self._recorded_within = delivered_within, recorded_within
        self.channel = Channel(f"9{secrets.randbelow(10**17):017}", f"smoke_{secrets.token_hex(9)}")
        self.message_id = f"smoke-{secrets.token_hex(12)}"
        self.ticket = ""
        self.connection: ClientConnection | None = None
        self._open = contextlib.ExitStack()

    def checks(self) -> Iterator[Check]:
        """The checks, in order."""
        yield Check("site", self.site)
        yield Check("security headers", self.security_headers)
        yield Check("reads", self.reads)
        yield Check("around CloudFront", self.around_cloudfront)
        yield Check("challenge", self.challenge)
        yield Check("forgeries", self.forgeries)
        yield Check("WebSocket", self.open_websocket)
        yield Check("event accepted", self.event_accepted)
        yield Check("event delivered", self.event_delivered)
        yield Check("event recorded", self.event_recorded)
        yield Check("redelivery", self.redelivery_counts_once)

    # -- the site and the reads ----------------------------------------------------------------------------

    def site(self) -> str:
        """The page, also at a deep link, and this stage's configuration."""
        for path in ("", "watch/some_channel"):
            page = self._get(path)
            if page.status != 200 or b"<html" not in page.data:
                raise Failure(f"{self._url(path)} answers {page.status}. Was the site published?")
        configuration = self._get("config.json")
        if configuration.status != 200 or configuration.json().get("stage") != self.stage.name:
            raise Failure(f"{self._url('config.json')} is not the configuration of {self.stage.name!r}.")
        return self.stage.outputs["SiteUrl"]

    def security_headers(self) -> str:
        """The security headers of the page."""
        headers = self._get("").headers
        if missing := [name for name in HEADERS if name not in headers]:
            raise Failure(f"the site does not send {', '.join(missing)}: check its response headers policy.")
        if "'unsafe-inline'" in headers["content-security-policy"]:
            raise Failure("the content security policy allows inline code.")
        return f"{len(HEADERS)} are there"

    def reads(self) -> str:
        """The read routes through CloudFront: the document, an unknown channel, a malformed name."""
        started = self._clock.monotonic()
        for path, expected in (
            ("api/openapi.json", 200),
            (f"api/channels/{self.channel.login}/counts", 200),
            ("api/channels/not a name/counts", 400),
        ):
            answer = self._get_when_resumed(path)
            if answer.status != expected:
                raise Failure(
                    f"{self._url(path)} answers {answer.status} instead of {expected}: "
                    f"{answer.data[:200].decode(errors='replace')}. See {self._log('query')}."
                )
        return f"answered through the site after {self._clock.monotonic() - started:.1f} s"

    def around_cloudfront(self) -> str:
        """The API's own URL, which has neither firewall nor cache before it, does not answer reads."""
        url = f"{self.stage.outputs['HttpApiUrl']}/api/leaderboard"
        answer = request("GET", url)
        if answer.status != 401:
            raise Failure(f"{url} answers {answer.status} instead of 401. See {self._log('cloudfront')}.")
        return "reads at the API's own URL are refused"

    # -- what Twitch sends -----------------------------------------------------------------------------------

    def challenge(self) -> str:
        """The challenge with which Twitch verifies a callback."""
        challenge = secrets.token_urlsafe(24)
        body = json.dumps({"challenge": challenge, "subscription": {"id": "smoke"}}).encode()
        answer = self._post(
            body, signed_headers(self._secret(), body, message_type="webhook_callback_verification")
        )
        if answer.status == 403:
            raise Failure(
                "a challenge signed with the stage's webhook secret is refused (403): the webhook function "
                f"verifies with another secret. Compare its secret's versions; see {self._log('webhook')}."
            )
        if answer.status != 200 or answer.data != challenge.encode():
            raise Failure(f"the challenge is answered {answer.status} {answer.data[:100]!r}.")
        return "answered raw"

    def forgeries(self) -> str:
        """Messages that are not Twitch's, were changed, or are old."""
        body = self._notification()
        good = signed_headers(self._secret(), body)
        stale = datetime.now(UTC) - timedelta(minutes=11)
        forged = {
            "unsigned": (body, {"Content-Type": "application/json"}),
            "signed with another secret": (body, signed_headers(secrets.token_hex(20), body)),
            "changed": (body.replace(b"{", b"{ ", 1), good),
            "stale": (body, signed_headers(self._secret(), body, timestamp=stale)),
        }
        for what, (content, headers) in forged.items():
            answer = self._post(content, headers)
            if answer.status != 403:
                raise Failure(f"a message that is {what} is answered {answer.status} instead of 403.")
        return f"{len(forged)} refused"

    # -- an event, from Twitch to viewers and store ----------------------------------------------------------

    def open_websocket(self) -> str:
        """A ticket opens one connection, once."""
        self.ticket = secrets.token_urlsafe(32)
        self.stage.session.client("dynamodb").put_item(
            TableName=self.stage.table("tickets"),
            Item={
                "ticket_hash": {"S": hashlib.sha256(self.ticket.encode()).hexdigest()},
                "viewer_id": {"S": "smoke-test"},
                "streamer_id": {"S": self.channel.id},
                "streamer_name": {"S": self.channel.login},
                "expires_at": {"N": str(int(time.time()) + 60)},
            },
        )
        try:
            self.connection = self._open.enter_context(self._connect())
        except (InvalidStatus, OSError, TimeoutError) as error:
            raise Failure(
                f"a valid ticket opens no connection: {error}. See {self._log('authorizer')}."
            ) from None
        with contextlib.suppress(InvalidStatus), self._connect():
            raise Failure("a ticket opened a second connection.")
        return "opened with a ticket, which works once"

    def event_accepted(self) -> str:
        """A signed event is published."""
        answer = self._send_event()
        if answer.status != 204:
            raise Failure(
                f"a signed event is answered {answer.status}: {answer.data[:200].decode(errors='replace')}. "
                f"See {self._log('webhook')}."
            )
        return "204"

    def event_delivered(self) -> str:
        """The event reaches the open WebSocket."""
        assert self.connection is not None  # noqa: S101 -- checked before
        started = time.monotonic()
        while (left := started + self._delivered_within - time.monotonic()) > 0:
            try:
                frame = json.loads(self.connection.recv(left))
            except TimeoutError:
                break
            if self.message_id in [event["id"] for event in frame.get("events", ())]:
                return f"on the WebSocket after {(time.monotonic() - started) * 1000:.0f} ms"
        raise Failure(self._where_it_stopped("broadcast", "broadcaster"))

    def event_recorded(self) -> str:
        """The event is in the read route."""
        started = time.monotonic()
        while self.message_id not in self._recorded():
            if time.monotonic() > started + self._recorded_within:
                raise Failure(self._where_it_stopped("record", "recorder"))
            time.sleep(0.5)
        return f"in the read route after {time.monotonic() - started:.1f} s"

    def redelivery_counts_once(self) -> str:
        """A delivery that Twitch repeats is still one event."""
        self._send_event()
        for _ in range(3):
            total = self._read("counts").json()["total"]
            if total != 1:
                raise Failure(f"an event that was delivered twice is counted {total} times.")
            time.sleep(1)
        return "delivered twice, counted once"

    def run(self) -> int:
        """Run the checks until one fails, and clean up; returns the number of failures."""
        failures = run(self.checks(), stop_at_failure=True)
        return failures + run([Check("clean-up", self.clean_up)])

    def clean_up(self) -> str:
        """Close the connection and erase the channel."""
        self._open.close()
        invoked = self.stage.session.client("lambda").invoke(
            FunctionName=self.stage.function("archiver"),
            Payload=json.dumps({"erase_streamer_id": self.channel.id}),
        )
        if "FunctionError" in invoked:
            raise Failure(f"the test channel could not be erased. See {self._log('archiver')}.")
        return f"{self.channel.login} is erased"

    # -- helpers ---------------------------------------------------------------------------------------------

    def _url(self, path: str) -> str:
        return urljoin(self.stage.outputs["SiteUrl"].rstrip("/") + "/", path.replace(" ", "%20"))

    def _get(self, path: str) -> Response:
        return request("GET", self._url(path))

    def _read(self, what: str) -> Response:
        """A read of the test channel that CloudFront has not kept: the query is a part of what it keeps."""
        return self._get(f"api/channels/{self.channel.login}/{what}?uncached={secrets.token_hex(8)}")

    def _get_when_resumed(self, path: str) -> Response:
        """The answer to a read, asked for again while the database that it needs is resuming."""
        ends = self._clock.monotonic() + RESUMED_WITHIN_SECONDS
        while True:
            answer = self._get(path)
            wait = answer.headers.get("Retry-After") if answer.status == 503 else None
            if wait is None or self._clock.monotonic() >= ends:
                return answer
            self._clock.sleep(int(wait))

    def _post(self, body: bytes, headers: dict[str, str]) -> Response:
        return request("POST", self.stage.outputs["WebhookUrl"], body=body, headers=headers)

    def _secret(self) -> str:
        # Read from the function, which verifies with it.
        function = self.stage.session.client("lambda").get_function_configuration(
            FunctionName=self.stage.function("webhook")
        )
        arn = function["Environment"]["Variables"]["WEBHOOK_SECRET_ARN"]
        answer = self.stage.session.client("secretsmanager").get_secret_value(SecretId=arn)
        return str(answer["SecretString"])

    def _notification(self) -> bytes:
        return json.dumps(
            {
                "subscription": {
                    "id": "smoke",
                    "type": "channel.update",
                    "version": "2",
                    "status": "enabled",
                    "condition": {"broadcaster_user_id": self.channel.id},
                },
                "event": {
                    "broadcaster_user_id": self.channel.id,
                    "broadcaster_user_login": self.channel.login,
                    "broadcaster_user_name": self.channel.login,
                    "title": "smoke test",
                    "language": "en",
                    "category_id": "0",
                    "category_name": "Smoke test",
                    "content_classification_labels": [],
                },
            }
        ).encode()

    def _send_event(self) -> Response:
        body = self._notification()
        return self._post(body, signed_headers(self._secret(), body, message_id=self.message_id))

    def _connect(self) -> contextlib.AbstractContextManager[ClientConnection]:
        url = f"{self.stage.outputs['WebSocketUrl']}?{urlencode({'ticket': self.ticket})}"
        # As long as API Gateway waits for a function.
        return connect(url, proxy=None, open_timeout=29)

    def _recorded(self) -> list[str]:
        answer = self._read("events")
        return [event["id"] for event in answer.json()["events"]] if answer.status == 200 else []

    def _where_it_stopped(self, queue: str, function: str) -> str:
        """Why an event that was accepted did not arrive: the first step that does not work."""
        outputs, session = self.stage.outputs, self.stage.session
        sqs = session.client("sqs")

        def attributes(url: str) -> dict[str, str]:
            found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
                "Attributes"
            ]
            return found

        waiting = attributes(outputs[f"{queue.capitalize()}QueueUrl"])
        subscribed = session.client("sns").list_subscriptions_by_topic(TopicArn=outputs["EventsTopicArn"])
        if waiting["QueueArn"] not in [entry["Endpoint"] for entry in subscribed["Subscriptions"]]:
            return (
                f"the {queue} queue is not subscribed to the topic, so the {function} gets nothing. "
                f"Deploy again: make deploy STAGE={self.stage.name}"
            )
        in_queue = sum(
            int(waiting[f"ApproximateNumberOfMessages{state}"]) for state in ("", "NotVisible", "Delayed")
        )
        dead = int(
            attributes(outputs[f"{queue.capitalize()}DeadLetterQueueUrl"])["ApproximateNumberOfMessages"]
        )
        if in_queue or dead:
            return (
                f"{in_queue} messages wait in the {queue} queue and {dead} in its dead-letter queue: the "
                f"{function} cannot handle them. Either a grant is missing, or what it calls is down. "
                f"See {self._log(function)}."
            )
        return f"the {function} took it from the queue, but it did not arrive. See {self._log(function)}."

    def _log(self, job: str) -> str:
        return f"the log group /aws/lambda/{self.stage.function(job)}"


def main(arguments: list[str]) -> int:
    """Check the stage; returns the number of failures, as the exit code."""
    try:
        smoke = Smoke(DeployedStage.find(arguments[0] if arguments else DEFAULT_STAGE))
    except (Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1
    return smoke.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
