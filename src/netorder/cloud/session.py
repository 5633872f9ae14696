"""One login, one session: connect, count requests, note times, pass on what threads have to say."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import openstack
import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1.identity.base import BaseIdentityPlugin

from netorder.cloud.errors import one_line, translate_errors
from netorder.cloud.transport import Transport
from netorder.cloud.waits import Waits
from netorder.errors import CloudError
from netorder.topology import cloud_and_region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keystoneauth1.plugin import BaseAuthPlugin
    from keystoneauth1.session import Session
    from openstack.connection import Connection

__all__ = ["Cloud", "Timing", "connect"]

# A request that hangs longer than this (s) is a fault. Bulk creation on a slow one-node cloud takes some ten seconds.
REQUEST_TIMEOUT = 90
# A request that a killed run sent is done after this (s): a server took 6 s at its slowest, on a busy one-node cloud.
IN_FLIGHT = 15.0
# They warn on stderr, with no handler set, of what is raised and explained anyway.
for _name in ("keystoneauth", "openstack"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Timing:
    """When one resource's own request, or the bulk request that it was part of, began (s from login) and took."""

    kind: str
    name: str
    action: str
    start: float
    seconds: float


@dataclass(slots=True)
class Cloud:
    """A connection, its request count by phase, and its times. ``progress`` is only called from its own thread.

    ``in_flight`` (s): how long what a killed run has sent may still be at work inside the cloud.
    """

    conn: Connection
    progress: Callable[[str], None]
    calls: Counter[str] = field(default_factory=Counter)
    api_seconds: float = 0.0
    clock_ahead: float = 0.0  # by how much (s) the clock here is ahead of the cloud's
    phase: str = "connect"
    began: float = field(default_factory=time.monotonic)
    timings: list[Timing] = field(default_factory=list)
    in_flight: float = IN_FLIGHT
    waits: Waits = field(default_factory=Waits)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _notes: deque[str] = field(default_factory=deque)
    _main: threading.Thread = field(default_factory=threading.current_thread)

    def __post_init__(self) -> None:
        http = self.conn.session.session  # the requests.Session inside keystoneauth's
        for scheme, adapter in [*http.adapters.items()]:
            http.mount(scheme, Transport(adapter, count=self._count, note=self.say))
        http.hooks["response"].append(self._compare_clocks)
        _keep_logged_in(self.conn.session.auth)

    def _compare_clocks(self, response: requests.Response, *_args: object, **_kwargs: object) -> None:
        with contextlib.suppress(KeyError, ValueError):  # Date is optional (RFC 9110, 6.6.1)
            self.clock_ahead = time.time() - parsedate_to_datetime(response.headers["Date"]).timestamp()

    def _count(self, seconds: float) -> None:
        with self._lock:
            self.calls[self.phase] += 1
            self.api_seconds += seconds

    def say(self, text: str) -> None:
        """Report ``text``, from whatever thread."""
        self._notes.append(text)
        if threading.current_thread() is self._main:
            self.relay()

    def relay(self) -> None:
        """Report what the threads have noted; only from the thread that made this."""
        while self._notes:
            self.progress(self._notes.popleft())

    @property
    def patience(self) -> float:
        """How long (s) an answer may take."""
        return float(self.conn.session.timeout or REQUEST_TIMEOUT)

    @property
    def project(self) -> str:
        """The id of the project the credentials are for."""
        project: str | None = self.conn.current_project_id
        if project is None:
            raise CloudError("The credentials name no project: set project_name in clouds.yaml, or OS_PROJECT_NAME.")
        return project

    @property
    def roles(self) -> frozenset[str]:
        """The names of the roles of the login, as far as its kind has any."""
        auth = self.conn.session.auth
        names = auth.get_access(self.conn.session).role_names if isinstance(auth, BaseIdentityPlugin) else None
        return frozenset(names or ())

    def note_times(self, kind: str, names: Iterable[str], action: str, start: float, end: float) -> None:
        """Note when a request about these resources began and ended (monotonic clock)."""
        first, took = round(start - self.began, 3), round(end - start, 3)
        self.timings += [Timing(kind, name, action, first, took) for name in names]


def connect(progress: Callable[[str], None], name: str | None = None) -> Cloud:
    """Log in to cloud ``name`` of clouds.yaml, or the one that OS_CLOUD or the OS_* variables name.

    It may be a region of it (topology.in_region); else it is that of the entry, or its first.
    """
    with translate_errors():
        entry, region = cloud_and_region(name)
        conn = openstack.connect(cloud=entry, app_name="netorder", region_name=region or "")
        if conn.session.timeout is None:
            conn.session.timeout = REQUEST_TIMEOUT
        cloud = Cloud(conn, progress)
        _log_in(conn.session)
        # Touch the proxies here: their version discovery is not to be done by several threads at once.
        _ = conn.network, conn.compute
        # one that clouds.yaml or OS_COMPUTE_API_VERSION pins may be too old to tell our servers from others' (2.26)
        conn.compute.default_microversion = None
        conn.cache_enabled = False  # a cached list, as clouds.yaml may ask for, is not what the cloud has
        return cloud


def _log_in(session: Session) -> None:
    """Get a token; Connection.authorize() would hide why there is none.

    Where the identity API answers 401 to the question for its versions, keystoneauth asks again with a token, and
    waits for this very login: for ever. Then as with any other failure: the version is in auth_url, or there is none.
    """

    def refuse(response: requests.Response, *_args: object, **_kwargs: object) -> None:
        if response.status_code == requests.codes.unauthorized and response.request.method == "GET":
            raise ksa.DiscoveryFailure(f"HTTP 401 to GET {response.url}")

    hooks = session.session.hooks["response"]
    hooks.append(refuse)
    try:
        session.get_token()
    except ksa.DiscoveryFailure as error:
        raise CloudError(
            f"No identity API at {getattr(session.auth, 'auth_url', 'auth_url')}: {one_line(error)}. Correct the entry "
            "of clouds.yaml that OS_CLOUD names, or OS_AUTH_URL; if that is right, run again."
        ) from error
    finally:
        hooks.remove(refuse)


def _keep_logged_in(auth: BaseAuthPlugin | None) -> None:
    """Let every thread that meets an expired token ask again, not only the first one.

    keystoneauth repeats a request after a 401 only if there was a token to forget; between one thread's forgetting it
    and its having the next, the others would fail.
    """
    if auth is None:
        return
    forget = auth.invalidate

    def invalidate() -> bool:
        forget()
        return True

    auth.invalidate = invalidate  # type: ignore[method-assign]
