"""The machines of a plan, in network namespaces of this process: real kernel routing, real packet filters."""

from __future__ import annotations

import time
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Self

from namespaces import Namespace, NamespaceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from wiring import Interface, Node, Wiring

# Redirects are off: Neutron's routers send none, and a host that heeds them leaves its plan.
EVERYWHERE = {
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/accept_redirects": 0,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv6/conf/all/accept_redirects": 0,
    "ipv6/conf/default/accept_redirects": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/router_solicitations": 0,
    # what is probed must never be taken as the near end of a probe
    "ipv4/ip_local_port_range": "60000 65535",
}


PATIENCE = 30.0


class Lab:
    """``wiring`` as it runs. ``ports`` are those that will be listened on: no connection starts from them.

    Leaving the context removes everything; so does the end of the process.
    """

    def __init__(self, wiring: Wiring, ports: Collection[int] = ()) -> None:
        self.wiring = wiring
        self._ports = sorted(set(ports))
        self._namespaces: dict[str, Namespace] = {}

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every namespace, and so all that is in them."""
        while self._namespaces:
            self._namespaces.popitem()[1].close()

    def at(self, node: str) -> Namespace:
        """Return the namespace of ``node``."""
        return self._namespaces[node]

    def reroute(self, wiring: Wiring) -> None:
        """Change the routes to those of ``wiring``; in all else it must be the same."""
        for name, node in wiring.nodes.items():
            before, after = self.wiring.nodes[name].routes, node.routes
            with self._namespaces[name].entered():
                self._namespaces[name].ip(
                    [f"route del {one} via {via}" for one, via in before if (one, via) not in after]
                    + [f"route add {one} via {via}" for one, via in after if (one, via) not in before]
                )
        self.wiring = wiring

    def open(self) -> None:
        """Take all security groups away; what else the ports filter stays."""
        for name, node in self.wiring.nodes.items():
            with self._namespaces[name].entered():
                self._namespaces[name].nft([f"flush chain inet ports {chain}" for chain in node.rules])

    def _build(self) -> None:
        switches = self._namespaces[""] = Namespace("the switches")
        for name in self.wiring.nodes:
            self._namespaces[name] = Namespace(name)
        for name, node in self.wiring.nodes.items():
            # first: interfaces copy the defaults when they come
            with self._namespaces[name].entered():
                self._namespaces[name].sysctl(self._settings(node))
        with switches.entered():
            switches.ip(list(self._switches()))
        for name, node in self.wiring.nodes.items():
            with self._namespaces[name].entered():
                self._namespaces[name].nft(list(node.ruleset))
                self._namespaces[name].ip(list(self._configuration(node)))
        with switches.entered():
            self._wait_for_cables(switches)

    def _wait_for_cables(self, switches: Namespace) -> None:
        """Wait for every port of the switches to forward: the kernel starts them a while after both ends are up."""
        end = time.monotonic() + PATIENCE
        while idle := [port["ifname"] for port in switches.ports() if port["state"] != "forwarding"]:
            if time.monotonic() > end:
                raise NamespaceError(f"switch ports {', '.join(idle)} do not forward after {PATIENCE:.0f} s")
            time.sleep(0.005)

    def _switches(self) -> Iterator[str]:
        """Yield one switch for each network, and the cables from it to its nodes."""
        bridges = {network: f"br{index}" for index, network in enumerate(self.wiring.networks)}
        for bridge in bridges.values():
            yield f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0"
            yield f"link set {bridge} up"
        cables = [(name, end) for name, node in self.wiring.nodes.items() for end in _cabled(node)]
        for index, (name, end) in enumerate(cables):
            path = self._namespaces[name].path
            # far from the other end's number: the kernel heeds a link at once only if the two differ
            peer = f"peer name {end.device} address {end.mac} netns {path}"
            yield f"link add p{index} index {index + 1001} type veth {peer}"
            yield f"link set p{index} master {bridges[end.network]} up"

    def _settings(self, node: Node) -> dict[str, int | str]:
        settings: dict[str, int | str] = {
            **EVERYWHERE,
            # loose (RFC 3704) is what systemd sets on hosts
            "ipv4/conf/all/rp_filter": 0 if node.forwarding else 2,
            "ipv4/ip_forward": int(node.forwarding),
            "ipv6/conf/all/forwarding": int(node.forwarding),
            "ipv4/ip_local_reserved_ports": ",".join(map(str, self._ports)),
        }
        return settings

    def _configuration(self, node: Node) -> Iterator[str]:
        yield "link set lo up"
        for interface in node.interfaces:
            if interface.mac:
                yield f"link set {interface.device} up"
            for address in interface.addresses:
                yield f"address add {address} dev {interface.device}" + (" nodad" if ":" in address else "")
            # The kernel's table of learned neighbours has one limit for all namespaces of the machine; given ones do
            # not count. Whoever is not on the network is still asked for, in vain.
            for other in self._neighbours(node, interface):
                for address in other.addresses:
                    bare = ip_interface(address).ip
                    yield f"neighbour add {bare} lladdr {other.mac} dev {interface.device} nud permanent"
        for destination, next_hop in node.routes:
            yield f"route add {destination} via {next_hop}"

    def _neighbours(self, node: Node, interface: Interface) -> Iterator[Interface]:
        for other in self.wiring.nodes.values():
            if other is not node:
                yield from (end for end in _cabled(other) if end.network == interface.network)

    def addresses(self, node: str) -> list[str]:
        """Return all addresses of ``node``, without prefix lengths."""
        return [
            str(ip_interface(address).ip)
            for interface in self.wiring.nodes[node].interfaces
            for address in interface.addresses
        ]


def _cabled(node: Node) -> Iterator[Interface]:
    return (interface for interface in node.interfaces if interface.mac)
