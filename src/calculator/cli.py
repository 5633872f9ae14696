"""The command line: one process, one service, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NoReturn

from calculator import expression, operations
from calculator.client import Peer
from calculator.errors import HttpError
from calculator.server import Limits, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_LOG = logging.getLogger(__name__)

_EPILOG = """\
examples:
  calculator sum --port 50001
  calculator calculator --port 50000 --sum http://127.0.0.1:50001 --sub http://127.0.0.1:50002 \\
                        --mul http://127.0.0.1:50003 --div http://127.0.0.1:50004
  curl -d '5 3' http://127.0.0.1:50001           8
  curl -d '(5+3)*2' http://127.0.0.1:50000       result = 16
  curl http://127.0.0.1:50000/healthz            ok
"""
_DESCRIPTIONS = {
    "sum": "add two numbers",
    "sub": "subtract the second number from the first",
    "mul": "multiply two numbers",
    "div": "divide the first number by the second",
    "calculator": "compute an expression by asking the four other services",
}


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _number(kind: type[int | float], least: float, most: float) -> Callable[[str], float]:
    """Return a converter to a number in a range, whose error says the range."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not least <= value <= most:
            noun = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {noun} from {least:g} to {most:g}")
        return value

    return convert


def _parser() -> argparse.ArgumentParser:
    limits = Limits()
    shared = _Parser(add_help=False)
    option = shared.add_argument
    option("--port", required=True, type=_number(int, 0, 65535), help="TCP port to listen on; 0 lets the system choose")
    option("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: %(default)s)")
    option("--max-body", default=limits.body, type=_number(int, 1, 2**30), metavar="BYTES",
           help="longest request body that is accepted (default: %(default)s)")  # fmt: skip
    option("--client-timeout", default=limits.request_seconds, type=_number(float, 0.01, 3600), metavar="SECONDS",
           help="time a client may take to send a request (default: %(default)g)")  # fmt: skip

    parser = _Parser(prog="calculator", description="The calculator's five HTTP services.", epilog=_EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)  # fmt: skip
    services = parser.add_subparsers(dest="service", required=True, metavar="SERVICE")
    for name, description in _DESCRIPTIONS.items():
        service = services.add_parser(name, help=description, description=f"Service {name}: {description}.",
                                      parents=[shared], allow_abbrev=False)  # fmt: skip
        if name == "calculator":
            for peer in operations.OPERATIONS:
                service.add_argument(f"--{peer}", required=True, metavar="URL", help=f"where the service {peer} is")
            option = service.add_argument
            option("--timeout", default=5.0, type=_number(float, 0.01, 3600), metavar="SECONDS",
                   help="time a service may take to answer (default: %(default)g)")  # fmt: skip
            option("--deadline", default=60.0, type=_number(float, 0.01, 3600), metavar="SECONDS",
                   help="time for all calls of one expression (default: %(default)g)")  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a service; 0 after a stop by signal, 1 when it cannot listen, 2 when its configuration is wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # One record a line, flushed at once: what a terminal and the journal want (the journal adds the time).
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    peers = {}
    if options.service == "calculator":
        for name in operations.OPERATIONS:
            try:
                peers[name] = Peer(name, getattr(options, name), options.timeout)
            except ValueError as error:
                parser.error(f"argument --{name}: {error}")
    try:
        asyncio.run(_run(options, peers))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        print(f"calculator: cannot listen on {options.host} port {options.port}: {reason}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace, peers: dict[str, Peer]) -> None:
    async def operation(body: str) -> str:
        return operations.answer(options.service, body)

    async def calculate(body: str) -> str:
        wanted = expression.parse(body)
        try:
            async with asyncio.timeout(options.deadline):
                result = await expression.evaluate(wanted, lambda name, left, right: peers[name].call(left, right))
        except TimeoutError:
            count = len(wanted.operations)
            raise HttpError(504, f"{count} operations were not done within {options.deadline:g} s") from None
        return f"result = {result}"

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    limits = Limits(body=options.max_body, request_seconds=options.client_timeout)
    server = Server(options.service, calculate if peers else operation, limits)
    async with AsyncExitStack() as cleanup:
        for peer in peers.values():
            await cleanup.enter_async_context(peer)
        listener, port = await server.start(options.host, options.port)
        _LOG.info("%s: listening on %s port %d", options.service, options.host, port)
        _tell_systemd("READY=1")
        await stop.wait()
        _LOG.info("%s: stopping", options.service)
        listener.close()
        await server.stop()


def _tell_systemd(state: str) -> None:
    """sd_notify: with Type=notify a unit counts as started only when it listens, and a failed start is seen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
