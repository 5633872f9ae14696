"""What a plan's security groups and port security pass and drop."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from netorder.ip import IPV6

if TYPE_CHECKING:
    from netorder.plan.model import Plan, Port, Rule

__all__ = ["Filters", "may_pass"]


class Filters:
    """The security-group rules of a plan's hosts."""

    def __init__(self, plan: Plan) -> None:
        groups = {group.name: group.rules for group in plan.security_groups}
        self._rules: dict[tuple[str, str], list[Rule]] = {}
        for host in plan.hosts:
            rules = [rule for name in dict.fromkeys(host.ports[0].security_groups) for rule in groups[name]]
            for direction in ("ingress", "egress"):
                self._rules[host.name, direction] = [rule for rule in rules if rule.direction == direction]

    def rules(self, host: str, direction: str) -> list[Rule]:
        """Return the rules of a host in a direction, ingress or egress."""
        return self._rules[host, direction]

    def first(self, host: str, direction: str, protocol: str, port: int | None, remote: str | None) -> Rule | None:
        """Return the first rule that allows it; ``remote`` None is an IPv4 address that no rule names."""
        version = 6 if remote and ":" in remote else 4
        name = "ipv6-icmp" if protocol == "icmp" and version == IPV6 else protocol
        number = _number(remote) if remote else None
        for rule in self._rules[host, direction]:
            if rule.ethertype != f"IPv{version}" or rule.protocol not in (None, name):
                continue
            if port is not None and rule.port_min is not None and not rule.port_min <= port <= (rule.port_max or 0):
                continue
            if rule.remote_cidr is None:
                return rule
            low, high = _range(rule.remote_cidr)
            if number is not None and low <= number <= high:
                return rule
        return None


def may_pass(port: Port, address: str) -> bool:
    """Return whether port security passes packets from and to ``address`` at a port."""
    return address in port.addresses or any(
        low <= _number(address) <= high
        for pair in port.allowed_address_pairs
        if (":" in pair) == (":" in address)
        for low, high in (_range(pair),)
    )


@cache
def _number(address: str) -> int:
    return int(ip_address(address))


@cache
def _range(cidr: str) -> tuple[int, int]:
    """Return the first and the last address of a prefix as numbers."""
    prefix = ip_network(cidr)
    return int(prefix.network_address), int(prefix.broadcast_address)
