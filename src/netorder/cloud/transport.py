"""Below the SDK: each request is counted, and sent again where that is safe; the SDK itself sends nothing twice.

What is safe (RFC 9110, 9.2.2): whatever certainly did not happen (no connection, 429, 503 with Retry-After), and what
may happen twice (reads, logins, most of PUT and DELETE). A POST whose answer never came is not sent again: it would
make a second resource. The error then says that its fate is unknown; the next run finds what was made.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import InvalidHeader, NewConnectionError
from urllib3.util import Retry

from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transport", "may_happen_twice"]

# Times that one request is sent, at most, and of these such as are not answered in time, which cost most.
ATTEMPTS = 4
MOST_LATE = 2
# Pause before the second attempt (s), doubled for each further one.
PAUSE = 0.5
# A cloud that asks for more patience than this (s) is for the user to wait for.
MOST_RETRY_AFTER = 60.0
TOO_MANY, UNAVAILABLE = 429, 503
FAILED = frozenset({500, 502, 503, 504})

# A login makes a token more, which expires; a console is only read.
_READING_POSTS = re.compile(r"/auth/tokens$|/servers/[^/]+/action$")
# Attaching a second time is refused as if somebody else had done it. (Detaching by port finds no port: 404.)
_ONCE_PUT = "/add_router_interface"


def may_happen_twice(method: str, url: str, body: object = None) -> bool:
    """Return whether a request can be sent again though it may have been carried out."""
    path = url.partition("?")[0].removesuffix(".json")
    if method == "POST":
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
        return bool(_READING_POSTS.search(path)) and (path.endswith("/auth/tokens") or "os-getConsoleOutput" in text)
    return method in {"GET", "HEAD", "PUT", "DELETE"} and not path.endswith(_ONCE_PUT)


class Transport(BaseAdapter):
    """A requests adapter around keystoneauth's own, which has the connections and the user's TLS settings.

    ``count`` gets the seconds of each attempt, ``note`` a line for each repetition.
    Raises CloudError, which neither SDK nor keystoneauth takes for something to try again or to do without.
    """

    def __init__(self, inner: BaseAdapter, *, count: Callable[[float], None], note: Callable[[str], None]) -> None:
        super().__init__()
        self._inner = inner
        self._count = count
        self._note = note

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:  # noqa: ANN401
        """Send, as often as is safe and useful; return the answer, its body read."""
        method, url = str(request.method), str(request.url)
        twice = may_happen_twice(method, url, request.body)
        attempt = late = 0
        while True:
            attempt += 1
            start = time.monotonic()
            try:
                response = self._inner.send(request, *args, **more)
                _ = response.content  # a body that was cut short raises here; the SDK has no words for it
            except requests.exceptions.SSLError:
                raise
            except requests.RequestException as error:
                late += isinstance(error, requests.ReadTimeout)
                unsent, trouble, patience = _unsent(error), _words(error), None
                if attempt == ATTEMPTS or late == MOST_LATE or not (twice or unsent):
                    raise CloudError(_last_words(method, url, trouble, unsent=unsent)) from error
            else:
                status, patience = response.status_code, _retry_after(response)
                not_done = status == TOO_MANY or (status == UNAVAILABLE and patience is not None)
                again = not_done or (status in FAILED and twice)
                if not again or attempt == ATTEMPTS or (patience or 0) > MOST_RETRY_AFTER:
                    return response
                trouble = f"HTTP {status}"
            finally:
                self._count(time.monotonic() - start)
            pause = PAUSE * 2 ** (attempt - 1) if patience is None else patience
            self._note(f"{method} {url}: {trouble}; again in {pause:.1f} s")
            time.sleep(pause)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def _retry_after(response: requests.Response) -> float | None:
    """Return for how long (s) the service wants no requests, None where it does not say (RFC 9110, 10.2.3)."""
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return None


def _unsent(error: requests.RequestException) -> bool:
    """Return whether there was no connection, so that the request never reached the cloud."""
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(getattr(cause, "reason", None), NewConnectionError)


def _words(error: requests.RequestException) -> str:
    if isinstance(error, requests.ReadTimeout):
        return "no answer in time"
    if _unsent(error):
        return "no connection"
    return "the connection broke before the whole answer had come"


def _last_words(method: str, url: str, trouble: str, *, unsent: bool) -> str:
    if unsent:
        return f"Nothing answers: {trouble} for {method} {url}. Is the cloud up, and auth_url (OS_AUTH_URL) right?"
    fate = "Run again." if method == "GET" else "Whether it was done is not known. Run again: what was made is found."
    return f"{method} {url}: {trouble}. {fate}"
