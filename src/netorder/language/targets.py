"""What of a topology its target cannot do: an error where the file asks for it, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.ip import IPV4, covers, joined
from netorder.topology import CONTAINERS, MACHINE, SSH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netorder.language.document import Reader
    from netorder.language.specs import Specs
    from netorder.language.yaml_source import Path
    from netorder.topology import HostSpec, RuleSpec

__all__ = ["check_target"]

# keys of a network, a router and of the whole file
_OF_A_CLOUD = {
    "existing": "there is no cloud that has some already",
    "reachable": "nothing outside reaches the networks of containers but by published ports",
}
_OF_THE_FILE = {
    "key_pair": "there is no cloud that keeps key pairs: name the private key with netorder_ssh_key",
    "egress": "what hosts send is not limited yet",
}
# keys of a host that are requests to Nova
_OF_NOVA = {
    "availability_zone": "all containers are on this machine",
    "server_group": "all containers are on this machine",
    "user_data": "there is no cloud-init in a container",
    "config_drive": "a container has no drives",
    "metadata": "it is Nova's, and a container cannot ask for it",
    "tags": "they are Nova's",
    "mac_address": "netorder draws them by name",
    "security_groups": "there is no cloud that has some already",
    "users": "cloud-init makes them, and there is none in a container",
}
_FIX = "remove it, or use `target: openstack`"
_SHOWN = 3  # of ports


def check_target(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...], target: str) -> None:
    """Report what ``target`` cannot do; OpenStack is what the language was made for."""
    if target == MACHINE:
        message = "virtual machines on this machine are not built yet; use `openstack` or `containers`"
        reader.error(("target",), f"target `machine`: {message}")
    if target == CONTAINERS:
        _check_asked(reader, specs)
        _check_outside(reader, specs)
        _check_networks(reader, specs)
        _check_published(reader, specs, rules)


def _check_asked(reader: Reader, specs: Specs) -> None:
    entries = [("defaults",), *(("hosts", entry) for entry in dict.fromkeys(specs.entries.values()))]
    refused: list[tuple[Path, Mapping[str, str]]] = [((), _OF_THE_FILE)]
    for section, names in (("networks", specs.networks), ("routers", specs.routers)):
        refused += [((section, one.name), _OF_A_CLOUD) for one in names]
    refused += [(entry, _OF_NOVA) for entry in entries]
    for place, keys in refused:
        for key, reason in keys.items():
            if reader.get(*place, key):
                reader.error((*place, key), f"target `containers` has no `{key}`: {reason}; {_FIX}")
    for entry in entries:
        if reader.get(*entry, "floating_ip") not in (None, True, False):
            message = "target `containers` chooses floating addresses, one a host"
            reader.error((*entry, "floating_ip"), f"{message}; write `floating_ip: true`, or use `target: openstack`")
        if reader.get(*entry, "flavor") is not None:
            message = "target `containers` has no flavors: this is ignored, and a host takes what memory it needs"
            reader.warning((*entry, "flavor"), message)


def _check_outside(reader: Reader, specs: Specs) -> None:
    message = "target `containers` has one outside, this machine"
    if (name := reader.named("external_network")) is not None:
        reader.error(("external_network",), f"{message}, and no external network `{name}`; {_FIX}")
    for router in specs.routers:
        if reader.get("routers", router.name, "external") not in (None, True, False):
            path: Path = ("routers", router.name, "external")
            reader.error(path, f"{message}; write `external: true`, or use `target: openstack`")


def _check_networks(reader: Reader, specs: Specs) -> None:
    for network in specs.networks:
        if any(subnet.cidr.version != IPV4 for subnet in network.subnets):
            path: Path = ("networks", network.name, "cidr")
            if reader.get(*path) is None:
                path = ("networks", network.name)
            reader.error(path, f"target `containers` has no IPv6 yet; give network `{network.name}` IPv4 only")


def _check_published(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...]) -> None:
    """Report ports that several hosts would publish on this one machine."""
    first: dict[tuple[str, int], HostSpec] = {}
    for host in specs.hosts:
        clashes: dict[str, list[str]] = {}
        for protocol, port in _published(specs, rules, host) if host.floating_ip else ():
            other = first.setdefault((protocol, port), host)
            if other is not host:
                clashes.setdefault(other.name, []).append(f"{protocol} {port}")
        for name, ports in clashes.items():
            shown = ", ".join(ports[:_SHOWN]) + (", …" if len(ports) > _SHOWN else "")
            message = (
                f"target `containers` makes a floating address a published port of this machine, and {shown} of host "
                f"`{host.name}` would be that of host `{name}` too"
            )
            fix = "let one of them in on another port, or from this topology's networks only"
            reader.error(("hosts", specs.entries[host.name], "floating_ip"), f"{message}; {fix}")


def _published(specs: Specs, rules: tuple[RuleSpec, ...], host: HostSpec) -> Iterator[tuple[str, int]]:
    """Yield what of a host outsiders may use; SSH is never published: the machine has its own."""
    own = joined(subnet.cidr for network in specs.networks for subnet in network.subnets)
    found: dict[tuple[str, int], None] = {}
    for rule in rules:
        if host.name not in rule.targets or all(any(covers(one, source) for one in own) for source in rule.sources):
            continue
        for match in rule.to(host):
            if match.protocol in ("tcp", "udp") and match.some_ports:
                found |= dict.fromkeys((match.protocol, port) for port in range(match.first, match.last + 1))
    yield from (one for one in sorted(found) if one != ("tcp", SSH))
