"""`netorder import`, on listings as the cloud gives them: what is written, what is a comment, what comes back."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from openstack.compute.v2.server import Server
from openstack.compute.v2.server_group import ServerGroup
from openstack.exceptions import NotFoundException
from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet
from planned import in_the_cloud

from netorder.cli.main import main
from netorder.cloud.importing.ask import Image, Project, ask
from netorder.cloud.importing.differ import differences
from netorder.cloud.importing.make import make
from netorder.cloud.importing.names import choose
from netorder.cloud.waits import Waits
from netorder.controller import importing
from netorder.errors import CloudError, NetorderError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from netorder.plan.model import Host, Plan

ROOT = Path(__file__).parents[2]
KINDS = {
    "networks": Network,
    "subnets": Subnet,
    "routers": Router,
    "ports": Port,
    "groups": SecurityGroup,
    "floating_ips": FloatingIP,
    "servers": Server,
    "server_groups": ServerGroup,
}


def project(listed: dict[str, Any], **more: Any) -> Project:
    """Return a project of which the APIs list this."""
    made = {kind: tuple(its.existing(**one) for one in listed.get(kind, ())) for kind, its in KINDS.items()}
    images = {"img": Image("img", "Debian 13", user="debian")}
    return Project("me", **{"images": images, **made, **more})  # type: ignore[arg-type]


# A project as somebody makes it by hand: names of their own, DHCP for the whole subnet, the group `default`.


def rule(direction: str = "ingress", version: int = 4, **fields: Any) -> dict[str, Any]:
    return {"id": "r", "direction": direction, "ethertype": f"IPv{version}", "protocol": None} | fields


SENDS = [rule("egress", 4), rule("egress", 6)]


def network(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"net-{name}", "name": name, "project_id": "me", "mtu": 1442, "admin_state_up": True} | fields


def subnet(name: str, cidr: str, **fields: Any) -> dict[str, Any]:
    version = 6 if ":" in cidr else 4
    first = cidr.partition("/")[0].removesuffix("0") + "1"
    base = cidr.partition("/")[0].removesuffix("0")
    pools = [{"start": f"{base}2", "end": f"{base}254"}] if version == 4 else []
    return {
        "id": f"sub-{name}-{version}", "name": f"{name}-subnet", "network_id": f"net-{name}", "ip_version": version,
        "cidr": cidr, "gateway_ip": first, "enable_dhcp": True, "allocation_pools": pools, "dns_nameservers": [],
        "host_routes": [],
    } | fields  # fmt: skip


def port(of: str, net: str, *addresses: str, owner: str = "compute:nova", **fields: Any) -> dict[str, Any]:
    fixed = [{"subnet_id": f"sub-{net}-{6 if ':' in one else 4}", "ip_address": one} for one in addresses]
    return {
        "id": f"port-{of}-{net}", "name": "", "network_id": f"net-{net}", "device_id": of, "device_owner": owner,
        "fixed_ips": fixed, "mac_address": "fa:16:3e:00:00:01", "port_security_enabled": True,
        "security_group_ids": ["sg-default"], "admin_state_up": True,
    } | fields  # fmt: skip


def interface(of: str, net: str, *addresses: str) -> dict[str, Any]:
    return port(
        of, net, *addresses, owner="network:router_interface", port_security_enabled=False, security_group_ids=[]
    )


def server(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name, "name": name, "status": "ACTIVE", "image": {"id": "img"}, "flavor": {"original_name": "m1.small"},
        "addresses": {}, "metadata": {}, "tags": [], "OS-EXT-AZ:availability_zone": "nova",
    } | fields  # fmt: skip


def group(name: str, *rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": f"sg-{name}", "name": name, "project_id": "me", "security_group_rules": [*SENDS, *rules]} | fields


def by_hand() -> dict[str, Any]:
    """Return a web server that the outside reaches and a database behind it, as its lists."""
    return {
        "networks": [
            network("front"),
            network("Back_Net"),
            network("public", project_id="admin", **{"router:external": True}),
        ],
        "subnets": [subnet("front", "10.1.0.0/24", dns_nameservers=["9.9.9.9"]), subnet("Back_Net", "10.2.0.0/24")],
        "routers": [
            {
                "id": "rt", "name": "edge", "project_id": "me", "admin_state_up": True, "routes": [],
                "external_gateway_info": {
                    "network_id": "net-public", "enable_snat": True,
                    "external_fixed_ips": [{"ip_address": "203.0.113.2"}],
                },
            }
        ],
        "ports": [
            interface("rt", "front", "10.1.0.1"),
            interface("rt", "Back_Net", "10.2.0.1"),
            port("web", "front", "10.1.0.77", security_group_ids=["sg-default", "sg-Web"]),
            port("DB.1", "Back_Net", "10.2.0.250", id="port-db"),
            port("", "front", "10.1.0.2", owner="network:dhcp", id="dhcp", security_group_ids=[]),
        ],
        "groups": [
            group("default", rule(remote_group_id="sg-default"), rule(version=6, remote_group_id="sg-default")),
            group(
                "Web",
                rule(protocol="tcp", port_range_min=80, port_range_max=80, remote_ip_prefix="0.0.0.0/0"),
                rule(protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="198.51.100.0/24"),
            ),
        ],
        "floating_ips": [
            {"id": "fip", "floating_ip_address": "203.0.113.9", "port_id": "port-web-front", "project_id": "me",
             "floating_network_id": "net-public"}
        ],
        "servers": [server("web"), server("DB.1")],
    }  # fmt: skip


def written(listed: dict[str, Any], prefix: str | None = None, **more: Any) -> Any:
    return make(project(listed, **more), "lab", prefix)


def test_a_project_made_by_hand_is_written():
    found = written(by_hand())
    assert (
        found.text.partition("\n\n")[2].partition("\n# Not written")[0]
        == """\
topology: lab

defaults:
  image: Debian 13
  flavor: m1.small

networks:
  back-net:  # Back_Net in the cloud
    cidr: 10.2.0.0/24
    allocation_pool: 10.2.0.242-10.2.0.249
  front:
    cidr: 10.1.0.0/24
    dns_nameservers: [9.9.9.9]

routers:
  edge:
    external: true  # at 203.0.113.2 in the cloud
    networks:
      back-net: 10.2.0.1
      front: 10.1.0.1

hosts:
  db-1:  # DB.1 in the cloud
    network: back-net
    address: 10.2.0.250
    groups: [default]
  web:
    network: front
    address: 10.1.0.77
    floating_ip: true  # 203.0.113.9 in the cloud
    groups: [default]

allow:
  - {within: default, all: true}
  - {from: anywhere, to: web, tcp: 80}
  - {from: 198.51.100.0/24, to: web, tcp: 22}
"""
    )
    assert not found.left_out
    # what a run would change: Neutron's pools, which the language keeps apart from hosts
    assert {(change.kind, *change.after) for change in found.differences.changes} == {("subnet", "allocation_pools")}
    assert not found.differences.problems
    assert "MTU 1442, which is taken for the cloud's own" in found.notes


# What netorder made is written as it was ordered


def listed_of(plan: Plan, owner: str = "") -> dict[str, Any]:
    """Return what the APIs list of a plan that is made; with the marker where it is its ``owner``'s."""
    mark = f"netorder:{owner}" if owner else ""
    outside = {"network_id": "net-public", "external_fixed_ips": [{"ip_address": "203.0.113.2"}]}
    subnets = {(n.name, s.version): s.cloud_name for n in plan.networks for s in n.subnets}
    on = {n.name: n.subnet_of or n.name for n in plan.networks}
    names = [port.cloud_name for host in plan.hosts for port in host.ports]
    macs = {name: f"fa:16:3e:00:{place // 256:02x}:{place % 256:02x}" for place, name in enumerate(names)}
    macs |= {port.cloud_name: port.mac_address for host in plan.hosts for port in host.ports if port.mac_address}

    def port(name: str, net: str, addresses: tuple[str, ...], of: str, owner: str, **fields: Any) -> dict[str, Any]:
        fixed = [{"subnet_id": f"s:{subnets[net, 6 if ':' in one else 4]}", "ip_address": one} for one in addresses]
        return {
            "id": f"p:{name}", "name": name, "network_id": f"n:{on[net]}", "device_id": of, "device_owner": owner,
            "fixed_ips": fixed, "mac_address": macs.get(name), "admin_state_up": True, **fields,
        }  # fmt: skip

    def addresses(host: Host) -> dict[str, Any]:
        mac = "OS-EXT-IPS-MAC:mac_addr"
        return {p.network: [{"addr": one, mac: macs[p.cloud_name]} for one in p.addresses] for p in host.ports}

    return {
        "networks": [
            {"id": f"n:{n.name}", "name": n.cloud_name, "project_id": "other" if n.existing else "me",
             "mtu": n.mtu or 1442, "description": "" if n.existing else mark, "admin_state_up": True}
            for n in plan.networks if not n.subnet_of
        ] + [{"id": "net-public", "name": "public", "project_id": "admin", "router:external": True}],
        "subnets": [
            {"id": f"s:{s.cloud_name}", "name": s.cloud_name, "network_id": f"n:{on[n.name]}", "ip_version": s.version,
             "cidr": s.cidr, "gateway_ip": s.gateway_ip, "enable_dhcp": s.dhcp,
             "ipv6_address_mode": s.ipv6_address_mode, "dns_nameservers": list(s.dns_nameservers),
             "allocation_pools": [{"start": one, "end": last} for one, last in filter(None, [s.allocation_pool])],
             "host_routes": [{"destination": r.destination, "nexthop": r.next_hop} for r in s.host_routes]}
            for n in plan.networks for s in n.subnets
        ],
        "routers": [
            {"id": f"r:{r.name}", "name": r.cloud_name, "project_id": "me", "admin_state_up": True,
             "description": "" if r.existing else mark,
             "external_gateway_info": outside | {"enable_snat": r.snat} if r.external else None,
             "routes": [{"destination": x.destination, "nexthop": x.next_hop} for x in r.routes]}
            for r in plan.routers
        ],
        "ports": [
            port(i.port_name, i.network, i.addresses, f"r:{r.name}", "network:router_interface")
            for r in plan.routers for i in r.interfaces
        ] + [
            port(p.cloud_name, p.network, p.addresses, f"v:{h.name}", "compute:nova",
                 port_security_enabled=p.port_security,
                 security_group_ids=[*(f"g:{name}" for name in p.security_groups), *(p.existing_groups or ())],
                 allowed_address_pairs=[{"ip_address": pair} for pair in p.allowed_address_pairs])
            for h in plan.hosts for p in h.ports
        ],
        "groups": [
            {"id": f"g:{g.name}", "name": g.cloud_name, "project_id": "me", "description": mark,
             "security_group_rules": [
                {"id": "r", "direction": r.direction, "ethertype": r.ethertype, "protocol": r.protocol,
                 "port_range_min": r.port_min, "port_range_max": r.port_max, "remote_ip_prefix": r.remote_cidr,
                 "remote_group_id": r.remote_group}
                for r in g.rules]}
            for g in plan.security_groups
        ],
        "floating_ips": [
            {"id": f"f:{h.name}", "floating_ip_address": f"203.0.113.{20 + index}", "floating_network_id": "net-public",
             "port_id": f"p:{h.port(one.network).cloud_name}"}
            for index, h in enumerate(plan.hosts) for one in h.floating
        ],
        "servers": [
            {"id": f"v:{h.name}", "name": h.cloud_name, "status": "ACTIVE", "image": {"id": h.image},
             "flavor": {"original_name": h.flavor}, "tags": [mark] if mark else [], "metadata": {},
             "addresses": addresses(h)}
            for h in plan.hosts
        ],
        "server_groups": [
            {"id": f"sg:{g.name}", "name": f"{g.cloud_name} (netorder:{plan.topology})", "policies": [g.policy],
             "member_ids": [f"v:{h.name}" for h in plan.hosts if h.server and h.server.server_group == g.name]}
            for g in plan.server_groups
        ],
    }  # fmt: skip


ELSEWHERE = {"machine"}  # not on OpenStack
EXAMPLES = sorted({path.stem for path in (ROOT / "topologies").glob("*.yml")} - ELSEWHERE)


FURTHER = """
topology: t
networks:
  lan: {cidr: [10.1.0.0/24, "fd00:1::/64"]}
  more: {cidr: 10.1.1.0/24, subnet_of: lan, allocation_pool: 10.1.1.200-10.1.1.210, dns_nameservers: [10.1.0.53]}
  most: {cidr: 10.1.2.0/24, subnet_of: lan}
  campus: {existing: true, cidr: 10.77.0.0/24, gateway: 10.77.0.1}
  hall: {subnet_of: campus, cidr: 10.78.0.0/24, gateway: 10.78.0.1}
routers:
  edge: {external: true, networks: [lan, more, most]}
hosts:
  door: {network: lan, floating_ip: true}
  pc: {network: more, count: 3, floating_ip: true}
  desk: {network: hall}
  shelf: {networks: [most, campus]}
allow:
  - {from: lan, to: pc, tcp: 80}
"""


@pytest.mark.parametrize("owner", ["", "own"])
@pytest.mark.parametrize("name", [*EXAMPLES, "further"])
def test_what_was_ordered_comes_back(name, owner):
    """Whose it was does not matter; hosts' own routes are in no cloud."""
    plan = build_plan(parse(FURTHER) if name == "further" else load(ROOT / f"topologies/{name}.yml"))
    images = {host.image: Image(host.image, host.image) for host in plan.hosts}
    listed = listed_of(plan, owner and plan.topology)
    alone = not any(one.existing for one in (*plan.networks, *plan.routers))
    prefix = None if owner and alone else f"{plan.topology}-"
    found = make(project(listed, images=images), plan.topology, prefix)
    assert found.owned is bool(owner)
    assert in_the_cloud(found.plan) == in_the_cloud(plan)
    assert not found.left_out
    assert not found.differences.changes
    assert not found.differences.problems


# What cannot be said


def case(change: Any, *said: str, name: str) -> Any:
    return pytest.param(change, said, id=name)


def changed(kind: str, which: int, **fields: Any) -> Any:
    def change(listed: dict[str, Any]) -> None:
        listed[kind][which] |= fields

    return change


def added(kind: str, *these: dict[str, Any]) -> Any:
    def change(listed: dict[str, Any]) -> None:
        listed.setdefault(kind, []).extend(these)

    return change


def each(*changes: Any) -> Any:
    def change(listed: dict[str, Any]) -> None:
        for one in changes:
            one(listed)

    return change


def another(net: str, address: str, name: str = "more", **fields: Any) -> Any:
    """Add a server on a network."""
    return each(added("servers", server(name, **fields)), added("ports", port(name, net, address)))


MORE = subnet("front", "10.5.0.0/24", id="second") | {"name": "more"}
CASES = [
    case(
        each(
            added("networks", network("twin")),
            added("subnets", subnet("twin", "10.1.0.0/24")),
            another("twin", "10.1.0.5"),
        ),
        "# left out: `10.1.0.0/24` of network `twin` overlaps",
        "# more:",
        name="two networks with the same prefix",
    ),
    case(
        each(another("front", "10.1.0.5", "DB_1"), another("front", "10.1.0.6", "9")),
        "db-1-2:  # DB_1 in the cloud",
        "host-9:  # 9 in the cloud",
        name="names that the language has not, and twice",
    ),
    case(
        each(
            added("networks", network("shared", project_id="admin")),
            added("subnets", subnet("shared", "10.9.0.0/24", gateway_ip="10.9.0.254")),
            another("shared", "10.9.0.5"),
        ),
        "existing: true\n    cidr: 10.9.0.0/24\n    gateway: 10.9.0.254",
        name="a network of another project",
    ),
    case(
        each(added("subnets", subnet("front", "10.5.0.0/24", id="second"))),
        "front-subnet:\n    subnet_of: front\n    cidr: 10.5.0.0/24",
        name="a second subnet",
    ),
    case(
        each(added("subnets", subnet("front", "fd00:1::/64"), subnet("front", "fd00:2::/64", id="second"))),
        "its subnet fd00:2::/64: a network has one prefix of each IP version",
        name="a second subnet of IPv6",
    ),
    case(
        each(
            added("subnets", subnet("front", "fd00:1::/64", ipv6_address_mode="slaac")),
            added("subnets", subnet("front", "10.5.0.0/24", id="second")),
        ),
        "its subnet 10.5.0.0/24: a network has one prefix of each IP version",
        name="a second subnet beside SLAAC",
    ),
    case(
        each(
            added("subnets", MORE),
            changed("ports", 2, fixed_ips=[{"subnet_id": "sub-front-4", "ip_address": "10.1.0.77"},
                                           {"subnet_id": "second", "ip_address": "10.5.0.77"}]),
        ),
        "network: front",
        "host web: 10.5.0.77, of another subnet of its network than the rest",
        name="a port with addresses of two subnets",
    ),
    case(
        each(
            added("subnets", MORE),
            changed("ports", 2, fixed_ips=[{"subnet_id": "second", "ip_address": "10.5.0.77"}]),
            added("ports", port("web", "front", "10.1.0.5")),
        ),
        "network: more\n    address: 10.5.0.77",
        "server web: its second port on one network (10.1.0.5)",
        name="ports on two subnets of one network",
    ),
    case(
        each(
            added("subnets", subnet("front", "fd00:1::/64", gateway_ip=None, ipv6_address_mode="dhcpv6-stateful")),
            changed("ports", 0, fixed_ips=[{"subnet_id": "sub-front-4", "ip_address": "10.1.0.1"},
                                           {"subnet_id": "sub-front-6", "ip_address": "fd00:1::1"}]),
            changed("ports", 2, fixed_ips=[{"subnet_id": "sub-front-4", "ip_address": "10.1.0.77"},
                                           {"subnet_id": "sub-front-6", "ip_address": "fd00:1::150"}]),
        ),
        'cidr: [10.1.0.0/24, "fd00:1::/64"]',
        "host web: fd00:1::150: ::100 to ::1ff are left to the cloud's own ports",
        name="an IPv6 address that the language leaves to the cloud",
    ),
    case(
        each(added("subnets", subnet("public", "203.0.113.0/24")), another("public", "203.0.113.50")),
        "public:\n    existing: true\n    cidr: 203.0.113.0/24\n    gateway: 203.0.113.1\n    reachable: true",
        name="a server on the provider's network",
    ),
    case(
        each(
            added("ports", port("lb", "front", "10.1.0.8", owner="Octavia")),
            added("floating_ips", {"id": "f2", "floating_ip_address": "203.0.113.10", "port_id": "port-lb-front"}),
        ),
        "floating address 203.0.113.10: it leads to port port-lb-front, which is no host's",
        name="a load balancer's floating address",
    ),
    case(
        changed("servers", 0, flavor={"id": "7"}, attached_volumes=[{"id": "v"}]),
        "server web: its flavor, which the cloud does not name",
        "server web: its volumes",
        name="an old Nova's flavor, and volumes",
    ),
    case(
        each(another("front", "10.1.0.5", "Größe"), another("front", "10.1.0.6", "數據庫")),
        "gr-e:  # Größe in the cloud",
        "  # 數據庫 in the cloud",
        name="names in other letters",
    ),
    case(
        each(added("networks", network("p2p")), added("subnets", subnet("p2p", "10.7.0.0/31"))),
        "# left out: `10.7.0.0/31`: OpenStack gives nobody the first or the last address",
        name="a prefix that is too long",
    ),
    case(
        each(
            added("subnets", subnet("front", "fd00:1::/64", gateway_ip="fd00:1::", ipv6_address_mode="slaac")),
            changed(
                "ports",
                0,
                fixed_ips=[
                    {"subnet_id": "sub-front-4", "ip_address": "10.1.0.1"},
                    {"subnet_id": "sub-front-6", "ip_address": "fd00:1::"},
                ],
            ),
        ),
        "      front: 10.1.0.1\n",
        "    floating_ip: true",
        "router edge: fd00:1::, which is every router's there; it gets another",
        "    ipv6_address_mode: slaac\n",
        name="the gateway that Neutron gives SLAAC",
    ),
    case(
        each(changed("servers", 0, config_drive="True"), changed("servers", 1, config_drive="True")),
        "defaults:\n  image: Debian 13\n  flavor: m1.small\n  config_drive: true\n",
        name="config drives that the cloud gives to all",
    ),
    case(
        each(added("ports", port("", "front", "10.1.0.9", owner="", id="idle"))),
        "  - {within: default, all: true}\n",
        name="a port that is not in use, in a group",
    ),
    case(
        changed("ports", 0, device_owner="network:ha_router_replicated_interface"),
        "front: 10.1.0.1",
        name="a router in several places",
    ),
    case(changed("servers", 0, image=None), "it starts from a volume", name="a server of a volume"),
    case(
        changed("servers", 0, image={"id": "gone"}), "image: gone  # that image is no longer there", name="no image"
    ),
    case(
        changed("groups", 1, security_group_rules=[*SENDS, rule(protocol="41")]),
        "security group Web: not written: ingress IPv4 41 from anywhere",
        name="a rule that the language has not",
    ),
    case(
        changed("groups", 1, security_group_rules=[*SENDS, rule(protocol="tcp", port_range_min=1, port_range_max=65535,
                                                                remote_group_id="sg-nobody")]),
        '{from: {security_group: sg-nobody}, to: web, tcp: "1-65535"}',
        name="a group of nobody in the file",
    ),
    case(
        each(
            changed("groups", 1, security_group_rules=[*SENDS, rule(remote_group_id="sg-agents"),
                                                       rule(protocol="gre", remote_group_id="sg-agents", version=6)]),
            added("groups", group("agents", rule(protocol="tcp", remote_ip_prefix="0.0.0.0/0"))),
        ),
        "{from: {security_group: agents}, to: web, all: true}",
        name="a group whose members are not in the file, by its name",
    ),
    case(
        each(
            changed("groups", 1, security_group_rules=[*SENDS, rule(protocol="gre", remote_group_id="sg-agents")]),
            added("subnets", subnet("front", "fd00:1::/64")),
            changed("ports", 2, **port("web", "front", "10.1.0.77", "fd00:1::77",
                                       security_group_ids=["sg-default", "sg-Web"])),
        ),
        "security group Web lets in members of sg-agents by IPv4 alone: not written",
        name="a group by one IP version of two",
    ),
    case(
        each(
            changed("groups", 1, security_group_rules=[*SENDS, rule(remote_group_id="sg-web")]),
            added("groups", group("web")),
        ),
        "{from: {security_group: sg-web}, to: web, all: true}",
        name="a group that is called as a host",
    ),
    case(
        each(
            changed("groups", 1, security_group_rules=[rule("egress", protocol="tcp", remote_group_id="sg-agents"),
                                                       rule("egress", protocol="udp", remote_ip_prefix="10.9.0.0/16")]),
            changed("ports", 2, security_group_ids=["sg-Web"]),
        ),
        '{from: web, to: {security_group: sg-agents}, tcp: "1-65535"}',
        name="what goes to members of a group",
    ),
    case(
        changed("ports", 2, port_security_enabled=False, security_group_ids=[]),
        "port_security: false",
        name="a port without security",
    ),
    case(
        changed("ports", 2, security_group_ids=["sg-default", "theirs"]),
        "security_groups: [theirs]  # of another project",
        name="another project's security group",
    ),
    case(
        added(
            "ports",
            port("", "front", "10.1.0.9", owner="", id="idle"),
            port("lb", "front", "10.1.0.8", owner="Octavia"),
        ),
        "port idle (not in use) on network front",
        "(Octavia) on network front",
        name="ports of nobody that a topology knows",
    ),
    case(added("servers", server("lost")), "server lost: it has no port on a network of the file", name="no port"),
    case(
        each(
            added("networks", network("other", project_id="admin", **{"router:external": True})),
            changed("routers", 0, external_gateway_info={"network_id": "net-public", "enable_snat": False}),
        ),
        "external_network: public",
        "external: {snat: false}",
        name="several external networks, and no translation",
    ),
    case(
        changed("routers", 0, routes=[{"destination": "10.2.0.0/24", "nexthop": "10.1.0.7"},
                                      {"destination": "172.30.0.0/16", "nexthop": "10.1.0.200"}]),
        "      - {to: 172.30.0.0/16, via: 10.1.0.200}",
        name="routes",
    ),
    case(
        changed("ports", 2, allowed_address_pairs=[{"ip_address": "10.1.0.100"}, {"ip_address": "172.16.0.0/12"}]),
        "virtual_addresses: 10.1.0.100",
        "what else passes its ports (allowed address pairs): 172.16.0.0/12",
        name="address pairs",
    ),
    case(
        changed("servers", 0, name="two\nlines: # and a comment"),
        "two-lines-and-a-comment:  # two lines: # and a comment in the cloud",
        name="a name of several lines",
    ),
    case(
        changed("servers", 0, metadata={"owner": "no", "netorder_x": "1", "size": "1.0"}, tags=["a, b", "t"]),
        'metadata: {owner: "no", size: "1.0"}',
        name="metadata and tags",
    ),
    case(
        changed("subnets", 0, gateway_ip="10.1.0.77"), "its gateway 10.1.0.77, which no router that joins it has",
        name="a host as gateway",
    ),
    case(changed("subnets", 1, enable_dhcp=False), "dhcp: false", name="no DHCP"),
    case(
        another("front", "10.1.0.9", "public"), "public-2:  # public in the cloud", name="named as the external network"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), CASES)
def test_what_cannot_be_said_is_said_to_be_missing(change, said):
    listed = by_hand()
    change(listed)
    found = written(listed)
    parse(found.text, "lab.yml")
    told = found.text + "".join(f"{note}\n" for note in found.notes)
    assert [one for one in said if one not in told] == [], told
    assert not found.differences.problems


def test_only_what_is_called_so():
    """By a prefix, which is cut off; what else is used exists, and routers of others that join in do too."""
    listed = by_hand()
    listed["networks"][0]["name"] = "shop-front"
    listed["servers"][0]["name"] = "shop-web"
    listed["servers"] += [server("shop-gate")]
    listed["ports"] += [port("shop-gate", "Back_Net", "10.2.0.9")]
    found = written(listed, "shop-")
    data = yaml.safe_load(found.text)
    assert data["networks"]["back-net"] == {"existing": "Back_Net", "cidr": "10.2.0.0/24", "gateway": "10.2.0.1"}
    assert data["routers"]["edge"]["existing"] is True
    assert set(data["hosts"]) == {"web", "gate"}
    assert data["hosts"]["web"]["floating_ip"] is True


def test_a_router_of_another_name_leads_floating_addresses():
    """To hosts whose names are asked for, on a network that is another's too."""
    listed = by_hand()
    listed["servers"][0]["name"] = "shop-web"
    found = written(listed, "shop-")
    data = yaml.safe_load(found.text)
    assert data["networks"] == {"front": {"existing": True, "cidr": "10.1.0.0/24", "gateway": "10.1.0.1"}}
    assert data["routers"] == {"edge": {"existing": True, "external": True, "networks": {"front": "10.1.0.1"}}}
    assert data["hosts"]["web"]["floating_ip"] is True
    # the other host of the group `default` is on a network that the file does not have
    assert data["allow"] == [
        {"from": "anywhere", "to": "web", "tcp": 80},
        {"from": "198.51.100.0/24", "to": "web", "tcp": 22},
    ]
    assert not found.differences.changes


def test_a_project_without_servers_is_no_topology():
    with pytest.raises(NetorderError, match="project me has no server, and a topology has a host at least"):
        written({**by_hand(), "servers": []})
    with pytest.raises(NetorderError, match="no server whose name begins so"):
        written(by_hand(), "x-")


def test_what_is_gone_from_the_file_takes_no_rules_with_it():
    """A rule that names a host that cannot be written names the others still."""
    listed = by_hand()
    listed["networks"] += [network("twin")]
    listed["subnets"] += [subnet("twin", "10.1.0.0/24")]
    another("twin", "10.1.0.5")(listed)
    found = written(listed)
    assert "  - {within: default, all: true}\n" in found.text
    assert {what for what, _ in found.left_out} >= {"networks.twin", "hosts.more"}


def test_who_shares_a_group_is_no_difference():
    """SSH from the first host, which the group lets in anyway, is a rule of the plan for the others alone."""
    listed = by_hand()
    another("front", "10.1.0.6")(listed)
    listed["groups"][1]["security_group_rules"] += [rule(remote_group_id="sg-Web")]
    listed["ports"][-1]["security_group_ids"] = ["sg-default", "sg-Web"]
    found = written(listed)
    assert len(found.plan.security_groups) == 3
    assert {change.kind for change in found.differences.changes} == {"subnet"}


def test_a_project_is_only_as_it_was():
    """What is changed after it was written is a difference."""
    found = written(by_hand())
    later = by_hand()
    later["subnets"][0] |= {"gateway_ip": "10.1.0.3", "dns_nameservers": []}
    later["groups"][1]["security_group_rules"].pop()
    later["ports"][2] |= {"fixed_ips": [{"subnet_id": "sub-front-4", "ip_address": "10.1.0.78"}]}
    later["floating_ips"][0]["port_id"] = None
    later["servers"][0]["flavor"] = {"original_name": "m1.large"}
    listed = project(later)
    changes = differences(listed, choose(listed, "lab"), found.plan).changes
    assert {(one.kind, one.name, one.action) for one in changes} >= {
        ("subnet", "lab-front", "update"),
        ("security group", "lab-web", "update"),
        ("port", "lab-web", "replace"),
        ("floating IP", "web", "create"),
        ("server", "lab-web", "update"),
    }


# The command


@pytest.fixture
def cloud(monkeypatch, tmp_path):
    """Stand for a cloud that has the project by hand; return the names that it is asked for by."""
    asked = []

    def listing(_cloud):
        return project(by_hand())

    monkeypatch.setattr(importing, "connect", lambda _progress, name: asked.append(name))
    monkeypatch.setattr(importing, "ask", listing)
    monkeypatch.chdir(tmp_path)
    return asked


def test_the_file_is_written_once(cloud, capsys):
    assert main(["import", "--cloud", "old", "--output", "lab.yml"]) == 0
    assert cloud == ["old"]
    said = capsys.readouterr().out
    assert said.startswith("lab.yml: 2 networks, 1 router, 2 hosts\n")
    assert (
        "A run makes all of it anew. Were it this topology's, a run would change:\n  ~ update subnet lab-back-net"
        in said
    )
    assert main(["check", "lab.yml"]) == 0
    capsys.readouterr()
    assert main(["import", "-o", "lab.yml"]) == 1
    assert capsys.readouterr().err == (
        "netorder import: error: lab.yml is there already: name another file, or overwrite it with --force\n"
    )
    Path("lab.yml").write_text("")
    assert main(["import", "-o", "lab.yml", "--force"]) == 0
    assert Path("lab.yml").read_text().startswith("# What project me has")


@pytest.mark.usefixtures("cloud")
def test_without_a_file_it_is_on_standard_output(capsys):
    assert main(["import"]) == 0
    out, err = capsys.readouterr()
    assert parse(out, "-").name == "imported"
    assert err.startswith("imported: 2 networks")


@pytest.mark.usefixtures("cloud")
def test_as_json_it_is_facts(capsys):
    assert main(["import", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["file"], facts["networks"], facts["hosts"], facts["left_out"]) == (None, 2, 2, [])
    assert parse(facts["text"], "-").name == "imported"
    assert main(["import", "--format", "json", "-o", "lab.yml"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == "lab.yml"


@pytest.mark.usefixtures("cloud")
def test_what_fails_has_a_status(capsys, monkeypatch):
    assert main(["import", "-o", "no/such/lab.yml"]) == 1
    assert "no/such/lab.yml cannot be written: No such file or directory" in capsys.readouterr().err

    def refused(*_):
        raise CloudError("The cloud refused.")

    monkeypatch.setattr(importing, "connect", refused)
    assert main(["import"]) == 3


def test_the_project_alone_is_asked_for():
    """Each list once, networks and subnets of all; what a cloud has not, or forbids, is nothing."""
    asked: list[tuple[str, tuple[str, ...]]] = []

    class Api:
        def __getattr__(self, name: str) -> Any:
            def call(*which: object, **given: object) -> Any:
                asked.append((name, tuple(sorted(given))))
                if name in ("server_groups", "address_groups"):
                    raise NotFoundException
                if name == "servers":
                    return [SimpleNamespace(image=SimpleNamespace(id=id_)) for id_ in ("a", "a", "gone")]
                if name == "get_image" and which[0] == "gone":
                    raise NotFoundException
                image = SimpleNamespace(name="Debian 13", properties={"os_admin_user": "me"}, os_admin_user=None)
                return image if name == "get_image" else [image, image] if name == "images" else []

            return call

    api = Api()
    session: Any = SimpleNamespace(
        conn=SimpleNamespace(network=api, compute=api, image=api), project="me", waits=Waits(), patience=1, relay=bool
    )
    found = ask(session)
    assert found.images == {"a": Image("a", "Debian 13", 2, "me"), "gone": Image("gone")}
    assert found.server_groups == ()
    mine = {name for name, given in asked if given == ("project_id",)}
    assert mine == {"routers", "ports", "security_groups", "ips"}
    assert len(asked) == 9 + 2 + 1
