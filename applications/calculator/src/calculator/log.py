"""Structured log records: to the journal as fields, elsewhere as lines of text or JSON.

Under systemd a record is one datagram in the journal's native protocol, so that ``journalctl REQUEST_ID=…`` finds a
request on every host that worked for it. Lines are gathered and written once for each round of the event loop. A
journal, or a reader of the lines, that does not keep up never holds a request up: records are dropped and counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import socket
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMATS", "REQUEST_FIELDS", "Log"]

FORMATS: Final = ("auto", "journal", "json", "text")
REQUEST_FIELDS: Final = (
    "REQUEST_ID", "CLIENT", "METHOD", "TARGET", "OPERANDS", "STATUS", "RESULT", "MICROSECONDS",
)  # fmt: skip

_JOURNAL: Final = "/run/systemd/journal/socket"
_LONGEST_WAITING: Final = 2**20  # characters of lines that nobody takes; beyond them lines are dropped
_AGAIN_SECONDS: Final = 0.05

# Priorities of syslog (RFC 5424): what journalctl -p takes.
_PRIORITIES: Final = {"error": "3", "warning": "4", "info": "6"}


def _on_journal(stream: TextIO) -> bool:
    """Whether the stream leads to the journal: systemd says which file that is (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        at = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{at.st_dev}:{at.st_ino}"


class Log:
    """Where the records of one process go. ``dropped`` counts those that nobody took in time."""

    def __init__(self, service: str, form: str = "auto", stream: TextIO | None = None, journal: str = _JOURNAL) -> None:
        """``form``: one of FORMATS; OSError when it is ``journal`` and there is none."""
        self.service = service
        self.dropped = 0
        stream = stream or sys.stdout
        self._file = stream.fileno()
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)
        self._lines: list[str] = []
        self._waiting = 0  # characters, about
        self._scheduled = False
        self._socket: socket.socket | None = None
        if form == "journal" or (form == "auto" and _on_journal(stream)):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.connect(journal)
            self._socket.setblocking(False)
        self._json = form == "json"

    def request(self, message: str, values: tuple[str, ...]) -> None:
        """Take the record of a request; ``values`` are those of REQUEST_FIELDS."""
        if self._socket is None and not self._json:
            self._line(message)
        else:
            self(message, fields=dict(zip(REQUEST_FIELDS, values, strict=True)))

    def __call__(self, message: str, level: str = "info", fields: Mapping[str, str] | None = None) -> None:
        """Take one record: a line for people, and the same as fields (names as the journal wants them: A-Z, 0-9, _)."""
        if self._socket is not None:
            self._send(self._socket, message, level, fields or {})
            return
        if self._json:
            record = {"time": f"{time.time():.6f}", "level": level, "message": message, "service": self.service}
            line = json.dumps(record | {name.lower(): value for name, value in (fields or {}).items()})
        else:
            line = message
        self._line(line)

    def _line(self, line: str) -> None:
        if self._waiting > _LONGEST_WAITING:
            self.dropped += 1
            return
        self._waiting += len(line) + 1
        self._lines.append(line)
        if not self._scheduled:
            try:
                asyncio.get_running_loop().call_soon(self._flush_soon)
            except RuntimeError:  # before the event loop runs
                self.flush()
            else:
                self._scheduled = True

    def _flush_soon(self) -> None:
        """Write what can be written without waiting, and come back for the rest."""
        self._scheduled = False
        text = "\n".join([*self._lines, ""]).encode("utf-8", "replace")
        self._lines.clear()
        at = 0
        # A pipe that is ready takes so many bytes without blocking (POSIX, PIPE_BUF).
        while at < len(text) and self._ready():
            at += os.write(self._file, text[at : at + select.PIPE_BUF])
        self._waiting = len(text) - at
        if self._waiting:
            self._lines.append(text[at:-1].decode("utf-8", "replace"))
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._flush_soon)
            self._scheduled = True

    def _ready(self) -> bool:
        return bool(self._poll.poll(0))

    def flush(self) -> None:
        """Write all that waits, however long that takes."""
        text = "\n".join([*self._lines, ""]).encode("utf-8", "replace") if self._lines else b""
        self._lines.clear()
        self._waiting = 0
        while text:
            text = text[os.write(self._file, text) :]

    def _send(self, journal: socket.socket, message: str, level: str, fields: Mapping[str, str]) -> None:
        record = {"MESSAGE": message, "PRIORITY": _PRIORITIES[level], "SYSLOG_IDENTIFIER": f"netorder-{self.service}"}
        record |= {"SERVICE": self.service, **fields}
        datagram = b"".join([_field(name, value) for name, value in record.items()])
        try:
            journal.send(datagram)
        except OSError:
            self.dropped += 1

    def take_over_logging(self) -> None:
        """Send what libraries (asyncio) log the same way."""
        log = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                level = "error" if record.levelno >= logging.ERROR else "warning"
                log(self.format(record), level, {"LOGGER": record.name})

        logging.basicConfig(level=logging.WARNING, handlers=[Handler()], force=True)


def _field(name: str, value: str) -> bytes:
    """Return a field as the journal's native protocol has it; a text of several lines goes with its length."""
    text = value.encode("utf-8", "replace")
    if b"\n" in text:
        return b"%s\n%s%s\n" % (name.encode(), len(text).to_bytes(8, "little"), text)
    return b"%s=%s\n" % (name.encode(), text)
