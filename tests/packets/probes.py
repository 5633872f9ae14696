"""Real packets: every probe of a matrix sent, and who answered it.

One thread does it all: a socket stays in the namespace that it was made in, so one event loop serves those of every
node. Who answers says its name, so an answer from the wrong node is not taken for the right one's.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import struct
import time
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wiring import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from lab import Lab

ECHO_REQUEST = {4: 8, 6: 128}  # RFC 792, RFC 4443
ECHO_REPLY = {4: 0, 6: 129}
SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1  # <linux/socket.h>, <linux/icmp.h>, <linux/icmpv6.h>
NOT_SENT = {"ah", "esp", "dccp", "sctp", "udplite", "igmp", "ipip"}  # not without keys, ports or a tunnel
RAW_HEAD = bytes(4)  # to GRE (RFC 2784): nothing special
MARK = struct.Struct("!II")  # in every datagram: which measurement, which of its probes
# no route; a neighbour that does not answer; a filter on the sender's own port; an ICMP error that says so
LOST = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EPERM,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.EACCES,
}
BURST = 128  # probes sent before the answers are read: fits the buffers of one socket
ROUND = 4096  # sockets open at once
SETTLE = 0.05  # how long all must be quiet, and no packet under way, before silence counts as an answer
PATIENCE = 10.0  # how long to wait for, and repeat, what should be answered
REPEAT = 0.5
_runs = count(1)


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: ``protocol`` tcp, udp or icmp (of the version of ``address``) from ``source`` to ``address``.

    Or another protocol. ``source_address`` None leaves the choice to the kernel. ``port`` is None but for tcp and udp.
    """

    source: str
    address: str
    protocol: str
    port: int | None = None
    source_address: str | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        start = self.source + (f" ({self.source_address})" if self.source_address else "")
        return f"{start} -> {self.address} {self.protocol}{'' if self.port is None else f' {self.port}'}"


def number_of(protocol: str) -> int | None:
    """Return the number of a protocol that is sent as such, without ports; None for others."""
    if protocol in NOT_SENT:
        return None
    return int(protocol) if protocol.isdecimal() else NUMBERS.get(protocol)


@dataclass(frozen=True, slots=True)
class Measurement:
    """``answers``: the node that answered each probe that was answered; ``repeated``: how many had to be sent again."""

    answers: dict[Probe, str]
    repeated: int


def measure(lab: Lab, probes: Sequence[Probe], expected: Collection[Probe]) -> Measurement:
    """Send ``probes``, return who answered.

    ``expected`` only says what is worth waiting for: all the others' time is over once these are answered and all is
    quiet. One of these that stays silent is sent again until PATIENCE is over; a loaded machine is slow, not closed.
    """
    prober = _Prober(lab, probes)
    try:
        return prober.run(set(expected))
    finally:
        prober.close()


class _Prober:
    def __init__(self, lab: Lab, probes: Sequence[Probe]) -> None:
        self._lab = lab
        self._probes = probes
        self._answers: dict[Probe, str] = {}
        self._repeated = 0
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._run = next(_runs)
        self._numbers = {probe: number for number, probe in enumerate(probes)}
        self._askers: dict[tuple[str, int, str, str | None], socket.socket] = {}
        self._owner = {address: name for name in lab.wiring.nodes for address in lab.addresses(name)}
        self._owner |= {floating: name for name, floating in lab.wiring.floating.items()}
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def close(self) -> None:
        for one in list(self._sockets.values()):
            self._drop(one)
        self._poll.close()

    def run(self, expected: set[Probe]) -> Measurement:
        self._listen()
        # by source, because entering a namespace costs more than sending; rounds bound the sockets
        ordered = sorted(self._probes, key=lambda probe: (probe.source, probe.source_address or ""))
        for start in range(0, len(ordered), ROUND):
            self._round(ordered[start : start + ROUND], expected)
        return Measurement(self._answers, self._repeated)

    def _round(self, probes: Sequence[Probe], expected: set[Probe]) -> None:
        connections: list[socket.socket] = []
        self._ask(probes, connections)
        waiting = expected.intersection(probes)
        give_up = time.monotonic() + PATIENCE
        while missing := [probe for probe in waiting if probe not in self._answers]:
            if time.monotonic() > give_up:
                break
            if self._wait(REPEAT, lambda: all(probe in self._answers for probe in missing)):
                self._repeated += len(missing)
                self._ask(missing, connections)
        for connection in connections:
            self._drop(connection)

    def _ask(self, probes: Sequence[Probe], connections: list[socket.socket]) -> None:
        """Send until the kernel has dropped none of the packets for want of room: then silence is an answer."""
        while probes:
            dropped = _backlog().dropped
            self._send(probes, connections)
            self._quiet()
            if _backlog().dropped == dropped:
                return
            probes = [probe for probe in probes if probe not in self._answers]
            self._repeated += len(probes)

    def _wait(self, seconds: float, done: Callable[[], bool]) -> bool:
        """Read answers until ``done``; tell whether time ran out before."""
        end = time.monotonic() + seconds
        while not done():
            if (left := end - time.monotonic()) <= 0:
                return True
            self._read(left)
        return False

    def _quiet(self) -> None:
        """Return when nothing comes any more and nothing is on its way."""
        while self._read(SETTLE) or _backlog().waiting:
            pass

    def _read(self, timeout: float) -> bool:
        events = self._poll.poll(timeout)
        for descriptor, _ in events:
            if reader := self._readers.get(descriptor):
                reader()
        return bool(events)

    def _add(self, one: socket.socket, reader: Callable[[], None]) -> None:
        one.setblocking(False)
        self._sockets[one.fileno()] = one
        self._readers[one.fileno()] = reader
        # edge-triggered: an ICMP error that ends no connection is told once; every reader reads all there is
        self._poll.register(one.fileno(), select.EPOLLIN | select.EPOLLET)

    def _drop(self, one: socket.socket) -> None:
        descriptor = one.fileno()
        if self._sockets.pop(descriptor, None) is None:
            return
        del self._readers[descriptor]
        self._poll.unregister(descriptor)
        one.close()

    # --- who is asked

    def _listen(self) -> None:
        """Listen on every probed address and port, at the node that has it; kernels answer ICMP by themselves."""
        wanted: dict[str, set[tuple[str, str, int]]] = {}
        for probe in self._probes:
            if port := probe.port or number_of(probe.protocol):
                node = self._owner[probe.address]
                address = self._lab.wiring.fixed.get(probe.address, probe.address)
                wanted.setdefault(node, set()).add((address, probe.protocol, port))
        for node, ends in wanted.items():
            with self._lab.at(node).entered():
                for address, protocol, port in sorted(ends):
                    listen = {"tcp": self._listen_tcp, "udp": self._listen_udp}.get(protocol, self._listen_raw)
                    listen(node.encode(), address, port)

    def _listen_tcp(self, name: bytes, address: str, port: int) -> None:
        listener = socket.socket(_family(address), socket.SOCK_STREAM)
        listener.bind((address, port))
        listener.listen(ROUND)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    return
                with connection:
                    connection.send(name)

        self._add(listener, accept)

    def _listen_udp(self, name: bytes, address: str, port: int) -> None:
        echo = socket.socket(_family(address), socket.SOCK_DGRAM)
        echo.bind((address, port))

        def answer() -> None:
            for data, peer in _received(echo):
                _sent(echo, data + name, peer)

        self._add(echo, answer)

    def _listen_raw(self, name: bytes, address: str, number: int) -> None:
        echo = socket.socket(_family(address), socket.SOCK_RAW, number)
        echo.bind((address, 0))

        def answer() -> None:
            for data, peer in _received(echo):
                question = _payload(echo, data)
                if len(question) == len(RAW_HEAD) + MARK.size:  # no answer
                    _sent(echo, question + name, (peer[0], 0))

        self._add(echo, answer)

    # --- who asks

    def _send(self, probes: Sequence[Probe], connections: list[socket.socket]) -> None:
        for source, its in groupby(probes, key=lambda probe: probe.source):
            with self._lab.at(source).entered():
                for probe, place in zip(its, count(1), strict=False):
                    if probe.protocol == "tcp":
                        connections += self._connect(probe)
                    elif probe.protocol == "udp":
                        _sent(self._asker(probe), self._mark(probe), (probe.address, probe.port))
                    elif number_of(probe.protocol):
                        _sent(self._asker(probe), RAW_HEAD + self._mark(probe), (probe.address, 0))
                    else:
                        _sent(self._asker(probe), self._echo_request(probe), (probe.address, 0))
                    if place % BURST == 0:
                        self._drain()
                self._drain()

    def _drain(self) -> None:
        """Read what has come; what is on its way must not pile up in the kernel, which would drop it."""
        while self._read(0) or _backlog().waiting:
            pass

    def _connect(self, probe: Probe) -> Iterator[socket.socket]:
        """Begin a connection; yield its socket unless there is no way at all."""
        one = socket.socket(_family(probe.address), socket.SOCK_STREAM)
        one.setblocking(False)
        # leave by a reset: nothing lingers
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if probe.source_address:
            one.bind((probe.source_address, 0))

        def read() -> None:
            try:
                name = one.recv(256)
            except BlockingIOError:  # the event was that of an earlier socket of the same number
                return
            except OSError as error:
                _lost(error)
            else:
                if name:
                    self._answers[probe] = name.decode()
            self._drop(one)

        if (status := one.connect_ex((probe.address, probe.port))) in LOST:
            one.close()
            return
        if status != errno.EINPROGRESS:
            raise OSError(status, os.strerror(status), str(probe))
        self._add(one, read)
        yield one

    def _asker(self, probe: Probe) -> socket.socket:
        """Return the socket that asks all questions like ``probe``."""
        kind = (probe.source, probe.version, probe.protocol, probe.source_address)
        if kind not in self._askers:
            ask = {"udp": self._udp, "icmp": self._icmp}.get(probe.protocol, self._raw)
            self._askers[kind] = one = ask(probe)
            if probe.source_address:
                one.bind((probe.source_address, 0))
        return self._askers[kind]

    def _udp(self, probe: Probe) -> socket.socket:
        one = socket.socket(_family(probe.address), socket.SOCK_DGRAM)

        def read() -> None:
            for data, _ in _received(one):
                self._answered(data[: MARK.size], data[MARK.size :].decode())

        self._add(one, read)
        return one

    def _raw(self, probe: Probe) -> socket.socket:
        one = socket.socket(_family(probe.address), socket.SOCK_RAW, number_of(probe.protocol) or 0)

        def read() -> None:
            for data, _ in _received(one):
                answer = _payload(one, data)[len(RAW_HEAD) :]
                if len(answer) > MARK.size:  # no question
                    self._answered(answer[: MARK.size], answer[MARK.size :].decode())

        self._add(one, read)
        return one

    def _icmp(self, probe: Probe) -> socket.socket:
        if probe.version == 4:
            one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            one.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("I", 0xFFFFFFFF & ~(1 << ECHO_REPLY[4])))
        else:
            one = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            blocked = [0xFFFFFFFF] * 8
            blocked[ECHO_REPLY[6] // 32] &= ~(1 << ECHO_REPLY[6] % 32)
            one.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("8I", *blocked))

        def read() -> None:
            for data, peer in _received(one):
                message = data[(data[0] & 15) * 4 :] if probe.version == 4 else data
                if peer[0] in self._owner:
                    self._answered(message[8:], self._owner[peer[0]])

        self._add(one, read)
        return one

    def _mark(self, probe: Probe) -> bytes:
        return MARK.pack(self._run, self._numbers[probe])

    def _answered(self, mark: bytes, name: str) -> None:
        run, number = MARK.unpack(mark)
        if run == self._run:  # not a late answer to an earlier measurement
            self._answers[self._probes[number]] = name

    def _echo_request(self, probe: Probe) -> bytes:
        # the identifier is that of the measurement: to filters with a memory each one is new (RFC 792)
        body = struct.pack("!HH", self._run & 0xFFFF, 0) + self._mark(probe)
        head = struct.pack("!BBH", ECHO_REQUEST[probe.version], 0, 0)
        checksum = _checksum(head + body) if probe.version == 4 else 0  # the kernel fills in that of IPv6
        return head[:2] + struct.pack("!H", checksum) + body


class _Backlog(NamedTuple):
    """Packets between namespaces, over all processors: not yet seen by the receiver, and dropped since the start."""

    waiting: int
    dropped: int


def _backlog() -> _Backlog:
    rows = [line.split() for line in Path("/proc/net/softnet_stat").read_text(encoding="ascii").splitlines()]
    # columns as in net/core/net-procfs.c: 2nd dropped, 12th length of the backlog (since Linux 5.10)
    return _Backlog(sum(int(row[11], 16) for row in rows), sum(int(row[1], 16) for row in rows))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _payload(one: socket.socket, data: bytes) -> bytes:
    """Return what a raw socket received, without the header that IPv4 leaves there."""
    return data[(data[0] & 15) * 4 :] if one.family == socket.AF_INET else data


def _checksum(data: bytes) -> int:
    """RFC 1071, for an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _received(one: socket.socket) -> Iterator[tuple[bytes, tuple[str, int]]]:
    while True:
        try:
            yield one.recvfrom(2048)
        except BlockingIOError:
            return


def _sent(one: socket.socket, data: bytes, to: tuple[str, int]) -> None:
    try:
        one.sendto(data, to)
    except OSError as error:
        _lost(error)


def _lost(error: OSError) -> None:
    """Pass over what is only another way to hear nothing."""
    if error.errno not in LOST:
        raise error
