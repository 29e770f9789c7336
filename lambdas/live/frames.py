"""Frames: how events are packed for the viewers of a channel.

One frame carries as many events as fit, since every post to a connection counts against one account-wide
request budget: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
"""

from collections.abc import Iterable, Iterator

from lambdas.common.event import Event

# API Gateway's limit for one frame.
MAX_FRAME_BYTES = 32 * 1024

_HEAD = b'{"type":"events","events":['
_TAIL = b"]}"


def fits(event: Event) -> bool:
    """Whether a frame can carry the event at all."""
    return len(_HEAD) + len(event.to_json()) + len(_TAIL) <= MAX_FRAME_BYTES


def pack(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield as few frames ``{"type": "events", "events": […]}`` as carry the events in this order.

    Every event must fit into a frame.
    """
    batch: list[bytes] = []
    size = len(_HEAD) + len(_TAIL)
    for event in events:
        item = event.to_json().encode()
        if batch and size + len(batch) + len(item) > MAX_FRAME_BYTES:
            yield _frame(batch)
            batch, size = [], len(_HEAD) + len(_TAIL)
        batch.append(item)
        size += len(item)
    if batch:
        yield _frame(batch)


def _frame(items: list[bytes]) -> bytes:
    return _HEAD + b",".join(items) + _TAIL
