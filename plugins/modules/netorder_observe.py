#!/usr/bin/python
"""Units, routes, TCP connections, names and answers of a host, compared with the plan. Changes nothing."""

# Sent to the host as it is, with its arguments in the last lines, and read by Python from standard input (Ansible's
# module style "new" of the kind jsonargs): the standard library alone, nothing newer than Python 3.8 but annotations.

from __future__ import annotations

import errno
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from ipaddress import ip_address, ip_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    Check = dict[str, Any]
    Ended = dict[str, Any]  # found; of what answered also ms, segment and mtu, where the kernel knows
    Found = TypeVar("Found")

DOCUMENTATION = r"""
module: netorder_observe
short_description: compare units, routes, TCP connections and answers with the plan
description:
  - Never changes anything. All connections are tried at the same time.
  - A difference is not a failure of the module; it is a check whose C(ok) is false.
  - Where a connection must succeed, one datagram as large as the interface takes goes to port 9 of the same address, so
    that a router on which it does not fit can say so.
  - Where the rules allow a ping too, one as large is sent. If a small one is answered and that is not, and no router
    says why, smaller ones find what passes, and ones that live for few hops find where the others end.
options:
  units:
    description: systemd units that must be active, enabled and loaded from their present file.
    type: list
    elements: str
    default: []
  routes:
    description: Next hops that packets must take, by the kernel's own lookup, not by a table.
    type: list
    elements: dict
    default: []
    suboptions:
      destination: {description: A prefix., type: str, required: true}
      next_hop: {description: The address of the router., type: str, required: true}
  connections:
    description: TCP connections to try.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The name of the probed host., type: str, required: true}
      address: {description: Its address., type: str, required: true}
      port: {description: The port., type: int, required: true}
      open: {description: Whether the connection must succeed., type: bool, required: true}
      forwarded:
        description: Whether something on the way accepts it before the host was asked; closed at once, it is refused.
        type: bool
      echo: {description: Whether a ping to it must succeed too., type: bool}
  names:
    description: Names that must lead to these addresses, asked as programs on the host do.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The name., type: str, required: true}
      address: {description: An address that it leads to., type: str, required: true}
  answers:
    description: HTTP requests whose answers must be as given.
    type: list
    elements: dict
    default: []
    suboptions:
      what: {description: What to call it in the answer., type: str, required: true}
      url: {description: Where to send it., type: str, required: true}
      body: {description: What to send by POST; without it the request is a GET., type: str}
      status: {description: The status that the answer must have., type: int, default: 200}
      answer: {description: 'All of the answer, but for white space at its ends.', type: str}
      contains: {description: A part of the answer., type: str}
      unit: {description: A unit of which I(units) says that it does not run; then nothing is asked., type: str}
  timeout:
    description:
      - Seconds until a connection counts as not answered. A lost SYN is sent again after 1 s and after 3 s.
      - Where all answered that must, the others are waited for three times as long as the slowest answer took, and
        1.5 s at least.
    type: float
    default: 4
author: netorder
"""

EXAMPLES = r"""
- name: The calculator reaches sum, and only sum's port
  netorder_observe:
    connections:
      - {name: sum, address: 192.168.2.20, port: 50001, open: true}
      - {name: sum, address: 192.168.2.20, port: 9, open: false}
"""

RETURN = r"""
checks:
  description:
    - One entry for each unit, route, connection and answer, with what, expected, found and ok.
    - That of a connection also has name, address and port; where it was made C(ms), the round trip as the kernel
      measured it, and C(mtu), the largest packet on the path that the kernel knows of; C(warning) where a smaller one
      than that of the interface was heard of. C(lost) where packets are lost by their size and nobody says so: of so
      many C(bytes) they are, of C(passes) they pass (then also C(mtu)), TCP sends C(segment); C(after) and C(before)
      are the addresses of the hops between which it happens, as far as they told.
  type: list
  elements: dict
  returned: always
"""


def output(*command: str) -> str:
    """Return a command's output; what it printed, if anything, when it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def check(what: str, expected: str, found: str) -> Check:
    """Return one finding."""
    return {"what": what, "expected": expected, "found": found, "ok": expected == found}


def unit_state(name: str) -> dict[str, str]:
    """Return a unit's properties from systemd."""
    shown = output("systemctl", "show", "--property=ActiveState,UnitFileState,NeedDaemonReload", name)
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def units(names: list[str]) -> Iterator[Check]:
    """Check of each unit that it runs, from its present file, and will run after the next boot."""
    for name in names:
        state = unit_state(name)
        found = f"{state.get('ActiveState') or 'unknown'}, {state.get('UnitFileState') or 'not installed'}"
        changed = ", its file changed since it was read" if state.get("NeedDaemonReload") == "yes" else ""
        yield check(f"unit {name}", "active, enabled", found + changed)


def fetch(url: str, timeout: float, body: str | None = None) -> tuple[int, str]:
    """Return the status and the body of an answer; 0 and the reason where there is none. A body is sent by POST."""
    # urllib, of which nothing is needed here, takes a slow host a second to load
    place, _, path = url.partition("://")[2].partition("/")
    name, _, port = place.rpartition(":")
    data = (body or "").encode()
    length = "" if body is None else f"Content-Length: {len(data)}\r\n"
    head = f"{'GET' if body is None else 'POST'} /{path} HTTP/1.0\r\nHost: {place}\r\n{length}\r\n"
    answer = b""
    try:
        with socket.create_connection((name.strip("[]"), int(port)), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(head.encode() + data)
            while part := connection.recv(65536):
                answer += part
    except OSError as error:
        return 0, f"no answer ({error})"
    status, _, said = answer.decode(errors="replace").partition("\r\n\r\n")
    found = re.match(r"HTTP/1\.[01] (\d{3})", status)
    return (int(found[1]), said.strip()) if found else (0, "no answer (not HTTP)")


LONGEST = 300  # of an answer in a finding


def answers(requests: list[dict[str, Any]], timeout: float) -> Iterator[Check]:
    """Check of each request that its answer is as given."""
    for one in requests:
        if one.get("unit") and unit_state(one["unit"]).get("ActiveState") != "active":
            continue
        wanted, whole, part = one.get("status", 200), one.get("answer"), one.get("contains")
        status, said = fetch(one["url"], timeout, one.get("body"))
        right = status == wanted and whole in (None, said) and (part is None or part in said)
        body = "" if whole is None and part is None else whole if whole is not None else f"... {part} ..."
        expected = f"status {wanted} {body}".strip() if wanted != 200 or not body else body  # noqa: PLR2004 - usual
        shown = said if status == 200 and body else f"status {status} {said}" if status else said  # noqa: PLR2004
        shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
        yield {"what": one["what"], "expected": expected, "found": expected if right else shown, "ok": right}


def routes(wanted: list[dict[str, str]]) -> Iterator[Check]:
    """Check where the kernel sends a packet for the first host of each prefix."""
    for route in wanted:
        network = ip_network(route["destination"])
        target = str(network[min(1, network.num_addresses - 1)])
        # no output at all: no route
        answers = json.loads(output("ip", "-json", "route", "get", target) or "[{}]")
        found = f"via {answers[0]['gateway']}" if "gateway" in answers[0] else "no router"
        yield check(f"route to {network}", f"via {route['next_hop']}", found)


def outcome(number: int) -> str:
    """Say how a connection ended: open, refused (it got through, nothing listens) or no answer (dropped, no route)."""
    return "open" if number == 0 else "refused" if number == errno.ECONNREFUSED else "no answer"


SHORTEST = 1.5  # seconds to wait for what must not answer: a lost SYN is sent again after 1 s
TIMES = 3  # as long as the slowest that answered
REFUSAL = 0.7  # seconds for a host to refuse what was accepted on the way to it


class Sized:
    """A datagram to an address, as large as the interface takes, and not to be cut on the way.

    A router that it does not fit through says so to the kernel, which then knows the path's MTU.
    """

    def __init__(self, address: str) -> None:
        six = ":" in address
        # linux/in.h and linux/in6.h: level, IP_MTU_DISCOVER, IP_MTU; the size of IP's and UDP's heads
        self._level, discover, self._mtu, heads = (41, 23, 24, 48) if six else (0, 10, 14, 28)
        self._socket = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        self.first: int | None = None
        self.last: int | None = None
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(self._level, discover, 2)  # IP_PMTUDISC_DO
            self._socket.connect((address, 9))  # discard
            self.first = self._socket.getsockopt(self._level, self._mtu)
            self._socket.send(bytes(min(self.first - heads, 65507)))
        except OSError:  # no route, no such option on this system: connections tell what is wrong
            pass

    def end(self) -> None:
        """Ask the kernel what it knows by now."""
        if self.first is not None:
            self.last = self._socket.getsockopt(self._level, self._mtu)
        self._socket.close()


def tcp_info(connection: socket.socket) -> Ended:
    """Return C(ms) from SYN to its answer, by the kernel's own clock, and C(segment), TCP's largest packet in bytes.

    None of them where the system does not tell.
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return {}
    # tcp_info of linux/tcp.h: 8 bytes, of which the 6th has the options, then numbers of 4: the 3rd is tcpi_snd_mss,
    # the 16th tcpi_rtt in microseconds
    info = connection.getsockopt(socket.IPPROTO_TCP, option, 104)
    heads = (60 if connection.family == socket.AF_INET6 else 40) + (12 if info[5] & 1 else 0)  # timestamps
    (size,), (took,) = (struct.unpack_from("I", info, 8 + 4 * index) for index in (2, 15))
    # 0: the SYN was sent twice
    return {"segment": size + heads, **({"ms": took / 1000} if took else {})}


def ended(connection: socket.socket) -> Ended:
    """Return how a connection ended, and what TCP knows of its path."""
    found: Ended = {"found": outcome(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))}
    if found["found"] == "open":
        found.update(tcp_info(connection))
    return found


def add_sizes(probes: list[dict[str, Any]], found: list[Ended], sized: dict[str, Sized]) -> None:
    """Add the path's MTU to the connections that were made."""
    for one in sized.values():
        one.end()
    for index, probe in enumerate(probes):
        its = sized.get(probe["address"])
        if found[index]["found"] == "open" and its and its.first and its.last:
            found[index]["mtu"] = its.last
            if its.last < its.first:
                said = f"packets of {its.first} bytes do not pass as a whole, of {its.last} do"
                found[index]["warning"] = said


SMALL = 64  # bytes of a packet that passes everywhere
PATIENCE = 1.0  # seconds for a ping's answer
COPIES = 3  # of a packet, before it counts as lost by its size
AT_ONCE = 15  # sizes that are tried side by side
FARTHEST = 16  # hops
TRACED = 2  # addresses: a router tells six packets of one host's what became of them, then one a second


class Echo:
    """Pings of chosen sizes to an address, none to be cut on the way; ``answered`` are the numbers of some.

    Of those that lived for too few hops ``told`` has who said so. Raises OSError where they cannot be sent.
    """

    def __init__(self, address: str) -> None:
        six = ":" in address
        # linux/in.h, in6.h: level, IP_MTU_DISCOVER, IP_MTU, IP_RECVERR, IP_TTL; the size of IP's and ICMP's heads
        self._level, discover, self._mtu, self._errors, self._hops, self._heads = (
            (41, 23, 24, 25, 16, 48) if six else (0, 10, 14, 11, 2, 28)
        )
        self._request, self._reply, self._expired = (128, 129, 3) if six else (8, 0, 11)
        self.address = address
        self.answered: set[int] = set()
        self.told: dict[int, str] = {}
        self.awaited: set[int] = set()
        self._sent = 0
        self._identity = os.getpid() & 0xFFFF
        family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
        try:
            self.socket = socket.socket(family, socket.SOCK_DGRAM, protocol)
            self._is_raw = False
        except OSError:  # it takes a group of net.ipv4.ping_group_range, this takes root
            self.socket = socket.socket(family, socket.SOCK_RAW, protocol)
            self._is_raw = True
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(self._level, discover, 2)  # IP_PMTUDISC_DO
            self.socket.setsockopt(self._level, self._errors, 1)
            self.socket.connect((address, 0))
            self.known()
        except OSError:
            self.socket.close()
            raise

    def known(self) -> int:
        """Return the largest packet to there that the kernel knows to fit."""
        return min(self.socket.getsockopt(self._level, self._mtu), 65535)

    def send(self, size: int, hops: int = 64) -> int:
        """Send one, a packet of so many bytes; return its number."""
        self._sent += 1
        self.socket.setsockopt(self._level, self._hops, hops)
        head = struct.pack("!BBHHH", self._request, 0, 0, self._identity, self._sent)
        total = sum(struct.unpack("!4H", head))  # the rest is zeros
        total = (total & 0xFFFF) + (total >> 16)
        checksum = ~(total + (total >> 16)) & 0xFFFF
        head = struct.pack("!BBHHH", self._request, 0, checksum, self._identity, self._sent)
        for _ in range(COPIES):
            try:
                self.socket.send(head + bytes(size - self._heads))
                break
            except OSError:  # what became of another one is told here too
                continue
        self.awaited.add(self._sent)
        return self._sent

    def read(self) -> None:
        """Take in what has come."""
        while True:
            try:
                data = self.socket.recv(65535)
            except BlockingIOError:
                break
            except OSError:  # told again below
                continue
            if self._is_raw and self._level == 0:
                data = data[4 * (data[0] & 15) :]
            number = self._number(data)
            if number and data[0] == self._reply:
                self.answered.add(number)
                self.awaited.discard(number)
        self._read_errors()

    def _read_errors(self) -> None:
        while True:
            try:
                data, more, _, _ = self.socket.recvmsg(512, 512, socket.MSG_ERRQUEUE)
            except OSError:  # no more
                return
            for level, kind, value in more:
                # sock_extended_err of linux/errqueue.h, and the address of who says it
                if (level, kind) == (self._level, self._errors) and value[4] in (2, 3) and value[5] == self._expired:
                    who = value[24:40] if self._level else value[20:24]
                    number = self._number(data)
                    if number:
                        self.told[number] = str(ip_address(who))
                        self.awaited.discard(number)

    def _number(self, data: bytes) -> int:
        """Return the number of a request or an answer; 0 of one that is not ours."""
        if len(data) < 8:  # noqa: PLR2004 - the head
            return 0
        identity, number = struct.unpack_from("!HH", data, 4)
        return int(number) if identity == self._identity or not self._is_raw else 0


def exchanged(echoes: list[Echo], seconds: float) -> None:
    """Wait until it is known of all what became of them, or that time is over."""
    end = time.monotonic() + seconds
    poll = select.poll()
    by_descriptor = {one.socket.fileno(): one for one in echoes}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    while any(one.awaited for one in echoes):
        left = end - time.monotonic()
        if left <= 0:
            break
        for descriptor, _ in poll.poll(1000 * left):
            by_descriptor[descriptor].read()
    for one in echoes:
        one.awaited.clear()


def lost(addresses: list[str]) -> dict[str, Ended]:
    """Return by address from which size on packets there are lost and nobody says so; see C(lost) of a connection.

    Nothing is said of an address that does not answer a small ping, nor where this system sends none.
    """
    echoes: list[Echo] = []
    try:
        for address in addresses:
            try:
                echoes.append(Echo(address))
            except (OSError, AttributeError):  # no route, not allowed, no such option
                continue
        holes = too_large(echoes)
        found = passing(holes)
        for one in [*found][:TRACED]:
            found[one].update(where(one, found[one]["bytes"]))
        return {one.address: its for one, its in found.items()}
    finally:
        for one in echoes:
            one.socket.close()


def too_large(echoes: list[Echo]) -> dict[Echo, int]:
    """Return those to whom the largest packet that fits, as far as anybody says, does not come, and its size."""
    small = {one: one.send(SMALL) for one in echoes}
    found: dict[Echo, int] = {}
    copies = 1
    for _ in range(FARTHEST):  # each router on the way may say that less fits
        sizes = {one: one.known() for one in echoes}
        sent = {one: {one.send(sizes[one]) for _ in range(copies)} for one in echoes}
        exchanged(echoes, PATIENCE)
        echoes = [one for one in echoes if small[one] in one.answered and not one.answered & sent[one]]
        if copies > 1:
            found.update({one: sizes[one] for one in echoes if one.known() == sizes[one]})
            echoes = [one for one in echoes if one not in found]
        if not echoes:
            break
        copies = COPIES
    return found


def passing(holes: dict[Echo, int]) -> dict[Echo, Ended]:
    """Return the size that is lost and the largest that passes."""
    bounds = {one: (SMALL, size) for one, size in holes.items()}
    while True:
        wide = {one: its for one, its in bounds.items() if its[1] - its[0] > 1}
        if not wide:
            break
        tried: dict[Echo, dict[int, set[int]]] = {}
        for one, (low, high) in wide.items():
            sizes = {low + (high - low) * step // (AT_ONCE + 1) for step in range(1, AT_ONCE + 1)} - {low}
            tried[one] = {size: set() for size in sorted(sizes or {low + 1})}
        for _ in range(COPIES - 1):
            for one, its in tried.items():
                for size, numbers in its.items():
                    if not numbers & one.answered:
                        numbers.add(one.send(size))
            exchanged([*tried], PATIENCE / 2)
        for one, its in tried.items():
            low, high = bounds[one]
            low = max([low, *(size for size, numbers in its.items() if numbers & one.answered)])
            bounds[one] = low, min([high, *(size for size in its if size > low)])
    return {one: {"bytes": holes[one], "passes": low} for one, (low, _) in bounds.items()}


def where(echo: Echo, size: int) -> Ended:
    """Return after and before whom packets of this size are lost, as far as hops on the way say something."""
    # the large ones first: who speaks no more after some would otherwise be said not to have seen them
    sent = [
        ({echo.send(size, hops) for _ in range(COPIES - 1)}, echo.send(SMALL, hops)) for hops in range(1, FARTHEST + 1)
    ]
    exchanged([echo], PATIENCE)
    after = None
    for large, small in sent:
        there = small in echo.answered
        hop = echo.address if there else echo.told.get(small)
        if hop and not (large & echo.answered or large & echo.told.keys()):
            return {"after": after, "before": hop}
        after = hop or after
        if there:
            break
    return {}


def connected(probes: list[dict[str, Any]], timeout: float) -> list[Ended]:
    """Try all connections at once and return how each ended. Raise OSError where one cannot be begun.

    What must not answer is waited for as long as three times the slowest answer took, where all others answered, but
    no shorter than SHORTEST and no longer than ``timeout``, which counts where any that must answer has not.
    """
    found: list[Ended] = [{"found": "no answer"} for _ in probes]
    # of a forwarded port the way ends here
    further = {probe["address"] for probe in probes if probe["open"] and not probe.get("forwarded")}
    sized = {address: Sized(address) for address in further}
    started = time.monotonic()
    begun: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    accepted: dict[int, socket.socket] = {}
    slowest = None
    for index, probe in enumerate(probes):
        connection = socket.socket(socket.AF_INET6 if ":" in probe["address"] else socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        number = connection.connect_ex((probe["address"], probe["port"]))
        if number == errno.EINPROGRESS:
            begun[connection.fileno()] = index, connection
            poll.register(connection, select.POLLOUT)
        else:  # no route, or refused at once
            found[index]["found"] = outcome(number)
            connection.close()
    while begun:
        awaited = any(probes[index]["open"] for index, _ in begun.values())
        bound = timeout if awaited or slowest is None else min(timeout, max(SHORTEST, TIMES * slowest))
        left = started + bound - time.monotonic()
        if left <= 0:
            break
        for descriptor, _ in poll.poll(1000 * left):
            index, connection = begun.pop(descriptor)
            poll.unregister(descriptor)
            found[index] = ended(connection)
            if found[index]["found"] == "open" and probes[index].get("forwarded"):
                accepted[index] = connection
            else:
                connection.close()
            if found[index]["found"] != "no answer":
                slowest = time.monotonic() - started
    for _, connection in begun.values():
        connection.close()
    for index in refused(accepted):
        found[index] = {"found": "refused"}
    add_sizes(probes, found, sized)
    return found


def refused(accepted: dict[int, socket.socket]) -> Iterator[int]:
    """Yield those of the connections that end within REFUSAL seconds, and close all of them."""
    end = time.monotonic() + REFUSAL
    for index, connection in accepted.items():
        connection.settimeout(max(0.001, end - time.monotonic()))
        try:
            is_over = not connection.recv(1)
        except socket.timeout:  # noqa: UP041 - not TimeoutError before Python 3.10
            is_over = False
        except OSError:
            is_over = True
        connection.close()
        if is_over:
            yield index


def meanwhile(function: Callable[[], Found]) -> Callable[[], Found]:
    """Start the function, and return one that waits for it and returns or raises what it did."""
    # concurrent.futures takes a slow host a quarter of a second to load
    found: list[Found] = []
    problems: list[Exception] = []

    def run() -> None:
        try:
            found.append(function())
        except Exception as error:  # noqa: BLE001 - raised again below
            problems.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def end() -> Found:
        thread.join()
        if problems:
            raise problems[0]
        return found[0]

    return end


def connections(probes: list[dict[str, Any]], found: list[Ended], holes: dict[str, Ended]) -> Iterator[Check]:
    """Check of each connection that it ended as it must; where it was made, with what is lost on its way."""
    for index, probe in enumerate(probes):
        what = f"tcp {probe['port']} of {probe['name']} ({probe['address']})"
        expected = "open" if probe["open"] else "no answer"
        its = {key: probe[key] for key in ("name", "address", "port")}
        ended = dict(found[index])
        segment = ended.pop("segment", None)
        hole = holes.get(probe["address"])
        if hole and ended["found"] == "open":
            ended.update(mtu=hole["passes"], lost={**hole, "segment": segment})
        yield {**check(what, expected, ended["found"]), **its, **ended}


SHOWN = 4  # of the names that are wrong


def names(wanted: list[dict[str, str]], timeout: float) -> Iterator[Check]:
    """Check that each name leads to its addresses, as this host's programs find it: one check for all.

    A name server that does not answer takes seconds for each; after ``timeout`` the rest are left.
    """
    addresses: dict[str, set[str]] = {}
    for one in wanted:
        addresses.setdefault(one["name"], set()).add(str(ip_address(one["address"])))
    wrong: list[str] = []
    started = time.monotonic()
    for index, (name, its) in enumerate(addresses.items()):
        if time.monotonic() > started + timeout:
            wrong.append(f"{len(addresses) - index} not asked for: that took too long")
            break
        try:
            found = {str(one[4][0]) for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
        except OSError as error:
            wrong.append(f"{name}: {error.strerror or error}")
        else:
            if not its <= found:
                wrong.append(f"{name}: {', '.join(sorted(found))}, not {', '.join(sorted(its))}")
    if addresses:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        each = f"{len(addresses)} lead to their hosts"
        yield check("names of hosts", each, ("; ".join(wrong[:SHOWN]) + more) if wrong else each)


SPEC: dict[str, dict[str, Any] | Any] = {
    "units": str,
    "routes": {"destination": str, "next_hop": str},
    "connections": {"name": str, "address": str, "port": int, "open": bool},
    "names": {"name": str, "address": str},
    "answers": {"what": str, "url": str},
}
OPTIONAL = {
    "connections": {"forwarded": bool, "echo": bool},
    "answers": {"body": str, "status": int, "answer": str, "contains": str, "unit": str},
}
TIMEOUT = 4.0


def validated(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with their defaults. Raise ValueError that names each that is wrong."""
    problems = [
        f"{key} is not supported: use {', '.join(SPEC)}, timeout" for key in given if key not in {*SPEC, "timeout"}
    ]
    found: dict[str, Any] = {"timeout": float(given.get("timeout") or TIMEOUT)}
    for key, fields in SPEC.items():
        found[key] = given.get(key) or []
        if not isinstance(found[key], list):
            problems.append(f"{key} must be a list, not {json.dumps(found[key])}")
            continue
        for at, one in enumerate(found[key]):
            if isinstance(fields, dict) and isinstance(one, dict):
                problems += [
                    f"{key}[{at}].{name} must be {kind.__name__}, not {json.dumps(one.get(name))}"
                    for name, kind in fields.items()
                    if not isinstance(one.get(name), kind)
                ]
                optional = OPTIONAL.get(key, {})
                problems += [
                    f"{key}[{at}].{name} must be {kind.__name__}, not {json.dumps(one[name])}"
                    for name, kind in optional.items()
                    if one.get(name) is not None and not isinstance(one[name], kind)
                ]
                known = {**fields, **optional}
                problems += [f"{key}[{at}].{name} is not supported" for name in one if name not in known]
            elif not isinstance(one, dict if isinstance(fields, dict) else fields):
                problems.append(f"{key}[{at}] is not of the right type: {json.dumps(one)}")
    if problems:
        raise ValueError("; ".join(problems))
    return found


def result(given: dict[str, Any]) -> dict[str, Any]:
    """Return Ansible's result for Ansible's arguments."""
    params = {key: value for key, value in given.items() if not key.startswith("_ansible_")}
    invocation = {"invocation": {"module_args": params}}
    try:
        wanted = validated(params)
        # what does not answer is waited for while the rest is looked at
        ended = meanwhile(lambda: connected(wanted["connections"], wanted["timeout"]))
        pinged = [one["address"] for one in wanted["connections"] if one["open"] and one.get("echo")]
        holes = meanwhile(lambda: lost([*dict.fromkeys(pinged)]))
        first = [*units(wanted["units"]), *routes(wanted["routes"]), *names(wanted["names"], wanted["timeout"])]
        last = [*answers(wanted["answers"], 5 * wanted["timeout"])]
        checks = [*first, *connections(wanted["connections"], ended(), holes()), *last]
    except Exception as error:  # noqa: BLE001 - whatever it is, Ansible gets an answer that it can read
        said = f"{type(error).__name__}: {error}"
        return {"failed": True, "msg": said, "exception": traceback.format_exc(), **invocation}
    return {"changed": False, "checks": checks, **invocation}


def main(arguments: str) -> int:
    """Run with Ansible's arguments as JSON, print the result as JSON, and return the exit status."""
    found = result(json.loads(arguments))
    print(json.dumps(found))
    return 1 if found.get("failed") else 0


# JSON has no three quotes in a row and nothing that ends with a backslash
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""

if __name__ == "__main__":
    sys.exit(main(ARGUMENTS))
