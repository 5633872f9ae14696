"""The report over HTTP, for a browser on this machine: the page as runs go on, and what one does now.

On the loopback address alone, without a password, so that it answers only requests that name this machine: a page of
another site whose name leads here (DNS rebinding) gets nothing. There are two paths, which only read.
"""

from __future__ import annotations

import json
import threading
import time
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netorder.controller import records, state
from netorder.errors import NetorderError
from netorder.language.load import load
from netorder.report.page import LIVE_POLICY, page, running

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ADDRESS", "Report", "server"]

ADDRESS = "127.0.0.1"
PATIENCE = 10  # s, for a request that does not go on
HEADERS = {
    "Content-Security-Policy": f"{LIVE_POLICY}; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Report:
    """The page of a topology file, made anew when it or what runs kept has changed; asked by several threads."""

    def __init__(self, file: Path, files: Path, target: str | None = None) -> None:
        """Read the file, and make the first page; ``files`` is where runs keep theirs. Raises TopologyError."""
        self._file = file
        self._target = target
        self._files = files
        self._lock = threading.Lock()
        self._read()
        self._made = ""  # the version of the page
        self._page = b""
        self._wrong = ""
        self.page()

    def page(self) -> bytes:
        """Return the page, that of the file as it was last right."""
        with self._lock:
            if (version := self._version()) != self._made:
                self._wrong = ""
                try:
                    self._read()
                except NetorderError as error:
                    self._wrong = "\n".join(map(str, error.problems))
                self._made = version
                self._page = page(self._topology, records.read(self._directory), version, str(self._file)).encode()
            return self._page

    def _read(self) -> None:
        self._topology = load(self._file, self._target)
        self._directory = state.directory(self._files, self._topology.cloud, self._topology.name)

    def now(self) -> bytes:
        """Return, as JSON, the version of the page that there is, and what a run does now as HTML."""
        run = records.begun(self._directory)
        seconds = run["seconds"] + max(0.0, time.time() - run["at"]) if run else 0.0
        html = running(run, seconds)
        if self._wrong:
            html += f'<p class="wrong">{escape(self._wrong)}</p>'
        return json.dumps({"version": self._version(), "html": html}).encode()

    def _version(self) -> str:
        return "-".join(_moment(one) for one in (self._file, self._directory / records.FILE))


def _moment(file: Path) -> str:
    """Return when a file was changed, in hexadecimal; 0 where there is none."""
    try:
        return f"{file.stat().st_mtime_ns:x}"
    except OSError:
        return "0"


def server(report: Report, port: int) -> ThreadingHTTPServer:
    """Return a server of the report; port 0 is any that is free. Raises NetorderError."""
    try:
        return ThreadingHTTPServer((ADDRESS, port), type("Handler", (_Handler,), {"report": report}))
    except OSError as error:
        raise NetorderError(
            f"port {port} of {ADDRESS} cannot be used: {error.strerror}; --port names another, --port 0 takes any"
        ) from None


class _Handler(BaseHTTPRequestHandler):
    report: Report
    timeout = PATIENCE
    server_version = "netorder"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the two paths."""
        if not _is_this_machine(self.headers.get_all("Host") or []):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.report.page())
        elif self.path == "/now":
            self._answer(HTTPStatus.OK, "application/json", self.report.now())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with the status in words, and nothing of what was asked."""
        status = HTTPStatus(code)
        self._answer(status, "text/plain; charset=utf-8", f"{code} {status.phrase}\n".encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: the page asks each second."""


def _is_this_machine(hosts: list[str]) -> bool:
    """Tell whether a request names this machine by `localhost` or a loopback address, whatever the port (ssh -L)."""
    if len(hosts) != 1:
        return False
    try:
        name = urlsplit(f"//{hosts[0]}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
