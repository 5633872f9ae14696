"""What each request costs the cloud, beside the other requests that would make the same: its processor time, warm.

The cloud's processors are what a topology of many hosts waits for, whoever asks. So what a client can still gain is to
ask for the same by requests that cost less; here are those that there are, one resource after the other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet

if TYPE_CHECKING:
    from collections.abc import Callable

    from meter import Meter
    from openstack.connection import Connection

NAME = "bench-costs"
EACH = 10  # resources of a kind in one measurement
SETTLE = 2.0  # so long (s) a measurement goes on after its last answer: for what the cloud still does behind it
PROTOCOLS = ("icmp", "tcp", "udp", "sctp", "gre")  # rules that differ


@dataclass(frozen=True)
class Cost:
    """``cpu``: processor time of the cloud (s) for one resource of a ``kind`` made in one ``way``."""

    kind: str
    way: str
    cpu: float


class Costs:
    """Makes resources of each kind in each way and takes them away again; ``cloud`` is used by nothing else."""

    def __init__(self, cloud: Connection, meter: Meter, image: str, flavor: str, external: str) -> None:
        self._cloud, self._net, self._meter = cloud, cloud.network, meter
        found = cloud.image.find_image(image, ignore_missing=False)
        self._server = {
            "image_id": found.id, "flavor_id": cloud.compute.find_flavor(flavor, ignore_missing=False).id,
        }  # fmt: skip
        self._external = cloud.network.find_network(external, ignore_missing=False).id
        self.seen: list[Cost] = []

    def run(self) -> None:
        """Measure, the second time on warm services, which is what counts."""
        try:
            self._all()
            self.seen.clear()
            self._all()
        finally:
            self._clean()

    def _measured(self, kind: str, way: str, call: Callable[[], Any], count: int = EACH) -> Any:  # noqa: ANN401 - what was made
        time.sleep(SETTLE)
        before = self._meter.read()
        made = call()
        time.sleep(SETTLE)
        self.seen.append(Cost(kind, way, (self._meter.read() - before).cpu / count))
        return made

    def _bulk(self, kind: str, resource: type[Any], bodies: list[dict[str, Any]], more: list[dict[str, Any]]) -> Any:  # noqa: ANN401
        """Make ``bodies`` by one request and ``more`` by one each; return both."""
        together = self._measured(kind, f"{len(bodies)} in one request",
                                  lambda: list(resource.bulk_create(self._net, bodies)), len(bodies))  # fmt: skip

        def alone() -> list[Any]:
            return [resource.new(**body).create(self._net) for body in more]

        return together, self._measured(kind, "one a request", alone, len(more))

    def _all(self) -> None:
        """Make everything, then take it away."""
        net, named = self._net, {"name": NAME}
        networks = self._bulk("network", Network, [named] * EACH, [named] * EACH)
        bodies = [
            {**named, "network_id": network.id, "ip_version": 4, "cidr": f"10.21.{number}.0/24",
             "gateway_ip": f"10.21.{number}.254"}
            for number, network in enumerate(networks[0] + networks[1])
        ]  # fmt: skip
        subnets = self._bulk("subnet", Subnet, bodies[:EACH], bodies[EACH:])
        groups = self._bulk("security group", SecurityGroup, [named] * EACH, [named] * EACH)
        rules = [{"direction": "ingress", "ethertype": "IPv4", "protocol": name} for name in PROTOCOLS]
        mine, other = groups[0][0].id, groups[0][1].id
        together = [{**rule, "security_group_id": mine} for rule in rules]
        self._measured("rule", f"{len(rules)} in one request",
                       lambda: list(net.create_security_group_rules(together)), len(rules))  # fmt: skip
        self._measured("rule", "one a request", lambda: [
            net.create_security_group_rule(**rule, security_group_id=other) for rule in rules], len(rules))  # fmt: skip
        gateway = {"external_gateway_info": {"network_id": self._external}}
        self._measured("router", "with external gateway", lambda: net.create_router(**named, **gateway), 1)
        router = self._measured("router", "without", lambda: net.create_router(**named), 1)
        self._interfaces(router, subnets)
        self._hosts(networks[0][0], subnets[0][0], mine)
        self._clean()

    def _interfaces(self, router: Any, subnets: tuple[list[Any], list[Any]]) -> None:  # noqa: ANN401 - the SDK's
        net, half = self._net, EACH // 2

        def ported() -> None:
            bodies = [
                {"name": NAME, "network_id": subnet.network_id, "security_groups": [],
                 "fixed_ips": [{"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}]}
                for subnet in subnets[0][:half]
            ]  # fmt: skip
            for port in Port.bulk_create(net, bodies):
                net.add_interface_to_router(router, port=port.id)  # type: ignore[no-untyped-call]

        def subnetted() -> None:
            for subnet in subnets[1][:half]:
                net.add_interface_to_router(router, subnet=subnet.id)  # type: ignore[no-untyped-call]

        self._measured("interface", "a port of its own, then attached", ported, half)
        self._measured("interface", "by subnet, nameless", subnetted, half)

    def _hosts(self, network: Any, subnet: Any, group: str) -> None:  # noqa: ANN401 - the SDK's
        def port(number: int) -> dict[str, Any]:
            fixed = [{"subnet_id": subnet.id, "ip_address": f"10.21.0.{number}"}]
            return {"name": NAME, "network_id": network.id, "security_groups": [group], "fixed_ips": fixed}

        def servers(networks: list[dict[str, str]]) -> None:
            for one in networks:
                self._cloud.compute.create_server(name=NAME, networks=[one], **self._server)
            while [*self._cloud.compute.servers(details=False, status="BUILD", name=NAME)]:
                time.sleep(0.5)
            if failed := [*self._cloud.compute.servers(details=False, status="ERROR", name=NAME)]:
                raise SystemExit(f"{len(failed)} of {EACH} servers went to ERROR: their costs say nothing")

        ports, _ = self._bulk("port", Port, [port(10 + n) for n in range(EACH)], [port(30 + n) for n in range(EACH)])
        self._measured("server", "on the port it is given", lambda: servers([{"port": one.id} for one in ports]))
        free = [{"uuid": network.id, "fixed_ip": f"10.21.0.{50 + number}"} for number in range(EACH)]
        self._measured("server", "Nova makes its port, nameless", lambda: servers(free))

    def _clean(self) -> None:
        net, compute, named = self._net, self._cloud.compute, {"name": NAME}
        for server in compute.servers(details=False, **named):
            compute.delete_server(server)
        while [*compute.servers(details=False, **named)]:
            time.sleep(0.5)
        for router in net.routers(**named):
            for port in net.ports(device_id=router.id, device_owner="network:router_interface"):
                net.remove_interface_from_router(router, port=port.id)  # type: ignore[no-untyped-call]
            net.delete_router(router)
        for kind in ("port", "network", "security_group"):
            for one in getattr(net, f"{kind}s")(**named):
                getattr(net, f"delete_{kind}")(one)

    def table(self) -> str:
        """Return what was measured, in Markdown."""
        lines = ["| one | made | CPU in the cloud (ms) |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {one.kind} | {one.way} | {1000 * one.cpu:.0f} |" for one in self.seen)])
