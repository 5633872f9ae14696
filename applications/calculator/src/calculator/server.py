"""An HTTP/1.1 server over asyncio: small requests in, small answers out, everything bounded.

Bounded are the size of a head and of a body, the time a client may take, the requests of one client that wait, and the
number of connections: a new one takes the place of the one that has owed a request for longest, and of one that never
sent any before that.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

import h11

from calculator.errors import HttpError, shown, words
from calculator.metrics import Histogram, Sample
from calculator.wire import LONGEST_HEAD, REMEMBERED, RequestHead, find_head, request_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from calculator.log import Log

__all__ = ["Application", "Limits", "Request", "Response", "Server"]

_LONGEST_TARGET: Final = 8192  # bytes
_PIPELINED: Final = 65536  # bytes of further requests that a client may send before it waits for answers
_IN_A_ROW: Final = 32  # requests of one client that are served before it is another's turn
_ACCEPTED_AT_ONCE: Final = 64
_BACKLOG: Final = 4096  # connections that wait to be accepted
# A client that is still sending a refused body must be read on, or the reset that answers its bytes makes it lose
# our answer: so many bytes and seconds of it are thrown away before the connection is closed.
_DISCARD_BYTES: Final = 64 * 2**20
_DISCARD_SECONDS: Final = 5.0
_LOGGED: Final = 200  # bytes of a request's body
_LOGGED_TARGET: Final = 80  # characters
_OK: Final = 200

# Ids of requests that come without one differ within this process by number, and between processes by chance.
_RUN: Final = f"{random.getrandbits(48):012x}-"
_NUMBERS: Final = itertools.count(1)


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
    connections: int = 8192


class _Judged(NamedTuple):
    """A head, and what can be said of it without a body. ``endpoint`` and ``target`` are for metrics and log."""

    head: RequestHead
    refusal: HttpError | None
    endpoint: str
    target: str


class Request:
    """A request that has arrived whole. ``id`` is the client's X-Request-Id, or a new one."""

    __slots__ = ("body", "endpoint", "head", "id", "started", "target")

    def __init__(self, judged: _Judged, body: bytes, request_id: str) -> None:
        self.started = time.perf_counter()
        self.head, _, self.endpoint, self.target = judged
        self.body = body
        self.id = request_id or self.head.request_id or f"{_RUN}{next(_NUMBERS):x}"


@dataclass(slots=True)
class Response:
    """An answer. ``line`` is what the log says of it, and with CR LF the content where ``content`` is None."""

    status: int
    line: str
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    content_type: str = "text/plain"


class Application(Protocol):
    """What the server serves."""

    name: str

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path takes."""

    def endpoint(self, path: str, method: str) -> str:
        """Return what metrics call such a request: one of a few words."""

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer a request whose method the path takes; HttpError is answered as it says."""


class Server:
    """Serves one application on one address."""

    def __init__(self, application: Application, limits: Limits, log: Log) -> None:
        self.application = application
        self.limits = limits
        self.log = log
        self.stopping = False
        self.clients: dict[_Client, None] = {}
        # Those that owe us a request or a part of one, the one that has for longest first: before their first request,
        # and after it.
        self.fresh: dict[_Client, None] = {}
        self.waiting: dict[_Client, None] = {}
        self.in_progress = 0
        self.evicted = 0
        self.answered: dict[tuple[str, int], int] = defaultdict(int)
        self.judge = lru_cache(REMEMBERED)(self._judge)
        self.seconds = Histogram()
        self._empty = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._dated = 0
        self._host = socket.gethostname()
        self._prefix = self._plain = b""

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which the system chooses when ``port`` is 0. OSError when that cannot be."""
        loop = asyncio.get_running_loop()
        (family, _, _, _, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.create_server(address[:2], family=family)
        # asyncio takes its backlog for the number of connections to accept before it looks at any of them, too.
        self._listener = await loop.create_server(lambda: _Client(self), sock=listener, backlog=_ACCEPTED_AT_ONCE)
        listener.listen(_BACKLOG)
        self._sweep()
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Take no new connection, end the idle ones, and give the others time to finish."""
        self.stopping = True
        if self._listener is not None:
            self._listener.close()
        for client in list(self.clients):
            client.stop()
        if self.clients:
            try:
                async with asyncio.timeout(self.limits.stop_seconds):
                    await self._empty.wait()
            except TimeoutError:
                for client in list(self.clients):
                    client.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _sweep(self) -> None:
        """Look for clients that took too long: one timer for all, however many they are."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for client in list(self.clients):
            client.look(now)
        shortest = min(self.limits.request_seconds, self.limits.idle_seconds)
        self._sweeper = loop.call_later(min(max(shortest / 8, 0.02), 1.0), self._sweep)

    def admit(self, client: _Client) -> bool:
        """Make room for a client that has connected; False when all others have a request under way."""
        if len(self.clients) >= self.limits.connections:
            oldest = next(iter(self.fresh), None) or next(iter(self.waiting), None)
            if oldest is None:
                return False
            self.evicted += 1
            oldest.abort()
            self.forget(oldest)
        self.clients[client] = self.fresh[client] = None
        return True

    def busy(self, client: _Client) -> None:
        """Take note that a client owes us nothing: it makes no room for others."""
        self.fresh.pop(client, None)
        self.waiting.pop(client, None)

    def forget(self, client: _Client) -> None:
        """Count a client no longer."""
        self.clients.pop(client, None)
        self.busy(client)
        if self.stopping and not self.clients:
            self._empty.set()

    def _judge(self, data: bytes) -> _Judged | None:
        """Return what the bytes of a head say; None when h11 has to read the request as it arrives."""
        head = request_head(data)
        return None if head is None else self.judged(head)

    def judged(self, head: RequestHead) -> _Judged:
        """Judge a head."""
        target = head.target if len(head.target) <= _LOGGED_TARGET else f"{head.target[:_LOGGED_TARGET]}..."
        endpoint = self.application.endpoint(head.path, head.method)
        return _Judged(head, self._refusal(head), endpoint, ascii(target)[1:-1])

    def _refusal(self, head: RequestHead) -> HttpError | None:
        if len(head.target) > _LONGEST_TARGET:
            return _target_too_long()
        if head.headers_length > LONGEST_HEAD:
            return _head_too_long()
        allowed = self.application.methods(head.path)
        if head.method not in allowed:
            listed = ", ".join(allowed)
            line = f"{head.method[:20]} is not allowed on {shown(head.path)}: use {listed.replace(', ', ' or ')}"
            return HttpError(405, line, (("Allow", listed),))
        if head.length is not None and head.length > self.limits.body:
            return self.too_long()
        if head.bare and head.method == "POST":
            return HttpError(411, "no body: send one, with its Content-Length (curl -d does)")
        return None

    def too_long(self) -> HttpError:
        """Return the refusal of a body."""
        return HttpError(413, f"the body is longer than {self.limits.body} bytes")

    def answer(self, response: Response, *, body: bool, close: bool) -> bytes:
        """Return a response as it is sent; without its content when ``body`` is not set."""
        now = int(time.time())
        if now != self._dated:
            self._dated = now
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
            self._prefix = f"Date: {date}\r\nX-Served-By: {self._host}\r\n".encode("ascii", "replace")
            self._plain = b"HTTP/1.1 200 OK\r\n" + self._prefix.replace(b"%", b"%%")
            self._plain += b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s\r\n"
        status, content, headers = response.status, response.content, response.headers
        if status == _OK and content is None and body and not headers and not close:  # nearly all answers
            line = response.line.encode()
            return self._plain % (len(line) + 2, line)
        if content is None:
            content = f"{response.line}\r\n".encode()
        head = f"Content-Type: {response.content_type}\r\nContent-Length: {len(content)}\r\n"
        head += "".join([f"{name}: {value}\r\n" for name, value in headers])
        if close:
            head += "Connection: close\r\n"
        first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        return first + self._prefix + head.encode() + b"\r\n" + (content if body else b"")

    def record(self, request: Request, response: Response, client: str) -> None:
        """Count and log what was answered."""
        seconds = time.perf_counter() - request.started
        endpoint, status = request.endpoint, response.status
        self.answered[endpoint, status] += 1
        self.seconds.observe(endpoint, seconds)
        if endpoint == "probe" and status == _OK:  # asked every few seconds, and counted
            return
        body = request.body
        operands = ascii(body if len(body) <= _LOGGED else body[:_LOGGED] + b"...")[1:]
        self.log.request(
            f"{self.application.name} {client} {request.head.method} {request.target} {operands} -> {status} "
            f"{response.line} [{seconds * 1000:.3f} ms, request {request.id}]",
            (request.id, client, request.head.method, request.target, operands[1:-1], str(status), response.line,
             f"{seconds * 1e6:.0f}"),
        )  # fmt: skip

    def samples(self) -> Iterable[Sample]:
        """Yield what the server counts."""
        gauge = "gauge"
        yield Sample("calculator_requests_total", "counter", "Requests answered.", ("endpoint", "status"),
                     {(endpoint, str(status)): count for (endpoint, status), count in self.answered.items()}
                     )  # fmt: skip
        yield Sample("calculator_requests_in_progress", gauge, "Requests under way.", (), {(): self.in_progress})
        yield Sample("calculator_connections", gauge, "Connections of clients.", (), {(): len(self.clients)})
        yield Sample("calculator_connections_evicted_total", "counter", "Idle connections closed to make room.", (),
                     {(): self.evicted})  # fmt: skip
        yield Sample("calculator_log_records_dropped_total", "counter", "Records that nobody took in time.", (),
                     {(): self.log.dropped})  # fmt: skip


class _Client(asyncio.Protocol):
    """One client's connection: its requests, one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._address = "unknown"
        self._since = 0.0  # the last time that the client did what it had to do
        self._ahead = b""  # bytes that came before their turn
        self._http: h11.Connection | None = None  # reads the request that has begun to arrive
        self._judged: _Judged | None = None
        self._body = bytearray()
        self._continued = False
        self._task: asyncio.Task[None] | None = None
        self._blocked = False  # the client does not take its answers
        self._ended = False  # the client sends no more
        self._closing = False
        self._discarded = 0

    # --- called by the transport -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if peer:
            self._address = f"{peer[0]}:{peer[1]}"
        self._since = asyncio.get_running_loop().time()
        if self._server.stopping:
            self._transport.abort()
        elif not self._server.admit(self):
            self._refuse(HttpError(503, "too many connections: try again later"))
            self._server.forget(self)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._discarded += len(data)
            if self._discarded > _DISCARD_BYTES:
                self.abort()
        elif self._task is not None or self._blocked or self._ahead:
            self._ahead += data
            if len(self._ahead) > _PIPELINED:
                self._transport.pause_reading()
        else:
            self._take(data)

    def eof_received(self) -> bool:
        """Keep the connection for the answer when one is due: a client may end its side first."""
        self._ended = True
        if self._closing:
            return False
        if self._task is not None or self._blocked or self._ahead:
            return True
        if self._http is None:
            return False
        self._http.receive_data(b"")
        self._read(self._http)
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        self._closing = True
        self._server.forget(self)
        if self._task is not None:
            self._task.cancel()  # nobody waits for the answer

    def pause_writing(self) -> None:
        self._blocked = True
        self._since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        self._blocked = False
        self._since = asyncio.get_running_loop().time()
        self._go_on()

    # --- called by the server --------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Judge how long the client has taken."""
        taken = now - self._since
        if self._closing:
            if taken > _DISCARD_SECONDS:
                self.abort()
        elif self._blocked:
            if taken > self._limits.request_seconds:
                self.abort()
        elif self._task is not None:
            return
        elif self._http is not None:
            if taken > self._limits.request_seconds:
                line = f"the request was not complete after {self._limits.request_seconds:g} s"
                self._refuse(HttpError(408, line))
        elif taken > self._limits.idle_seconds:
            self._transport.close()

    def stop(self) -> None:
        """Close if nothing is under way."""
        if self._task is None and self._http is None and not self._blocked and not self._closing:
            self._transport.close()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    # --- requests --------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Serve the requests in ``data``, as far as they go."""
        at = 0
        for _ in range(_IN_A_ROW):
            if at == len(data) or self._closing:
                return
            if self._task is not None or self._blocked:
                self._ahead = data[at:]
                return
            if self._http is None:
                found = find_head(data, at)
                judged = self._server.judge(found[0]) if found is not None else None
                if found is not None and judged is not None and judged.refusal is None:
                    _, start, request_id = found
                    end = start + (judged.head.length or 0)
                    if end <= len(data):
                        at = end
                        self._serve(Request(judged, data[start:end], request_id), more=end < len(data))
                        continue
                self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
                self._judged, self._body, self._continued = None, bytearray(), False
                self._since = asyncio.get_running_loop().time()
            self._http.receive_data(data[at:])
            data, at = self._read(self._http), 0
        # The others' turn.
        self._ahead = data[at:]
        if self._ahead:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Turn to the requests that came in the meantime."""
        if self._task is None and not self._blocked and not self._closing:
            ahead, self._ahead = self._ahead, b""
            self._take(ahead)
        if self._task is None and not self._blocked and not self._closing and not self._ahead:
            if not self._ended:
                self._transport.resume_reading()
            elif self._http is None:
                self._transport.close()
            else:
                self._http.receive_data(b"")
                self._read(self._http)

    def _read(self, http: h11.Connection) -> bytes:
        """Let h11 read on; the bytes after the request, once it is complete and was answered."""
        try:
            while True:
                event = self._next_event(http)
                if event is h11.NEED_DATA:
                    if http.they_are_waiting_for_100_continue and not self._continued:
                        self._continued = True
                        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    return b""
                if isinstance(event, h11.Request):
                    self._judged = self._server.judged(RequestHead.of(event))
                    if self._judged.refusal is not None:
                        raise self._judged.refusal
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > self._limits.body:
                        raise self._server.too_long()
                elif isinstance(event, h11.EndOfMessage) and self._judged is not None:
                    more = bytes(http.trailing_data[0])
                    self._http = None
                    self._serve(Request(self._judged, bytes(self._body), ""), more=bool(more))
                    return more
                else:  # h11.ConnectionClosed
                    self._http = None
                    self._transport.close()
                    return b""
        except HttpError as refusal:
            self._refuse(refusal)
            return b""

    @staticmethod
    def _next_event(http: h11.Connection) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        try:
            return http.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                if b"\n" not in http.trailing_data[0]:
                    raise _target_too_long() from None
                raise _head_too_long() from None
            raise HttpError(status, f"not a correct HTTP request: {words(error)}") from None

    def _serve(self, request: Request, *, more: bool) -> None:
        server = self._server
        try:
            outcome = server.application.handle(request)
        except HttpError as refusal:
            outcome = Response(refusal.status, refusal.line, refusal.headers)
        except Exception as error:  # noqa: BLE001  whatever went wrong, this client gets an answer
            outcome = self._fault(error)
        if isinstance(outcome, Response):
            self._respond(request, outcome, linger=more)
        else:
            server.in_progress += 1
            server.busy(self)
            self._task = asyncio.get_running_loop().create_task(self._later(request, outcome))

    async def _later(self, request: Request, outcome: Awaitable[Response]) -> None:
        try:
            response = await outcome
        except HttpError as refusal:
            response = Response(refusal.status, refusal.line, refusal.headers)
        except asyncio.CancelledError:
            # The client has gone: the log still says what became of its request.
            gone = Response(499, "the client closed the connection before the answer")
            self._server.record(request, gone, self._address)
            raise
        except Exception as error:  # noqa: BLE001  as above
            response = self._fault(error)
        finally:
            self._task = None
            self._server.in_progress -= 1
        self._respond(request, response, linger=bool(self._ahead))
        self._go_on()

    def _fault(self, error: Exception) -> Response:
        trace = "".join(traceback.format_exception(error))
        self._server.log(f"{self._server.application.name}: internal error: {trace}", "error")
        return Response(500, "internal error: the service's log says more")

    def _respond(self, request: Request, response: Response, *, linger: bool) -> None:
        """Answer; with ``linger`` the client may be sending still when the connection is to be closed."""
        if self._closing:
            return
        server, head = self._server, request.head
        close = not head.persistent or server.stopping
        self._transport.write(server.answer(response, body=head.method != "HEAD", close=close))
        self._since = asyncio.get_running_loop().time()
        server.record(request, response, self._address)
        if close:
            self._let_go(linger=linger)
        else:
            # To the end of the line of those that may be asked to make room.
            server.busy(self)
            server.waiting[self] = None

    def _refuse(self, refusal: HttpError) -> None:
        """Answer a request that did not arrive whole, and take no other."""
        request = Request(self._judged or _NO_HEAD, b"", "")
        self._http = self._judged = None
        response = Response(refusal.status, refusal.line, refusal.headers)
        self._transport.write(self._server.answer(response, body=request.head.method != "HEAD", close=True))
        self._since = asyncio.get_running_loop().time()
        self._server.record(request, response, self._address)
        self._let_go(linger=True)

    def _let_go(self, *, linger: bool) -> None:
        """Close so that the client can still read the last answer: with ``linger`` it ends its side first."""
        self._closing = True
        if linger and not self._ended and self._transport.can_write_eof():
            self._transport.resume_reading()
            self._transport.write_eof()
        else:
            self._transport.close()


_NO_HEAD: Final = _Judged(
    RequestHead("-", "-", None, bare=False, persistent=False, json=False, request_id="", headers_length=0),
    None, "none", "-")  # fmt: skip


def _target_too_long() -> HttpError:
    return HttpError(414, f"the URL is longer than {_LONGEST_TARGET} bytes")


def _head_too_long() -> HttpError:
    return HttpError(431, f"the request's headers are longer than {LONGEST_HEAD} bytes")
