"""The local cloud's error."""


class LocalCloudError(Exception):
    """Its text says what happened and what the user can do about it."""
