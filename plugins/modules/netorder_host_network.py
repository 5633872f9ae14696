#!/usr/bin/python
"""A host's routes, addresses, forwarding: in force now and after a reboot, with what configures the host's network."""

# Sent to the host as it is, with its arguments in the last lines, and read by Python from standard input (Ansible's
# module style "new" of the kind jsonargs): the standard library alone, nothing newer than Python 3.8 but annotations.

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from ipaddress import IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Network
    from typing import Any

    Route = tuple[str, str]  # destination, next hop
    Texts = dict[Path, str]  # files and their texts; of a symbolic link LINK and its target
    Difference = dict[str, str]  # what, expected, found

DOCUMENTATION = r"""
module: netorder_host_network
short_description: configure a host's routes, addresses and forwarding, now and over reboots
description:
  - Writes what an interface needs where the host's network is configured (for systemd-networkd, also below netplan, a
    file for that interface alone that is the image's own file with a drop-in; for NetworkManager the connection) and
    brings the kernel in line with it without taking the interface down.
  - Manages what it made itself and nothing else. Routes, addresses and settings of others (DHCP, keepalived, Docker,
    made by hand) are left alone, and nothing is reloaded that would drop them.
  - When the program that configures the network does not accept the change, or an address or a default route does not
    come back, all files and routes are as before and the module fails.
  - Runs on the host and needs Python's standard library and ip only.
options:
  routes:
    description: All static routes that the host must have. Routes made earlier and no longer listed are removed.
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
      - What each interface needs beyond what the cloud's DHCP gives; an interface is identified by its address.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: One of its addresses, which DHCP has given it.
        type: str
        required: true
      static:
        description: Addresses with their prefix lengths that nobody else gives it.
        type: list
        elements: str
        default: []
      unwanted:
        description: The IP versions (V(4), V(6)) of which a default gateway is offered here that must not be used.
        type: list
        elements: int
        default: []
      mtu:
        description: The longest packet, where nobody tells the interface; without it, it is left as it is.
        type: int
  addresses:
    description:
      - All addresses that the host must have. One of DHCP that is missing is reported and not made up.
      - Where it is one of IPv6, routers are asked to advertise themselves, and it is waited for. If a router did, and
        it does not come, systemd-networkd is made to ask DHCPv6 again.
      - Empty means that they are not checked.
    type: list
    elements: str
    default: []
  ipv6_prefixes:
    description:
      - The IPv6 prefixes of the host's networks, as DHCPv6 gives an address without its prefix. Of an address that is
        in none of these, it is taken to be a V(/64).
    type: list
    elements: str
    default: []
  virtual_addresses:
    description:
      - Addresses that the host may have or not, as it agrees with others that share them (VRRP). They are neither made
        up nor removed.
    type: list
    elements: str
    default: []
  loopback_addresses:
    description:
      - Addresses of the host's loopback interface. Those that this module gave it earlier and that are no longer listed
        are removed. NetworkManager keeps them over reboots from its version 1.42 on.
    type: list
    elements: str
    default: []
  forwarding:
    description: Whether the host forwards packets between its interfaces.
    type: bool
    default: false
  manage:
    description: What is this module's alone, so that what others made of it is removed.
    type: dict
    default: {}
    suboptions:
      addresses:
        description:
          - Remove addresses that are not in O(addresses) from the interfaces that have one of these. Those that a lease
            or an advertisement gave (C(dynamic)) stay, and so do those in O(virtual_addresses).
        type: bool
        default: false
      forwarding:
        description: Switch forwarding off where O(forwarding) is false, whoever switched it on.
        type: bool
        default: false
  names:
    description:
      - What other hosts are called, in a block of C(/etc/hosts) between two marks; all other lines are left alone.
      - Where cloud-init makes that file anew at each boot (C(manage_etc_hosts)), also in the template it makes it from.
      - Without any, the block is removed.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: The address to find.
        type: str
        required: true
      name:
        description: The name to find it by.
        type: str
        required: true
  probes:
    description:
      - What to probe before and after the change.
      - Probed only when a route is new in the kernel's table, and never in check mode.
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
  description: What configures the host's network.
  type: str
  returned: always
added:
  description: Routes that were not in the kernel's table and now are.
  type: list
  elements: str
  returned: always
removed:
  description: Routes that were removed.
  type: list
  elements: str
  returned: always
in_line:
  description: Whether kernel and files already matched.
  type: bool
  returned: always
differences:
  description: What did not match, each with what, expected and found, in words.
  type: list
  elements: dict
  returned: always
probes:
  description: For each probe that was made, its name, address, and the answers before and after.
  type: list
  elements: dict
  returned: always
"""

IPV4, IPV6 = 4, 6
ANYWHERE = {IPV4: "0.0.0.0/0", IPV6: "::/0"}
ETC = Path("/etc")
PROC = Path("/proc/sys")
RUN = Path("/run")
LIB = (Path("/usr/local/lib"), Path("/usr/lib"))
HEADER = "# Written by netorder, role host_network: changes made here are overwritten.\n"
LINK = "symbolic link to "
NAMES_BEGIN = "# BEGIN netorder, names of the topology's hosts: changes made here are overwritten"
NAMES_END = "# END netorder"
# whose routes and addresses come and go without us
LEASED = frozenset({"dhcp", "ra", "kernel", "redirect"})
BEFORE_SECONDS = 3
AFTER_SECONDS = 10
SETTLE_SECONDS = 20
SOLICIT_SECONDS = 20
SOLICIT_INTERVAL = 4
RENEW_SECONDS = 8
ROUTER_SOLICITATION = bytes([133, 0, 0, 0, 0, 0, 0, 0])  # RFC 4861, 4.1; the kernel fills in the checksum
STABLE_SECONDS = 1
REVIVE_SECONDS = 1
# of systemd: gateway_is_ready() of its networkd-route.c
WAITS = 250
PREFIXES = ("05", "00", "!")
CONFIGURED = ("configured", "unmanaged")


class HostNetworkError(Exception):
    """Something that the user has to fix; the text says what."""


def run(*command: str, check: bool = True) -> str:
    """Return a command's output. Raise HostNetworkError with what it printed when it fails."""
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin",
    }
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        if check:
            raise HostNetworkError(f"{command[0]} is not installed on this host") from None
        return ""
    if check and done.returncode != 0:
        raise HostNetworkError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def version(address: str) -> int:
    """Return the IP version of an address or prefix."""
    return IPV6 if ":" in address else IPV4


def whole(entry: dict[str, Any]) -> str:
    """Return an address as ip lists it, with the length of its prefix."""
    return f"{entry['local']}/{entry['prefixlen']}"


# What the host is like


class Link:
    """A network interface as the kernel has it."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.name: str = entry["ifname"]
        self.index: int = entry["ifindex"]
        self.mac: str = entry.get("address", "")
        self.kind: str = entry.get("linkinfo", {}).get("info_kind", "")
        self.mtu: int | None = entry.get("mtu")
        # without link-local ones
        self.addresses: list[dict[str, Any]] = [
            one for one in entry.get("addr_info", []) if one.get("local") and one.get("scope") not in {"link", "host"}
        ]

    def networks(self, prefixes: list[IPv6Network]) -> list[IPv4Network | IPv6Network]:
        """Return the networks that it is on: that of an IPv6 address is one of ``prefixes``, or a /64 (RFC 7421)."""
        found: list[IPv4Network | IPv6Network] = []
        for one in self.addresses:
            its = ip_interface(f"{one['local']}/{64 if version(one['local']) == IPV6 else one['prefixlen']}")
            found.append(next((prefix for prefix in prefixes if its.ip in prefix), its.network))
        return found

    @property
    def has(self) -> set[Any]:
        """Its addresses, without prefix lengths."""
        return {ip_address(one["local"]) for one in self.addresses}

    @property
    def tentative(self) -> set[Any]:
        """Those of its addresses that it has not yet found to be its alone."""
        return {ip_address(one["local"]) for one in self.addresses if one.get("tentative")}

    @property
    def virtual(self) -> bool:
        """Whether it is made of others (a VLAN, a bridge), whose MAC it may borrow."""
        return self.kind not in {"", "veth"}


class Snapshot:
    """The kernel's interfaces, loopback apart, and routes of all tables."""

    def __init__(
        self, links: Iterable[dict[str, Any]], routes: dict[int, list[dict[str, Any]]], given: Iterable[Any] = ()
    ) -> None:
        self.given = {f"{one}/128" for one in given}
        links = list(links)
        self.loopback = next((Link(one) for one in links if one.get("ifname") == "lo"), None)
        # older versions of ip list empty objects for what they filter out
        self.links = {one["ifname"]: Link(one) for one in links if one.get("ifname", "lo") != "lo"}
        # the kernel shows default routes of two routers that are equally near as one with two next hops
        self.routes = [
            {**{key: value for key, value in one.items() if key != "nexthops"}, **hop, "version": of}
            for of, entries in routes.items()
            for one in entries
            if one.get("dst")
            for hop in one.get("nexthops", [{}])
        ]

    def is_leased(self, address: dict[str, Any]) -> bool:
        """Return whether DHCP or an advertisement gave an address: OVN's leases of IPv6 have no end to tell it by.

        Nor have addresses that are made up from its advertisements: privacy addresses might be made of them.
        """
        return bool(address.get("dynamic") or address.get("mngtmpaddr")) or whole(address) in self.given

    def gateways(self) -> list[dict[str, Any]]:
        """Return the main table's routes that have a next hop, ``dst`` as a prefix."""
        found = []
        for one in self.routes:
            if one.get("table", "main") == "main" and "gateway" in one:
                prefix = ANYWHERE[one["version"]] if one["dst"] == "default" else one["dst"]
                found.append({**one, "dst": str(ip_network(prefix))})
        return found

    def in_force(self) -> set[Route]:
        """Return the static routes, whatever their metric: NetworkManager gives its own one (100 and more)."""
        return {(one["dst"], one["gateway"]) for one in self.gateways() if one.get("protocol") not in LEASED}

    def defaults(self) -> set[tuple[int, str]]:
        """Return IP version and interface of each default route."""
        return {
            (one["version"], one.get("dev", "")) for one in self.gateways() if one["dst"] == ANYWHERE[one["version"]]
        }

    def metric(self, interface: str, of: int) -> int | None:
        """Return the metric that the interface's connected routes of an IP version have, if any."""
        found = [
            one["metric"]
            for one in self.routes
            if one.get("dev") == interface
            and one["version"] == of
            and one.get("protocol") in LEASED
            and one.get("metric")
            and one.get("table", "main") == "main"
            and not one["dst"].startswith("fe80:")
        ]
        return min(found, default=None)


def listed(*arguments: str, check: bool = True) -> list[dict[str, Any]]:
    """Return what ip lists."""
    found: list[dict[str, Any]] = json.loads(run("ip", "-json", *arguments, check=check) or "[]")
    return found


def observe(given: Iterable[Any] = ()) -> Snapshot:
    """Return the kernel's state; a kernel without IPv6 has no such routes. ``given`` is what DHCPv6 gives."""
    return Snapshot(
        listed("-details", "address", "show"),
        {
            IPV4: listed("-4", "route", "show", "table", "all"),
            IPV6: listed("-6", "route", "show", "table", "all", check=False),
        },
        given,
    )


# An IPv6 address that is given by a router's advertisement


def given_ipv6(params: dict[str, Any]) -> set[Any]:
    """Return the planned IPv6 addresses that DHCPv6 gives."""
    static = {ip_interface(one).ip for its in params["interfaces"] for one in its["static"]}
    return {one for one in map(ip_address, params["addresses"]) if one.version == IPV6} - static


def advertised(host: Snapshot) -> set[str]:
    """Return the interfaces with routes of an advertisement."""
    return {str(one.get("dev")) for one in host.routes if one["version"] == IPV6 and one.get("protocol") == "ra"}


def unadvertised(params: dict[str, Any], host: Snapshot) -> set[str]:
    """Return the interfaces that lack what an advertisement gives: routes, or the word to ask DHCPv6 for an address.

    Which of them a missing address belongs on is not known: all that have planned ones.
    """
    six, planned = given_ipv6(params), {ip_address(one) for one in params["addresses"]}
    # a tentative address answers nobody yet (RFC 4862, 5.4)
    there = {name: link.has - link.tentative for name, link in host.links.items()}
    if six - set().union(*there.values()):
        return {name for name, has in there.items() if has & planned}
    return {name for name, has in there.items() if has & six} - advertised(host)


def ask_routers(link: Link) -> None:
    """Send a router solicitation, as a link does that comes up (RFC 4861, 6.3.7)."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as routers:
            routers.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            routers.sendto(ROUTER_SOLICITATION, ("ff02::2", 0, 0, link.index))
    except OSError:
        pass  # no IPv6 there: what is missing stays so, and is reported


def solicit(params: dict[str, Any]) -> Snapshot:
    """Ask routers for advertisements where one is missing, and wait for what it brings; return what is then there.

    A network may get IPv6 while the host runs, and what configures it asks only when a link comes up: else the host
    would learn it with the router's next advertisement, minutes later.
    """
    six = given_ipv6(params)
    host = observe(six)
    asking = unadvertised(params, host)
    start = asked = time.monotonic() - SOLICIT_INTERVAL
    renewed = False
    while asking:
        if time.monotonic() >= asked + SOLICIT_INTERVAL:
            asked = time.monotonic()
            for name in asking:
                ask_routers(host.links[name])
        time.sleep(STABLE_SECONDS)
        host = observe(six)
        asking = unadvertised(params, host)
        passed = time.monotonic() - start - SOLICIT_INTERVAL
        if passed > SOLICIT_SECONDS:
            break
        if passed > RENEW_SECONDS and not renewed:
            renewed = True
            backend(host).renew({name for name in asking & advertised(host) if not host.links[name].has & six})
    return host


# What it must be like


class Need:
    """What one interface needs, of routes, static addresses, gateways that it must not use, and an MTU."""

    def __init__(self, routes: list[Route], declared: dict[str, Any] | None) -> None:
        self.routes = sorted(routes)
        self.declared = declared is not None
        self.static: list[str] = (declared or {}).get("static") or []
        self.unwanted: list[int] = (declared or {}).get("unwanted") or []
        self.mtu: int | None = (declared or {}).get("mtu")


def declared_interfaces(interfaces: list[dict[str, Any]], links: dict[str, Link]) -> dict[str, dict[str, Any]]:
    """Find the interfaces by their addresses. Raise HostNetworkError when one is not there (yet)."""
    found: dict[str, dict[str, Any]] = {}
    for one in interfaces:
        name = next(
            (
                link.name
                for link in links.values()
                if ip_address(one["address"]) in {ip_address(address["local"]) for address in link.addresses}
            ),
            None,
        )
        if name is None:
            raise HostNetworkError(
                f"no interface has {one['address']}: has DHCP given it? `ip address` on the host shows"
            )
        found[name] = one
    return found


def needs(routes: set[Route], params: dict[str, Any], links: dict[str, Link]) -> dict[str, Need]:
    """Sort what is needed by interface. Raise HostNetworkError when a next hop is on no network of the host."""
    declared = declared_interfaces(params["interfaces"], links)
    prefixes = [IPv6Network(one) for one in params["ipv6_prefixes"]]
    networks = {name: link.networks(prefixes) for name, link in links.items()}
    for name, one in declared.items():
        networks[name] += [ip_interface(address).network for address in one.get("static") or []]
    own: dict[str, list[Route]] = {}
    for destination, next_hop in sorted(routes):
        at = [name for name, nets in networks.items() if any(ip_address(next_hop) in net for net in nets)]
        if not at:
            nets = ", ".join(str(net) for of_one in networks.values() for net in of_one)
            raise HostNetworkError(
                f"next hop {next_hop} of {destination} is on no network of this host ({nets or 'none'})"
            )
        own.setdefault(at[0], []).append((destination, next_hop))
    return {name: Need(own.get(name, []), declared.get(name)) for name in sorted({*own, *declared})}


# Files


def current(paths: Iterable[Path]) -> Texts:
    """Return the texts of the files that exist."""
    return {
        path: LINK + os.readlink(path) if path.is_symlink() else path.read_text()  # noqa: PTH115 - newer than Python 3.8
        for path in paths
        if path.is_symlink() or path.is_file()
    }


def replace(before: Texts, after: Texts) -> None:
    """Bring files from one state to another, each in one step, on disk before anything relies on it."""
    for path, text in after.items():
        if before.get(path) == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        if new.is_symlink() or new.exists():
            new.unlink()
        if text.startswith(LINK):
            new.symlink_to(text[len(LINK) :])
        else:
            with new.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # networkd cannot read what others cannot, netplan and NetworkManager refuse what they can
            new.chmod(0o600 if path.suffix in {".yaml", ".nmconnection"} else 0o644)
        new.replace(path)
    for path in set(before) - set(after):
        path.unlink(missing_ok=True)
        if path.parent.name.endswith(".network.d") and path.parent.exists() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def ini(text: str) -> list[tuple[str, str, str]]:
    """Return section, key and value of each line of a .network file; the section has its number before it."""
    found, section, number = [], "", 0
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            number += 1
            section = f"{number} {stripped.strip('[]')}"
        elif "=" in stripped and not stripped.startswith(("#", ";")):
            key, _, value = stripped.partition("=")
            found.append((section, key.strip(), value.strip()))
    return found


def ini_routes(text: str) -> set[Route]:
    """Return the routes that a .network file has."""
    found: dict[str, dict[str, str]] = {}
    for section, key, value in ini(text):
        if section.endswith(" Route"):
            found.setdefault(section, {})[key] = value
    return {
        (one.get("Destination", ANYWHERE[version(one["Gateway"])]), one["Gateway"])
        for one in found.values()
        if one.get("Gateway", "").strip("_")[:1].isalnum() and not one["Gateway"].startswith("_")
    }


def ini_addresses(text: str) -> set[str]:
    """Return the addresses that a .network file has, with prefix lengths."""
    return {
        value
        for section, key, value in ini(text)
        if key == "Address" and section.split(" ")[-1] in {"Network", "Address"}
    }


# What configures the network


class Undo:
    """How to go back: what was done, with its opposite, which ``back`` does in reverse order."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], object]] = []

    def add(self, step: Callable[[], object]) -> None:
        """Remember a step."""
        self.steps.append(step)

    def command(self, *command: str) -> None:
        """Remember a command."""
        self.add(lambda: run(*command, check=False))

    def back(self) -> None:
        """Go back, as far as it goes."""
        while self.steps:
            try:
                self.steps.pop()()
            except (HostNetworkError, OSError):
                continue


class _Networkd:
    """systemd-networkd, also below netplan, which writes networkd's files at each boot.

    The .network file that an interface uses may be other interfaces', too, so each gets one of its own: a symbolic link
    to that file, sorted before it, with that file's drop-ins (links again) and one of ours, which narrows the match to
    the interface. What the image says thus stays, even if it changes; a link to nothing is ignored. Ours is the record.
    """

    name = "systemd-networkd"
    ours = "zz-netorder.conf"
    origin = "# Made from "

    def __init__(self, host: Snapshot) -> None:
        self.host = host
        self.warnings: list[str] = []
        self.taken: dict[str, Path | None] = {}

    @staticmethod
    def in_use(host: Snapshot) -> bool:
        return any(network_file(link.index) for link in host.links.values())

    def paths(self) -> list[Path]:
        """Return the files of ours, of earlier versions too."""
        directory = ETC / "systemd/network"
        return [
            *(path for one in PREFIXES for path in directory.glob(f"{one}-netorder-*.network")),
            *(path for one in PREFIXES for path in directory.glob(f"{one}-netorder-*.network.d/*.conf")),
            *directory.glob("*.network.d/60-netorder.conf"),
            *(ETC / "netplan").glob("90-netorder.yaml"),
        ]

    def current(self) -> Texts:
        return current(self.paths())

    def kept(self, texts: Texts) -> tuple[set[Route], set[str]]:
        """Return the routes and static addresses that files of ours keep."""
        own = [
            text
            for path, text in texts.items()
            if path.suffix in {".conf", ".network"} and text.startswith("# Written by netorder")
        ]
        routes = {one for text in own for one in ini_routes(text)}
        for path, text in texts.items():
            if path.suffix == ".yaml":
                ethernets = json.loads(text.split("\n", 1)[1])["network"].get("ethernets", {})
                routes |= {(one["to"], one["via"]) for its in ethernets.values() for one in its.get("routes", [])}
        return routes, {one for text in own for one in ini_addresses(text)}

    def wanted(self, need: dict[str, Need]) -> Texts:
        texts: Texts = {}
        directory = ETC / "systemd/network"
        waits = bool(need) and systemd_version() >= WAITS
        for name, its in need.items():
            base = self.base(name)
            if not base.exists():
                raise HostNetworkError(
                    f"{base}, by which {name} is configured, does not exist any more: "
                    "after `networkctl reload` another file counts"
                )
            own = directory / f"{prefix_before(base.name)}-netorder-{name}.network"
            texts[own] = f"{LINK}{base}"
            drop_ins = drop_ins_of(base.name)
            for drop_in in drop_ins:
                texts[own.with_name(f"{own.name}.d") / drop_in.name] = f"{LINK}{drop_in}"
            original = "".join(path.read_text() + "\n" for path in (base, *drop_ins))
            ours = own.with_name(f"{own.name}.d") / self.ours
            text = networkd_text(self.host.links[name], its, original, waits=waits)
            texts[ours] = self.of_image(ours, text) or text
        return texts

    def of_image(self, path: Path, text: str) -> str | None:
        """Return what a golden image brought along, which has no MAC, where that is as good.

        It is on a host with one interface, whose name cannot change places with another's.
        """
        anyone = re.sub(r"(?m)^MACAddress=.+\n", "", text)
        alone = sum(not link.virtual for link in self.host.links.values()) == 1
        return anyone if alone and path.exists() and path.read_text() == anyone else None

    def base(self, interface: str) -> Path:
        """Return the image's file for an interface."""
        path = network_file(self.host.links[interface].index)
        if path is None:
            raise HostNetworkError(
                f"systemd-networkd runs and does not manage {interface}: no .network file matches it"
            )
        if "netorder-" not in path.name:
            return path
        if path.is_symlink():
            return Path(os.readlink(path))  # noqa: PTH115 - newer than Python 3.8
        # of an earlier version
        made = [line[len(self.origin) :] for line in path.read_text().splitlines() if line.startswith(self.origin)]
        if not made:
            raise HostNetworkError(f"{path} is not as netorder writes it: remove it and restart systemd-networkd")
        return Path(made[0])

    def differences(self) -> list[Difference]:
        """Return what the programs themselves say against the configuration."""
        found = [
            differs(f"systemd-networkd's state of {link.name}", "configured", "failed")
            for link in self.host.links.values()
            if link_state(link.index).get("ADMIN_STATE") == "failed"
        ]
        refusal = netplan_refusal()
        return found + (
            [differs("netplan's configuration", "accepted by netplan", f"refused: {refusal}")] if refusal else []
        )

    def apply(self, before: Texts, after: Texts, need: dict[str, Need], undo: Undo) -> None:
        """Write the files; have networkd read them where it must and would not drop what others made."""
        if any(path.suffix == ".yaml" for path in before):
            undo.add(lambda: replace(self.current(), before))
            replace(before, {path: text for path, text in before.items() if path.suffix != ".yaml"})
            run("netplan", "generate")
        earlier = any("-netorder-" not in str(path) for path in before)
        names = [name for name in self.host.links if name in need or files_of(name, before)]
        quiet = [name for name in names if not earlier and self.quiet(name, before, after)]
        changing = [name for name in names if name not in quiet]
        everything = earlier or (bool(changing) and not has_bus())
        others = {name: self.others(name, before, after) for name in (self.host.links if everything else changing)}
        busy = {name: found for name, found in others.items() if found}
        late = {path for name in (*busy, *quiet) for path in files_of(name, {**before, **after})}
        if everything and busy:
            late = {*before, *after}
        # those that it has read already
        read = {path for name in names if self.reads_ours(name) for path in files_of(name, before)}
        undo.add(self.revive)
        undo.add(lambda: self.bring(self.current(), before, late, read))
        self.bring(before, after, late, read)
        if not (everything and busy):
            self.taken = {name: next(iter(files_of(name, after)), None) for name in changing if name not in busy}
        if busy:
            self.warnings.append(
                "systemd-networkd reads new files at its next start: a reload now would drop what others made here "
                f"({', '.join(one for found in busy.values() for one in found)})"
            )

    def quiet(self, interface: str, before: Texts, after: Texts) -> bool:
        """Return whether ip alone can do the change: a reload takes addresses away for seconds, and may fail."""
        texts = [texts.get(self.drop_in(interface, texts), "") for texts in (before, after)]
        if not self.reads_ours(interface):
            texts[0] = ""
        elif not texts[1] or {*files_of(interface, before)} != {*files_of(interface, after)}:
            return False
        routes, static = ([parse(text) for text in texts] for parse in (ini_routes, ini_addresses))
        return routes[0] <= routes[1] and static[0] <= static[1] and not gateways_of(texts[0]) ^ gateways_of(texts[1])

    def drop_in(self, interface: str, texts: Texts) -> Path:
        """Return the path of our drop-in for an interface."""
        found = [path for path in files_of(interface, texts) if path.name == self.ours]
        return found[0] if found else Path(self.ours)

    def bring(self, before: Texts, after: Texts, late: set[Path], read: set[Path]) -> None:
        """Bring the files from one state to another. Those that are ``late`` must not be new to networkd's reading."""
        early = [{path: text for path, text in texts.items() if path not in late} for texts in (before, after)]
        if early[0] != early[1]:
            between = {**early[1], **{path: text for path, text in before.items() if path in late & read}}
            replace(before, between)
            self.reload()
            before = between
        replace(before, after)

    def revive(self) -> None:
        """Configure anew the interfaces that networkd gave up: no reload does that."""
        time.sleep(REVIVE_SECONDS)  # a reload goes on after its answer
        for link in self.host.links.values():
            if link_state(link.index).get("ADMIN_STATE") == "failed":
                run("networkctl", "reconfigure", link.name, check=False)
                time.sleep(REVIVE_SECONDS)

    def renew(self, names: set[str]) -> None:
        """Have DHCPv6 ask again where routers say that it gives addresses, unless others would lose what they made.

        One that was told to ask without a router's word asks at pauses that grow to an hour (RFC 8415, 7.6).
        """
        files = self.current()
        for name in names:
            if not self.others(name, files, files):
                run("networkctl", "reconfigure", name, check=False)

    def reads_ours(self, interface: str) -> bool:
        """Return whether networkd uses a file of ours for an interface."""
        path = network_file(self.host.links[interface].index)
        return path is not None and "-netorder-" in path.name

    def others(self, name: str, before: Texts, after: Texts) -> list[str]:
        """Return what others made on an interface, which networkd drops when it configures that anew."""
        link = self.host.links[name]
        path = network_file(link.index)
        text = effective(path) if path else ""
        kept = (self.kept(before), self.kept(after))
        return (
            others_of(
                self.host,
                link,
                ini_routes(text) | kept[0][0] | kept[1][0],
                ini_addresses(text) | kept[0][1] | kept[1][1],
            )
            if path
            else []
        )

    def reload(self) -> None:
        """Have networkd read its files: it would bring back what it knows at the next loss of carrier."""
        if has_bus():
            run("networkctl", "reload")
        else:
            # an image without D-Bus; addresses and routes stay while networkd is away
            run("systemctl", "restart", "systemd-networkd")

    def problem(self, need: dict[str, Need]) -> str | None:
        """Return why networkd has not taken the files (yet)."""
        for name in {*need, *self.taken}:
            state = link_state(self.host.links[name].index)
            if state.get("ADMIN_STATE", "unknown") not in CONFIGURED:
                return f"systemd-networkd's state of {name} is {state.get('ADMIN_STATE', 'unknown')}"
        for name, path in self.taken.items():
            if self.reads_ours(name) != (path is not None):
                return f"systemd-networkd does not use the new file of {name}"
        return None

    def metric(self, interface: str, of: int) -> int | None:  # noqa: ARG002 - as the other's
        """Return the metric of a route: networkd's own have the kernel's."""
        return None


def prefix_before(name: str) -> str:
    """Return what a file's name begins with to be sorted before ``name``, and as little before as possible."""
    for prefix in PREFIXES:
        if f"{prefix}-netorder" < name:
            return prefix
    raise HostNetworkError(f"no file can be sorted before {name}: rename it")


def gateways_of(text: str) -> set[str]:
    """Return the sections of a drop-in of ours that say which gateways not to use."""
    return {section.split(" ", 1)[1] for section, _, _ in ini(text)} & {"DHCPv4", "IPv6AcceptRA"}


def systemd_version() -> int:
    """Return systemd's version; 0 when it does not say."""
    said = run("networkctl", "--version", check=False).split()
    return int(said[1]) if len(said) > 1 and said[1].isdigit() else 0


def has_bus() -> bool:
    """Return whether there is D-Bus, by which programs take the order to reload."""
    return (RUN / "dbus/system_bus_socket").exists()


def files_of(interface: str, texts: Texts) -> list[Path]:
    """Return which files are those of an interface's own."""
    return [path for path in texts if f"-netorder-{interface}.network" in str(path)]


def link_state(index: int) -> dict[str, str]:
    """Return what systemd-networkd publishes about an interface."""
    path = RUN / f"systemd/netif/links/{index}"
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


def network_file(index: int) -> Path | None:
    """Return the .network file that systemd-networkd uses for an interface."""
    name = link_state(index).get("NETWORK_FILE")
    return Path(name) if name else None


def drop_ins_of(name: str) -> list[Path]:
    """Return the drop-ins of a .network file as networkd takes them: by name, /etc before /usr/lib."""
    found: dict[str, Path] = {}
    for top in (ETC, RUN, *LIB):
        for path in (top / f"systemd/network/{name}.d").glob("*.conf"):
            if path.name != "60-netorder.conf":  # of an earlier version
                found.setdefault(path.name, path)
    return [found[one] for one in sorted(found)]


def effective(path: Path) -> str:
    """Return the text of a .network file with its drop-ins."""
    return "".join(one.read_text() + "\n" for one in (path, *drop_ins_of(path.name)) if one.exists())


def networkd_text(link: Link, need: Need, original: str, *, waits: bool) -> str:
    """Return the drop-in that is an interface's own; ``original`` is what its file and other drop-ins say.

    ``waits``: whether this networkd waits with a route until its next hop can be reached.
    """
    # by name, as others borrow the MAC; by MAC too, as names of devices may change places at a boot
    mac = "" if link.virtual else f"MACAddress=\nMACAddress={link.mac}\n"
    lines = [f"{HEADER}[Match]\nName=\nName={link.name}\n{mac}"]
    if need.mtu:
        lines.append(f"\n[Link]\nMTUBytes={need.mtu}\n")
    network = [f"Address={one}\n" for one in need.static]
    if need.declared and not any(key == "IPv6AcceptRA" for _, key, _ in ini(original)):
        # advertisements count on a host that forwards, too (RFC 4861, section 6.2.7, is about routers that advertise)
        network.insert(0, "IPv6AcceptRA=true\n")
    if network:
        lines.append("\n[Network]\n" + "".join(network))
    if IPV4 in need.unwanted:
        lines.append("\n[DHCPv4]\nUseRoutes=false\nUseGateway=false\n")
    if IPV6 in need.unwanted:
        lines.append("\n[IPv6AcceptRA]\nUseGateway=false\n")
    # else networkd sets it before DHCP's address is there, which fails in IPv6 and with it the whole interface
    wait = "GatewayOnLink=no\n" if waits else ""
    lines += [f"\n[Route]\nDestination={to}\nGateway={via}\n{wait}" for to, via in need.routes]
    return "".join(lines)


def others_of(host: Snapshot, link: Link, routes: set[Route], addresses: set[str]) -> list[str]:
    """Return what others made on an interface, in words: of no lease, not among these routes and addresses."""
    known = {ip_interface(one).ip for one in addresses}
    found = [
        f"address {whole(one)} on {link.name}"
        for one in link.addresses
        if not host.is_leased(one) and ip_address(one["local"]) not in known
    ]
    for one in host.routes:
        if one.get("dev") != link.name or one.get("protocol") in LEASED or one.get("type", "unicast") != "unicast":
            continue
        prefix = ANYWHERE[one["version"]] if one["dst"] == "default" else str(ip_network(one["dst"]))
        if (prefix, one.get("gateway", "")) not in routes:
            via = f" via {one['gateway']}" if "gateway" in one else ""
            found.append(f"route {one['dst']}{via} on {link.name}")
    return found


def netplan_refusal() -> str | None:
    """Return why netplan refuses the host's configuration, which is then without network at the next boot."""
    generator = next(
        (
            path
            for path in (
                LIB[-1] / "libexec/netplan/generate",
                Path("/usr/libexec/netplan/generate"),
                LIB[-1] / "netplan/generate",
            )
            if path.exists()
        ),
        None,
    )
    if generator is None or not any((ETC / "netplan").glob("*.yaml")):
        return None
    with tempfile.TemporaryDirectory(prefix="netorder-") as root:
        for top in (LIB[-1], ETC, RUN):
            for path in (top / "netplan").glob("*.yaml"):
                copy = Path(root, *(top / "netplan").parts[-2 if top != LIB[-1] else -3 :], path.name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
                copy.chmod(0o600)
        done = subprocess.run([str(generator), "--root-dir", root], capture_output=True, text=True, check=False)
    return " ".join(done.stderr.replace(root, "").split()) or "no reason given" if done.returncode else None


class _NetworkManager:
    """NetworkManager: the active connections. A file of our own remembers what of them is ours."""

    name = "NetworkManager"
    record = "NetworkManager/netorder-routes.json"
    fields = (
        "ipv4.routes",
        "ipv6.routes",
        "ipv4.never-default",
        "ipv6.never-default",
        "ipv4.addresses",
        "ipv6.addresses",
        "connection.id",
        "connection.multi-connect",
        "connection.autoconnect-priority",
        "802-3-ethernet.mtu",
    )

    def __init__(self, host: Snapshot) -> None:
        self.host = host
        self.warnings: list[str] = []
        self.profiles: dict[str, tuple[str, dict[str, list[str]]]] = {}
        self.ours: tuple[set[Route], set[str]] = (set(), set())

    @staticmethod
    def in_use(host: Snapshot) -> bool:  # noqa: ARG004 - NetworkManager is known by its service
        return run("systemctl", "is-active", "NetworkManager", check=False).strip() == "active"

    def profile(self, interface: str) -> tuple[str, dict[str, list[str]]]:
        """Return the connection of an interface, by UUID, and what it has in our fields.

        A connection of our own counts before the active one.
        """
        if interface not in self.profiles:
            lines = run("nmcli", "-e", "no", "-g", "UUID,DEVICE,NAME", "connection", "show").splitlines()
            listed = [line.split(":", 2) for line in lines]
            found = [uuid for uuid, _, name in listed if name == f"netorder-{interface}"]
            found += [uuid for uuid, device, _ in listed if device == interface]
            if not found:
                raise HostNetworkError(f"NetworkManager has no active connection on {interface}")
            said = run("nmcli", "-e", "no", "-g", ",".join(self.fields), "connection", "show", found[0]).split("\n")
            values = {
                field: [" ".join(part.split()) for part in value.split(",") if part.strip()]
                for field, value in zip(self.fields, said)  # noqa: B905 - strict is newer than Python 3.8
            }
            self.profiles[interface] = (found[0], values)
        return self.profiles[interface]

    def has(self, interface: str) -> dict[str, Any]:
        """Return what the interface's connection has, as the record says it."""
        if interface not in self.host.links:
            return {key: set() for key in RECORDED.values()}
        _, values = self.profile(interface)
        routes = [one.split() for of in (IPV4, IPV6) for one in values[f"ipv{of}.routes"]]
        return {
            "routes": {(str(ip_network(one[0])), one[1]) for one in routes if len(one) > 1 and "=" not in one[1]},
            "addresses": {one for of in (IPV4, IPV6) for one in values[f"ipv{of}.addresses"]},
            "never": {of for of in (IPV4, IPV6) if values[f"ipv{of}.never-default"] == ["yes"]},
            "mtu": {int(one) for one in values["802-3-ethernet.mtu"] if one.isdigit()} - {0},
        }

    def current(self) -> Texts:
        """Return the record, without what has gone from the connections since."""
        had = recorded(current([ETC / self.record]).get(ETC / self.record, "{}"))
        for name, its in had.items():
            has = self.has(name)
            for key in its:
                its[key] &= has[key]
        return {ETC / self.record: record_text(had)} if had else {}

    def kept(self, texts: Texts) -> tuple[set[Route], set[str]]:
        """Return the routes and static addresses that the connections keep for us."""
        had = recorded(texts.get(ETC / self.record, "{}"))
        return (
            {one for its in had.values() for one in its["routes"]},
            {one for its in had.values() for one in its["addresses"]},
        )

    def wanted(self, need: dict[str, Need]) -> Texts:
        had = recorded(current([ETC / self.record]).get(ETC / self.record, "{}"))
        record: dict[str, dict[str, set[Any]]] = {}
        for name, its in need.items():
            users = set(self.has(name)["never"]) - (had[name]["never"] if name in had else set())
            record[name] = {
                "routes": set(its.routes),
                "addresses": set(its.static),
                "never": set(its.unwanted) - users,
                "mtu": {its.mtu} if its.mtu else set(),
            }
        record = {name: its for name, its in record.items() if any(its.values())}
        return {ETC / self.record: record_text(record)} if record else {}

    def differences(self) -> list[Difference]:
        """Return what the program itself says against the configuration: NetworkManager takes nothing that is wrong."""
        return []

    def apply(self, before: Texts, after: Texts, need: dict[str, Need], undo: Undo) -> None:
        """Edit the connections; NetworkManager checks each edit and refuses what it cannot do."""
        path = ETC / self.record
        on_disk = current([path])
        routes, addresses = self.kept(before)
        for its in need.values():
            routes |= set(its.routes)
            addresses |= set(its.static)
        self.ours = (routes, addresses)
        had, want = recorded(on_disk.get(path, "{}")), recorded(after.get(path, "{}"))
        nothing: dict[str, set[Any]] = {key: set() for key in RECORDED.values()}
        for name in sorted({*had, *want} & set(self.host.links)):
            edits, opposite, quiet = nm_edits(had.get(name, nothing), want.get(name, nothing), self.has(name))
            if edits:
                self.edit(name, edits, opposite, undo, quiet=quiet)
        undo.add(lambda: replace(current([path]), on_disk))
        replace(on_disk, after)

    def edit(self, interface: str, edits: list[str], opposite: list[str], undo: Undo, *, quiet: bool) -> None:
        """Edit an interface's connection, or one of its own made from it where that is not its alone or not kept."""
        uuid, values = self.profile(interface)
        others = others_of(
            self.host,
            self.host.links[interface],
            self.has(interface)["routes"] | self.ours[0],
            self.has(interface)["addresses"] | self.ours[1],
        )
        name = values["connection.id"][0] if values["connection.id"] else ""
        shared = values["connection.multi-connect"] not in ([], ["0"], ["1"], ["default"], ["single"])
        # those that netplan writes at each boot count before what NetworkManager keeps
        if not shared and not name.startswith("netplan-"):
            if not quiet and not others:
                # leaves the interface up
                undo.command("nmcli", "device", "reapply", interface)
            undo.command("nmcli", "connection", "modify", uuid, *opposite)
            run("nmcli", "connection", "modify", uuid, *edits)
            if not quiet and not others:
                run("nmcli", "device", "reapply", interface)
        else:
            own = f"netorder-{interface}"
            priority = (values["connection.autoconnect-priority"] or ["0"])[0]
            undo.command("nmcli", "connection", "delete", own)
            run("nmcli", "connection", "clone", uuid, own)
            run(
                "nmcli", "connection", "modify", own, "connection.interface-name", interface,
                "connection.multi-connect", "1", "connection.autoconnect-priority", str(int(priority) + 1), *edits,
            )  # fmt: skip
            if not others:
                undo.command("nmcli", "connection", "up", uuid, "ifname", interface)
                run("nmcli", "connection", "up", own, "ifname", interface)
        if others and not quiet:
            self.warnings.append(
                f"NetworkManager takes the new settings of {interface} when it next activates it: to do so now would "
                f"drop what others made here ({', '.join(others)})"
            )

    def problem(self, need: dict[str, Need]) -> str | None:
        """Return why NetworkManager has not taken the change (yet)."""
        for name in need:
            state = run("nmcli", "-g", "GENERAL.STATE", "device", "show", name).strip()
            if not state.startswith("100"):
                return f"NetworkManager's state of {name} is {state}"
        return None

    def revive(self) -> None:
        """Do nothing: NetworkManager activates anew by itself."""

    def renew(self, names: set[str]) -> None:
        """Do nothing: NetworkManager asks DHCPv6 on a router's word alone."""

    def metric(self, interface: str, of: int) -> int | None:
        """Return the metric that NetworkManager gives the interface's routes, so that its own is the same route."""
        return self.host.metric(interface, of)


RECORDED = {"": "routes", "addresses": "addresses", "never-default": "never", "mtu": "mtu"}


def recorded(text: str) -> dict[str, dict[str, set[Any]]]:
    """Read the record: for each interface its routes, addresses, the IP versions with never-default, and its MTU."""
    found: dict[str, dict[str, set[Any]]] = {}
    for key, values in json.loads(text).items():
        name, _, what = key.partition(" ")
        its = found.setdefault(name, {key: set() for key in RECORDED.values()})
        its[RECORDED[what]] = {tuple(one) if isinstance(one, list) else one for one in values}
    return found


def record_text(record: dict[str, dict[str, set[Any]]]) -> str:
    """Write the record."""
    found: dict[str, list[Any]] = {}
    for name, its in record.items():
        found[name] = sorted(its["routes"])
        for what, key in RECORDED.items():
            if what and its[key]:
                found[f"{name} {what}"] = sorted(its[key])
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


def nm_edits(
    had: dict[str, set[Any]], want: dict[str, set[Any]], has: dict[str, set[Any]]
) -> tuple[list[str], list[str], bool]:
    """Return nmcli's edits of a connection, their opposites, and whether the kernel needs no more than new routes.

    ``had`` is what was ours, ``want`` what will be, ``has`` what the connection has of anybody.
    """
    edits: list[str] = []
    opposite: list[str] = []
    adds = {key: want[key] - has[key] for key in want}
    removes = {key: (had[key] - want[key]) & has[key] for key in want}
    for sign, back, change in (("-", "+", removes), ("+", "-", adds)):
        for destination, next_hop in sorted(change["routes"]):
            field, value = f"ipv{version(destination)}.routes", f"{destination} {next_hop}"
            edits += [f"{sign}{field}", value]
            opposite += [f"{back}{field}", value]
        for address in sorted(change["addresses"]):
            edits += [f"{sign}ipv{version(address)}.addresses", address]
            opposite += [f"{back}ipv{version(address)}.addresses", address]
        for of in sorted(change["never"]):
            edits += [f"ipv{of}.never-default", "yes" if sign == "+" else "no"]
            opposite += [f"ipv{of}.never-default", "no" if sign == "+" else "yes"]
    if adds["mtu"] or removes["mtu"]:  # one value, no list
        edits += ["802-3-ethernet.mtu", str(next(iter(want["mtu"]), 0))]
        opposite += ["802-3-ethernet.mtu", str(next(iter(has["mtu"]), 0))]
    quiet = not any(removes.values()) and not adds["addresses"] and not adds["never"]
    return edits, opposite, quiet


def backend(host: Snapshot) -> _Networkd | _NetworkManager:
    """Return what configures this host's network; netplan drives one of the two."""
    for kind in (_Networkd, _NetworkManager):
        if kind.in_use(host):
            return kind(host)
    raise HostNetworkError(
        "this host's network is configured by neither systemd-networkd (with or without netplan) nor NetworkManager: "
        "routes would be lost at the next boot. Use an image that has one of them"
    )


# Probes


def probe_one(probe: dict[str, Any], seconds: int) -> tuple[bool, str]:
    """Probe one address; return whether a packet came back, and how in words."""
    address, port = probe["address"], probe["port"]
    if port is None:
        if not shutil.which("ping"):
            return False, "not probed, this host has no ping"
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


def probe_all(probes: list[dict[str, Any]], seconds: int) -> list[tuple[bool, str]]:
    """Probe all at the same time."""
    answers: dict[int, tuple[bool, str]] = {}

    def one(index: int) -> None:
        answers[index] = probe_one(probes[index], seconds)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(probes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[index] for index in range(len(probes))]


def probe_results(
    probes: list[dict[str, Any]], before: list[tuple[bool, str]], after: list[tuple[bool, str]]
) -> list[dict[str, Any]]:
    """Put the answers of before and after together."""
    return [
        {
            "name": probe["name"],
            "address": probe["address"],
            "before": before[index][1],
            "after": after[index][1],
            "reached_before": before[index][0],
            "reached_after": after[index][0],
        }
        for index, probe in enumerate(probes)
    ]


# Kernel settings

SYSCTL = "sysctl.d/60-netorder.conf"
BEFORE = "# Before: "
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
# an answer may come by another path than the question went; loose reverse-path filtering (RFC 3704) accepts it
LOOSE = {"net.ipv4.conf.all.rp_filter": "2"}


def kernel_value(key: str) -> str:
    """Return a setting in force; a kernel without IPv6 does not forward it."""
    path = PROC / key.replace(".", "/")
    return path.read_text().strip() if path.exists() else "0"


class Sysctl:
    """What the kernel's settings must be, and the file that brings them back after a reboot.

    A setting that this module no longer needs gets the value that it had before, which the file remembers: somebody
    else (Docker) may have switched forwarding on before.
    """

    def __init__(self, *, forwarding: bool, several: bool, manage: bool) -> None:
        self.before = current([ETC / SYSCTL])
        lines = self.before.get(ETC / SYSCTL, "").splitlines()
        earlier = dict(line[len(BEFORE) :].split(" = ") for line in lines if line.startswith(BEFORE))
        had = [line.split(" = ")[0] for line in lines if line and not line.startswith("#")]
        keep = {**(dict.fromkeys(FORWARDING, "1") if forwarding else {}), **(LOOSE if several or forwarding else {})}
        off = dict.fromkeys(FORWARDING, "0") if manage and not forwarding else {}
        self.expected = {**{key: earlier.get(key, "0") for key in had}, **off, **keep}
        # what it was before is read once, when nothing of ours is in force yet
        was = {key: earlier.get(key, "0" if key in had else kernel_value(key)) for key in keep}
        text = "".join(f"{BEFORE}{key} = {was[key]}\n{key} = {value}\n" for key, value in keep.items())
        self.after = {ETC / SYSCTL: HEADER + text} if text else {}
        self.wrong = {key: now for key, value in self.expected.items() if (now := kernel_value(key)) != value}

    def differences(self) -> list[Difference]:
        """Return what does not match."""
        # a file of an earlier version does not say what was before: that alone is no difference
        before = {path: settings_of(text) for path, text in self.before.items()}
        after = {path: settings_of(text) for path, text in self.after.items()}
        return [
            *file_differences(before, after),
            *(differs(key, self.expected[key], value) for key, value in self.wrong.items()),
        ]

    def apply(self, undo: Undo) -> None:
        """Write the settings and put them in force; a host that no longer forwards stops at once."""
        undo.add(lambda: replace(current([ETC / SYSCTL]), self.before))
        replace(self.before, self.after)
        if self.wrong:
            undo.command("sysctl", "-q", "-w", *(f"{key}={value}" for key, value in self.wrong.items()))
            run("sysctl", "-q", "-w", *(f"{key}={self.expected[key]}" for key in self.wrong))


def settings_of(text: str) -> str:
    """Return a file's text without comments."""
    return "".join(f"{line}\n" for line in text.splitlines() if line and not line.startswith("#"))


# Loopback addresses

# sorted before what matches all interfaces, and by no name that networkd's other files of ours have
NETWORKD_LOOPBACK = "systemd/network/04-loopback-netorder.network"
NM_LOOPBACK = "NetworkManager/system-connections/netorder-loopback.nmconnection"
NM_KNOWS_LOOPBACK = (1, 42)
LOCALHOST = {IPV4: "127.0.0.1/8", IPV6: "::1/128"}


class Loopback:
    """The addresses of the loopback interface that are this module's, in force and in the file that brings them back.

    No program is told of the file: addresses are set with ip, and nobody takes those of this interface away.
    """

    def __init__(self, addresses: list[str], host: Snapshot, manager: str) -> None:
        self.wanted = [str(ip_interface(one)) for one in addresses]
        paths = {_Networkd.name: ETC / NETWORKD_LOOPBACK, _NetworkManager.name: ETC / NM_LOOPBACK}
        self.before = current(paths.values())
        text = networkd_loopback if manager == _Networkd.name else nm_loopback
        self.after = {paths[manager]: text(self.wanted)} if self.wanted else {}
        lines = [line.partition("=") for text in self.before.values() for line in text.splitlines()]
        keys = {value.strip() for key, _, value in lines if key.rstrip("0123456789").lower() == "address"}
        self.kept = {str(ip_interface(one)) for one in keys - set(LOCALHOST.values())}
        self.there = {whole(one) for one in host.loopback.addresses} if host.loopback else set()
        if self.wanted and manager == _NetworkManager.name and nm_version() < NM_KNOWS_LOOPBACK:
            raise HostNetworkError(
                "this host's NetworkManager keeps no loopback addresses over reboots, which it does from 1.42 on: use "
                "a newer image, or one with systemd-networkd"
            )

    def differences(self) -> list[Difference]:
        """Return what does not match, an address each; of a file that is otherwise altered, its name."""
        found = []
        for one in sorted({*self.wanted, *self.kept}):
            has = (one in self.there, one in self.kept)
            if has != (one in self.wanted, one in self.wanted):
                states = ("in force" if has[0] else "not in force", "kept over reboots" if has[1] else "not kept")
                expected = "in force, kept over reboots" if one in self.wanted else "none"
                found.append(differs(f"loopback address {one}", expected, ", ".join(states)))
        return found or file_differences(self.before, self.after)

    def apply(self, undo: Undo) -> None:
        """Set the addresses, and write the file."""
        undo.add(lambda: replace(current({*self.before, *self.after}), self.before))
        replace(self.before, self.after)
        for one in sorted(self.kept - set(self.wanted)):
            if one in self.there:
                undo.command("ip", f"-{version(one)}", "address", "replace", one, "dev", "lo")
                run("ip", f"-{version(one)}", "address", "del", one, "dev", "lo")
        for one in self.wanted:
            if one not in self.there:
                undo.command("ip", f"-{version(one)}", "address", "del", one, "dev", "lo")
                run("ip", f"-{version(one)}", "address", "replace", one, "dev", "lo")


def networkd_loopback(addresses: list[str]) -> str:
    """Return the .network file of the loopback interface; networkd leaves its other addresses alone."""
    return f"{HEADER}[Match]\nName=lo\n\n[Network]\n" + "".join(f"Address={one}\n" for one in addresses)


def nm_loopback(addresses: list[str]) -> str:
    """Return NetworkManager's connection of the loopback interface."""
    text = f"{HEADER}[connection]\nid=netorder-loopback\ntype=loopback\ninterface-name=lo\n"
    for of in (IPV4, IPV6):
        own = [LOCALHOST[of], *(one for one in addresses if version(one) == of)]
        lines = "".join(f"address{number}={one}\n" for number, one in enumerate(own, 1))
        text += f"\n[ipv{of}]\nmethod=manual\n{lines}"
    return text


def nm_version() -> tuple[int, ...]:
    """Return NetworkManager's version."""
    said = re.search(r"(\d+)\.(\d+)", run("nmcli", "--version", check=False))
    return (int(said[1]), int(said[2])) if said else (0, 0)


# What differs


def differs(what: str, expected: str, found: str) -> Difference:
    """Return one difference."""
    return {"what": what, "expected": expected, "found": found}


def words(routes: Iterable[Route]) -> list[str]:
    """Return routes as people write them."""
    return [f"{destination} via {next_hop}" for destination, next_hop in sorted(routes)]


def listing(kept: set[Route], in_force: set[Route]) -> str:
    """Return routes as lines for --diff."""
    states = {
        (True, True): "in force, kept over reboots",
        (True, False): "not in force, kept over reboots",
        (False, True): "in force, lost at the next boot",
    }
    return "".join(
        f"{route[0]} via {route[1]} ({states[route in kept, route in in_force]})\n" for route in sorted(kept | in_force)
    )


def lines(differences: list[Difference], state: str) -> str:
    """Return what differs beside routes as lines for --diff."""
    return "".join(f"{one['what']}: {one[state]}\n" for one in differences)


def route_differences(wanted: set[Route], kept: set[Route], in_force: set[Route]) -> list[Difference]:
    """Report each route that is wanted, or was kept by us, and does not match."""
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


def unwanted_defaults(host: Snapshot, need: dict[str, Need]) -> list[dict[str, Any]]:
    """Return the default routes in force that must not be used: those that DHCP or an advertisement gave."""
    return [
        one
        for one in host.gateways()
        if one["dst"] == ANYWHERE[one["version"]]
        and one.get("protocol") in LEASED
        and one["version"] in (need[one["dev"]].unwanted if one.get("dev") in need else [])
    ]


def compare_addresses(host: Snapshot, planned: list[str], kept: set[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return what somebody added to the planned addresses' interfaces, and the planned ones that are nowhere.

    ``kept`` are static addresses of ours, and virtual ones.
    """
    plan = {ip_address(one) for one in planned}
    known = plan | {ip_interface(one).ip for one in kept}
    there = [
        (link.name, ip_interface(whole(one)), host.is_leased(one))
        for link in host.links.values()
        for one in link.addresses
    ]
    ours = {name for name, one, _ in there if one.ip in plan}
    foreign = [(name, str(one)) for name, one, leased in there if name in ours and one.ip not in known and not leased]
    return foreign if plan else [], [str(one) for one in sorted(plan - {one.ip for _, one, _ in there}, key=str)]


# Names


class HostsFiles:
    """The block of names in /etc/hosts, and in the template that cloud-init makes that from, where it says so there."""

    def __init__(self, names: list[dict[str, Any]]) -> None:
        self.lines = [f"{ip_address(one['address'])} {one['name']}" for one in names]
        self.before = {path: read_hosts(path) for path in hosts_paths()}
        self.after = {path: with_block(path, text, self.lines) for path, text in self.before.items()}

    def differences(self) -> list[Difference]:
        """Return what differs, a name each, but of a block that is missing or surplus the number of its names.

        A name that leads elsewhere is one difference.
        """
        found = []
        for path, text in self.before.items():
            if text == self.after[path]:
                continue
            there = split_hosts(path, text)[1]
            missing = [one for one in self.lines if one not in there]
            surplus = [one for one in there if one not in self.lines]
            if there and self.lines and (missing or surplus):
                for one in missing:
                    other = next((its for its in surplus if its.split()[1:] == one.split()[1:]), None)
                    found.append(differs(f"name in {path}", one, other or "missing"))
                    surplus = [its for its in surplus if its is not other]
                found += [differs(f"name in {path}", "none", one) for one in surplus]
            else:
                planned, now = (f"{len(one)} of netorder" if one else "none" for one in (self.lines, there))
                found.append(differs(f"names in {path}", planned, "altered" if planned == now else now))
        return found

    def apply(self) -> None:
        """Write what differs, each file in one step, with the owner, mode and label that it had."""
        for path, text in self.after.items():
            if text == self.before[path]:
                continue
            path = path.resolve()  # noqa: PLW2901 - of a link, what it leads to
            new = path.with_name(f".{path.name}.netorder")
            with new.open("wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
            new.chmod(0o644)
            if path.exists():
                was = path.stat()
                shutil.copystat(path, new)
                os.chown(new, was.st_uid, was.st_gid)
                os.utime(new)
            new.replace(path)


def hosts_paths() -> list[Path]:
    """Return /etc/hosts and, where that says that cloud-init makes it anew at each boot, the template."""
    path = ETC / "hosts"
    text = read_hosts(path)
    named = re.findall(r"/etc/cloud/templates/(hosts\.[\w.-]*tmpl)", text) if "manage_etc_hosts" in text else []
    templates = [ETC / "cloud/templates" / name for name in dict.fromkeys(named)]
    return [path, *(one for one in templates if one.is_file())]


def read_hosts(path: Path) -> str:
    """Return the text of a hosts file, whatever its bytes."""
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""


def split_hosts(path: Path, text: str) -> tuple[str, list[str], str]:
    """Return what is before the block, the block's lines without its marks, and what is after it."""
    lines = text.splitlines(keepends=True)
    marks = [number for number, line in enumerate(lines) if line.startswith((NAMES_BEGIN[:16], NAMES_END))]
    if not marks:
        return text, [], ""
    begins = [lines[mark].startswith(NAMES_BEGIN[:16]) for mark in marks]
    if begins != [True, False]:
        raise HostNetworkError(
            f"{path}: the marks `{NAMES_BEGIN[:16]}` and `{NAMES_END}` are not one pair, so what is netorder's is"
            " unknown: remove these lines and what is between them"
        )
    first, last = marks
    block = [line.rstrip("\n") for line in lines[first + 1 : last]]
    return "".join(lines[:first]), block, "".join(lines[last + 1 :])


def with_block(path: Path, text: str, names: list[str]) -> str:
    """Return a hosts file's text with the block of these names, without any if there are none."""
    head, _, tail = split_hosts(path, text)
    if not names:
        return head + tail
    if head and not head.endswith("\n"):
        head += "\n"
    return head + "\n".join([NAMES_BEGIN, *names, NAMES_END]) + "\n" + tail


class Plan:
    """What is, what must be and what differs; pure but for reading files."""

    def __init__(self, params: dict[str, Any], host: Snapshot) -> None:
        self.host = host
        self.params = params
        self.routes: set[Route] = {
            (str(ip_network(one["destination"])), str(ip_address(one["next_hop"]))) for one in params["routes"]
        }
        self.need = needs(self.routes, params, host.links)
        self.manager = backend(host)
        self.before, self.after = self.manager.current(), self.manager.wanted(self.need)
        self.had, self.had_static = self.manager.kept(self.before)
        self.in_force = host.in_force()
        self.add = self.routes - self.in_force
        static = {one for its in self.need.values() for one in its.static}
        self.absent = [
            (name, address)
            for name, its in self.need.items()
            for address in its.static
            if ip_interface(address) not in {ip_interface(whole(one)) for one in host.links[name].addresses}
        ]
        self.surplus = [
            (link.name, whole(one))
            for link in host.links.values()
            for one in link.addresses
            if whole(one) in self.had_static - static
        ]
        foreign, self.lacking = compare_addresses(
            host, params["addresses"], static | self.had_static | set(params["virtual_addresses"])
        )
        self.foreign = foreign if params["manage"]["addresses"] else []
        self.unwanted = unwanted_defaults(host, self.need)
        self.twins = self.find_twins()
        self.mtus = {name: its.mtu for name, its in self.need.items() if its.mtu not in (None, host.links[name].mtu)}
        self.sysctl = Sysctl(
            forwarding=params["forwarding"],
            several=len(params["interfaces"]) > 1
            or any(one["static"] or one["unwanted"] for one in params["interfaces"]),
            manage=params["manage"]["forwarding"],
        )
        self.loopback = Loopback(params["loopback_addresses"], host, self.manager.name)
        self.names = HostsFiles(params["names"])
        self.of_routes = route_differences(self.routes, self.had, self.in_force)
        self.of_others = [
            # a route that is not kept shows in its file, too: it is reported once
            *([] if self.had != self.routes else file_differences(self.before, self.after)),
            *(differs(f"address {one} on {name}", "present", "missing") for name, one in self.absent),
            *(differs(f"address {one} on {name}", "none", "present, no longer planned") for name, one in self.surplus),
            *(differs(f"address {one} on {name}", "none", "present, not planned") for name, one in self.foreign),
            *(
                differs(
                    f"IPv{one['version']} default route on {one['dev']}", "none", f"in force, from {one['protocol']}"
                )
                for one in self.unwanted
            ),
            *(
                differs(f"route {one['dst']} via {one['gateway']}", "once", "twice, with two metrics")
                for one in self.twins
            ),
            *(differs(f"mtu of {name}", str(mtu), str(host.links[name].mtu)) for name, mtu in self.mtus.items()),
            *self.sysctl.differences(),
            *self.loopback.differences(),
            *self.names.differences(),
        ]
        self.changed = bool(self.of_routes or self.of_others)

    def find_twins(self) -> list[dict[str, Any]]:
        """Return routes (an earlier version made them) that stand without a metric beside NetworkManager's own."""
        found = []
        there = self.host.gateways()
        own = {(one["dst"], one["gateway"], one.get("metric")) for one in there}
        for one in there:
            if (one["dst"], one["gateway"]) in self.routes and one.get("protocol") == "static":
                metric = self.manager.metric(one["dev"], one["version"])
                if metric and one.get("metric") != metric and (one["dst"], one["gateway"], metric) in own:
                    found.append(one)
        return found

    def result(self) -> dict[str, Any]:
        """Return the module's answer."""
        differences = [*self.of_routes, *self.of_others]
        own = {str(ip_interface(one).ip) for its in self.need.values() for one in its.static}
        # what no run can change
        differences += [
            differs(f"address {one}", "present", "missing: ask DHCP") for one in self.lacking if one not in own
        ]
        differences += self.manager.differences()
        return {
            "backend": self.manager.name,
            "changed": self.changed,
            "in_line": not differences,
            "differences": differences,
            "added": words(self.add),
            "removed": words(self.had - self.routes),
            "probes": [],
            "diff": {
                "before_header": "network of the host",
                "after_header": f"network of the host ({self.manager.name})",
                "before": listing(self.had, self.in_force & (self.had | self.routes)) + lines(self.of_others, "found"),
                "after": listing(self.routes, self.routes) + lines(self.of_others, "expected"),
            },
        }


# Changing it


def route_command(verb: str, entry: dict[str, Any]) -> tuple[str, ...]:
    """Return ip's command for a route as ip lists it."""
    if entry.get("nhid"):
        # by its next hop's number: the kernel compares neither address nor interface of these (ip6_route_del)
        path = ["nhid", str(entry["nhid"])]
    else:
        path = [
            part for key, word in (("gateway", "via"), ("dev", "dev")) if entry.get(key) for part in (word, entry[key])
        ]
    metric = ["metric", str(entry["metric"])] if entry.get("metric") else []
    onlink = ["onlink"] if "onlink" in entry.get("flags", []) and verb == "replace" else []
    protocol = ["proto", str(entry.get("protocol", "static"))]
    return ("ip", f"-{entry['version']}", "route", verb, entry["dst"], *path, *metric, *protocol, *onlink)


def delete_route(entry: dict[str, Any], undo: Undo) -> None:
    """Delete a route; one that has gone meanwhile is well."""
    undo.command(*route_command("replace", entry))
    run(*route_command("del", entry), check=False)


def remove_defaults(host: Snapshot, need: dict[str, Need], undo: Undo) -> None:
    """Remove default routes that must not be used; networkd adds one again if an advertisement came first."""
    for one in unwanted_defaults(host, need):
        delete_route(one, undo)


def put_in_force(plan: Plan, routes: set[Route], undo: Undo) -> None:
    """Put routes into the kernel's table."""
    for name, its in plan.need.items():
        for route in its.routes:
            if route in routes:
                of = version(route[0])
                metric = plan.manager.metric(name, of)
                entry = {"version": of, "dst": route[0], "gateway": route[1], "dev": name, "metric": metric}
                undo.command(*route_command("del", entry))
                run(*route_command("replace", entry))


def lost(plan: Plan, now: Snapshot) -> list[str]:
    """Return what the host had before the change, was not to lose and has not (yet): addresses, default routes."""
    removed = {*plan.foreign, *plan.surplus}
    there = {one["local"] for link in now.links.values() for one in link.addresses}
    found = [
        f"address {one['local']} on {link.name}"
        for link in plan.host.links.values()
        for one in link.addresses
        if (link.name, whole(one)) not in removed
        and one["local"] not in there
        # privacy extensions make new ones (RFC 8981)
        and not one.get("temporary")
        and not one.get("deprecated")
    ]
    unwanted = {(one["version"], one["dev"]) for one in plan.unwanted}
    return found + [
        f"IPv{of} default route on {name}" for of, name in sorted(plan.host.defaults() - now.defaults() - unwanted)
    ]


def settle(plan: Plan) -> Snapshot:
    """Wait until the host has what it must have, as networkd drops what it did not make and adds its own.

    Whoever adds a route in between leaves two. Raise HostNetworkError when the host lost what it had.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    good_since = None
    revived = False
    while True:
        now = observe()
        problem = plan.manager.problem(plan.need)
        gone = lost(plan, now)
        if not (problem or gone or plan.routes - now.in_force()):
            # networkd answers a reload before it has done all of it
            good_since = good_since or time.monotonic()
            if time.monotonic() >= min(good_since + STABLE_SECONDS, deadline):
                return now
            time.sleep(0.3)
            continue
        good_since = None
        failed = problem is not None and problem.endswith(" failed")
        if failed and not revived:
            # networkd 252 may set a route while the kernel forgets the path to its next hop; afresh it waits for that
            revived = True
            plan.manager.revive()
            continue
        if failed or time.monotonic() > deadline:
            if problem and problem.endswith(" configuring"):
                problem = None  # it waits for something that it waited for before
            if problem or gone:
                raise HostNetworkError(
                    "; ".join([*([problem] if problem else []), *(f"{one} is gone" for one in gone)])
                )
            return now
        time.sleep(0.3)


def set_mtus(plan: Plan, undo: Undo) -> None:
    """Give interfaces their MTU."""
    for name, mtu in plan.mtus.items():
        undo.command("ip", "link", "set", "dev", name, "mtu", str(plan.host.links[name].mtu))
        run("ip", "link", "set", "dev", name, "mtu", str(mtu))


def change(plan: Plan, undo: Undo) -> None:
    """Make the kernel and the files match. Raise HostNetworkError when the host does not take it."""
    plan.sysctl.apply(undo)
    plan.loopback.apply(undo)
    set_mtus(plan, undo)
    for name, address in [*plan.foreign, *plan.surplus]:
        undo.command("ip", f"-{version(address)}", "address", "replace", address, "dev", name)
        run("ip", f"-{version(address)}", "address", "del", address, "dev", name)
    for one in plan.host.gateways():
        if (one["dst"], one["gateway"]) in plan.had - plan.routes and one.get("protocol") == "static":
            delete_route(one, undo)
    remove_defaults(plan.host, plan.need, undo)
    for name, address in plan.absent:
        of = version(address)
        for one in plan.host.links[name].addresses:
            if ip_address(one["local"]) == ip_interface(address).ip:
                # a lease's /128, say: the kernel would keep it so, and make no route to the network
                undo.command("ip", f"-{of}", "address", "replace", whole(one), "dev", name)
                run("ip", f"-{of}", "address", "del", whole(one), "dev", name)
        undo.command("ip", f"-{of}", "address", "del", address, "dev", name)
        run("ip", f"-{of}", "address", "replace", address, "dev", name, *(["nodad"] if of == IPV6 else []))
    put_in_force(plan, plan.add, undo)
    if plan.before != plan.after:
        plan.manager.apply(plan.before, plan.after, plan.need, undo)
        now = settle(plan)
        put_in_force(plan, plan.routes - now.in_force(), undo)
        remove_defaults(now, plan.need, undo)
        settle(plan)
    for one in plan.twins:
        delete_route(one, undo)
    back = [
        (one["dst"], one["gateway"])
        for one in observe().gateways()
        if (one["dst"], one["gateway"]) in plan.had - plan.routes and one.get("protocol") == "static"
    ]
    if back:
        raise HostNetworkError(f"the kernel keeps {', '.join(words(back))}, although deleted: what puts it back?")
    plan.names.apply()  # last: nothing after it can fail, so nothing takes it back


def converge(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Compare with what is, change it unless in check mode, and return the module's result.

    Raise HostNetworkError when the change was not taken; everything is then as it was before.
    """
    plan = Plan(params, observe(given_ipv6(params)) if check_mode else solicit(params))
    result = plan.result()
    if check_mode or not plan.changed:
        return result
    probes = params["probes"] if plan.add else []
    before = probe_all(probes, BEFORE_SECONDS)
    undo = Undo()
    try:
        change(plan, undo)
    except (HostNetworkError, OSError) as error:
        undo.back()
        raise HostNetworkError(f"{error}. The configuration of before is in force again") from error
    result["probes"] = probe_results(probes, before, probe_all(probes, AFTER_SECONDS))
    if plan.manager.warnings:
        result["warnings"] = plan.manager.warnings
    return result


# Arguments and answer, which Ansible's own library would do at several times the cost on a slow host

TEXT = {"type": "str", "required": True}
SPEC: dict[str, dict[str, Any]] = {
    "routes": {"type": "list", "required": True, "elements": {"destination": TEXT, "next_hop": TEXT}},
    "interfaces": {
        "type": "list",
        "default": [],
        "elements": {
            "address": TEXT,
            "static": {"type": "list", "default": [], "elements": "str"},
            "unwanted": {"type": "list", "default": [], "elements": "int"},
            "mtu": {"type": "int", "default": None},
        },
    },
    "addresses": {"type": "list", "default": [], "elements": "str"},
    "ipv6_prefixes": {"type": "list", "default": [], "elements": "str"},
    "virtual_addresses": {"type": "list", "default": [], "elements": "str"},
    "loopback_addresses": {"type": "list", "default": [], "elements": "str"},
    "forwarding": {"type": "bool", "default": False},
    "manage": {
        "type": "dict",
        "default": {},
        "options": {
            "addresses": {"type": "bool", "default": False},
            "forwarding": {"type": "bool", "default": False},
        },
    },
    "names": {"type": "list", "default": [], "elements": {"address": TEXT, "name": TEXT}},
    "probes": {
        "type": "list",
        "default": [],
        "elements": {"name": TEXT, "address": TEXT, "port": {"type": "int", "default": None}},
    },
}
TRUTH = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def validated(given: Any, spec: dict[str, dict[str, Any]], where: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Return the arguments with their defaults and types. Raise HostNetworkError that names each that is wrong."""
    if not isinstance(given, dict):
        raise HostNetworkError(f"{where or 'the arguments'} must be a dictionary, not {json.dumps(given)}")
    prefix = f"{where}." if where else ""
    problems = [f"{prefix}{key} is not supported: use {', '.join(spec)}" for key in given if key not in spec]
    found: dict[str, Any] = {}
    for key, one in spec.items():
        value = given.get(key)
        if value is None:
            if one.get("required"):
                problems.append(f"{prefix}{key} is required")
                continue
            if one["type"] != "dict":
                found[key] = one["default"]
                continue
            value = one["default"]
        try:
            found[key] = converted(value, one["type"], one, f"{prefix}{key}")
        except HostNetworkError as error:
            problems.append(str(error))
    if problems:
        raise HostNetworkError("; ".join(problems))
    return found


def converted(value: Any, kind: str, spec: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    """Return one argument as its type. Raise HostNetworkError when it is not of it."""
    if kind == "list" and isinstance(value, list):
        elements = spec["elements"]
        return [
            converted(
                one, elements if isinstance(elements, str) else "dict", {"options": elements}, f"{where}[{index}]"
            )
            for index, one in enumerate(value)
        ]
    if kind == "dict":
        return validated(value, spec["options"], where)
    if kind == "str" and isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    if kind == "int" and str(value).lstrip("-").isdigit() and not isinstance(value, bool):
        return int(value)
    if kind == "bool" and str(value).lower() in TRUTH:
        return TRUTH[str(value).lower()]
    kinds = {"list": "a list", "str": "a text", "int": "a whole number", "bool": "true or false"}
    raise HostNetworkError(f"{where} must be {kinds[kind]}, not {json.dumps(value)}")


def parsed(params: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments when all that are addresses are. Raise HostNetworkError that names each that is not."""
    problems = []
    places: list[tuple[str, Callable[[str], object], str]] = []
    for index, one in enumerate(params["routes"]):
        places.append((f"routes[{index}].destination", ip_network, one["destination"]))
        places.append((f"routes[{index}].next_hop", ip_address, one["next_hop"]))
    for index, one in enumerate(params["interfaces"]):
        places.append((f"interfaces[{index}].address", ip_address, one["address"]))
        places += [(f"interfaces[{index}].static", ip_interface, address) for address in one["static"]]
        problems += [
            f"interfaces[{index}].unwanted: {of} is no IP version (4, 6)" for of in one["unwanted"] if of not in (4, 6)
        ]
    keys = ("addresses", "virtual_addresses", "loopback_addresses")
    places += [(key, ip_address, one) for key in keys for one in params[key]]
    places += [("ipv6_prefixes", IPv6Network, one) for one in params["ipv6_prefixes"]]
    places += [(f"names[{index}].address", ip_address, one["address"]) for index, one in enumerate(params["names"])]
    for where, parse, value in places:
        try:
            parse(value)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise HostNetworkError("; ".join(problems))
    return params


def result(given: dict[str, Any]) -> dict[str, Any]:
    """Return Ansible's result for Ansible's arguments."""
    params = {key: value for key, value in given.items() if not key.startswith("_ansible_")}
    try:
        found = converge(parsed(validated(params, SPEC)), check_mode=bool(given.get("_ansible_check_mode")))
        if not given.get("_ansible_diff"):
            del found["diff"]
    except HostNetworkError as error:
        found = {"failed": True, "msg": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, Ansible gets an answer that it can read
        found = {"failed": True, "msg": f"{type(error).__name__}: {error}", "exception": traceback.format_exc()}
    return {**found, "invocation": {"module_args": params}}


def main(arguments: str) -> int:
    """Run with Ansible's arguments as JSON, print the result as JSON, and return the exit status."""
    found = result(json.loads(arguments))
    print(json.dumps(found))
    return 1 if found.get("failed") else 0


# JSON has no three quotes in a row and nothing that ends with a backslash
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""

if __name__ == "__main__":
    sys.exit(main(ARGUMENTS))
