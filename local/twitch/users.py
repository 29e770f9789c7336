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
        # Deleted users stay, as None: their ids are not given out again.
        self._by_id: dict[str, User | None] = {}
        # Logins that have changed hands: the id of who has them now, None while nobody does.
        self._moved: dict[str, str | None] = {}

    def by_login(self, login: str) -> User | None:
        """The user with this login, in any case; None if malformed or if nobody has it."""
        login = login.lower()
        if not LOGIN.fullmatch(login) or login.startswith("nosuch"):
            return None
        user_id = self._moved.get(login, user_id_of(login))
        return None if user_id is None else self._find(user_id, login)

    def by_id(self, user_id: str) -> User | None:
        """The user with this id; an id that no login has led to yet belongs to ``user_<id>``."""
        return self._find(user_id, f"user_{user_id}") if USER_ID.fullmatch(user_id) else None

    def seen(self) -> list[User]:
        """Everybody asked for so far, in that order."""
        return [user for user in self._by_id.values() if user is not None]

    def rename(self, user: User, login: str) -> User:
        """Give a user another login; the old one is nobody's then, until somebody is renamed to it.

        Raises ValueError if the new one is malformed or somebody who was asked for before has it.
        """
        taken = self._moved[login] if login in self._moved else user_id_of(login) in self._by_id
        if taken or not LOGIN.fullmatch(login):
            raise ValueError(f"{login!r} is malformed or taken")
        self._moved |= {user.login: None, login: user.id}
        renamed = self._by_id[user.id] = User(user.id, login)
        return renamed

    def delete(self, user: User) -> None:
        """Close an account; its login is nobody's then."""
        self._moved[user.login] = None
        self._by_id[user.id] = None

    def _find(self, user_id: str, login: str) -> User | None:
        return self._by_id.setdefault(user_id, User(user_id, login))


def user_id_of(login: str) -> str:
    """The numeric id that belongs to a login: the same one in every run."""
    numbered = NUMBERED_LOGIN.fullmatch(login)
    if numbered:
        return numbered[1]
    digest = int.from_bytes(hashlib.sha256(login.encode()).digest())
    return str(100_000_000_000 + digest % 900_000_000_000)
