"""HTTP/1.1 messages: h11 reads every one; the heads that it has read before are remembered.

Clients and services send the same heads again and again, and h11 takes longer over a head than a service over all the
rest. So a message that has arrived whole, its head short and its framing plain (a Content-Length or nothing), is looked
up by its bytes. Whatever else arrives is h11's from its first byte to its last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import h11

__all__ = [
    "LONGEST_HEAD",
    "REMEMBERED",
    "RequestHead",
    "ResponseHead",
    "cut_request_id",
    "find_head",
    "plain_response",
    "request_head",
]

LONGEST_HEAD: Final = 16384  # bytes that h11 takes
_LONGEST_REMEMBERED: Final = 2048  # bytes: with the number of heads, what a hostile client can make us keep
REMEMBERED: Final = 512

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_LINE = b"\r\nX-Request-Id: "


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a server has to know of a request's head. ``length``: of the body in bytes, None when it is chunked.

    ``bare``: it announces no body, not even an empty one. ``headers_length``: of all names and values, in bytes.
    """

    method: str
    target: str
    length: int | None
    bare: bool
    persistent: bool
    json: bool
    request_id: str
    headers_length: int

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @classmethod
    def of(cls, event: h11.Request) -> RequestHead:
        """Return it for what h11 has read."""
        headers = dict(event.headers)  # h11 has refused a second Content-Length or Transfer-Encoding
        connection = headers.get(b"connection", b"").lower()
        chunked, length = b"transfer-encoding" in headers, headers.get(b"content-length")
        request_id = headers.get(b"x-request-id", b"")
        return cls(
            method=event.method.decode("ascii", "replace"),
            target=event.target.decode("ascii", "replace"),
            length=None if chunked else int(length or 0),
            bare=not chunked and length is None,
            persistent=event.http_version == b"1.1" and b"close" not in connection,
            json=b"application/json" in headers.get(b"accept", b""),
            request_id=request_id.decode() if _REQUEST_ID.fullmatch(request_id) else "",
            headers_length=sum(len(name) + len(value) for name, value in event.headers),
        )


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What a client has to know of a response's head. ``length``: of the body in bytes, None when its end tells.

    ``host``: the host that answered, as it calls itself; empty when it does not say.
    """

    status: int
    length: int | None
    persistent: bool
    host: str

    @classmethod
    def of(cls, event: h11.Response) -> ResponseHead:
        """Return it for what h11 has read."""
        headers = dict(event.headers)
        length = headers.get(b"content-length")
        plain = length is not None and b"transfer-encoding" not in headers
        return cls(
            status=event.status_code,
            length=int(length) if length is not None and plain else None,
            persistent=event.http_version == b"1.1" and b"close" not in headers.get(b"connection", b"").lower(),
            host=headers.get(b"x-served-by", b"").decode("ascii", "replace")[:64],
        )


def cut_request_id(head: bytes) -> tuple[bytes, str]:
    """Return a head without its X-Request-Id line, and the id; the head as it is and "" when it has none.

    The line is what differs from request to request. Only a line spelt as our own client spells it is cut, which
    changes the meaning of no other line.
    """
    at = head.find(_REQUEST_ID_LINE)
    if at < 0:
        return head, ""
    start = at + len(_REQUEST_ID_LINE)
    stop = head.find(b"\r\n", start)
    request_id = head[start:stop]
    # A space or tab after the line's end would make the next line a continuation of this one.
    if not _REQUEST_ID.fullmatch(request_id) or head[stop + 2] in b" \t":
        return head, ""
    return head[:at] + head[stop:], request_id.decode()


def request_head(head: bytes) -> RequestHead | None:
    """Return what h11 reads in the bytes of a head; None when it, or its body, has to be read by h11 as it arrives."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
    http.receive_data(head)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError:
        return None  # h11 meets the same error again on the way where errors are answered
    if not isinstance(event, h11.Request) or http.trailing_data[0] or http.they_are_waiting_for_100_continue:
        return None
    parsed = RequestHead.of(event)
    return None if parsed.length is None else parsed


def find_head(data: bytes, at: int) -> tuple[bytes, int, str] | None:
    """Return the head that begins at ``data[at]`` without its request id, where its body begins, and that id.

    None when the head is not all there or too long to be remembered.
    """
    end = data.find(b"\r\n\r\n", at, at + _LONGEST_REMEMBERED)
    if end < 0:
        return None
    head, request_id = cut_request_id(data[at : end + 4])
    return head, end + 4, request_id


@lru_cache(REMEMBERED)
def _response(head: bytes) -> ResponseHead | None:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
    http.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    http.send(h11.EndOfMessage())
    http.receive_data(head)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Response) or http.trailing_data[0]:
        return None
    parsed = ResponseHead.of(event)
    # Other statuses have rules of their own for bodies, and are rare.
    return parsed if parsed.length is not None and parsed.status == 200 else None  # noqa: PLR2004


def plain_response(data: bytes) -> tuple[ResponseHead, bytes] | None:
    """Return head and body of the response to a POST that ``data`` is from its first byte to its last, else None."""
    end = data.find(b"\r\n\r\n", 0, _LONGEST_REMEMBERED)
    if end < 0:
        return None
    head = _response(data[: end + 4])
    if head is None or len(data) - end - 4 != head.length:
        return None
    return head, data[end + 4 :]
