"""The calculator's side of a service: HTTP over connections that are kept and never shared by two requests at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import h11

from calculator import numerals
from calculator.errors import HttpError, shown, words

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Peer"]

_CHUNK = 65536
_LONGEST_ANSWER = 1024  # bytes; the longest double takes 25
# Less than a server's patience with an idle connection, so that the peer rarely closes first.
_IDLE_SECONDS = 20.0
_CONNECTIONS = 32


class _Connection:
    """One HTTP/1.1 connection to a service.

    While it lies idle, a read waits on it: whatever arrives then (an end, or bytes that nobody asked for) makes it
    unusable, so that an answer is never taken for that of another request.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self._pending: asyncio.Task[bytes] | None = None
        self._idle_since = 0.0

    def rest(self) -> bool:
        """Make ready for the next request; False when the connection cannot take another."""
        if (self._http.our_state, self._http.their_state) != (h11.DONE, h11.DONE) or self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        self._pending = asyncio.create_task(self._reader.read(_CHUNK))
        self._idle_since = asyncio.get_running_loop().time()
        return True

    @property
    def usable(self) -> bool:
        """Whether nothing has happened on an idle connection."""
        idle = asyncio.get_running_loop().time() - self._idle_since
        return self._pending is not None and not self._pending.done() and idle < _IDLE_SECONDS

    def close(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        self._writer.transport.abort()

    async def exchange(self, request: h11.Request, body: bytes) -> tuple[int, bytes]:
        """Send a request; the status and body of its answer. ConnectionResetError when it ends before any answer."""
        parts = [self._http.send(event) for event in (request, h11.Data(data=body), h11.EndOfMessage())]
        self._writer.write(b"".join(part for part in parts if part))
        await self._writer.drain()
        status, answer, heard = 0, b"", False
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._read()
                if not data and not heard:
                    raise ConnectionResetError
                heard = True
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += event.data
                if len(answer) > _LONGEST_ANSWER:
                    raise h11.RemoteProtocolError(f"an answer of more than {_LONGEST_ANSWER} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return status, answer

    async def _read(self) -> bytes:
        if self._pending is None:
            return await self._reader.read(_CHUNK)
        pending, self._pending = self._pending, None
        return await pending


class Peer:
    """A service at a URL, asked with ``call``; failures are HttpError 502 (nonsense), 503 (not there), 504 (slow)."""

    def __init__(self, name: str, url: str, timeout: float) -> None:
        """``timeout``: seconds for one call. ValueError when the URL is not that of an HTTP service."""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{shown(url)} is not a URL such as http://192.168.2.20:50001")
        if parts.username is not None or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
            raise ValueError(f"{shown(url)}: only a host, a port and a path may stand after http://")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError(f"{shown(url)}: the port is not a number from 1 to 65535")
        self._port = 80 if port is None else port
        self._host = parts.hostname
        self._target = (parts.path or "/").encode()
        self._authority = parts.netloc.encode()
        self._timeout = timeout
        self._place = f"{name} ({url})"
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().close()

    async def call(self, left: str, right: str) -> str:
        """Return the service's answer to ``left right``: a number as text."""
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout):
                    status, answer = await self._ask(f"{left} {right}".encode())
            except TimeoutError:
                raise HttpError(504, f"{self._place} did not answer within {self._timeout:g} s") from None
            except (ConnectionResetError, BrokenPipeError):
                raise HttpError(502, f"{self._place} closed the connection without an answer") from None
            except OSError as error:
                raise HttpError(503, f"{self._place} cannot be reached: {_reason(error)}") from None
            except h11.RemoteProtocolError as error:
                raise HttpError(502, f"{self._place} did not answer in HTTP: {words(error)}") from None
        text = answer.decode("ascii", "replace").strip(" \t\r\n")
        if status != 200:  # noqa: PLR2004  the one status that carries a number
            raise HttpError(502, f"{self._place} answered with status {status}: {shown(text, 120)}")
        if numerals.read(text) is None:
            raise HttpError(502, f"{self._place} answered {shown(text)}, which is not a number")
        return text

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        headers = [
            (b"Host", self._authority),
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", str(len(body)).encode()),
        ]
        request = h11.Request(method="POST", target=self._target, headers=headers)
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                connection.close()
                continue
            # The service may close an idle connection just as it is used again; then nothing was answered, and
            # the request, which has no side effect, goes once more over a new connection.
            with suppress(ConnectionResetError, BrokenPipeError):
                return await self._over(connection, request, body)
            break
        return await self._over(_Connection(*await asyncio.open_connection(self._host, self._port)), request, body)

    async def _over(self, connection: _Connection, request: h11.Request, body: bytes) -> tuple[int, bytes]:
        kept = False
        try:
            answer = await connection.exchange(request, body)
            kept = connection.rest()
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return answer


def _reason(error: OSError) -> str:
    """Say it in the system's words, without asyncio's list of addresses."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return shown(error.strerror or str(error), 120).strip("'\"")
