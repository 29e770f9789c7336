"""The AWS that the functions call, as a server on loopback.

It has @connections, DynamoDB (connections, as many as a channel's id says, and inboxes) and SQS for the
broadcaster, Secrets Manager and SNS for the webhook. Granian serves it with TLS and HTTP/2, which takes
little of the measured time. One of a hundred connections is gone, and another one is throttled once.
"""

import json
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

ERRORS = {
    410: [("x-amzn-errortype", "GoneException")],
    429: [("x-amzn-errortype", "LimitExceededException")],
}
PUBLISHED = b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
REFUSED = b'{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}'
# The secret with which Twitch signs.
WEBHOOK_KEY = "a-webhook-key"
GONE, THROTTLED = "-gone%3D", "-busy%3D"


def connection_id(number: int) -> str:
    """A connection id of the length of API Gateway's; one of a hundred is gone, and one is throttled."""
    kind = {0: "gone", 1: "busy"}.get(number % 100, "here")
    return f"{number:010}-{kind}="


def place(number: int, total: int) -> str:
    """Where the connection of this number stands among so many, spread evenly."""
    return f"{number * 16**8 // total:08x}#{connection_id(number)}"


def first_after(after: str, total: int) -> int:
    """The number of the first connection after a place, a range's limit included."""
    hash_, _, id_ = after.strip().partition("#")
    if id_:
        return int(id_.partition("-")[0]) + 1
    return -(-int(hash_, 16) * total // 16**8) if hash_.strip("~") else total * bool(hash_)


def key(item: dict[str, Any]) -> tuple[str, str]:
    """The key of an inbox's entry."""
    return item["inbox"]["S"], item["entry"]["S"]


@cache
def page(first: int, last: int, end: int, total: int) -> bytes:
    """DynamoDB's answer with connections ``first`` to ``last`` of ``total``, in a range up to ``end``."""
    expires_at = str(int(time.time()) + 600)
    items = [
        {"connection_id": {"S": place(number, total)}, "expires_at": {"N": expires_at}}
        for number in range(first, last)
    ]
    more = {"LastEvaluatedKey": {"connection_id": items[-1]["connection_id"]}} if last < end else {}
    return json.dumps({"Items": items, "Count": len(items), **more}).encode()


def event(number: int, viewers: int) -> str:
    """The queue message of an event in the channel with so many viewers."""
    now = datetime.now(UTC).isoformat()
    payload = {
        "broadcaster_user_id": str(viewers),
        "broadcaster_user_login": "cool_user",
        "broadcaster_user_name": "Cool_User",
        "title": "Best stream ever",
        "language": "en",
        "category_id": "12453",
        "category_name": "Grand Theft Auto",
        "content_classification_labels": ["MatureGame"],
    }
    return json.dumps(
        {
            "id": f"f1c2a387-161a-49f9-a165-{number:012}",
            "streamer_id": str(viewers),
            "streamer_name": "cool_user",
            "event_type": "channel.update",
            "occurred_at": now,
            "created_at": now,
            "payload": payload,
        }
    )


class Server:
    """An RSGI application: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md."""

    def __init__(self) -> None:
        self.throttled: set[str] = set()
        self.posts = 0
        self.sent: list[str] = []
        self.inboxes: dict[tuple[str, str], dict[str, Any]] = {}

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        path: str = scope.path
        if "@connections" in path:
            status = self.post(path)
            protocol.response_empty(status, ERRORS.get(status, []))
            return
        action, body = scope.headers.get("x-amz-target"), await protocol()
        if action is None and body:
            # SNS: the request is a form, the answer is XML.
            protocol.response_bytes(200, [("content-type", "text/xml")], PUBLISHED)
            return
        answer = self.call(action or path, json.loads(body or b"{}"))
        status = 400 if answer is REFUSED else 200
        protocol.response_bytes(status, [("content-type", "application/x-amz-json-1.0")], answer)

    def post(self, path: str) -> int:
        """Answer a post to a connection."""
        if path.endswith(("-gone=", GONE)):
            return 410
        if path.endswith(("-busy=", THROTTLED)) and path not in self.throttled:
            self.throttled.add(path)
            return 429
        self.posts += 1
        return 200

    def call(self, action: str, body: dict[str, Any]) -> bytes:  # noqa: C901 -- a table
        """Answer a call of a JSON service, or ``/seen``: what was received since the last ``/seen``."""
        match action.rpartition(".")[2]:
            case "Query" if body["TableName"] == "connections":
                # The channel's name says how many watch it.
                values = body["ExpressionAttributeValues"]
                total = int(values[":streamer_id"]["S"])
                begin = values.get(":after") or body.get("ExclusiveStartKey", {}).get(
                    "connection_id", {"S": ""}
                )
                first = first_after(begin["S"], total)
                end = first_after(values.get(":until", {"S": "~"})["S"], total)
                return page(first, min(first + body.get("Limit", 5_000), end), end, total)
            case "Query":
                inbox = body["ExpressionAttributeValues"][":inbox"]["S"]
                entries = [each for each in self.inboxes if each[0] == inbox and each[1] != "lease"]
                found = [self.inboxes[each] for each in sorted(entries, reverse=True)]
                return json.dumps({"Items": found}).encode()
            case "BatchWriteItem":
                for request in body["RequestItems"].get("inboxes", []):
                    if put := request.get("PutRequest"):
                        self.inboxes[key(put["Item"])] = put["Item"]
                    else:
                        self.inboxes.pop(key(request["DeleteRequest"]["Key"]), None)
            case "UpdateItem":
                # The lease's condition, as far as it matters here: one process asks.
                values = body["ExpressionAttributeValues"]
                token, old = values[":token"]["S"], values[":old"]["S"]
                if self.inboxes.get(key(body["Key"]), {"token": token})["token"] not in {token, old}:
                    return REFUSED
                self.inboxes[key(body["Key"])] = {"token": token}
            case "DeleteItem":
                self.inboxes.pop(key(body["Key"]), None)
            case "SendMessage":
                self.sent.append(body["MessageBody"])
            case "GetSecretValue":
                return json.dumps({"SecretString": WEBHOOK_KEY, "VersionId": "1"}).encode()
            case "/seen":
                seen = {"posts": self.posts, "sent": self.sent}
                self.posts, self.sent, self.throttled = 0, [], set()
                return json.dumps(seen).encode()
        return b"{}"


app = Server()
