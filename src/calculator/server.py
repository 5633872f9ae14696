"""A small HTTP/1.1 server over asyncio and h11: one body in, one line out.

Everything is bounded: the size of a head and of a body, the time a client may take, the number of connections.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from calculator.errors import HttpError, shown, words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Limits", "Server"]

_LOG = logging.getLogger(__name__)

_CHUNK = 65536
_LONGEST_TARGET = 8192  # bytes
_LONGEST_HEAD = 16384  # bytes
# A client that is still sending a refused body must be read on, or the reset that answers its bytes makes it lose
# our answer: so many bytes and seconds of it are thrown away before the connection is closed.
_DISCARD_BYTES = 64 * 2**20
_DISCARD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, seconds and connections beyond which the server refuses or closes.

    ``request_seconds``: from a request's first byte to its last, and for a client to take an answer.
    ``idle_seconds``: between two requests. ``stop_seconds``: for the requests under way when the server stops.
    """

    body: int = 65536
    request_seconds: float = 10.0
    idle_seconds: float = 60.0
    stop_seconds: float = 5.0
    connections: int = 512


class Server:
    """Answers POST on any path with ``handle(body)``, and GET /healthz with ``ok``."""

    def __init__(self, name: str, handle: Callable[[str], Awaitable[str]], limits: Limits) -> None:
        self.name = name
        self.handle = handle
        self.limits = limits
        self.stopping = False
        self._clients: dict[asyncio.Task[None], _Client] = {}

    async def start(self, host: str, port: int) -> tuple[asyncio.Server, int]:
        """Listen; the listener and its port (chosen by the system when ``port`` is 0)."""
        listener = await asyncio.start_server(self._client, host, port)
        return listener, listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End idle connections at once, and the others after the request under way."""
        self.stopping = True
        for task, client in self._clients.items():
            if client.idle:
                task.cancel()
        if self._clients:
            _, late = await asyncio.wait(self._clients, timeout=self.limits.stop_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(self, reader, writer)
        task = asyncio.current_task()
        if task is None or len(self._clients) >= self.limits.connections:
            await client.respond("", HttpError(503, "too many connections: try again later"))
            writer.close()
            return
        self._clients[task] = client
        try:
            await client.serve()
        except (OSError, asyncio.CancelledError):
            pass  # the client has gone, or the server stops: nobody is left to tell
        except Exception:  # noqa: BLE001  whatever went wrong, the other clients are served on
            _LOG.exception("%s: internal error", self.name)
        finally:
            del self._clients[task]
            writer.transport.abort()  # every answer has been taken by now, or will not be


class _Client:
    """One client's connection: its requests, one after the other. ``idle`` while it owes nothing."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.idle = True
        self._server = server
        self._limits = server.limits
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
        host, port = (writer.get_extra_info("peername") or ("unknown", 0))[:2]
        self._address = f"{host}:{port}"
        self._head: h11.Request | None = None
        self._complete = False  # the request was read to its end

    async def serve(self) -> None:
        while await self._one_request():
            self._http.start_next_cycle()
        await self._let_go()

    async def _one_request(self) -> bool:
        """Read and answer one request; whether another may follow on this connection."""
        self._head, self._complete = None, False
        try:
            body = await self._read()
        except HttpError as refusal:
            await self.respond("", refusal)
            return False
        if body is None or self._head is None:
            return False
        if self._head.target.partition(b"?")[0] == b"/healthz":
            answer: str | HttpError = "ok"
        else:
            answer = await self._answer(body)
        await self.respond(f" {shown(body.decode('utf-8', 'replace'), 200)}", answer)
        return (self._http.our_state, self._http.their_state) == (h11.DONE, h11.DONE)

    async def _answer(self, body: bytes) -> str | HttpError:
        try:
            return await self._server.handle(body.decode())
        except HttpError as refusal:
            return refusal
        except UnicodeDecodeError as error:
            return HttpError(400, f"byte {error.start + 1} of the body is not UTF-8 text")
        except Exception:  # noqa: BLE001  whatever went wrong, this client gets an answer
            _LOG.exception("%s: internal error", self._server.name)
            return HttpError(500, "internal error: the service's log says more")

    async def _read(self) -> bytes | None:
        """Return the body of the next request, its head in ``_head``; None when the client sends no more."""
        self.idle = True
        now = asyncio.get_running_loop().time
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.idle_seconds) as patience:
                while True:
                    event = self._next_event()
                    if event is h11.NEED_DATA:
                        if self._http.they_are_waiting_for_100_continue:
                            self._write(h11.InformationalResponse(status_code=100, headers=[]))
                        data = await self._reader.read(_CHUNK)
                        if data and self.idle:
                            self.idle = False
                            patience.reschedule(now() + self._limits.request_seconds)
                        self._http.receive_data(data)
                    elif isinstance(event, h11.Request):
                        self._head = event
                        self._check(event)
                    elif isinstance(event, h11.Data):
                        body += event.data
                        self._check_length(len(body))
                    elif isinstance(event, h11.EndOfMessage):
                        self.idle, self._complete = False, True
                        return bytes(body)
                    else:  # h11.ConnectionClosed
                        return None
        except TimeoutError:
            if self.idle:
                return None
            raise HttpError(408, f"the request was not complete after {self._limits.request_seconds:g} s") from None

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                if b"\n" not in self._http.trailing_data[0]:
                    raise _target_too_long() from None
                raise _head_too_long() from None
            raise HttpError(status, f"not a correct HTTP request: {words(error)}") from None

    def _check(self, head: h11.Request) -> None:
        """Refuse what can be refused before the body is read."""
        if len(head.target) > _LONGEST_TARGET:
            raise _target_too_long()
        if sum(len(name) + len(value) for name, value in head.headers) > _LONGEST_HEAD:
            raise _head_too_long()
        path = head.target.partition(b"?")[0].decode("ascii", "replace")
        allowed = ("GET", "HEAD") if path == "/healthz" else ("POST",)
        method = head.method.decode("ascii", "replace")
        if method not in allowed:
            line = f"{method[:20]} is not allowed on {shown(path)}: use {' or '.join(allowed)}"
            raise HttpError(405, line, (("Allow", ", ".join(allowed)),))
        headers = dict(head.headers)
        if b"content-length" in headers:
            self._check_length(int(headers[b"content-length"]))
        elif b"transfer-encoding" not in headers and method == "POST":
            raise HttpError(411, "no body: send one, with its Content-Length (curl -d does)")

    def _check_length(self, length: int) -> None:
        if length > self._limits.body:
            raise HttpError(413, f"the body is longer than {self._limits.body} bytes")

    async def respond(self, request: str, answer: str | HttpError) -> None:
        """Send one line and log it; ``request`` is what the log says of the request's body."""
        if isinstance(answer, HttpError):
            status, line, extra = answer.status, answer.line, answer.headers
        else:
            status, line, extra = 200, answer, ()
        method = self._head.method.decode("ascii", "replace") if self._head else "-"
        target = shown(self._head.target.decode("ascii", "replace"), 80).strip("'") if self._head else "-"
        _LOG.info("%s %s %s %s%s -> %d %s", self._server.name, self._address, method, target, request, status, line)
        content = f"{line}\r\n".encode()
        headers = [
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(content))),
            *extra,
        ]
        if not self._complete or self._server.stopping:
            headers.append(("Connection", "close"))
        head = h11.Response(status_code=status, reason=HTTPStatus(status).phrase, headers=headers)
        self._write(head, *([h11.Data(data=content)] if method != "HEAD" else []), h11.EndOfMessage())
        async with asyncio.timeout(self._limits.request_seconds):
            await self._writer.drain()

    def _write(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))

    async def _let_go(self) -> None:
        """Close so that the client can still read the last answer: end our side, then read until it ends its own."""
        self.idle = True
        if self._writer.can_write_eof():
            self._writer.write_eof()
        left = _DISCARD_BYTES
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0 and (data := await self._reader.read(_CHUNK)):
                left -= len(data)


def _target_too_long() -> HttpError:
    return HttpError(414, f"the URL is longer than {_LONGEST_TARGET} bytes")


def _head_too_long() -> HttpError:
    return HttpError(431, f"the request's headers are longer than {_LONGEST_HEAD} bytes")
