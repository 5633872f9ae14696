"""Fuzzing with Hypothesis, a fixed number of examples each; what was found stays as an @example."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calculator import numerals, operations
from calculator.application import Operation
from calculator.client import _Connection
from calculator.errors import HttpError
from calculator.expression import evaluate, parse
from calculator.log import Log
from calculator.server import Limits, Response, Server, _Client

# --- the parser -------------------------------------------------------------------------------------------------------

PIECES = [
    "1",
    "2.5",
    ".",
    "e",
    "E5",
    "1e400",
    "+",
    "-",
    "*",
    "/",
    "(",
    ")",
    " ",
    "\t",
    "\r\n",
    "0x1",
    "NaN",
    "Infinity",
    "--",
    "\u00e9",
    "\u0663",
    "\0",
    "\u2212",
    "1_0",
    "((",
    "))",
    "1e",
]
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


def tried(function):
    """Return what a function returns, or None and its refusal."""
    try:
        return function(), None
    except HttpError as refusal:
        return None, refusal


@settings(max_examples=2000)
@given(TEXTS)
def test_parser(text):
    """Any text is an expression with a number as its value, or is refused in one ASCII line with a place."""

    async def call(name, left, right):
        return operations.answer(name, f"{left} {right}")

    expression, refusal = tried(lambda: parse(text))
    if refusal is None:
        assert numerals.read(asyncio.run(evaluate(expression, call))) is not None
    else:
        assert refusal.status == 400
        assert re.fullmatch(r"column \d+: [ -~]+|empty body: [ -~]+", refusal.line)
        column = re.match(r"column (\d+)", refusal.line)
        assert column is None or 1 <= int(column[1]) <= len(text) + 1


@settings(max_examples=1000)
@given(TEXTS, st.sampled_from(sorted(operations.OPERATIONS)))
def test_operands(text, operation):
    """Any body is two numbers, or is refused in one ASCII line."""
    answer, refusal = tried(lambda: operations.answer(operation, text))
    if refusal is None:
        assert numerals.read(answer) is not None
    else:
        assert refusal.status == 400
        assert re.fullmatch(r"[ -~]+", refusal.line)


# --- HTTP, the server's side ------------------------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, _name, _default=None):
        return None

    def write(self, data):
        assert not self.closed
        self.written += data

    def can_write_eof(self):
        return True

    def write_eof(self):
        """Nothing is kept open here."""

    def pause_reading(self):
        """Nothing is read here."""

    def resume_reading(self):
        """Nothing is read here."""

    def close(self):
        self.closed = True

    abort = close


class Later(Operation):
    """An operation that answers later, as the calculator does."""

    async def handle(self, request):
        await asyncio.sleep(0)
        return super().handle(request)


NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115  as long as the tests
HEADS = [
    b"POST / HTTP/1.1",
    b"POST /x HTTP/1.1",
    b"GET /healthz HTTP/1.1",
    b"HEAD /healthz HTTP/1.1",
    b"POST / HTTP/1.0",
    b"GET / HTTP/1.1",
    b"POST http://a/ HTTP/1.1",
    b"POST /\x00 HTTP/1.1",
    b"P /",
    b"",
    b" POST / HTTP/1.1",
    b"POST / HTTP/2.0",
    b"CONNECT a:1 HTTP/1.1",
    b"post / HTTP/1.1",
]
FIELDS = [
    b"Host: x",
    b"Host: x",
    b"Host: x",
    b"host:x",
    b"Host : x",
    b"X-Request-Id: abc",
    b"X-Request-Id: a b",
    b"x-request-id: lower",
    b"X-Request-Id: abc\r\n , close",
    b" folded",
    b"Connection: close",
    b"Connection: keep-alive, Upgrade",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Content-Length: 3",
    b"Content-Length: 03",
    b"Content-Length: 4",
    b"Content-Length: 3, 3",
    b"Content-Length: -1",
    b"Content-Length: 99",
    b"content-length: 3",
    b"Content-Length: 100",
    b"Expect: 100-continue",
    b"A: \xff",
    b"A: \x00",
    b"X-Request-Id: b\r\nX-Request-Id: c",
    b"A\x01: b",
    b"Upgrade: h2c",
    b":",
    b"A:",
]
BODIES = [
    b"2 3",
    b"2 3",
    b"2 3",
    b"2  3",
    b"x y",
    b"",
    b"2",
    b"3\r\n2 3\r\n0\r\n\r\n",
    b"zz\r\n",
    b"\xff \xfe",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n4 4",
]


@st.composite
def messages(draw):
    """Draw what a client may send: requests, right, nearly right and wrong, one after the other."""
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n"]))
        if draw(st.booleans()):  # a right one
            body = draw(st.sampled_from(BODIES))
            fields = [b"Host: x", draw(st.sampled_from(FIELDS)), b"Content-Length: %d" % len(body)]
            head = draw(st.sampled_from(HEADS[:2]))
        else:
            body, head = draw(st.sampled_from(BODIES)), draw(st.sampled_from(HEADS))
            fields = draw(st.lists(st.sampled_from(FIELDS), max_size=5))
        data += end.join([head, *fields]) + end + end + body
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]
    return data


async def answers(application, chunks):
    """Return what a server answers to bytes that come in these chunks, without what may differ, and as it is."""
    server = Server(application, Limits(body=64), Log("sum", "text", NOWHERE))
    application.server = server
    client, transport = _Client(server), Transport()
    client.connection_made(transport)
    for chunk in chunks:
        if transport.closed:
            break
        client.data_received(chunk)
        for _ in range(3):
            await asyncio.sleep(0)
    if not transport.closed:
        client.eof_received()
    for _ in range(300):
        await asyncio.sleep(0)
    client.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (server.in_progress, dict(server.clients), server.waiting, server.fresh) == (0, {}, {}, {})
    assert server.answered.keys() & {("compute", 500), ("none", 500)} == set()
    # h11 words some errors after how much it has seen: what counts is that it is one. And a client that has sent its
    # body is no longer told to.
    seen = re.sub(
        rb"HTTP/1.1 100 Continue\r\n\r\n|Date: [^\r]+\r\n|Content-Length: \d+\r\n(?=Connection: close)",
        b"",
        transport.written,
    )
    return re.sub(rb"not a correct HTTP request: [^\r]+", b"", seen), transport.written


def check_http(data):
    """Fail when these are no HTTP responses from the first byte to the last."""
    while data:
        client = h11.Connection(h11.CLIENT)
        # Whether the answer to a HEAD, which has no content, can be seen at its length only.
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        event = client.next_event()
        assert isinstance(event, h11.Response | h11.InformationalResponse), event
        if isinstance(event, h11.InformationalResponse):
            data = client.trailing_data[0]
            continue
        length = int(dict(event.headers)[b"content-length"])
        data = client.trailing_data[0]
        data = data[length:] if not data.startswith(b"HTTP/1.1") else data


@settings(max_examples=1500, deadline=None)
@given(messages(), st.sampled_from([Operation, Later]), st.data())
@example(
    # cutting the id's line would make the folded one a continuation of the line before
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: x\r\nX-Request-Id: a\r\n , close\r\n\r\n2 3",
    Operation,
    None,
)
@example(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n2 3" * 100, Later, None)
@example(
    # a client that ends its side while an answer is due, and a part of its next request came: found here
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n2 3"
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2",
    Later,
    None,
)
def test_server(data, application, draw):
    """Bytes that come one by one, which h11 reads alone, and all at once, or as it happens: the same answers."""
    one_by_one, _ = asyncio.run(answers(application("sum"), [data[at : at + 1] for at in range(len(data))]))
    at_once, written = asyncio.run(answers(application("sum"), [data]))
    assert at_once == one_by_one
    check_http(written)
    if draw is not None:
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=4)))
        parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert asyncio.run(answers(application("sum"), parts))[0] == one_by_one


# --- HTTP, the calculator's side --------------------------------------------------------------------------------------

ANSWERS = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n5",
           b"HTTP/1.1 200 OK\r\n\r\n5", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n5", b"HTTP/1.1 204 No\r\n\r\n",
           b"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n5", b"HTTP/1.1 100 Continue\r\n\r\n", b"5", b"\r\n",
           b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n5\r\n0\r\n\r\n",
           b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n5", b"\0",
           b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n5\r\n0\r\n\r\n",
           b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n5"]  # fmt: skip


async def heard(chunks):
    """Return what the calculator takes from an answer in these chunks: status and body, or the kind of error."""
    connection = _Connection()
    connection.connection_made(Transport())
    answer = connection.exchange(b"")
    for chunk in chunks:
        connection.data_received(chunk)
    if not answer.done():
        connection.eof_received()
        connection.connection_lost(None)
    try:
        head, body = await answer
    except (OSError, h11.RemoteProtocolError) as error:
        return type(error).__name__
    return head.status, body


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(ANSWERS), st.binary(max_size=8)), min_size=1, max_size=3)
    .map(b"".join)
    .filter(bool)
)
def test_client(data):
    """Whatever a service answers, at once or byte by byte, is the same answer or the same error."""
    assert asyncio.run(heard([data])) == asyncio.run(heard([data[at : at + 1] for at in range(len(data))]))


@pytest.mark.parametrize("data", [b"5", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5"])
def test_unasked_bytes_end_a_connection(data):
    """Bytes that come while nothing was asked make a connection unusable."""

    async def run():
        connection = _Connection()
        connection.connection_made(Transport())
        connection.data_received(data)
        return connection.usable

    assert asyncio.run(run()) is False


def test_response_has_no_second_line():
    """A line that a client's text got into cannot end the head: it is escaped before."""
    with pytest.raises(HttpError) as refusal:
        parse("1\r\nSet-Cookie: x")
    assert "\n" not in Response(400, refusal.value.line).line
