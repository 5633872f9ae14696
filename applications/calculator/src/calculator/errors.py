"""What a client is told when there is no answer."""

from __future__ import annotations

__all__ = ["HttpError", "shown", "words"]


class HttpError(Exception):
    """A refusal: HTTP ``status``, one ``line`` of ASCII (what, where, fix), and extra response ``headers``."""

    def __init__(self, status: int, line: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {line}")
        self.status = status
        self.line = line
        self.headers = headers


def shown(text: str, limit: int = 60) -> str:
    """Quote a client's text for an error or a log: ASCII, on one line, cut at ``limit`` characters."""
    return ascii(text if len(text) <= limit else f"{text[:limit]}...")


def words(error: Exception) -> str:
    """Return what h11 says of a peer's fault, without the dump of bytes that it sometimes adds after a colon."""
    return str(error).partition(":")[0]
