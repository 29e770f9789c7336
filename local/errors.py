"""What the local cloud says when it cannot go on."""


class LocalCloudError(Exception):
    """A condition that a person can act on: its text says what happened and what to do about it."""
