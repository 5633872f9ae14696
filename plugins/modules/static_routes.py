#!/usr/bin/python
"""Static routes of a host: in force now and after a reboot, with what configures the host's network."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

# Runs on the guests: nothing newer than Python 3.8 outside annotations.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Route = tuple[str, str]  # destination, next hop
    Links = dict[str, tuple[int, list[IPv4Network]]]  # interface -> its index, its connected networks
    Texts = dict[Path, str]

DOCUMENTATION = r"""
module: static_routes
short_description: keep a host's static routes as planned, now and over reboots
description:
  - Writes the routes where the host's network configuration is (a drop-in of systemd-networkd, a file of netplan, the
    connection of NetworkManager) and brings the kernel's table in line without taking the interface down.
  - What it wrote is also the record of what it manages. Other routes (of DHCP, of other tools, made by hand) are left
    alone.
  - Runs on the host and needs Python and ip only.
options:
  routes:
    description: All static routes that the host must have. Routes written earlier and no longer listed are removed.
    type: list
    elements: dict
    required: true
    suboptions:
      destination:
        description: The prefix, for instance V(192.168.2.0/24).
        type: str
        required: true
      next_hop:
        description: The address of the router, on a network that the host is connected to.
        type: str
        required: true
  probes:
    description:
      - What to ask before and after the change.
      - Asked only when a route is new in the kernel's table, and never in check mode.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What to call it in the answer.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: A TCP port that it lets through (open or not); none means ping.
        type: int
author: netorder
"""

EXAMPLES = r"""
- name: Reach net2 through rt2
  static_routes:
    routes:
      - {destination: 192.168.2.0/24, next_hop: 192.168.1.20}
"""

RETURN = r"""
backend:
  description: What configures the host's network; none when there is no route and never was.
  type: str
  returned: always
added:
  description: Routes that were not in the kernel's table and now are.
  type: list
  elements: str
  returned: always
removed:
  description: Routes that were taken away.
  type: list
  elements: str
  returned: always
in_line:
  description: Whether kernel and files already were as wanted.
  type: bool
  returned: always
probes:
  description: For each probe that was made, its name, address, and the answers before and after.
  type: list
  elements: dict
  returned: always
"""

ETC = Path("/etc")
RUN = Path("/run")
HEADER = "# Written by netorder, role static_routes: changes made here are overwritten.\n"
BEFORE_SECONDS = 3
AFTER_SECONDS = 10
SETTLE_SECONDS = 10


class RoutesError(Exception):
    """Something that the user has to mend; the text says what."""


def run(*command: str, check: bool = True) -> str:
    """Return a command's output. Raise RoutesError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RoutesError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def connected() -> Links:
    """Return the interfaces that have IPv4 addresses, loopback apart."""
    links: Links = {}
    for link in json.loads(run("ip", "-json", "-4", "address", "show") or "[]"):
        # older iproute2 lists empty objects for interfaces without such an address
        if link.get("ifname", "lo") != "lo":
            nets = [IPv4Interface(f"{a['local']}/{a['prefixlen']}").network for a in link["addr_info"]]
            links[link["ifname"]] = (link["ifindex"], nets)
    return links


def kernel() -> set[Route]:
    """Return the routes in force that have a static route's metric, none: DHCP's have one and are not ours."""
    return {
        (str(IPv4Network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])), route["gateway"])
        for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "main") or "[]")
        if "gateway" in route and not route.get("metric")
    }


def by_interface(routes: set[Route], links: Links) -> dict[str, list[Route]]:
    """Sort routes by the interface that their next hop is on. Raise RoutesError when it is on none."""
    found: dict[str, list[Route]] = {}
    for destination, next_hop in sorted(routes):
        names = [name for name, (_, nets) in links.items() if any(IPv4Address(next_hop) in net for net in nets)]
        if not names:
            nets = ", ".join(str(net) for _, nets in links.values() for net in nets)
            raise RoutesError(f"next hop {next_hop} of {destination} is on no network of this host ({nets or 'none'})")
        found.setdefault(names[0], []).append((destination, next_hop))
    return found


def network_file(index: int) -> str | None:
    """Return the name of the .network file that systemd-networkd uses for an interface."""
    state = RUN / f"systemd/netif/links/{index}"
    lines = state.read_text().splitlines() if state.exists() else []
    return next((Path(line[13:]).name for line in lines if line.startswith("NETWORK_FILE=")), None)


def reload_networkd() -> None:
    """Make networkd read its files: it would bring back what it knows at the next loss of carrier."""
    if (RUN / "dbus/system_bus_socket").exists():
        run("networkctl", "reload")
    else:
        # an image without D-Bus; addresses and routes stay while networkd is away
        run("systemctl", "restart", "systemd-networkd")


class _Networkd:
    """systemd-networkd: a drop-in beside the .network file that each interface uses. The drop-ins are the record."""

    name = "systemd-networkd"
    drop_in = "60-netorder.conf"

    @staticmethod
    def in_use(links: Links) -> bool:
        return any(network_file(index) for index, _ in links.values())

    def current(self) -> Texts:
        return {path: path.read_text() for path in (ETC / "systemd/network").glob(f"*.network.d/{self.drop_in}")}

    def parse(self, text: str) -> set[Route]:
        values = [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(("Destination=", "Gateway="))]
        return {(values[i], values[i + 1]) for i in range(0, len(values), 2)}

    def wanted(self, routes: set[Route], links: Links) -> Texts:
        texts: Texts = {}
        for interface, own in by_interface(routes, links).items():
            file = network_file(links[interface][0])
            if file is None:
                raise RoutesError(f"systemd-networkd runs and does not manage {interface}: no .network file matches it")
            sections = [f"\n[Route]\nDestination={destination}\nGateway={gateway}\n" for destination, gateway in own]
            texts[ETC / f"systemd/network/{file}.d" / self.drop_in] = HEADER + "".join(sections)
        return texts

    def apply(self, before: Texts, after: Texts) -> None:
        replace(before, after)
        reload_networkd()


class _Netplan:
    """netplan: one file, which netplan merges with the definition of each interface. The file is the record."""

    name = "netplan"
    file = "netplan/90-netorder.yaml"

    @staticmethod
    def in_use(links: Links) -> bool:  # noqa: ARG004 - netplan is known by its files
        return shutil.which("netplan") is not None and any((ETC / "netplan").glob("*.yaml"))

    def current(self) -> Texts:
        path = ETC / self.file
        return {path: path.read_text()} if path.exists() else {}

    def parse(self, text: str) -> set[Route]:
        ethernets = json.loads(text.split("\n", 1)[1])["network"]["ethernets"]
        return {(route["to"], route["via"]) for own in ethernets.values() for route in own["routes"]}

    def wanted(self, routes: set[Route], links: Links) -> Texts:
        if not routes:
            return {}
        ethernets = {
            self.definition(name, links[name][0]): {"routes": [{"to": to, "via": via} for to, via in own]}
            for name, own in by_interface(routes, links).items()
        }
        # JSON is YAML, and the standard library has no other
        text = json.dumps({"network": {"version": 2, "ethernets": ethernets}}, indent=2, sort_keys=True)
        return {ETC / self.file: f"{HEADER}{text}\n"}

    def definition(self, interface: str, index: int) -> str:
        """Return netplan's name for an interface, which is in the name of what it generated for networkd."""
        generated = network_file(index) or ""
        if generated.startswith("10-netplan-"):
            return generated[len("10-netplan-") : -len(".network")]
        return interface

    def apply(self, before: Texts, after: Texts) -> None:
        replace(before, after)
        run("netplan", "generate")
        if run("systemctl", "is-active", "systemd-networkd", check=False).strip() == "active":
            reload_networkd()
        else:
            run("nmcli", "connection", "reload")


class _NetworkManager:
    """NetworkManager: routes of the active connections. A file of our own remembers which of them are ours."""

    name = "NetworkManager"
    file = "NetworkManager/netorder-routes.json"

    @staticmethod
    def in_use(links: Links) -> bool:  # noqa: ARG004 - it is asked itself
        return run("systemctl", "is-active", "NetworkManager", check=False).strip() == "active"

    def current(self) -> Texts:
        path = ETC / self.file
        return {path: path.read_text()} if path.exists() else {}

    def parse(self, text: str) -> set[Route]:
        return {(destination, next_hop) for own in json.loads(text).values() for destination, next_hop in own}

    def wanted(self, routes: set[Route], links: Links) -> Texts:
        if not routes:
            return {}
        return {ETC / self.file: json.dumps(by_interface(routes, links), indent=2, sort_keys=True) + "\n"}

    def apply(self, before: Texts, after: Texts) -> None:
        path = ETC / self.file
        had = json.loads(before.get(path, "{}"))
        wanted = json.loads(after.get(path, "{}"))
        for interface in sorted({*had, *wanted}):
            old = {tuple(route) for route in had.get(interface, [])}
            new = {tuple(route) for route in wanted.get(interface, [])}
            edits: list[str] = []
            for sign, routes in (("-", old - new), ("+", new - old)):
                for destination, next_hop in sorted(routes):
                    edits += [f"{sign}ipv4.routes", f"{destination} {next_hop}"]
            if edits:
                connection = run("nmcli", "-g", "GENERAL.CONNECTION", "device", "show", interface).strip()
                run("nmcli", "connection", "modify", connection, *edits)
                run("nmcli", "device", "reapply", interface)  # leaves the interface up
        replace(before, after)


def backend(links: Links) -> _Networkd | _Netplan | _NetworkManager:
    """Return what configures this host's network. netplan first: it drives one of the others."""
    for kind in (_Netplan, _Networkd, _NetworkManager):
        if kind.in_use(links):
            return kind()
    raise RoutesError(
        "this host's network is configured by none of netplan, systemd-networkd and NetworkManager: "
        "routes would be lost at the next boot. Use an image that has one of them"
    )


def replace(before: Texts, after: Texts) -> None:
    """Bring files from one state to another, each in one step."""
    for path in set(before) - set(after):
        path.unlink()
    for path, text in after.items():
        if before.get(path) == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        # netplan complains of files that others can read, networkd cannot read those that they cannot
        new.chmod(0o600 if path.suffix == ".yaml" else 0o644)
        new.replace(path)


def ask(probe: dict[str, Any], seconds: int) -> tuple[bool, str]:
    """Ask one address; return whether a packet came back, and how in words."""
    address, port = probe["address"], probe["port"]
    if port is None:
        if not shutil.which("ping"):
            return False, "not asked, this host has no ping"
        # -w: once a second until the first answer; the first packet may be lost to ARP
        reply = run("ping", "-n", "-c", "1", "-w", str(seconds), address, check=False)
        line = next((line for line in reply.splitlines() if " ttl=" in line), None)
        return (True, f"ping answers ({line.split(': ', 1)[1]})") if line else (False, "ping: no answer")
    try:
        socket.create_connection((address, port), seconds).close()
    except ConnectionRefusedError:
        return True, f"tcp {port} answers (refuses)"
    except OSError:
        return False, f"tcp {port}: no answer"
    return True, f"tcp {port} answers"


def ask_all(probes: list[dict[str, Any]], seconds: int) -> list[tuple[bool, str]]:
    """Ask all at the same time."""
    answers: dict[int, tuple[bool, str]] = {}

    def one(index: int) -> None:
        answers[index] = ask(probes[index], seconds)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(probes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[index] for index in range(len(probes))]


def words(routes: set[Route]) -> list[str]:
    """Return routes as people write them."""
    return [f"{destination} via {next_hop}" for destination, next_hop in sorted(routes)]


def listing(kept: set[Route], in_force: set[Route]) -> str:
    """Return routes as lines for --diff."""
    states = {
        (True, True): "in force, kept over reboots",
        (True, False): "not in force, kept over reboots",
        (False, True): "in force, lost at the next boot",
    }
    lines = [
        f"{destination} via {next_hop} ({states[(destination, next_hop) in kept, (destination, next_hop) in in_force]})"
        for destination, next_hop in sorted(kept | in_force)
    ]
    return "".join(f"{line}\n" for line in lines)


def missing(routes: set[Route]) -> set[Route]:
    """Return what is not in force after a while: networkd drops a route that is not its own, then adds its own.

    Whoever adds another in between leaves two.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = routes - kernel()
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.3)


def put_in_force(routes: set[Route]) -> None:
    """Put routes into the kernel's table."""
    for destination, next_hop in sorted(routes):
        run("ip", "route", "replace", destination, "via", next_hop, "proto", "static")


def converge(routes: set[Route], probes: list[dict[str, Any]], *, check_mode: bool) -> dict[str, Any]:
    """Compare with what is, change it unless in check mode, and return the module's result."""
    links = connected()
    manager = backend(links)
    before = manager.current()
    after = manager.wanted(routes, links)
    had: set[Route] = set()
    for text in before.values():
        had |= manager.parse(text)
    in_force = kernel()
    add = routes - in_force
    changed = before != after or bool(add)
    result = {
        "backend": manager.name,
        "changed": changed,
        "in_line": not changed,
        "added": words(add),
        "removed": words(had - routes),
        "probes": [],
        "diff": {
            "before_header": "static routes",
            "after_header": f"static routes ({manager.name})",
            "before": listing(had, in_force & (had | routes)),
            "after": listing(routes, routes),
        },
    }
    if check_mode or not changed:
        return result

    asked = probes if add else []
    answers_before = ask_all(asked, BEFORE_SECONDS)
    for destination, next_hop in sorted((had - routes) & in_force):
        run("ip", "route", "del", destination, "via", next_hop)
    put_in_force(add)
    if before != after:
        manager.apply(before, after)
        put_in_force(missing(routes))
    left = (kernel() & had) - routes
    if left:
        raise RoutesError(f"the kernel keeps {', '.join(words(left))}, although deleted: who puts it back?")
    answers_after = ask_all(asked, AFTER_SECONDS)
    result["probes"] = [
        {
            "name": probe["name"],
            "address": probe["address"],
            "before": answers_before[index][1],
            "after": answers_after[index][1],
            "reached_before": answers_before[index][0],
            "reached_after": answers_after[index][0],
        }
        for index, probe in enumerate(asked)
    ]
    return result


def main() -> None:
    """Run as an Ansible module."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "routes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"destination": text, "next_hop": text},
            },
            "probes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": text, "address": text, "port": {"type": "int"}},
            },
        },
        supports_check_mode=True,
    )
    try:
        routes = {
            (str(IPv4Network(route["destination"])), str(IPv4Address(route["next_hop"])))
            for route in module.params["routes"]
        }
        module.exit_json(**converge(routes, module.params["probes"], check_mode=module.check_mode))
    except (RoutesError, ValueError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
