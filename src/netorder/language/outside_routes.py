"""Declared routes to places outside the topology: whether what is sent by them gets anywhere."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from netorder.ip import IPV4, covers, overlap
from netorder.text import few
from netorder.topology import HostSpec, RouterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netorder.ip import Address, Prefix
    from netorder.language.document import Reader
    from netorder.language.specs import Specs
    from netorder.language.yaml_source import Path
    from netorder.topology import RuleSpec

__all__ = ["check_outside_routes"]

Node = RouterSpec | HostSpec


class _Declared(NamedTuple):
    """A declared route and its place in the file."""

    path: Path
    owner: Node
    to: Prefix
    via: Address


def check_outside_routes(reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...]) -> None:
    """Report routes to the outside that loop or lead to what does not forward.

    Warn of next hops that nobody has, and of hosts that no rule lets receive what they forward.
    """
    _Checker(reader, specs, rules).check()


class _Checker:
    def __init__(self, reader: Reader, specs: Specs, rules: tuple[RuleSpec, ...]) -> None:
        self._reader = reader
        self._specs = specs
        self._rules = rules
        self._subnets = [(subnet, network.name) for network in specs.networks for subnet in network.subnets]
        self._owners: dict[Address, Node] = {
            address: owner for owner in reversed(specs.nodes) for one in owner.interfaces for address in one.virtual
        }  # of the first of those that share it; they are alike
        self._owners |= {
            address: owner for owner in specs.nodes for one in owner.interfaces for address in one.addresses
        }
        self._loops: set[frozenset[str]] = set()

    def check(self) -> None:
        used: set[str] = set()
        nobodys: set[Address] = set()
        for route in self._routes():
            following = self._owners.get(route.via)
            if isinstance(following, HostSpec):
                used.add(following.name)
            if following is None:
                if route.via not in nobodys:
                    nobodys.add(route.via)
                    self._check_nobodys(route)
            elif isinstance(following, HostSpec) and not following.forward:
                message = f"next hop `{route.via}` is host `{following.name}`, which does not forward"
                fix = f"add `forward: true` to `{self._specs.entries[following.name]}`, or name another"
                self._reader.error(route.path, f"{message}; {fix}")
            else:
                self._follow(route, following)
                if isinstance(following, HostSpec):
                    self._check_accepted(route, following)
        for host in self._specs.hosts:
            if host.forward and len(host.interfaces) == 1 and host.name not in used:
                message = f"host `{host.name}` has one interface and nothing to route between"
                fix = "give it `networks:`, two or more, or routes to the outside that name it as next hop"
                self._reader.error(("hosts", self._specs.entries[host.name], "forward"), f"{message}; {fix}")

    def _routes(self) -> Iterator[_Declared]:
        """Yield the declared routes to the outside, those of hosts that are alike once."""
        entries: set[str] = set()
        for owner in self._specs.nodes:
            section = "routers" if isinstance(owner, RouterSpec) else "hosts"
            entry = owner.name if isinstance(owner, RouterSpec) else self._specs.entries[owner.name]
            if section == "hosts" and entry in entries:
                continue
            entries.add(entry)
            for index, (to, via) in enumerate(owner.routes):
                inside = any(
                    overlap(subnet.cidr, to) and to.prefixlen >= subnet.cidr.prefixlen for subnet, _ in self._subnets
                )
                if not inside:
                    yield _Declared((section, entry, "routes", index, "via"), owner, to, via)

    def _check_nobodys(self, route: _Declared) -> None:
        subnet, network = next((one, name) for one, name in self._subnets if route.via in one.cidr)
        pool = subnet.allocation_pool
        if pool and int(pool[0]) <= int(route.via) <= int(pool[1]):
            first, last = pool
            message = f"next hop `{route.via}` is one of {first} to {last}, which Neutron gives to ports of its own"
            self._reader.error(route.path, f"{message}; name another")
        else:
            message = f"next hop `{route.via}` is no address of this topology; unless something of yours on network "
            message += f"`{network}` has it, name a router, or a host with `forward: true`"
            self._reader.warning(route.path, message)

    def _check_accepted(self, route: _Declared, gateway: HostSpec) -> None:
        """Warn where no rule allows the gateway to receive what it is to forward: security groups see no difference."""
        subnet, network = next((one, name) for one, name in self._subnets if route.via in one.cidr)
        senders = self._senders(route) or [(network, subnet.cidr)]
        if not any(
            gateway.name in rule.targets and rule.to(gateway)
            for rule in self._rules
            if any(overlap(source, one) for source in rule.sources for _, one in senders)
        ):
            source = network if any(name == network for name, _ in senders) else senders[0][0]
            entry = self._specs.entries[gateway.name]
            message = f"host `{gateway.name}` forwards what is for `{route.to}`, and no rule lets it receive that; add "
            message += f"to `allow:` `- {{from: {source}, to: {entry}, tcp: 1-65535, udp: 1-65535}}`, or less"
            self._reader.warning(route.path, message)

    def _senders(self, route: _Declared) -> list[tuple[str, Prefix]]:
        """Return what sends by the route, and on which network: a host itself; of a router, all that it passes on."""
        version = route.to.version
        hosts = (
            [route.owner]
            if isinstance(route.owner, HostSpec)
            else [one for one in self._specs.hosts if self._sends_by(one, route)]
        )
        found = [
            (one.network, ip_network(address))
            for host in hosts
            for one in host.interfaces
            if (address := one.address(version)) is not None
        ]
        if isinstance(route.owner, HostSpec):
            return found
        routers = {router.name for router in self._specs.routers if self._sends_by(router, route)}
        mine = {network.name for network in self._specs.networks if network.gateway_router in routers}
        return [(name, one.cidr) for one, name in self._subnets if name in mine and one.cidr.version == version] + found

    def _sends_by(self, node: Node | None, route: _Declared) -> bool:
        """Tell whether what the node gets for the route's destination comes to the owner of the route."""
        passed: set[str] = set()
        while node is not None and node.name not in passed and node.name != route.owner.name:
            passed.add(node.name)
            via = self._onward(node, route.to)
            node = self._owners.get(via) if via else None
        return node is not None and node.name == route.owner.name

    def _follow(self, route: _Declared, following: Node) -> None:
        """Follow what is sent for the route's destination as long as declared routes lead it on."""
        passed = [route.owner.name]
        node: Node | None = following
        while node is not None:
            if node.name in passed:
                self._report_loop(route, [*passed[passed.index(node.name) :], node.name])
                return
            passed.append(node.name)
            onward = self._onward(node, route.to)
            if onward is None:
                self._check_end(route, node)
                return
            node = self._owners.get(onward)

    def _onward(self, node: Node, to: Prefix) -> Address | None:
        """Return the next hop of the node's most specific declared route for all of ``to``."""
        fitting = [(there.prefixlen, str(via), via) for there, via in node.routes if covers(there, to)]
        return max(fitting)[2] if fitting else None

    def _report_loop(self, route: _Declared, names: list[str]) -> None:
        if frozenset(names) not in self._loops:
            self._loops.add(frozenset(names))
            chain = ", then ".join(f"`{name}`" for name in names[1:])
            message = f"a loop: `{names[0]}` sends what is for `{route.to}` to {chain}"
            self._reader.error(route.path, f"{message}; remove one of the routes, or name another next hop")

    def _check_end(self, route: _Declared, node: Node) -> None:
        """Report a router that has no route onward: it drops what it gets. A host may have a tunnel.

        Warn where it has some, and drops the rest: a default route to an external router.
        """
        if isinstance(node, HostSpec):
            return
        some = [there for there, _ in node.routes if covers(route.to, there)]
        if node.external and route.to.version == IPV4:  # IPv6 stays inside
            if route.to.prefixlen == 0 and isinstance(route.owner, RouterSpec):
                self._report_untranslated(route, node, route.owner, some)
            return
        if some:
            return
        message = f"next hop `{route.via}`: router `{node.name}` has no route to `{route.to}`"
        self._reader.error(route.path, f"{message}; add one to its `routes:`, or remove this one")

    def _report_untranslated(self, route: _Declared, node: RouterSpec, owner: RouterSpec, some: list[Prefix]) -> None:
        """Report a router's default route to an external router, where nobody answers but by its routes to ``some``."""
        message = f"router `{node.name}` translates nothing but its own networks' addresses, so hosts behind "
        fix = "join an external router to their own network, or name a host with `forward: true` that translates"
        if some:
            reached = few([f"`{one}`" for one in some])
            message += f"`{owner.name}` reach only {reached} by it; write that in `to`"
            self._reader.warning(route.path, f"{message}, {fix}")
        else:
            self._reader.error(route.path, f"{message}`{owner.name}` get no answers from outside; {fix}")
