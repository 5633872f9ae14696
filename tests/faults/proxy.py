"""A reverse proxy in front of a cloud's APIs: every call goes through it, any call can be made to fail.

It listens on loopback; ``http://127.0.0.1:PORT/<host:port>/<path>`` stands for ``http://<host:port>/<path>``. Whatever
the cloud answers (catalog, version documents, links, Location) is rewritten so that the client stays here.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

SERVICES = {"5000": "identity", "8774": "compute", "9292": "image", "9696": "network", "8778": "placement"}
_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
# What a fault does: answer instead of the cloud, forward and spoil the answer, or end the client.
STATUSES = {"409": 409, "429": 429, "500": 500, "503": 503, "500 after": 500}
FORWARDED = frozenset({"time-out", "500 after", "truncated", "killed after"})
FAULTS = (
    "closed", "down", "time-out", "409", "429", "500", "500 after", "503", "truncated", "expired",
    "killed before", "killed after",
)  # fmt: skip
# what Nova's drivers say of an image's disk, all but the fake one
FORM = {"disk_format": "raw", "container_format": "bare"}
RETRY_AFTER = 1
# A service that is down is back after this (s): sooner than a client gives up.
DOWN = 1.2
# While the cloud works, the client hears from here so often (s).
ALIVE = 0.5
# Never answer a client for longer than this (s): it has its own time-out, far below.
SILENT = 120.0


@dataclass(frozen=True, order=True)
class Call:
    """One call of a run: method and path without ids, and the how manieth of its kind it is."""

    what: str
    nth: int

    def __str__(self) -> str:
        return f"{self.what} #{self.nth}"

    @property
    def writes(self) -> bool:
        """Whether it changes the cloud."""
        return not self.what.startswith("GET") and "auth/tokens" not in self.what and "Console" not in self.what


@dataclass
class Proxy:
    """The proxy for one cloud, whose services are all on ``host``."""

    host: str
    faults: dict[Call, str] = field(default_factory=dict)
    fired: list[tuple[Call, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    victim: int | None = None
    running: int = 0
    rebuilt: Counter[str] = field(default_factory=Counter)  # by server: its next disk has another host key
    _seen: Counter[str] = field(default_factory=Counter)
    _expired: set[str] = field(default_factory=set)
    _down_until: float = 0.0

    def __post_init__(self):
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self._there = re.compile(rf"http://({re.escape(self.host)}:\d+)".encode())
        self._here = rf"http://127.0.0.1:{self.port}/\1".encode()
        self._closed = False
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def url(self, there):
        """Return what stands here for a URL of the cloud."""
        return self.rewrite(there.encode()).decode()

    def rewrite(self, body):
        """Let everything that leads to the cloud lead here."""
        return self._there.sub(self._here, body)

    def arm(self, faults, victim=None):
        """Count from nothing, and inject ``faults``, each once."""
        with self.lock:
            self.faults, self.fired, self.calls, self.victim = dict(faults), [], [], victim
            self._seen.clear()
            self._expired.clear()

    def idle(self, patience=60.0):
        """Wait until nothing that was forwarded is still being worked at inside the cloud's APIs."""
        deadline = time.monotonic() + patience
        while self.running:
            assert time.monotonic() < deadline, f"{self.running} request(s) unanswered after {patience} s"
            time.sleep(0.02)

    def close(self):
        """Listen no more."""
        self._closed = True
        self._server.join()
        self.listener.close()

    def _serve(self):
        while not self._closed:
            if self.down:
                self.listener.close()  # who connects now is refused by the kernel
                time.sleep(max(0.0, self._down_until - time.monotonic()))
                self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            readable, _, _ = select.select([self.listener], [], [], 0.02)
            if readable:
                connection, address = self.listener.accept()
                threading.Thread(target=self._handle, args=(connection, address), daemon=True).start()

    def _handle(self, connection, address):
        with connection, suppress(ConnectionError):
            _Handler(connection, address, self)

    @property
    def down(self):
        """Whether the service is down just now."""
        return time.monotonic() < self._down_until

    def judge(self, what, token):
        """Count a call; return the fault for it, if any, and what a killed client is to be killed by."""
        with self.lock:
            call = Call(what, self._seen[what] + 1)
            if self.down:  # sent on a connection from before; not counted, since most are sent again
                self.fired.append((call, "closed"))
                return "closed"
            self._seen[what] += 1
            self.calls.append(call)
            fault = self.faults.pop(call, None)
            if fault:
                self.fired.append((call, fault))
            if fault == "down":
                self._down_until = time.monotonic() + DOWN
            if fault == "expired" and token:
                self._expired.add(token)
            return "expired" if token in self._expired else fault

    def kill(self):
        """End the client as a crash would."""
        os.kill(self.victim, signal.SIGKILL)


class _Handler(BaseHTTPRequestHandler):
    """One connection of the client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_any(self):
        """Count, spoil or forward one request."""
        authority, _, path = self.path.removeprefix("/").partition("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("X-Auth-Token")
        fault = self.server.judge(signature(self.command, authority, path, body), token)
        if fault in {"closed", "down"}:
            self.close_connection = True
        elif fault == "killed before":
            self.close_connection = True
            self.server.kill()
        elif fault == "expired":
            self._answer(401, _words(401, "The request you have made requires authentication."))
        elif fault in STATUSES and fault not in FORWARDED:
            self._answer(STATUSES[fault], _words(STATUSES[fault], "A fault made for this test."))
        else:
            self._forward(authority, path, body, fault)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_any  # noqa: N815 (names of the standard library)

    def _forward(self, authority, path, body, fault):
        headers = {k: v for k, v in self.headers.items() if k.lower() not in {"host", "accept-encoding", "connection"}}
        got = {}
        with self.server.lock:
            self.server.running += 1

        def ask():
            upstream = http.client.HTTPConnection(authority, timeout=SILENT)
            try:
                upstream.request(self.command, f"/{path}", body=body or None, headers=headers)
                if fault == "killed after":
                    self.server.kill()
                answer = upstream.getresponse()
                got.update(answer=answer, content=answer.read())
                if b'"rebuild"' in body and answer.status == 202:
                    self.server.rebuilt[path.split("/")[-2]] += 1
                if b'"createImage"' in body and answer.status == 202:
                    image = (
                        json.loads(got["content"]).get("image_id") or answer.getheader("Location").rpartition("/")[2]
                    )
                    upload(authority.rpartition(":")[0], image, self.headers["X-Auth-Token"])
            finally:
                upstream.close()
                with self.server.lock:
                    self.server.running -= 1

        asking = threading.Thread(target=ask)
        asking.start()
        if fault == "time-out":
            self.close_connection = True
            select.select([self.connection], [], [], SILENT)  # until the client has had enough and closes
            return
        while not asking.join(ALIVE) and asking.is_alive():
            # However slow the cloud, the client's time-out is for those whom the test lets wait.
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        answer, content = got["answer"], self.server.rewrite(got["content"])
        if b"os-getConsoleOutput" in body and answer.status == 200:
            server = path.split("/")[-2]
            content = json.dumps({"output": console(f"{server} {self.server.rebuilt[server]}")}).encode()
        if fault == "killed after":
            self.close_connection = True
        elif fault == "500 after":
            self._answer(500, _words(500, "A fault made for this test."))
        else:
            self._answer(answer.status, content, answer.getheaders(), cut=fault == "truncated")

    def _answer(self, status, content, headers=(), *, cut=False):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding", "keep-alive"}:
                self.send_header(name, self.server.rewrite(value.encode()).decode())
        if not headers:
            self.send_header("Content-Type", "application/json")
        if status == 429:
            self.send_header("Retry-After", str(RETRY_AFTER))
        if cut and not content:  # nothing to cut short: the head itself is
            self.close_connection = True
            return
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_args):
        """Log nothing: the tests report what matters."""


def signature(method, authority, path, body):
    """Name a call: method, service, path without ids, names of the query's fields, and which action."""
    parts = urlsplit(f"/{path}")
    service = SERVICES.get(authority.rpartition(":")[2], authority)
    query = "&".join(sorted({pair.partition("=")[0] for pair in parts.query.split("&") if pair} - {"limit", "marker"}))
    action = f" {next(iter(json.loads(body)))}" if parts.path.endswith("/action") else ""
    path = _ID.sub("ID", parts.path)
    path = re.sub(r"(?<=/os-keypairs/).+", "NAME", path)
    return f"{method} {service} {path}{'?' + query if query else ''}{action}"


def console(disk):
    """Return what a guest of this disk prints: Nova's fake driver has none that would, or would clean itself."""
    raw = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + hashlib.sha256(disk.encode()).digest()
    key = f"ssh-ed25519 {base64.b64encode(raw).decode()} root@guest"
    return f"-----BEGIN SSH HOST KEY KEYS-----\n{key}\n-----END SSH HOST KEY KEYS-----\nnetorder-golden: done\n"


def upload(host, image, token):
    """Put a disk into the image that Nova has just made of a server: its fake driver has none to put there."""
    glance = http.client.HTTPConnection(host, next(int(p) for p, name in SERVICES.items() if name == "image"))
    form = [{"op": "add", "path": f"/{word}", "value": its} for word, its in FORM.items()]
    for method, end, kind, body in (
        ("PATCH", "", "application/openstack-images-v2.1-json-patch", json.dumps(form)),
        ("PUT", "/file", "application/octet-stream", bytes(512)),
    ):
        head = {"X-Auth-Token": token, "Content-Type": kind}
        glance.request(method, f"/v2/images/{image}{end}", body=body, headers=head)
        answer = glance.getresponse()
        assert answer.status in {200, 204}, answer.read()
        answer.read()
    glance.close()


def _words(status, text):
    return json.dumps({"error": {"code": status, "message": text, "title": "Fault"}}).encode()
