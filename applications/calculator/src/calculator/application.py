"""What the five services answer: operations and expressions by POST; health, readiness, metrics, a page by GET."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import pkgutil
import re
import time
from typing import TYPE_CHECKING, Any, Final

from calculator import expression, metrics, operations
from calculator.errors import HttpError
from calculator.metrics import Sample
from calculator.server import Response
from calculator.version import ARTEFACT, VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from calculator.client import Peer
    from calculator.server import Request, Server

__all__ = ["Calculator", "Operation"]

_READ: Final = ("GET", "HEAD")
_PROBES: Final = {"/healthz": _READ, "/readyz": _READ, "/metrics": _READ}


class _Service:
    """What all five have in common. ``server`` is set once there is one: its state is what is reported."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.server: Server
        self._started = time.time()

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path takes."""
        return _PROBES.get(path, ("POST",))

    def endpoint(self, path: str, method: str) -> str:
        """``compute``, ``probe`` (health, readiness, metrics), ``page``, or ``none`` (no whole request)."""
        if method == "POST":
            return "compute"
        if path in _PROBES:
            return "probe"
        return "none" if path == "-" else "page"

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer a request, or raise HttpError."""
        if request.head.method == "POST":
            try:
                text = request.body.decode()
            except UnicodeDecodeError as error:
                raise HttpError(400, f"byte {error.start + 1} of the body is not UTF-8 text") from None
            return self.compute(text, request)
        path = request.head.path
        if path == "/healthz":
            return Response(200, "ok")
        if path == "/metrics":
            return Response(200, "metrics", content=self._metrics().encode(), content_type=metrics.CONTENT_TYPE)
        if path == "/readyz":
            if self.server.stopping:
                raise HttpError(503, "stopping")
            return self.ready()
        return self.page()

    def compute(self, text: str, request: Request) -> Response | Awaitable[Response]:
        """Answer a POST."""
        raise NotImplementedError

    def ready(self) -> Response | Awaitable[Response]:
        """Answer whether the service can do its work."""
        return Response(200, "ready")

    def page(self) -> Response:
        """Answer a GET that is none of the probes."""
        raise HttpError(404, "there is no page here")

    def _metrics(self) -> str:
        build: dict[tuple[str, ...], float] = {(VERSION, ARTEFACT, self.name): 1.0}
        return metrics.render(
            [
                Sample("calculator_build_info", "gauge", "What runs.", ("version", "artefact", "service"), build),
                Sample("calculator_start_time_seconds", "gauge", "When it started.", (), {(): self._started}),
                *self.server.samples(),
                *self.samples(),
            ],
            [
                ("calculator_request_seconds", "From a whole request to its answer.", "endpoint", self.server.seconds),
                *self.histograms(),
            ],
        )

    def samples(self) -> Iterable[Sample]:
        """Return what this service counts beside its requests."""
        return ()

    def histograms(self) -> Iterable[tuple[str, str, str, metrics.Histogram]]:
        """Return what this service times beside its requests: name, help, label name, times."""
        return ()


class Operation(_Service):
    """One of sum, sub, mul and div."""

    def compute(self, text: str, request: Request) -> Response:  # noqa: ARG002  the calculator needs it
        """Answer two numbers with one."""
        return Response(200, operations.answer(self.name, text))


class Calculator(_Service):
    """Expressions, computed by the four others."""

    def __init__(self, name: str, peers: Sequence[Peer], deadline: float) -> None:
        """``deadline``: seconds for all calls of one expression."""
        super().__init__(name)
        self._peers = {peer.name: peer for peer in peers}
        self._deadline = deadline
        self._page, policy = _page()
        self._page_headers = (("Content-Security-Policy", policy), ("X-Content-Type-Options", "nosniff"),
                              ("Referrer-Policy", "no-referrer"))  # fmt: skip

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path takes: the page is at the root, which takes expressions too."""
        return ("GET", "HEAD", "POST") if path == "/" else super().methods(path)

    def page(self) -> Response:
        """Answer with the page and the policy that lets it run its own script."""
        return Response(200, "the page", self._page_headers, self._page, "text/html; charset=utf-8")

    async def compute(self, text: str, request: Request) -> Response:
        """Return ``result = …`` as text; with Accept: application/json, an object with each step beside it.

        A step has the operation, its operands and result, the copy's URL, its host's own name, and when the call began
        and ended, in milliseconds since the first.
        """
        wanted = expression.parse(text)
        steps: list[dict[str, Any]] = []
        began = time.perf_counter()

        async def call(name: str, left: str, right: str) -> str:
            answer = await self._peers[name].call(left, right, request.id)
            return answer.text

        async def recorded(name: str, left: str, right: str) -> str:
            start = time.perf_counter()
            answer = await self._peers[name].call(left, right, request.id)
            end = time.perf_counter()
            steps.append(
                {"operation": name, "left": left, "right": right, "result": answer.text, "url": answer.url,
                 "host": answer.host, "start_ms": round((start - began) * 1000, 3),
                 "end_ms": round((end - began) * 1000, 3)}
            )  # fmt: skip
            return answer.text

        deadline = asyncio.timeout(self._deadline)
        try:
            async with deadline:
                result = await expression.evaluate(wanted, recorded if request.head.json else call)
        except TimeoutError:
            count = len(wanted.operations)
            raise HttpError(504, f"{count} operations were not done within {self._deadline:g} s") from None
        line, headers = f"result = {result}", (("X-Request-Id", request.id),)
        if not request.head.json:
            return Response(200, line, headers)
        answer = {"result": result, "request": request.id, "steps": steps}
        return Response(200, line, headers, json.dumps(answer).encode(), "application/json")

    async def ready(self) -> Response:
        """Ready is when each of the four has a copy that serves."""
        wrong = [line for line in await asyncio.gather(*(peer.ready() for peer in self._peers.values())) if line]
        if wrong:
            raise HttpError(503, f"not ready: {'; '.join(wrong)}")
        return Response(200, "ready")

    def samples(self) -> Iterable[Sample]:
        """Yield what is known of calls and copies."""
        peers = self._peers.values()
        yield Sample("calculator_calls_total", "counter", "Calls to the services.", ("service", "copy", "outcome"),
                     {labels: count for peer in peers for labels, count in peer.calls.items()})  # fmt: skip
        yield Sample("calculator_copy_up", "gauge", "1 when calls go to this copy of a service.", ("service", "copy"),
                     {labels: up for peer in peers for labels, up in peer.up().items()})  # fmt: skip

    def histograms(self) -> Iterable[tuple[str, str, str, metrics.Histogram]]:
        """Yield how long calls took."""
        together = metrics.Histogram.merged(peer.seconds for peer in self._peers.values())
        yield "calculator_call_seconds", "How long a service took to answer.", "service", together


def _page() -> tuple[bytes, str]:
    """Return the page and the Content-Security-Policy that lets it run its own script and style, and nothing else."""
    page = pkgutil.get_data("calculator", "page.html")
    if page is None:
        raise RuntimeError("page.html is missing from the package")
    policy = ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
              "frame-ancestors 'none'", "img-src data:"]  # fmt: skip
    for tag in ("script", "style"):
        found = re.search(f"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        if found is None:
            raise RuntimeError(f"page.html has no {tag}")
        digest = base64.b64encode(hashlib.sha256(found[1]).digest()).decode()
        policy.append(f"{tag}-src 'sha256-{digest}'")
    return page, "; ".join(policy)
