"""Cursors: an event's position in a list, newest first, as an opaque string for clients."""

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Final, Self

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MalformedCursorError(ValueError):
    """Not a cursor that this service has made."""


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """The position of the event with this ID and time; it does not change as others are recorded."""

    created_at: datetime
    id: str

    def to_cursor(self) -> str:
        """The position in the URL-safe base64 alphabet, without padding."""
        microseconds = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{microseconds}:{self.id}".encode()).decode().rstrip("=")

    @classmethod
    def from_cursor(cls, cursor: str) -> Self:
        """Read what ``to_cursor`` wrote. Raises MalformedCursorError for anything else."""
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
            microseconds, _, event_id = text.partition(":")
            position = cls(_EPOCH + timedelta(microseconds=int(microseconds)), event_id)
        except (ValueError, OverflowError) as error:
            raise MalformedCursorError(f"{cursor!r} is not a cursor") from error
        # Also refuses what decodes to the same position, and ids that no event can have.
        if position.to_cursor() != cursor or "\0" in event_id:
            raise MalformedCursorError(f"{cursor!r} is not a cursor")
        return position


#: The position before the newest event.
START: Final = Position(datetime.max.replace(tzinfo=UTC), "")
