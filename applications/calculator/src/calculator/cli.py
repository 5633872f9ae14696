"""The command line: one process, one service, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from calculator import config
from calculator.application import Calculator, Operation
from calculator.client import Peer
from calculator.log import Log
from calculator.server import Server
from calculator.version import ARTEFACT, VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calculator.config import Configuration

__all__ = ["main"]

_OTHER_FILES: Final = 512  # open files that are no client's connection


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a service; 0 after a stop by signal, 1 when it cannot listen, 2 when its configuration is wrong."""
    try:
        configuration, check = config.read(arguments, os.environ)
    except config.ConfigurationError as error:
        for line in error.args:
            print(f"calculator: {line} (see --help)", file=sys.stderr)
        return 2
    if check:
        print("the configuration is correct")
        return 0
    try:
        log = Log(configuration.service, configuration.log)
    except OSError as error:
        print(f"calculator: --log {configuration.log}: {error.strerror or error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_run(configuration, log))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        place = f"{configuration.host} port {configuration.port}"
        print(f"calculator: cannot listen on {place}: {reason}", file=sys.stderr)
        return 1
    return 0


async def _run(configuration: Configuration, log: Log) -> None:
    peers = [Peer(name, copies, configuration.timeout, log) for name, copies in configuration.peers.items()]
    name = configuration.service
    application = Calculator(name, peers, configuration.deadline) if peers else Operation(name)
    log.take_over_logging()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    limits = dataclasses.replace(configuration.limits, connections=_connections(configuration.limits.connections, log))
    server = application.server = Server(application, limits, log)
    async with AsyncExitStack() as cleanup:
        for peer in peers:
            await cleanup.enter_async_context(peer)
        port = await server.start(configuration.host, configuration.port)
        log(f"{name}: listening on {configuration.host} port {port}")
        log(f"{name}: version {VERSION}, artefact {ARTEFACT}", fields={"ARTEFACT": ARTEFACT})
        log.flush()
        _tell_systemd("READY=1")
        await stop.wait()
        log(f"{name}: stopping")
        _tell_systemd("STOPPING=1")
        await server.stop()
        log(f"{name}: stopped")
    log.flush()


def _connections(wanted: int, log: Log) -> int:
    """Allow this process the open files that so many connections take; the number that there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    room = wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OTHER_FILES))
    if room < wanted:
        log(f"room for {room} connections only: the limit on open files is {hard}", "warning")
    return room


def _tell_systemd(state: str) -> None:
    """sd_notify: with Type=notify a unit counts as started only when it listens, and a failed start is seen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
