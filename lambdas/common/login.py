"""Channel names as viewers write them."""

import re


def parse_login(text: str) -> str | None:
    """The login in lower case, as Twitch stores it; None if ``text`` cannot be a login."""
    return text.lower() if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,24}", text) else None
