"""The calculator's side of a service: HTTP over connections that are kept and never shared by two requests at once.

A service may run in several copies. A call goes to the copy with the fewest calls under way; one that cannot be
reached, breaks off or is slow is passed over until it answers a probe, and the call goes to another: an operation has
no side effect, so it may be asked twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Self, cast
from urllib.parse import urlsplit

import h11

from calculator import numerals
from calculator.errors import HttpError, shown, words
from calculator.metrics import Histogram
from calculator.wire import ResponseHead, plain_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = ["Address", "Answer", "Peer"]

_LONGEST_ANSWER: Final = 1024  # bytes; the longest double takes 25
# Less than a server's patience with an idle connection, so that the peer rarely closes first.
_IDLE_SECONDS: Final = 20.0
_CONNECTIONS: Final = 64  # to one copy
_PROBE_EVERY: Final = 0.5  # seconds
_OK: Final = 200


class Answer(NamedTuple):
    """A number as text, the URL of the copy that gave it, and the host's own name ("" when it does not say)."""

    text: str
    url: str
    host: str


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection to a copy of a service.

    Bytes that come while no request is under way (or after its answer), and an end, make it unusable: an answer is
    never taken for that of another request.
    """

    def __init__(self) -> None:
        self.usable = True
        self.idle_since = 0.0
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[tuple[ResponseHead, bytes]] | None = None
        self._http: h11.Connection | None = None
        self._head: ResponseHead | None = None
        self._body = b""

    def exchange(self, request: bytes) -> asyncio.Future[tuple[ResponseHead, bytes]]:
        """Send a request; its answer. ConnectionResetError when the connection ends before any byte of it."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.usable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.close()
            return
        if self._http is None:
            plain = plain_response(data)
            if plain is not None and len(plain[1]) <= _LONGEST_ANSWER:
                self._settle(answer, *plain)
                return
            self._http = h11.Connection(h11.CLIENT)
            self._http.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
            self._http.send(h11.EndOfMessage())
        self._http.receive_data(data)
        self._read(self._http, answer)

    def eof_received(self) -> None:
        self.usable = False
        answer = self._answer
        if answer is None or answer.done():
            return
        if self._http is None:
            answer.set_exception(ConnectionResetError())
        else:
            self._http.receive_data(b"")
            self._read(self._http, answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            if self._http is None:
                self._answer.set_exception(ConnectionResetError())
            else:
                broken = f"the connection broke in the middle of the answer{f' ({error})' if error else ''}"
                self._answer.set_exception(h11.RemoteProtocolError(broken))

    def _settle(self, answer: asyncio.Future[tuple[ResponseHead, bytes]], head: ResponseHead, body: bytes) -> None:
        self.usable = self.usable and head.persistent
        self.idle_since = asyncio.get_running_loop().time()
        answer.set_result((head, body))

    def _read(self, http: h11.Connection, answer: asyncio.Future[tuple[ResponseHead, bytes]]) -> None:
        """Let h11 read an answer that did not come in one piece, or not as ours come."""
        try:
            while (event := http.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._head, self._body = ResponseHead.of(event), b""
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > _LONGEST_ANSWER:
                        _break(f"an answer of more than {_LONGEST_ANSWER} bytes")
                elif isinstance(event, h11.EndOfMessage) and self._head is not None:
                    # Whatever its head promises, more bytes would be nobody's.
                    self.usable = self.usable and not http.trailing_data[0]
                    self._http = None
                    self._settle(answer, self._head, self._body)
                    return
                elif isinstance(event, h11.ConnectionClosed):
                    _break("the connection ended before an answer")
        except h11.RemoteProtocolError as error:
            self.usable = False
            answer.set_exception(error)


def _break(why: str) -> NoReturn:
    raise h11.RemoteProtocolError(why)


class Address(NamedTuple):
    """Where a copy of a service is."""

    url: str
    host: str
    port: int
    authority: str
    path: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Return the address that a URL gives; ValueError when it is not that of an HTTP service."""
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
        return cls(url, parts.hostname, 80 if port is None else port, parts.netloc, parts.path or "/")


class _Copy:
    """One copy of a service, and the connections to it that lie idle."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.up = True
        self.under_way = 0
        self.asked = 0
        self._port = address.port
        self._host = address.host
        host = f"HTTP/1.1\r\nHost: {address.authority}\r\n"
        self._ask = f"POST {address.path} {host}Content-Type: text/plain\r\nX-Request-Id: "
        self._probe = f"GET /healthz {host}\r\n".encode()
        self._idle: list[_Connection] = []

    def preference(self) -> tuple[bool, int, int]:
        """Order copies: those that are up first, then by calls under way, then in turn."""
        return not self.up, self.under_way, self.asked

    async def ask(self, body: str, request_id: str) -> tuple[ResponseHead, bytes]:
        """Return the answer to a request; OSError or h11.RemoteProtocolError when there is none."""
        request = f"{self._ask}{request_id}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable or now - connection.idle_since > _IDLE_SECONDS:
                connection.close()
                continue
            # The service may close an idle connection just as it is used again; then nothing was answered, and
            # the request goes once more over a new connection.
            with suppress(ConnectionResetError, BrokenPipeError):
                return await self._over(connection, request)
            break
        return await self._over(await self._connect(), request)

    async def answers(self) -> bool:
        """Probe: whether the copy says that it serves."""
        try:
            connection = await self._connect()
            try:
                head, _ = await connection.exchange(self._probe)
            finally:
                connection.close()
        except (OSError, h11.RemoteProtocolError):
            return False
        return head.status == _OK

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return connection

    async def _over(self, connection: _Connection, request: bytes) -> tuple[ResponseHead, bytes]:
        kept = False
        try:
            answer = await connection.exchange(request)
            kept = connection.usable
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Peer:
    """A service, asked with ``call``; failures are HttpError 502 (nonsense), 503 (not there), 504 (slow)."""

    def __init__(
        self, name: str, copies: Sequence[Address], timeout: float, notice: Callable[[str, str], None] | None = None
    ) -> None:
        """``timeout``: seconds for one call. ``notice`` is told, with a level, of copies passed over and back."""
        self.name = name
        self.calls: dict[tuple[str, ...], float] = defaultdict(float)
        self.seconds = Histogram()
        self._copies = [_Copy(address) for address in copies]
        self._notice = notice or (lambda _message, _level: None)
        self._timeout = timeout
        # A call has time for every copy, should the others not answer.
        self._try_seconds = timeout / len(self._copies)
        self._slots = asyncio.Semaphore(_CONNECTIONS * len(self._copies))
        self._probing: dict[_Copy, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._probing.values():
            task.cancel()
        for copy in self._copies:
            copy.close()

    async def call(self, left: str, right: str, request_id: str = "-") -> Answer:
        """Return the service's answer to ``left right``."""
        body = f"{left} {right}"
        failure = HttpError(503, f"{self.name} has no copy")
        tried: list[_Copy] = []
        loop = asyncio.get_running_loop()
        async with self._slots:
            while len(tried) < len(self._copies):
                copy = min([copy for copy in self._copies if copy not in tried], key=_Copy.preference)
                tried.append(copy)
                copy.under_way += 1
                copy.asked += 1
                started = loop.time()
                try:
                    answer = await self._ask(copy, body, request_id)
                except HttpError as error:
                    self.calls[self.name, copy.url, str(error.status)] += 1
                    failure = error
                    self._pass_over(copy, error)
                else:
                    self.calls[self.name, copy.url, "ok"] += 1
                    self.seconds.observe(self.name, loop.time() - started)
                    return answer
                finally:
                    copy.under_way -= 1
        raise failure

    async def ready(self) -> str:
        """Probe all copies; "" when one serves, else what is wrong."""
        try:
            async with asyncio.timeout(self._timeout):
                answers = await asyncio.gather(*(copy.answers() for copy in self._copies))
        except TimeoutError:
            answers = [False]
        return "" if any(answers) else f"{self.name} does not answer at {' or '.join(self.urls)}"

    @property
    def urls(self) -> list[str]:
        """Where the copies are."""
        return [copy.url for copy in self._copies]

    def up(self) -> dict[tuple[str, ...], float]:
        """Return 1 for each copy that calls go to, by (service, URL)."""
        return {(self.name, copy.url): int(copy.up) for copy in self._copies}

    async def _ask(self, copy: _Copy, body: str, request_id: str) -> Answer:
        place = f"{self.name} ({copy.url})"
        asked = asyncio.timeout(self._try_seconds)
        try:
            async with asked:
                head, content = await copy.ask(body, request_id)
        except TimeoutError as error:
            if asked.expired():
                raise HttpError(504, f"{place} did not answer within {self._try_seconds:g} s") from None
            raise HttpError(503, f"{place} cannot be reached: {_reason(error)}") from None
        except (ConnectionResetError, BrokenPipeError):
            raise HttpError(502, f"{place} closed the connection without an answer") from None
        except OSError as error:
            raise HttpError(503, f"{place} cannot be reached: {_reason(error)}") from None
        except h11.RemoteProtocolError as error:
            raise HttpError(502, f"{place} did not answer in HTTP: {words(error)}") from None
        text = content.decode("ascii", "replace").strip(" \t\r\n")
        if head.status != _OK:
            raise HttpError(502, f"{place} answered with status {head.status}: {shown(text, 120)}")
        if numerals.read(text) is None:
            raise HttpError(502, f"{place} answered {shown(text)}, which is not a number")
        return Answer(text, copy.url, head.host)

    def _pass_over(self, copy: _Copy, error: HttpError) -> None:
        """Prefer the others until the copy answers a probe; where there are none there is nothing to prefer."""
        if len(self._copies) > 1 and copy not in self._probing:
            copy.up = False
            copy.close()
            self._notice(f"passed over until it answers: {error.line}", "warning")
            self._probing[copy] = asyncio.get_running_loop().create_task(self._wait_for(copy))

    async def _wait_for(self, copy: _Copy) -> None:
        while True:
            await asyncio.sleep(_PROBE_EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    if await copy.answers():
                        break
        copy.up = True
        del self._probing[copy]
        self._notice(f"{self.name} ({copy.url}) answers again", "info")


def _reason(error: OSError) -> str:
    """Say it in the system's words, without asyncio's list of addresses."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return shown(error.strerror or str(error), 120).strip("'\"")
