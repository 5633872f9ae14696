#!/usr/bin/python
"""Static routes of a host: in force now and after a reboot, with what configures the host's network."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

# Runs on the guests: nothing newer than Python 3.8 outside annotations.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any

    Route = tuple[str, str]  # destination, next hop
    Links = dict[str, tuple[int, list[IPv4Network | IPv6Network]]]  # interface -> its index, its connected networks
    Settings = dict[str, "Interface"]  # interface -> what is to be said of it
    Texts = dict[Path, str]
    Difference = dict[str, str]

DOCUMENTATION = r"""
module: netorder_host_network
short_description: keep a host's static routes, addresses and forwarding as planned, now and over reboots
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
  interfaces:
    description:
      - What each interface must be like; empty where the cloud's DHCP says all of it. One is known by its address.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: One of its addresses, which DHCP has given it.
        type: str
        required: true
      static:
        description: Addresses with their prefix lengths that it gets from nobody else.
        type: list
        elements: str
        default: []
      unwanted:
        description: The IP versions of which a default gateway is offered here that must not be used.
        type: list
        elements: int
        default: []
  addresses:
    description:
      - All addresses that the host must have. Others that somebody added to the same interfaces are removed; those that
        a lease or an advertisement gave (C(dynamic)) are not. An address of DHCP that is missing is told of and not
        made up.
      - Empty means that nobody looks.
    type: list
    elements: str
    default: []
  forwarding:
    description: Whether the host passes packets on between its interfaces.
    type: bool
    default: false
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
  netorder_host_network:
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
differences:
  description: What was not as wanted, each with what, expected and found, in words.
  type: list
  elements: dict
  returned: always
probes:
  description: For each probe that was made, its name, address, and the answers before and after.
  type: list
  elements: dict
  returned: always
"""

IPV4 = 4
IPV6 = 6
ETC = Path("/etc")
PROC = Path("/proc/sys")
RUN = Path("/run")
HEADER = "# Written by netorder, role host_network: changes made here are overwritten.\n"
BEFORE_SECONDS = 3
AFTER_SECONDS = 10
SETTLE_SECONDS = 10


class HostNetworkError(Exception):
    """Something that the user has to mend; the text says what."""


def run(*command: str, check: bool = True) -> str:
    """Return a command's output. Raise HostNetworkError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise HostNetworkError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Interface:
    """What is to be said of one interface. ``mac`` is how the configuration names it."""

    def __init__(self, mac: str, wanted: dict[str, Any]) -> None:
        self.mac = mac
        self.static: list[str] = wanted["static"]
        self.unwanted: list[int] = wanted["unwanted"]


def version(address: str) -> int:
    """Return the IP version of an address or prefix."""
    return 6 if ":" in address else 4


def listed(*arguments: str) -> list[dict[str, Any]]:
    """Return what ip lists; older ones list empty objects for interfaces without such an address."""
    entries: list[dict[str, Any]] = json.loads(run("ip", "-json", *arguments) or "[]")
    return [entry for entry in entries if entry]


def connected(versions: tuple[int, ...] = (4,)) -> Links:
    """Return the interfaces that have addresses of these IP versions, loopback apart."""
    links: Links = {}
    for one in versions:
        for link in listed(f"-{one}", "address", "show"):
            if link.get("ifname", "lo") != "lo":
                # DHCPv6 gives an address without its prefix, which is a /64 (RFC 7421)
                nets = [
                    ip_interface(f"{a['local']}/{64 if one == IPV6 else a['prefixlen']}").network
                    for a in link["addr_info"]
                    if a.get("scope") != "link"
                ]
                links.setdefault(link["ifname"], (link["ifindex"], []))[1].extend(nets)
    return links


def settings(interfaces: list[dict[str, Any]]) -> Settings:
    """Find the interfaces by their addresses. Raise HostNetworkError when one is not there (yet)."""
    found: Settings = {}
    links = [link for link in listed("address", "show") if "ifname" in link] if interfaces else []
    for wanted in interfaces:
        names = [
            (link["ifname"], link["address"])
            for link in links
            for address in link["addr_info"]
            if ip_address(address["local"]) == ip_address(wanted["address"])
        ]
        if not names:
            raise HostNetworkError(
                f"no interface has {wanted['address']}: has DHCP given it? `ip address` on the host shows"
            )
        found[names[0][0]] = Interface(names[0][1], wanted)
    return found


def static(say: Settings) -> set[str]:
    """Return the static addresses, without prefix lengths."""
    return {str(ip_interface(one).ip) for interface in say.values() for one in interface.static}


def static_networks(links: Links, say: Settings) -> dict[str, list[str]]:
    """Add the networks of static addresses to those of their interfaces; return the addresses not there yet."""
    absent: dict[str, list[str]] = {}
    for name, interface in say.items():
        nets = links.setdefault(name, (0, []))[1]
        for address in interface.static:
            if ip_interface(address).network not in nets:
                nets.append(ip_interface(address).network)
                absent.setdefault(name, []).append(address)
    return absent


def kernel(versions: tuple[int, ...] = (4,)) -> set[Route]:
    """Return the static routes in force. In IPv4 they have no metric: DHCP's have one and are not ours."""
    found: set[Route] = set()
    for one in versions:
        for route in listed(f"-{one}", "route", "show", "table", "main"):
            static = route.get("protocol") == "static" if one == IPV6 else not route.get("metric")
            if "gateway" in route and static:
                destination = ("::/0" if one == IPV6 else "0.0.0.0/0") if route["dst"] == "default" else route["dst"]
                found.add((str(ip_network(destination)), route["gateway"]))
    return found


def by_interface(routes: set[Route], links: Links) -> dict[str, list[Route]]:
    """Sort routes by the interface that their next hop is on. Raise HostNetworkError when it is on none."""
    found: dict[str, list[Route]] = {}
    for destination, next_hop in sorted(routes):
        names = [name for name, (_, nets) in links.items() if any(ip_address(next_hop) in net for net in nets)]
        if not names:
            nets = ", ".join(str(net) for _, nets in links.values() for net in nets)
            raise HostNetworkError(
                f"next hop {next_hop} of {destination} is on no network of this host ({nets or 'none'})"
            )
        found.setdefault(names[0], []).append((destination, next_hop))
    return found


def network_path(index: int) -> Path | None:
    """Return the .network file that systemd-networkd uses for an interface."""
    state = RUN / f"systemd/netif/links/{index}"
    lines = state.read_text().splitlines() if state.exists() else []
    return next((Path(line[13:]) for line in lines if line.startswith("NETWORK_FILE=")), None)


def network_file(index: int) -> str | None:
    """Return its name."""
    path = network_path(index)
    return path.name if path else None


def reload_networkd() -> None:
    """Make networkd read its files: it would bring back what it knows at the next loss of carrier."""
    if (RUN / "dbus/system_bus_socket").exists():
        run("networkctl", "reload")
    else:
        # an image without D-Bus; addresses and routes stay while networkd is away
        run("systemctl", "restart", "systemd-networkd")


def sections(text: str, *left_out: str) -> str:
    """Return the sections of a .network file but for those ``left_out``, without comments."""
    kept: list[str] = []
    keep = False
    for line in text.splitlines():
        if line.startswith("["):
            keep = line.strip() not in left_out
        if keep and line.strip() and not line.startswith(("#", ";")):
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)


class _Networkd:
    """systemd-networkd: a drop-in beside the .network file that the interface uses.

    Where there are several interfaces they may all use one such file, so each gets one of its own, made from that and
    matched by its MAC. What is written is the record.
    """

    name = "systemd-networkd"
    drop_in = "60-netorder.conf"
    own = "05-netorder-{}.network"
    origin = "# Made from "

    @staticmethod
    def in_use(links: Links) -> bool:
        return any(network_file(index) for index, _ in links.values())

    def current(self) -> Texts:
        directory = ETC / "systemd/network"
        files = [*directory.glob(f"*.network.d/{self.drop_in}"), *directory.glob(self.own.format("*"))]
        return {path: path.read_text() for path in files}

    def parse(self, text: str) -> set[Route]:
        values = [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(("Destination=", "Gateway="))]
        return {(values[i], values[i + 1]) for i in range(0, len(values), 2)}

    def wanted(self, routes: set[Route], links: Links, say: Settings) -> Texts:
        texts: Texts = {}
        found = by_interface(routes, links)
        for interface in {**found, **say}:
            file = network_path(links[interface][0])
            if file is None:
                raise HostNetworkError(
                    f"systemd-networkd runs and does not manage {interface}: no .network file matches it"
                )
            own = "".join(f"\n[Route]\nDestination={to}\nGateway={via}\n" for to, via in found.get(interface, []))
            if interface in say:
                texts[ETC / "systemd/network" / self.own.format(interface)] = self.whole(file, say[interface]) + own
            else:
                texts[ETC / f"systemd/network/{file.name}.d" / self.drop_in] = HEADER + own
        return texts

    def whole(self, file: Path, interface: Interface) -> str:
        """Return an interface's own file, as far as its routes."""
        text = file.read_text()
        if text.startswith(HEADER + self.origin):  # ours, from an earlier run
            file = Path(text[len(HEADER + self.origin) :].split("\n", 1)[0])
            text = file.read_text()
        lines = [f"{HEADER}{self.origin}{file}\n[Match]\nMACAddress={interface.mac}\n\n{sections(text, '[Match]')}"]
        # advertisements count on a host that forwards, too (RFC 4861, section 6.2.7, is about routers that advertise)
        lines.append("\n[Network]\nIPv6AcceptRA=true\n" + "".join(f"Address={one}\n" for one in interface.static))
        if IPV4 in interface.unwanted:
            lines.append("\n[DHCPv4]\nUseRoutes=false\nUseGateway=false\n")
        if IPV6 in interface.unwanted:
            lines.append("\n[IPv6AcceptRA]\nUseGateway=false\n")
        return "".join(lines)

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
        return {(route["to"], route["via"]) for own in ethernets.values() for route in own.get("routes", [])}

    def wanted(self, routes: set[Route], links: Links, say: Settings) -> Texts:
        if not routes and not say:
            return {}
        ethernets: dict[str, dict[str, Any]] = {}
        for name, own in by_interface(routes, links).items():
            ethernets[self.definition(name, links[name][0])] = {"routes": [{"to": to, "via": via} for to, via in own]}
        for name, interface in say.items():
            its = ethernets.setdefault(self.definition(name, links[name][0]), {})
            if interface.static:
                its["addresses"] = interface.static
            if IPV4 in interface.unwanted:
                its["dhcp4-overrides"] = {"use-routes": False}
            if IPV6 in interface.unwanted:
                its["dhcp6-overrides"] = {"use-routes": False}
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
        record = json.loads(text)
        return {(to, via) for name, own in record.items() if " " not in name for to, via in own}

    def wanted(self, routes: set[Route], links: Links, say: Settings) -> Texts:
        if not routes and not say:
            return {}
        record: dict[str, Any] = {name: list(own) for name, own in by_interface(routes, links).items()}
        record |= {f"{name} never-default": interface.unwanted for name, interface in say.items() if interface.unwanted}
        record |= {f"{name} addresses": interface.static for name, interface in say.items() if interface.static}
        return {ETC / self.file: json.dumps(record, indent=2, sort_keys=True) + "\n"}

    def apply(self, before: Texts, after: Texts) -> None:
        path = ETC / self.file
        had = json.loads(before.get(path, "{}"))
        wanted = json.loads(after.get(path, "{}"))
        for interface in sorted({name.split()[0] for name in (*had, *wanted)}):
            old = {tuple(route) for route in had.get(interface, [])}
            new = {tuple(route) for route in wanted.get(interface, [])}
            edits: list[str] = []
            for sign, routes in (("-", old - new), ("+", new - old)):
                for destination, next_hop in sorted(routes):
                    edits += [f"{sign}ipv{version(destination)}.routes", f"{destination} {next_hop}"]
            never = [set(one.get(f"{interface} never-default", [])) for one in (had, wanted)]
            for one in sorted(never[0] ^ never[1]):
                edits += [f"ipv{one}.never-default", "yes" if one in never[1] else "no"]
            static = [set(one.get(f"{interface} addresses", [])) for one in (had, wanted)]
            for sign, addresses in (("-", static[0] - static[1]), ("+", static[1] - static[0])):
                for address in sorted(addresses):
                    edits += [f"{sign}ipv6.addresses", address]
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
    raise HostNetworkError(
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


def lines(differences: list[Difference], state: str) -> str:
    """Return what differs beside routes as lines for --diff."""
    return "".join(f"{one['what']}: {one[state]}\n" for one in differences)


def missing(routes: set[Route], versions: tuple[int, ...]) -> set[Route]:
    """Return what is not in force after a while: networkd drops a route that is not its own, then adds its own.

    Whoever adds another in between leaves two.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = routes - kernel(versions)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.3)


def put_in_force(routes: set[Route]) -> None:
    """Put routes into the kernel's table."""
    for destination, next_hop in sorted(routes):
        six = ["-6"] if version(destination) == IPV6 else []
        run("ip", *six, "route", "replace", destination, "via", next_hop, "proto", "static")


def unwanted_defaults(say: Settings) -> list[tuple[int, str, str]]:
    """Return IP version, interface and protocol of each default route in force that must not be used.

    Those of protocol static are planned: where several routers advertise themselves, one is told to be the gateway.
    """
    return [
        (one, name, route.get("protocol", "boot"))
        for name, interface in sorted(say.items())
        for one in interface.unwanted
        for route in listed(f"-{one}", "route", "show", "default", "dev", name)
        if route.get("protocol") != "static"
    ]


def remove_defaults(say: Settings) -> None:
    """Remove these routes; networkd adds one once more if an advertisement came before it read its files."""
    for one, name, protocol in unwanted_defaults(say):
        run("ip", f"-{one}", "route", "del", "default", "dev", name, "proto", protocol, check=False)


def addresses_in_force() -> list[tuple[str, str, bool]]:
    """Return interface, address with prefix length, and whether it is lent (DHCP, advertisements), link-local apart."""
    return [
        (link["ifname"], f"{address['local']}/{address['prefixlen']}", bool(address.get("dynamic")))
        for link in listed("address", "show")
        for address in link.get("addr_info", [])
        if link.get("ifname", "lo") != "lo" and address.get("scope") not in {"link", "host"}
    ]


def compare_addresses(wanted: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what somebody added to the planned addresses' interfaces, and the planned ones that are nowhere."""
    plan = {ip_address(one) for one in wanted}
    there = [(name, ip_interface(one), lent) for name, one, lent in (addresses_in_force() if plan else [])]
    ours = {name for name, one, _ in there if one.ip in plan}
    foreign = [(name, str(one)) for name, one, lent in there if name in ours and one.ip not in plan and not lent]
    return foreign, [str(one) for one in sorted(plan - {one.ip for _, one, _ in there}, key=str)]


SYSCTL = "sysctl.d/60-netorder.conf"
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
# an answer may come by another way than the question went; loose reverse-path filtering (RFC 3704) lets it
LOOSE = {"net.ipv4.conf.all.rp_filter": "2"}


def sysctl_wanted(say: Settings, *, forwarding: bool) -> dict[str, str]:
    """Return the kernel settings that the host must have; written down are those that are not the kernel's own."""
    return {**dict.fromkeys(FORWARDING, "1" if forwarding else "0"), **(LOOSE if say or forwarding else {})}


def sysctl_texts(wanted: dict[str, str]) -> Texts:
    """Return the file that brings them back after a reboot, none where the kernel's own do."""
    lines = "".join(f"{key} = {value}\n" for key, value in wanted.items() if value != "0")
    return {ETC / SYSCTL: HEADER + lines} if lines else {}


def sysctl_current() -> Texts:
    """Return the kernel settings that were written earlier."""
    path = ETC / SYSCTL
    return {path: path.read_text()} if path.exists() else {}


def sysctl_wrong(wanted: dict[str, str]) -> dict[str, str]:
    """Return the values in force that are not as wanted; a kernel without IPv6 does not forward it."""
    found = {}
    for key, value in wanted.items():
        path = PROC / key.replace(".", "/")
        has = path.read_text().strip() if path.exists() else "0"
        if has != value:
            found[key] = has
    return found


def apply_sysctl(before: Texts, wanted: dict[str, str]) -> None:
    """Write the settings and put them in force; a host that no longer forwards stops at once."""
    replace(before, sysctl_texts(wanted))
    wrong = sysctl_wrong(wanted)
    if wrong:
        run("sysctl", "-q", "-w", *(f"{key}={wanted[key]}" for key in wrong))


def differs(what: str, expected: str, found: str) -> Difference:
    """Return one difference."""
    return {"what": what, "expected": expected, "found": found}


def route_differences(wanted: set[Route], kept: set[Route], in_force: set[Route]) -> list[Difference]:
    """Say of each route that is wanted, or was kept by us, what is not as it must be."""
    found = []
    for destination, next_hop in sorted(wanted | kept):
        route = (destination, next_hop)
        has = (route in in_force, route in kept)
        if has == (route in wanted, route in wanted):
            continue
        taken = sorted(via for to, via in in_force if to == destination and (to, via) not in wanted)
        instead = f" (but via {', '.join(taken)})" if taken else ""
        states = ("in force" if has[0] else f"not in force{instead}", "kept over reboots" if has[1] else "not kept")
        expected = "in force, kept over reboots" if route in wanted else "none"
        found.append(differs(f"route {destination} via {next_hop}", expected, ", ".join(states)))
    return found


def file_differences(before: Texts, after: Texts) -> list[Difference]:
    """Name the files that are not as this module writes them."""
    return [
        differs(
            f"file {path}",
            "as netorder writes it" if path in after else "none",
            "missing" if path not in before else "changed" if path in after else "left over",
        )
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def converge(
    routes: set[Route],
    probes: list[dict[str, Any]],
    *,
    check_mode: bool,
    interfaces: list[dict[str, Any]] | None = None,
    forwarding: bool = False,
    addresses: list[str] | None = None,
) -> dict[str, Any]:
    """Compare with what is, change it unless in check mode, and return the module's result."""
    say = settings(interfaces or [])
    versions = (4, 6) if say or any(version(to) == IPV6 for to, _ in routes) else (4,)
    links = connected(versions)
    absent = static_networks(links, say)
    manager = backend(links)
    before = manager.current()
    after = manager.wanted(routes, links, say)
    sysctl_before, sysctl_after = sysctl_current(), sysctl_wanted(say, forwarding=forwarding)
    had: set[Route] = set()
    for text in before.values():
        had |= manager.parse(text)
    if any(version(to) == IPV6 for to, _ in had):
        versions = (4, 6)
    in_force = kernel(versions)
    add = routes - in_force
    foreign, lacking = compare_addresses(addresses or [])
    of_routes = route_differences(routes, had, in_force)
    differences = [
        *of_routes,
        # a route that is not kept shows in its file, too: that is said once
        *([] if had != routes else file_differences(before, after)),
        *(differs(f"address {one} on {name}", "there", "missing") for name, own in absent.items() for one in own),
        *(differs(f"address {one} on {name}", "none", "there, by nobody's plan") for name, one in foreign),
        *(
            differs(f"IPv{one} default route on {name}", "none", f"in force, from {protocol}")
            for one, name, protocol in unwanted_defaults(say)
        ),
        *file_differences(sysctl_before, sysctl_texts(sysctl_after)),
        *(differs(key, sysctl_after[key], value) for key, value in sysctl_wrong(sysctl_after).items()),
    ]
    changed = bool(differences)
    differences += [
        differs(f"address {one}", "there", "missing: ask DHCP") for one in lacking if one not in static(say)
    ]
    result = {
        "backend": manager.name,
        "changed": changed,
        "in_line": not differences,
        "differences": differences,
        "added": words(add),
        "removed": words(had - routes),
        "probes": [],
        "diff": {
            "before_header": "static routes",
            "after_header": f"static routes ({manager.name})",
            "before": listing(had, in_force & (had | routes)) + lines(differences[len(of_routes) :], "found"),
            "after": listing(routes, routes) + lines(differences[len(of_routes) :], "expected"),
        },
    }
    if check_mode or not changed:
        return result

    asked = probes if add else []
    answers_before = ask_all(asked, BEFORE_SECONDS)
    apply_sysctl(sysctl_before, sysctl_after)
    for name, address in foreign:
        run("ip", "address", "del", address, "dev", name)
    for destination, next_hop in sorted((had - routes) & in_force):
        six = ["-6"] if version(destination) == IPV6 else []
        run("ip", *six, "route", "del", destination, "via", next_hop)
    remove_defaults(say)
    for name, own in absent.items():
        for address in own:
            run("ip", "-6", "address", "replace", address, "dev", name, "nodad")
    put_in_force(add)
    if before != after:
        manager.apply(before, after)
        put_in_force(missing(routes, versions))
        remove_defaults(say)
    left = (kernel(versions) & had) - routes
    if left:
        raise HostNetworkError(f"the kernel keeps {', '.join(words(left))}, although deleted: who puts it back?")
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
            "interfaces": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "address": text,
                    "static": {"type": "list", "elements": "str", "default": []},
                    "unwanted": {"type": "list", "elements": "int", "default": []},
                },
            },
            "addresses": {"type": "list", "elements": "str", "default": []},
            "forwarding": {"type": "bool", "default": False},
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
            (str(ip_network(route["destination"])), str(ip_address(route["next_hop"])))
            for route in module.params["routes"]
        }
        result = converge(
            routes,
            module.params["probes"],
            check_mode=module.check_mode,
            interfaces=module.params["interfaces"],
            forwarding=module.params["forwarding"],
            addresses=module.params["addresses"],
        )
        module.exit_json(**result)
    except (HostNetworkError, ValueError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
