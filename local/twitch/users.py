"""The users: every well-formed login that does not begin with nosuch exists; its id is made from it."""

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
        """The login as it is shown to people."""
        return self.login.capitalize()

    def fields(self, prefix: str = "") -> dict[str, str]:
        """The user's fields in an event: ``<prefix>user_id`` and so on."""
        return {
            f"{prefix}user_id": self.id,
            f"{prefix}user_login": self.login,
            f"{prefix}user_name": self.display_name,
        }


class Users:
    """All users. Logins that were asked for are remembered, so that ids can be resolved to them."""

    def __init__(self) -> None:
        # None for deleted users, whose ids are not used again.
        self._by_id: dict[str, User | None] = {}
        # The present user id of logins whose first user was renamed or deleted; None if nobody has it.
        self._reassigned: dict[str, str | None] = {}

    def by_login(self, login: str) -> User | None:
        """The user with this login, case ignored; None if it is malformed or nobody has it."""
        login = login.lower()
        if not LOGIN.fullmatch(login) or login.startswith("nosuch"):
            return None
        user_id = self._reassigned.get(login, user_id_of(login))
        return None if user_id is None else self._find(user_id, login)

    def by_id(self, user_id: str) -> User | None:
        """The user with this id. Its login is ``user_<id>`` if no login with this id was asked for before."""
        return self._find(user_id, f"user_{user_id}") if USER_ID.fullmatch(user_id) else None

    def seen(self) -> list[User]:
        """The users that were asked for, in that order."""
        return [user for user in self._by_id.values() if user is not None]

    def rename(self, user: User, login: str) -> User:
        """Change a user's login. Nobody has the old one until another user is renamed to it.

        Raises ValueError if the new login is malformed, or if a user who was asked for before has it.
        """
        taken = self._reassigned[login] if login in self._reassigned else user_id_of(login) in self._by_id
        if taken or not LOGIN.fullmatch(login):
            raise ValueError(f"{login!r} is malformed or taken")
        self._reassigned |= {user.login: None, login: user.id}
        renamed = self._by_id[user.id] = User(user.id, login)
        return renamed

    def delete(self, user: User) -> None:
        """Delete a user. Nobody has the login afterwards."""
        self._reassigned[user.login] = None
        self._by_id[user.id] = None

    def _find(self, user_id: str, login: str) -> User | None:
        return self._by_id.setdefault(user_id, User(user_id, login))


def user_id_of(login: str) -> str:
    """The numeric id of a login, the same in every run."""
    numbered = NUMBERED_LOGIN.fullmatch(login)
    if numbered:
        return numbered[1]
    digest = int.from_bytes(hashlib.sha256(login.encode()).digest())
    return str(100_000_000_000 + digest % 900_000_000_000)
