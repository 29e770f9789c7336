"""Who exists: every well-formed login, except those that begin with nosuch; ids are derived from logins."""

import dataclasses
import hashlib
import re

LOGIN = re.compile(r"[a-z0-9][a-z0-9_]{0,24}")
USER_ID = re.compile(r"[1-9][0-9]{0,14}")
NUMBERED_LOGIN = re.compile(r"user_([1-9][0-9]{0,14})")


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A Twitch user; ``id`` never changes, ``login`` is lower case."""

    id: str
    login: str

    @property
    def display_name(self) -> str:
        """The login as the user likes it written."""
        return self.login.capitalize()

    def fields(self, prefix: str = "") -> dict[str, str]:
        """How EventSub names a user; with ``broadcaster_``: ``broadcaster_user_id`` and so on."""
        return {
            f"{prefix}user_id": self.id,
            f"{prefix}user_login": self.login,
            f"{prefix}user_name": self.display_name,
        }


class Users:
    """Everybody, with a memory of the logins asked for, so that an id leads back to its login."""

    def __init__(self) -> None:
        self._seen: dict[str, User] = {}

    def by_login(self, login: str) -> User | None:
        """The user with this login, in any case; None if malformed or if nobody has it."""
        login = login.lower()
        if not LOGIN.fullmatch(login) or login.startswith("nosuch"):
            return None
        return self._remember(login)

    def by_id(self, user_id: str) -> User | None:
        """The user with this id; an id that no login has led to yet belongs to ``user_<id>``."""
        if not USER_ID.fullmatch(user_id):
            return None
        return self._seen.get(user_id) or self._remember(f"user_{user_id}")

    def seen(self) -> list[User]:
        """Everybody asked for so far, in that order."""
        return list(self._seen.values())

    def _remember(self, login: str) -> User:
        user = User(user_id_of(login), login)
        return self._seen.setdefault(user.id, user)


def user_id_of(login: str) -> str:
    """The numeric id that belongs to a login: the same one in every run."""
    numbered = NUMBERED_LOGIN.fullmatch(login)
    if numbered:
        return numbered[1]
    digest = int.from_bytes(hashlib.sha256(login.encode()).digest())
    return str(100_000_000_000 + digest % 900_000_000_000)
