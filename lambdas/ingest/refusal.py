"""Why a delivery is refused."""


class RefusedError(Exception):
    """Answer with ``status``; ``reason`` is a short code for logs, metrics and the answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
