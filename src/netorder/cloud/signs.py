"""What the cloud says about one host that does not answer: server, ports, floating IP, rules, console."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from netorder.cloud.errors import translate_errors
from netorder.cloud.groups import normal_rule
from netorder.cloud.jobs import gather
from netorder.cloud.observe import console_text, fault_text, list_servers
from netorder.cloud.resources.server import IN_MOTION, METADATA, REVIVE, is_off
from netorder.topology import SSH

if TYPE_CHECKING:
    from openstack.network.v2.port import Port

    from netorder.cloud.session import Cloud

__all__ = ["Signs", "read_console", "signs"]

CONSOLE_LINES = 200  # asked for: what cloud-init prints of a boot
TAIL = 6  # shown

_PANIC = re.compile(r"Kernel panic|end Kernel panic|Unable to mount root|No bootable device|Entering emergency mode")
# ECMA-48; colours also without the escape character, which Nova takes out; control characters
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\[\d{1,3}(;\d{1,3})*m|[^\x20-\x7e\n\u00a1-\uffef]")
# cloud-init's table of interfaces: | eth0 | True | 10.1.0.5 | 255.255.255.0 | … (cloudinit/netinfo.py)
_ADDRESS = re.compile(r"ci-info: \|\s*\S+\s*\|\s*True\s*\|\s*([0-9a-fA-F.:]+)(?:/\d+)?\s*\|")


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a host's server; None is unknown."""

    status: str | None = None  # Nova's word; None: there is no server
    off: bool = False  # on purpose
    name: str = ""
    fault: str = ""
    ports_down: tuple[str, ...] = ()  # addresses of ports that are not ACTIVE
    addresses: tuple[str, ...] = ()  # fixed ones
    floating_ip: str | None = None
    more_floating_ips: tuple[str, ...] = ()
    let_in: tuple[str, ...] = ()  # prefixes that the rules of its ports let in to SSH
    members_let_in: bool = False  # and members of security groups
    console: tuple[str, ...] = ()  # its last lines; empty: nothing was printed
    panicked: str = ""  # the console's line that says so
    printed_key: bool = False
    has: tuple[str, ...] = ()  # the addresses that cloud-init saw on interfaces

    @property
    def moving(self) -> bool:
        """Whether the server's state ends by itself."""
        return self.status in IN_MOTION

    @property
    def startable(self) -> bool:
        """Whether a run starts the server again."""
        return self.status in REVIVE

    def admits(self, source: str) -> bool | None:
        """Return whether a rule lets ``source`` in to SSH; None where only a security group's members might be."""
        address = ip_address(source)
        if any(address in ip_network(prefix) for prefix in self.let_in):
            return True
        return None if self.members_let_in else False


def signs(cloud: Cloud, topology: str, host: str) -> Signs:
    """Ask the cloud about one host; raises CloudError."""
    with translate_errors():
        servers = [s for s in list_servers(cloud, topology) if (s.metadata or {}).get(METADATA["host"]) == host]
        if not servers:
            return Signs()
        server = servers[0]
        ports: tuple[Port, ...] = tuple(cloud.conn.network.ports(device_id=server.id))
        groups = sorted({group for port in ports for group in port.security_group_ids or ()})
        answers = gather(cloud, [partial(_let_in, cloud, group) for group in groups])
        console = console_text(cloud, server, CONSOLE_LINES) or ""
        floating = [ip for port in ports for ip in cloud.conn.network.ips(port_id=port.id)]
    rules = [rule for group in answers for rule in group]
    if any(not port.is_port_security_enabled for port in ports):
        rules += ["0.0.0.0/0", "::/0"]
    return read_console(
        console,
        Signs(
            status=str(server.status),
            off=is_off(server),
            name=str(server.name),
            fault=fault_text(server) if server.fault else "",
            ports_down=tuple(address for port in ports if port.status != "ACTIVE" for address in _fixed(port)),
            addresses=tuple(address for port in ports for address in _fixed(port)),
            floating_ip=next((str(ip.floating_ip_address) for ip in floating), None),
            more_floating_ips=tuple(str(ip.floating_ip_address) for ip in floating[1:]),
            let_in=tuple(dict.fromkeys(prefix for prefix in rules if prefix)),
            members_let_in=None in rules,
        ),
    )


def read_console(text: str, known: Signs) -> Signs:
    """Add to ``known`` what a console's output says."""
    text = "\n".join(_COLOURS.sub("", line) for line in text.splitlines())
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return replace(
        known,
        console=tuple(lines[-TAIL:]),
        panicked=next((line.strip() for line in lines if _PANIC.search(line)), ""),
        printed_key="BEGIN SSH HOST KEY KEYS" in text,
        has=tuple(dict.fromkeys(_ADDRESS.findall(text))),
    )


def _let_in(cloud: Cloud, group: str) -> list[str | None]:
    """Return the prefixes that one group lets in to SSH; None stands for the members of a group."""
    found: list[str | None] = []
    for rule in cloud.conn.network.get_security_group(group).security_group_rules:
        direction, ethertype, protocol, low, high, remote, members = normal_rule(rule)
        if direction != "ingress" or protocol not in {None, "tcp"}:
            continue
        if low is None or high is None or low <= SSH <= high:
            anywhere = "0.0.0.0/0" if ethertype == "IPv4" else "::/0"
            found.append(None if members or rule.get("remote_address_group_id") else remote or anywhere)
    return found


def _fixed(port: Port) -> list[str]:
    return [str(fixed["ip_address"]) for fixed in port.fixed_ips or ()]
