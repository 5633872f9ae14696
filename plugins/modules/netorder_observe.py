#!/usr/bin/python
"""Units, routes, TCP connections, names and answers of a host, compared with the plan. Changes nothing."""

# Sent to the host as it is, with its arguments in the last lines, and read by Python from standard input (Ansible's
# module style "new" of the kind jsonargs): the standard library alone, nothing newer than Python 3.8 but annotations.

from __future__ import annotations

import errno
import json
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
    from typing import Any

    Check = dict[str, Any]
    Ended = dict[str, Any]  # found; of what answered also ms and mtu, where the kernel knows

DOCUMENTATION = r"""
module: netorder_observe
short_description: compare units, routes, TCP connections and answers with the plan
description:
  - Never changes anything. All connections are tried at the same time.
  - A difference is not a failure of the module; it is a check whose C(ok) is false.
  - Where a connection must succeed, one datagram as large as the interface takes goes to port 9 of the same address, so
    that a router on which it does not fit can say so.
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
      than that of the interface was heard of.
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


def round_trip(connection: socket.socket) -> float | None:
    """Return the milliseconds from SYN to its answer, by the kernel's own clock; None where it does not tell."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    # tcp_info of linux/tcp.h: 8 bytes, then numbers of 4; the 16th is tcpi_rtt in microseconds
    info = connection.getsockopt(socket.IPPROTO_TCP, option, 104)
    (microseconds,) = struct.unpack_from("I", info, 8 + 4 * 15)
    return microseconds / 1000 or None  # 0: the SYN was sent twice


def ended(connection: socket.socket) -> Ended:
    """Return how a connection ended, and its round trip."""
    found: Ended = {"found": outcome(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))}
    if found["found"] == "open" and (took := round_trip(connection)):
        found["ms"] = took
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


def meanwhile(function: Callable[[], list[Ended]]) -> Callable[[], list[Ended]]:
    """Start the function, and return one that waits for it and returns or raises what it did."""
    # concurrent.futures takes a slow host a quarter of a second to load
    found: list[Ended] = []
    problems: list[Exception] = []

    def run() -> None:
        try:
            found.extend(function())
        except Exception as error:  # noqa: BLE001 - raised again below
            problems.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def end() -> list[Ended]:
        thread.join()
        if problems:
            raise problems[0]
        return found

    return end


def connections(probes: list[dict[str, Any]], found: list[Ended]) -> Iterator[Check]:
    """Check of each connection that it ended as it must."""
    for index, probe in enumerate(probes):
        what = f"tcp {probe['port']} of {probe['name']} ({probe['address']})"
        expected = "open" if probe["open"] else "no answer"
        its = {key: probe[key] for key in ("name", "address", "port")}
        yield {**check(what, expected, found[index]["found"]), **its, **found[index]}


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
    "connections": {"forwarded": bool},
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
        first = [*units(wanted["units"]), *routes(wanted["routes"]), *names(wanted["names"], wanted["timeout"])]
        last = [*answers(wanted["answers"], 5 * wanted["timeout"])]
        checks = [*first, *connections(wanted["connections"], ended()), *last]
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
