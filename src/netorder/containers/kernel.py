"""The kernel's side: network namespaces, links, addresses, routes, filters; by ip, nft and nsenter, as root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Network, IPv6Address, NetmaskValueError, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "SECONDS", "SETTINGS",
    "SPACES", "WAS_OFF", "Link", "Space", "Way", "batch", "configure", "delete_link", "delete_space", "enter",
    "forward", "forward_no_more", "inode", "joined", "listening", "load", "make_space", "name_servers",
    "normal", "own_space", "read_space", "routes", "run", "set_forwarding", "spaces", "tables", "tracks_bridges",
]  # fmt: skip

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
SPACES = Path("/run/netns")
_ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
_PACKAGE = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "unshare": "util-linux", "podman": "podman"}
SETTINGS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter")  # below /proc/sys/net
_BREAK = "-----"
WAS_OFF = "netorder-forwarding-was-off"
_RESOLV = Path("/etc/resolv.conf")
_RESOLVED, _STUB = Path("/run/systemd/resolve/resolv.conf"), "127.0.0.53"  # whom systemd-resolved asks; itself
SECONDS = 300.0  # for a command, which takes one or a few
_WORDS, _LONGEST = 8, 80  # of a command in a message, and characters of a word
_SOCKETS = Path("/proc/net")
_LISTEN = "0A"  # of /proc/net/tcp
_TRIAL = "table bridge trial {\n chain c {\n type filter hook forward priority 0\n ct state established accept\n }\n}\n"


def run(*command: str, text: str = "", check: bool = True, seconds: float = SECONDS) -> str:
    """Return what a command prints, or raise CloudError with what it says, or that it did not end in time."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, errors="replace", check=False, env=_ENVIRONMENT,
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CloudError(
            f"`{_shown(command)}` did not end within {seconds:g} s and was killed: see what this machine is busy "
            "with, or waits for (`top`, `podman ps --all`), and run again"
        ) from None
    except FileNotFoundError:
        package = _PACKAGE.get(command[0], command[0])
        raise CloudError(
            f"{command[0]} is not installed on this machine, and target `containers` needs it: make setup, or "
            f"apt-get install {package}"
        ) from None
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise CloudError(f"`{_shown(command)}` ended with {done.returncode}: {said}")
    return done.stdout


def _shown(command: Sequence[str]) -> str:
    """Return the first words of a command, podman's own alone: the rest may be a host's files, and not for a log."""
    words = [*command[command.index("podman") :]] if "podman" in command else [*command]
    shown = [word if len(word) <= _LONGEST and "\n" not in word else "…" for word in words[:_WORDS]]
    return " ".join([*shown, *(["…"] if len(words) > _WORDS else [])])


def enter(space: str) -> tuple[str, ...]:
    """Return how a command begins that runs in a namespace; "" is the machine's own, where this runs."""
    return ("nsenter", f"--net={SPACES / space}", "--") if space else ()


@dataclass(frozen=True, slots=True)
class Link:
    """A device: what it is part of, its MTU, whether it is up, and its IPv4 addresses with prefix lengths."""

    master: str
    mtu: int
    up: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """What is in a namespace. ``routes`` are (destination, next hop); ``ruleset`` as nft lists it."""

    links: dict[str, Link] = field(default_factory=dict)
    routes: frozenset[tuple[str, str]] = frozenset()
    forwarding: bool = False
    ruleset: str = ""
    settings: dict[str, str] = field(default_factory=dict)  # SETTINGS


@dataclass(frozen=True, slots=True)
class Way:
    """A route of this machine's; ``connected``: it has an address in the prefix, on this device."""

    prefix: IPv4Network
    device: str
    connected: bool


def spaces(prefix: str) -> list[str]:
    """Return the names of the namespaces that begin so."""
    try:
        return sorted(path.name for path in SPACES.iterdir() if path.name.startswith(prefix))
    except FileNotFoundError:
        return []


def inode(space: str) -> int:
    """Return the number of a namespace, 0 where its name stands for none (a run was killed while making it)."""
    path = SPACES / space
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_ino if found.st_dev == Path("/proc/self/ns/net").stat().st_dev else 0


def joined(pid: int) -> int:
    """Return the number of the namespace that a process is in, 0 where it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0


def make_space(space: str) -> None:
    """Make a namespace; what a killed run left of its name goes first."""
    delete_space(space)
    run("ip", "netns", "add", space)
    run("ip", "-n", space, "link", "set", "lo", "up")


def delete_space(space: str) -> None:
    """Delete a namespace: its devices go with it, and with them the far ends of their cables."""
    if not (SPACES / space).exists():
        return
    run("ip", "netns", "delete", space, check=False)
    path = SPACES / space
    if path.exists():
        path.unlink()


def read_space(space: str, table: str = "") -> Space:
    """Return what is in a namespace; of its ruleset all, or one ``table`` of family inet."""
    rules = f"nft list table inet {table} 2>/dev/null || true" if table else "nft list ruleset"
    read = "; ".join(f"cat /proc/sys/net/{name} 2>/dev/null || echo" for name in SETTINGS)
    parts = ("ip -j -4 address show", "ip -j -d link show", "ip -j -4 route show", f"{read}; {rules}")
    said = run(*enter(space), "sh", "-c", f"; echo {_BREAK}; ".join(parts))
    addresses, links, found, rest = (part.strip() for part in said.split(f"{_BREAK}\n"))
    *values, ruleset = rest.split("\n", len(SETTINGS)) if rest.count("\n") >= len(SETTINGS) else [*rest.split("\n"), ""]
    settings = dict(zip(SETTINGS, values, strict=True))
    by_name: dict[str, list[str]] = {}
    for one in json.loads(addresses or "[]"):
        its = [f"{a['local']}/{a['prefixlen']}" for a in one.get("addr_info", []) if a.get("family") == "inet"]
        by_name[one.get("ifname", "")] = its
    return Space(
        {
            one["ifname"]: Link(
                one.get("master", ""), one["mtu"], "UP" in one["flags"], tuple(by_name.get(one["ifname"], ()))
            )
            for one in json.loads(links or "[]")
            if one["ifname"] != "lo"
        },
        frozenset(
            ("0.0.0.0/0" if one["dst"] == "default" else str(IPv4Network(one["dst"])), one["gateway"])
            for one in json.loads(found or "[]")
            if "gateway" in one
        ),
        settings[SETTINGS[0]] == "1",
        ruleset.strip(),
        settings,
    )


def routes() -> list[Way]:
    """Return this machine's routes, the default one apart."""
    found = []
    for one in json.loads(run("ip", "-j", "-4", "route", "show") or "[]"):
        try:
            prefix = IPv4Network(one["dst"])
        except (AddressValueError, NetmaskValueError, ValueError):  # default, or another kind
            continue
        found.append(Way(prefix, one.get("dev", ""), one.get("protocol") == "kernel"))
    return found


def batch(space: str, lines: Sequence[str]) -> None:
    """Give lines to ``ip -batch`` in a namespace."""
    if lines:
        where = ("-n", space) if space else ()
        run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")


def load(space: str, ruleset: str, tables: Iterable[str]) -> None:
    """Put a ruleset in the place of these tables (family and name), in one step."""
    first = "".join(f"table {one}\ndelete table {one}\n" for one in tables)
    run(*enter(space), "nft", "-f", "-", text=first + ruleset)


def normal(ruleset: str) -> str:
    """Return a ruleset as nft lists it, from a namespace that has nothing else and ends at once."""
    return run("unshare", "--net", "sh", "-c", "nft -f - && nft list ruleset", text=ruleset).strip()


def tables(prefix: str) -> list[str]:
    """Return the names of the machine's tables of family inet that begin so."""
    found = (line.split() for line in run("nft", "list", "tables").splitlines())
    return [words[2] for words in found if words[:2] == ["table", "inet"] and words[2].startswith(prefix)]


def own_space() -> Path:
    """Return the path of the namespace that this runs in."""
    return Path(f"/proc/{os.getpid()}/ns/net")


def delete_link(space: str, device: str) -> None:
    """Delete a device with its far end, if it is there."""
    where = ("-n", space) if space else ()
    run("ip", *where, "link", "delete", device, check=False)


def forward() -> None:
    """Let this machine pass packets on, and note that it did not: in an empty table, as the kernel is the state."""
    run("nft", "add", "table", "inet", WAS_OFF)
    set_forwarding("", on=True)


def forward_no_more() -> None:
    """Undo :func:`forward`, unless somebody else has rules here by now, and may need it."""
    found = run("nft", "list", "tables").split("\n")
    if f"table inet {WAS_OFF}" not in found:
        return
    run("nft", "delete", "table", "inet", WAS_OFF)
    if len([line for line in found if line]) == 1:
        set_forwarding("", on=False)


def set_forwarding(space: str, *, on: bool) -> None:
    """Let a namespace pass IPv4 packets on, or not."""
    configure(space, {SETTINGS[0]: str(int(on))})


def configure(space: str, settings: Mapping[str, str]) -> None:
    """Set some of SETTINGS in a namespace."""
    lines = "; ".join(f"echo {value} >/proc/sys/net/{name}" for name, value in settings.items())
    run(*enter(space), "sh", "-c", lines)


def inotify_most() -> int:
    """Return how many inotify instances root may have on this machine: systemd of each container takes some."""
    return int(_INOTIFY.read_text(encoding="ascii"))


def set_inotify_most(number: int) -> None:
    """Allow root so many inotify instances. Raises CloudError."""
    try:
        _INOTIFY.write_text(str(number), encoding="ascii")
    except OSError as error:
        raise CloudError(f"{_INOTIFY} cannot be set to {number}: {error.strerror}; set it yourself") from None


def tracks_bridges() -> bool:
    """Return whether the kernel follows connections through bridges (nf_conntrack_bridge); else br_netfilter must.

    Raises CloudError where it can do neither.
    """
    done = subprocess.run(
        ["unshare", "--net", "nft", "-f", "-"],
        input=_TRIAL, capture_output=True, text=True, check=False, env=_ENVIRONMENT,
    )  # fmt: skip
    if done.returncode == 0:
        return True
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not setting.exists():
        run("modprobe", "br_netfilter", check=False)
        for file in setting.parent.glob("bridge-nf-call-*"):  # the machine's own bridges pass as before
            file.write_text("0", encoding="ascii")
    if not setting.exists():
        raise CloudError(
            "this kernel cannot filter what passes a bridge (it has neither nf_conntrack_bridge nor br_netfilter), so "
            "nothing would keep closed ports closed: use another kernel"
        )
    return False


def listening() -> dict[tuple[str, int], str]:
    """Return the TCP and UDP ports that something on this machine has for IPv4, with where the kernel says so."""
    found: dict[tuple[str, int], str] = {}
    for protocol in ("tcp", "udp"):
        for file in (_SOCKETS / protocol, _SOCKETS / f"{protocol}6"):
            lines: list[str] = []
            with suppress(FileNotFoundError):  # a kernel without IPv6
                lines = file.read_text(encoding="ascii").splitlines()[1:]
            for words in map(str.split, lines):
                address, _, port = words[1].rpartition(":")
                bound = words[3] == _LISTEN if protocol == "tcp" else True
                if bound and _takes_published(address):
                    found[protocol, int(port, 16)] = str(file)
    return found


def _takes_published(address: str) -> bool:
    """Tell whether a socket at an address of /proc/net gets IPv4 packets from other machines."""
    # each 32 bits are written as a number in the machine's order of bytes
    words = [int(address[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(address), 8)]
    its = ip_address(b"".join(words))
    if isinstance(its, IPv6Address):
        if its.ipv4_mapped is None:
            return its.is_unspecified  # which is of both versions, if it does not say otherwise
        its = its.ipv4_mapped
    return not its.is_loopback


def name_servers() -> list[str]:
    """Return this machine's name servers that others can ask too."""
    named = _named_servers(_RESOLV)
    if named == [_STUB]:
        named = _named_servers(_RESOLVED)
    return [one for one in named if ":" not in one and not one.startswith("127.")]


def _named_servers(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [its[1] for its in words if len(its) > 1 and its[0] == "nameserver"]
