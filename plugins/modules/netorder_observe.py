#!/usr/bin/python
"""Units, services, routes and TCP connections of a host, compared with the plan. Changes nothing."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from ipaddress import ip_network

from ansible.module_utils.basic import AnsibleModule

# Runs on the guests: nothing newer than Python 3.8 outside annotations.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Check = dict[str, Any]

DOCUMENTATION = r"""
module: netorder_observe
short_description: compare units, services, routes and TCP connections with the plan
description:
  - Never changes anything. All connections are tried at the same time.
  - A difference is not a failure of the module; it is a check whose C(ok) is false.
options:
  units:
    description: systemd units that must be active, enabled and loaded from their present file.
    type: list
    elements: str
    default: []
  services:
    description:
      - Services of the calculator that must be healthy and of a version. Probed only where the unit is active, which
        I(units) checks.
    type: list
    elements: dict
    default: []
    suboptions:
      unit: {description: Its systemd unit., type: str, required: true}
      url: {description: Where it answers on this host., type: str, required: true}
      version: {description: The first 12 digits of its artefact's digest., type: str, required: true}
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
  timeout:
    description: Seconds until a connection counts as not answered. A lost SYN is sent again after 1 s and after 3 s.
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
    - One entry for each unit, route and connection, and two for each service that runs, with what, expected, found
      and ok.
    - That of a connection also has name and port.
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


def fetch(url: str, timeout: float) -> tuple[str, str]:
    """Return the outcome of a GET in a word or two, and the body."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - the plan's URLs
            return "ok", answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return f"status {error.code}", ""
    except OSError as error:
        return f"no answer ({getattr(error, 'reason', error)})", ""


def services(wanted: list[dict[str, Any]], timeout: float) -> Iterator[Check]:
    """Check of each running service that it is healthy and of the planned version."""
    for service in wanted:
        if unit_state(service["unit"]).get("ActiveState") != "active":
            continue
        health, _ = fetch(f"{service['url']}/healthz", timeout)
        yield check(f"health of {service['unit']}", "ok", health)
        outcome, metrics = fetch(f"{service['url']}/metrics", timeout)
        version = re.search('artefact="([^"]*)"', metrics)
        yield check(f"version of {service['unit']}", service["version"], version[1] if version else outcome)


def routes(wanted: list[dict[str, str]]) -> Iterator[Check]:
    """Check where the kernel sends a packet for the first host of each prefix."""
    for route in wanted:
        network = ip_network(route["destination"])
        target = str(network[min(1, network.num_addresses - 1)])
        # no output at all: no route
        answers = json.loads(output("ip", "-json", "route", "get", target) or "[{}]")
        found = f"via {answers[0]['gateway']}" if "gateway" in answers[0] else "no router"
        yield check(f"route to {network}", f"via {route['next_hop']}", found)


def connect(address: str, port: int, timeout: float) -> str:
    """Try one connection: open, refused (it got through, nothing listens) or no answer (dropped, or no route)."""
    try:
        socket.create_connection((address, port), timeout).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "no answer"
    return "open"


def connections(probes: list[dict[str, Any]], timeout: float) -> Iterator[Check]:
    """Try all connections at once."""
    found: dict[int, str] = {}

    def one(index: int) -> None:
        found[index] = connect(probes[index]["address"], probes[index]["port"], timeout)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(probes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, probe in enumerate(probes):
        what = f"tcp {probe['port']} of {probe['name']} ({probe['address']})"
        expected = "open" if probe["open"] else "no answer"
        yield {**check(what, expected, found[index]), "name": probe["name"], "port": probe["port"]}


def main() -> None:
    """Run as an Ansible module."""
    text = {"type": "str", "required": True}
    route = {"destination": text, "next_hop": text}
    service = {"unit": text, "url": text, "version": text}
    probe = {
        "name": text,
        "address": text,
        "port": {"type": "int", "required": True},
        "open": {"type": "bool", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "services": {"type": "list", "elements": "dict", "default": [], "options": service},
            "routes": {"type": "list", "elements": "dict", "default": [], "options": route},
            "connections": {"type": "list", "elements": "dict", "default": [], "options": probe},
            "timeout": {"type": "float", "default": 4},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    checks = [
        *units(wanted["units"]),
        *services(wanted["services"], wanted["timeout"]),
        *routes(wanted["routes"]),
        *connections(wanted["connections"], wanted["timeout"]),
    ]
    module.exit_json(changed=False, checks=checks)


if __name__ == "__main__":
    main()
