#!/usr/bin/python
"""What is true on a host, beside what should be: units, routes, and who answers on which TCP port. Changes nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from ipaddress import ip_network

from ansible.module_utils.basic import AnsibleModule

# Runs on the guests: nothing newer than Python 3.8 outside annotations.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Check = dict[str, Any]

DOCUMENTATION = r"""
module: observe
short_description: compare units, routes and TCP connections with what is planned
description:
  - Looks, and never changes anything. All connections are tried at the same time.
  - A difference is not a failure of the module; it is a check whose C(ok) is false.
options:
  units:
    description: systemd units that must be active and enabled.
    type: list
    elements: str
    default: []
  routes:
    description: Where packets must go. The kernel is asked, not a table.
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
      name: {description: What to call the host asked., type: str, required: true}
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
  observe:
    connections:
      - {name: sum, address: 192.168.2.20, port: 50001, open: true}
      - {name: sum, address: 192.168.2.20, port: 9, open: false}
"""

RETURN = r"""
checks:
  description:
    - One entry for each unit, route and connection, with what, expected, found and ok.
    - That of a connection also has name and port.
  type: list
  elements: dict
  returned: always
"""


def output(*command: str) -> str:
    """Return a command's output, empty when it fails: that is then what was found."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def check(what: str, expected: str, found: str) -> Check:
    """Return one finding."""
    return {"what": what, "expected": expected, "found": found, "ok": expected == found}


def units(names: list[str]) -> Iterator[Check]:
    """Say of each unit whether it runs and will run after the next boot."""
    for name in names:
        shown = output("systemctl", "show", "--property=ActiveState,UnitFileState", name)
        state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        found = f"{state.get('ActiveState') or 'unknown'}, {state.get('UnitFileState') or 'not installed'}"
        yield check(f"unit {name}", "active, enabled", found)


def routes(wanted: list[dict[str, str]]) -> Iterator[Check]:
    """Say where the kernel sends a packet for the first host of each prefix."""
    for route in wanted:
        network = ip_network(route["destination"])
        target = str(network[min(1, network.num_addresses - 1)])
        # no output at all: no route
        answers = json.loads(output("ip", "-json", "route", "get", target) or "[{}]")
        found = f"via {answers[0]['gateway']}" if "gateway" in answers[0] else "no router"
        yield check(f"route to {network}", f"via {route['next_hop']}", found)


def connect(address: str, port: int, timeout: float) -> str:
    """Try one connection: open, refused (it got through, nothing listens) or no answer (dropped, or no way there)."""
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
    probe = {
        "name": text,
        "address": text,
        "port": {"type": "int", "required": True},
        "open": {"type": "bool", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "routes": {"type": "list", "elements": "dict", "default": [], "options": route},
            "connections": {"type": "list", "elements": "dict", "default": [], "options": probe},
            "timeout": {"type": "float", "default": 4},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    checks = [
        *units(wanted["units"]),
        *routes(wanted["routes"]),
        *connections(wanted["connections"], wanted["timeout"]),
    ]
    module.exit_json(changed=False, checks=checks)


if __name__ == "__main__":
    main()
