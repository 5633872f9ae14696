"""Standard output and error that never fail over a character: what their encoding lacks is written in its place."""

from __future__ import annotations

import codecs
import io
import sys

__all__ = ["write_any_text"]

_PLAIN = {"±": "-/+"}  # our own characters, for terminals and files in ASCII
_HANDLER = "netorder.plain"


def write_any_text() -> None:
    """Have standard output and error write what they cannot encode in plain ASCII instead of raising an error."""
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for the first character that cannot be encoded, and where to go on (PEP 293)."""
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1
        if plain := _PLAIN.get(error.object[error.start]):
            return plain, error.end
    return codecs.backslashreplace_errors(error)
