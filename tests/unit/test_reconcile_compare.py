"""Plan against cloud, on listings made of the SDK's own resource objects."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from openstack.compute.v2.keypair import Keypair
from openstack.compute.v2.server import Server
from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet

from netorder.cloud.change import Change
from netorder.cloud.compare import compare as change_set
from netorder.cloud.draft import fixed_addresses
from netorder.cloud.facts import Facts
from netorder.cloud.groups import normal_rule, rule_text
from netorder.cloud.observe import Observed
from netorder.cloud.preflight import quota_problems
from netorder.cloud.preview import diff_text, unchanged, unchanged_text
from netorder.cloud.reconcile import not_allowed
from netorder.cloud.resources import network, port, router, router_interface, security_group, server, subnet
from netorder.cloud.resources.server import first_boot
from netorder.cloud.teardown import deletions
from netorder.cloud.work import Work
from netorder.ip import DHCPV6, IPV6
from netorder.language.load import load, parse
from netorder.plan.build import build_plan
from netorder.plan.lifecycle import FIELDS, Effect

if TYPE_CHECKING:
    from netorder.plan import model

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1nHeOHx2eB4lRZb0d5Gmf3tZ7yXl1M8mR5yZrGQxTn me@here"
HOSTKEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEu2sS0vXn3h1Jk5s7q9f2bC4dE6gH8iJ0kL2mN4oP6q"
PLAN = build_plan(load(Path(__file__).parents[2] / "topologies/calculator.yml"))
INTERFACE = PLAN.routers[1].interfaces[0].port_name


def as_built(wanted: model.Plan = PLAN) -> Observed:
    """Return what the cloud lists when all matches the plan; ids are ``<type>:<name>``."""
    networks = {n.name: n for n in wanted.networks}

    def port(name: str, network: str, addresses: tuple[str, ...], **more: object) -> Port:
        fixed = [
            {"subnet_id": f"subnet:{subnet}", "ip_address": address}
            for subnet, address in reversed(fixed_addresses(wanted, network, addresses))
        ]
        return Port.existing(
            id=f"port:{name}",
            name=name,
            network_id=f"network:{networks[network].subnet_of or network}",
            fixed_ips=fixed,
            admin_state_up=True,
            **more,
        )

    interfaces = [
        port(
            i.port_name,
            i.network,
            i.addresses,
            device_id=f"router:{r.name}",
            device_owner="network:router_interface",
            security_groups=[],
        )
        for r in wanted.routers
        for i in r.interfaces
    ]
    host_ports = [
        port(
            p.cloud_name,
            p.network,
            p.addresses,
            device_id=f"server:{h.name}",
            device_owner="compute:nova",
            port_security_enabled=p.port_security,
            mac_address=(p.mac_address or "fa:16:3e:0:0:1").upper(),
            security_groups=[f"group:{g.name}" for g in wanted.security_groups if g.name in p.security_groups],
            allowed_address_pairs=[
                {"ip_address": pair, "mac_address": "fa:16:3e:0:0:1"} for pair in p.allowed_address_pairs
            ],
        )
        for h in wanted.hosts
        for p in h.ports
    ]
    return Observed(
        networks=tuple(
            Network.existing(id=f"network:{n.name}", name=n.cloud_name, admin_state_up=True)
            for n in networks.values()
            if not n.subnet_of
        ),
        subnets=tuple(
            Subnet.existing(
                id=f"subnet:{s.cloud_name}",
                name=s.cloud_name,
                network_id=f"network:{n.subnet_of or n.name}",
                ip_version=s.version,
                cidr=s.cidr,
                gateway_ip=s.gateway_ip,
                dns_nameservers=list(s.dns_nameservers),
                enable_dhcp=s.dhcp,
                ipv6_address_mode=(s.ipv6_address_mode or DHCPV6) if s.version == IPV6 and s.dhcp else None,
                allocation_pools=[{"start": first, "end": last} for first, last in filter(None, [s.allocation_pool])],
                host_routes=[{"destination": r.destination, "nexthop": r.next_hop} for r in s.host_routes],
            )
            for n in networks.values()
            for s in n.subnets
        ),
        routers=tuple(
            Router.existing(
                id=f"router:{r.name}",
                name=r.cloud_name,
                admin_state_up=True,
                external_gateway_info={
                    "network_id": "network:public",
                    "enable_snat": r.snat,
                    "external_fixed_ips": [{"ip_address": r.external_address or "172.24.4.140"}],
                }
                if r.external
                else None,
                routes=[{"destination": x.destination, "nexthop": x.next_hop} for x in r.routes],
            )
            for r in wanted.routers
        ),
        ports=(*interfaces, *host_ports),
        groups=tuple(
            SecurityGroup.existing(
                id=f"group:{g.name}", name=g.cloud_name, security_group_rules=[as_neutron(rule) for rule in g.rules]
            )
            for g in wanted.security_groups
        ),
        floating_ips=tuple(
            FloatingIP.existing(
                id=f"ip:{h.name}", floating_ip_address="172.24.4.150", port_id=f"port:{h.ports[0].cloud_name}"
            )
            for h in wanted.hosts
            if h.floating_ip
        ),
        servers=tuple(
            Server.existing(
                id=f"server:{h.name}",
                name=h.cloud_name,
                status="ACTIVE",
                flavor={"original_name": h.flavor},
                metadata={
                    "netorder_topology": wanted.topology,
                    "netorder_host": h.name,
                    "netorder_image": h.image,
                    "netorder_hostkey": HOSTKEY,
                },
            )
            for h in wanted.hosts
        ),
        keypair=Keypair.existing(name=f"{wanted.topology}-key", public_key=KEY),
    )


def as_neutron(rule: model.Rule) -> dict[str, object]:
    """Return a rule as Neutron lists it."""
    return {
        "id": "rule:1",
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": rule.remote_cidr,
        "remote_group_id": rule.remote_group and f"group:{rule.remote_group}",
    }


def compare(*arguments: Any, **options: Any) -> tuple[list[Change], list[str]]:
    """Return the changes and the problems."""
    found = change_set(*arguments, **options)
    return list(found.changes), list(found.problems)


def brief(observed: Observed, wanted: model.Plan = PLAN, key: str | None = KEY) -> list[tuple[str, str, str]]:
    """Return the changes as (action, kind, name); problems there must be none."""
    changes, problems = compare(wanted, observed, key=key)
    assert problems == []
    return [(change.action, change.kind, change.name) for change in changes]


def without(items: tuple[object, ...], name: str) -> tuple[object, ...]:
    return tuple(item for item in items if item.name != name)


def planned(text: str, *pairs: tuple[str, str]) -> model.Plan:
    """Return the plan of a text with replacements."""
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return build_plan(parse(text))


def bodies(wanted: model.Plan) -> dict[str, dict[str, Any]]:
    """Return the create requests of ports, subnets, routers and their interfaces by name."""
    one, built = work(wanted, Observed()), work(wanted, as_built(wanted))
    one.ids.networks.update(built.ids.networks)
    one.ids.subnets.update(built.ids.subnets)
    one.ids.groups.update(built.ids.groups)
    found = {c.name: port.create_body(one, c) for c in one.changes.of(port.PortChange)}
    found |= {c.name: subnet.create_body(one, c) for c in one.changes.of(subnet.SubnetChange)}
    found |= {c.name: router_interface.create_body(one, c) for c in one.changes.of(router_interface.InterfaceChange)}
    return found | {c.name: router.create_body(one, c) for c in one.changes.of(router.RouterChange)}


def altered(items: tuple[object, ...], name: str, **attributes: object) -> tuple[object, ...]:
    """Return ``items`` with some attributes of one of them changed."""
    for item in items:
        if item.name == name:
            item._update(**attributes)
    return items


def only_problem(observed: Observed, wanted: model.Plan = PLAN, key: str | None = KEY) -> str:
    _, problems = compare(wanted, observed, key=key)
    assert len(problems) == 1
    return problems[0]


def changed_plan(**fields: object) -> model.Plan:
    return replace(PLAN, **fields)


def test_nothing_differs_from_what_was_built():
    assert brief(as_built()) == []


def test_from_nothing_everything_is_created_once():
    made = brief(Observed())
    assert {action for action, _, _ in made} == {"create"}
    assert len(made) == len(set(made))
    count = {kind: sum(k == kind for _, k, _ in made) for _, kind, _ in made}
    assert count == {
        "key pair": 1,
        "network": 2,
        "subnet": 2,
        "security group": 5,
        "router": 2,
        "router interface": 3,
        "port": 5,
        "server": 5,
        "floating IP": 1,
    }


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("servers", "calculator-sum", [("create", "server", "calculator-sum")]),
        ("networks", "calculator-net2", None),
        ("subnets", "calculator-net2", [("create", "subnet", "calculator-net2")]),
        ("routers", "calculator-rt1", None),
        (
            "ports",
            "calculator-sum",
            [("create", "port", "calculator-sum"), ("update", "server", "calculator-sum")],
        ),
        ("floating_ips", "172.24.4.150", [("create", "floating IP", "calculator")]),
    ],
)
def test_what_was_deleted_manually_and_only_that_is_made_again(kind, name, expected):
    built = as_built()
    observed = replace(built, **{kind: without(getattr(built, kind), name)})
    if kind == "servers":  # Nova frees the port of a server that it deletes
        observed = replace(observed, ports=altered(built.ports, name, device_id="", device_owner=""))
    if expected is None:  # the cloud refuses to delete it while its ports are there
        assert any(change.name == name and change.action == "create" for change in compare(PLAN, observed, key=KEY)[0])
    else:
        assert brief(observed) == expected


def test_interface_left_unattached_by_a_killed_run_is_attached():
    built = as_built()
    observed = replace(built, ports=altered(built.ports, INTERFACE, device_id="", device_owner=""))
    assert brief(observed) == [("update", "router interface", INTERFACE)]


def test_floating_ip_left_unassociated_is_used_again():
    built = as_built()
    observed = replace(built, floating_ips=altered(built.floating_ips, "172.24.4.150", port_id=None))
    assert brief(observed) == [("update", "floating IP", "calculator")]


def test_router_left_without_gateway_gets_it():
    built = as_built()
    observed = replace(built, routers=altered(built.routers, "calculator-rt1", external_gateway_info=None))
    assert brief(observed) == [("update", "router", "calculator-rt1")]


def test_server_being_deleted_is_made_again_once_it_is_deleted():
    built = as_built()
    observed = replace(built, servers=altered(built.servers, "calculator-sum", task_state="deleting"))
    assert brief(observed) == [("replace", "server", "calculator-sum")]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("No valid host was found.", "No valid host was found."),
        ("aborted: a command.\nCommand: qemu-img", "aborted: a command. Command: qemu-img."),
        ("x" * 255, "x" * 255 + "…"),
        (None, "no reason given."),
    ],
)
def test_server_in_error_is_replaced_and_its_port_kept(message, said):
    built = as_built()
    fault = {"message": message} if message else None
    observed = replace(built, servers=altered(built.servers, "calculator-sum", status="ERROR", fault=fault))
    changes, _ = compare(PLAN, observed, key=KEY)
    assert [(c.action, c.kind, c.name) for c in changes] == [("replace", "server", "calculator-sum")]
    assert changes[0].reason == (
        f"is in ERROR: {said} It has run: `openstack server reboot --hard calculator-sum` may bring it back with its "
        "disk; a replacement loses it"
    )


@pytest.mark.parametrize(
    ("fields", "permission"),
    [
        ({"launched_at": None, "metadata": {}}, None),
        ({"launched_at": "2026-01-02T03:04:05.000000", "metadata": {}}, "replace"),
        ({"launched_at": None, "metadata": {"netorder_hostkey": HOSTKEY}}, "replace"),
        ({"launched_at": "2026-01-02T03:04:05.000000", "task_state": "deleting"}, None),
    ],
)
def test_a_server_in_error_is_replaced_without_permission_only_if_it_never_ran(fields, permission):
    """What failed since (a reboot, a resize) left its disk, which a replacement would delete."""
    built = as_built()
    servers = altered(built.servers, "calculator-sum", status="ERROR", **fields)
    ((change,), _) = compare(PLAN, replace(built, servers=servers), key=KEY)
    assert (change.action, change.permission) == ("replace", permission)
    assert ("reboot --hard calculator-sum" in change.reason) == bool(permission)


def test_stopped_server_is_started():
    built = as_built()
    observed = replace(built, servers=altered(built.servers, "calculator-sum", status="SHUTOFF"))
    assert brief(observed) == [("update", "server", "calculator-sum")]


def test_server_still_building_is_waited_for_not_changed():
    built = as_built()
    ports = altered(built.ports, "calculator-sum", device_id="")
    observed = replace(built, ports=ports, servers=altered(built.servers, "calculator-sum", status="BUILD"))
    assert brief(observed) == []


def test_unknown_host_key_is_learned():
    built = as_built()
    observed = replace(
        built, servers=altered(built.servers, "calculator-sum", metadata={"netorder_image": "debian-13"})
    )
    assert brief(observed) == [("create", "host key", "calculator-sum")]


def test_host_removed_from_the_topology_goes_with_port_group_and_floating_ip():
    hosts = tuple(h for h in PLAN.hosts if h.name != "calculator")
    groups = tuple(g for g in PLAN.security_groups if g.name != "calculator")
    assert brief(as_built(), changed_plan(hosts=hosts, security_groups=groups)) == [
        ("delete", "server", "calculator-calculator"),
        ("delete", "port", "calculator-calculator"),
        ("delete", "security group", "calculator-calculator"),
        ("delete", "floating IP", "172.24.4.150"),
    ]


def test_rule_added_manually_is_closed_and_shown():
    built = as_built()
    rule = {**as_neutron(PLAN.security_groups[0].rules[0]), "direction": "ingress", "remote_group_id": "group:x"}
    group = built.groups[0]
    altered(built.groups, group.name, security_group_rules=[*group.security_group_rules, rule])
    changes, _ = compare(PLAN, built, key=KEY)
    assert [(c.action, c.kind) for c in changes] == [("update", "security group")]
    assert diff_text(changes).splitlines()[1:] == [
        "      hosts: calculator",
        "-     rules: ingress IPv4 any protocol from security group group:x",
    ]


def test_second_resource_of_a_name_is_deleted_and_the_older_kept():
    built = as_built()
    younger = Network.existing(id="n2", name="calculator-net1", admin_state_up=True, created_at="2030-01-01T00:00:00Z")
    assert brief(replace(built, networks=(younger, *built.networks))) == [("delete", "network", "calculator-net1")]


def test_the_one_in_use_stays_even_if_it_is_younger():
    built = as_built()
    older = Router.existing(id="r0", name="calculator-rt2", admin_state_up=True, created_at="2000-01-01T00:00:00Z")
    changes, _ = compare(PLAN, replace(built, routers=(older, *built.routers)), key=KEY)
    assert [(c.action, c.kind, c.id) for c in changes] == [("delete", "router", "r0")]


def test_of_two_ports_of_a_name_the_one_in_use_stays():
    built = as_built()
    spare = Port.existing(id="spare", name="calculator-sum", created_at="2000-01-01T00:00:00Z", device_id="")
    changes, _ = compare(PLAN, replace(built, ports=(spare, *built.ports)), key=KEY)
    assert [(c.action, c.kind, c.id) for c in changes] == [("delete", "port", "spare")]


def test_address_of_a_port_nobody_uses_is_replaced():
    built = as_built()
    fixed = [{"ip_address": "192.168.2.9"}]
    ports = altered(built.ports, "calculator-sum", fixed_ips=fixed, device_id="")
    observed = replace(built, ports=ports, servers=without(built.servers, "calculator-sum"))
    assert brief(observed) == [("replace", "port", "calculator-sum"), ("create", "server", "calculator-sum")]


ELSEWHERE = {"fixed_ips": [{"ip_address": "192.168.1.77"}]}
MOVED = {"fixed_ips": [{"ip_address": "192.168.2.9", "subnet_id": "subnet:net2"}]}


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "expected"),
    [
        ("ports", "calculator-sum", MOVED, ["replace port calculator-sum", "update server calculator-sum"]),
        ("servers", "calculator-sum", {"flavor": {"original_name": "tiny"}}, ["update server calculator-sum"]),
        ("servers", "calculator-sum", {"metadata": {"netorder_image": "old"}}, ["replace server calculator-sum"]),
        ("servers", "calculator-sum", {"status": "VERIFY_RESIZE"}, ["update server calculator-sum"]),
        ("ports", INTERFACE, ELSEWHERE, [f"replace router interface {INTERFACE}"]),
    ],
)  # fmt: skip
def test_in_place_where_the_cloud_can_and_replaced_where_not(kind, name, attributes, expected):
    built = as_built()
    observed = replace(built, **{kind: altered(getattr(built, kind), name, **attributes)})
    assert [" ".join(one) for one in brief(observed)] == expected


def test_another_prefix_replaces_the_subnet_and_every_port_on_it():
    """Even those whose address lies in the new prefix too: it is another subnet."""
    built = as_built()
    subnets = altered(built.subnets, "calculator-net2", cidr="192.168.0.0/16")
    changes, problems = compare(PLAN, replace(built, subnets=subnets), key=KEY)
    assert problems == []
    others = [h.cloud_name for h in PLAN.hosts if h.name != "calculator"]
    assert {(c.action, c.kind, c.name) for c in changes} == {
        ("replace", "subnet", "calculator-net2"),
        ("replace", "router interface", "calculator-rt2.net2"),
        *(("replace", "port", name) for name in others),
        *(("update", "server", name) for name in others),
    }
    assert {c.permission for c in changes} == {"replace", None}


def test_another_external_network_costs_the_floating_ips_of_its_hosts():
    built = as_built()
    for ip in built.floating_ips:
        ip._update(floating_network_id="network:public")
    public = Network.existing(id="network:public", name="public")
    wanted = changed_plan(external_network="campus")
    changes, problems = compare(wanted, built, key=KEY, externals=[public])
    assert problems == []
    assert [(c.action, c.kind, c.before, c.after) for c in changes] == [
        ("update", "router", {"external_network": "public"}, {"external_network": "campus"}),
        ("replace", "floating IP", {"network": "public"}, {"network": "campus"}),
    ]


def test_floating_ip_is_loosened_where_its_routers_interface_is_replaced():
    """Neutron detaches no interface by which a floating IP is translated; the address is kept."""
    built = as_built()
    for ip in built.floating_ips:
        ip._update(router_id="router:rt1")
    name = next(i.port_name for i in PLAN.routers[0].interfaces)
    fixed = [{"ip_address": "192.168.1.77", "subnet_id": "subnet:calculator-net1"}]
    ports = altered(built.ports, name, fixed_ips=fixed)
    changes, _ = compare(PLAN, replace(built, ports=ports), key=KEY)
    assert [(c.action, c.kind, c.id) for c in changes[1:]] == [("update", "floating IP", "ip:calculator")]
    assert changes[1].before["port"] == changes[1].after["port"] == "calculator-calculator"


def test_server_in_a_state_that_is_somebodys_business_is_refused():
    built = as_built()
    problem = only_problem(replace(built, servers=altered(built.servers, "calculator-sum", status="RESCUE")))
    assert "RESCUE: finish or undo that" in problem


def test_losses_need_permission_and_are_all_named():
    built = as_built()
    hosts = tuple(h for h in PLAN.hosts if h.name != "calculator")
    groups = tuple(g for g in PLAN.security_groups if g.name != "calculator")
    observed = replace(built, ports=altered(built.ports, "calculator-sum", **MOVED))
    changes, _ = compare(changed_plan(hosts=hosts, security_groups=groups), observed, key=KEY)
    (problem,) = not_allowed(changes, ())
    assert "replace 1: port calculator-sum (on another network or address)" in problem
    assert "delete 4: server calculator-calculator (not in the topology)" in problem
    assert problem.endswith("-e allow=delete,replace")
    assert "delete" not in not_allowed(changes, ("delete",))[0].split("-e")[0]
    assert not_allowed(changes, ("delete", "replace")) == []


def test_what_nobody_uses_needs_no_permission():
    built = as_built()
    spare = Port.existing(id="spare", name="calculator-sum", created_at="2000-01-01T00:00:00Z", device_id="")
    servers = altered(built.servers, "calculator-sub", status="ERROR", metadata={})
    changes, _ = compare(PLAN, replace(built, ports=(spare, *built.ports), servers=servers), key=KEY)
    assert [c.action for c in changes] == ["delete", "replace"]
    assert not_allowed(changes, ()) == []


def test_what_matches_the_plan_is_counted():
    built = as_built()
    observed = replace(built, ports=altered(built.ports, "calculator-sum", **MOVED))
    assert unchanged_text(unchanged(PLAN, compare(PLAN, observed, key=KEY)[0])) == (
        "2 networks, 2 subnets, 5 security groups, 2 routers, 3 router interfaces, 4 ports, 4 servers, 1 floating IP, "
        "1 key pair"
    )


def test_another_controllers_key_is_refused():
    assert "another public key" in only_problem(as_built(), key=KEY.replace("F1nH", "F1nX"))


def test_key_comment_does_not_matter():
    assert brief(as_built(), key=KEY.replace("me@here", "you@there")) == []


def test_no_key_here_but_one_in_the_cloud_is_refused():
    assert "no private key" in only_problem(as_built(), key=None)


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ({"protocol": "6", "port_range_min": 22, "port_range_max": 22}, "ingress IPv4 tcp 22 from anywhere"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 9}, "ingress IPv4 tcp 1-9 from anywhere"),
        ({"remote_ip_prefix": "0.0.0.0/0"}, "ingress IPv4 any protocol from anywhere"),
        ({"protocol": "ICMP", "remote_ip_prefix": "10.0.0.0/8"}, "ingress IPv4 icmp from 10.0.0.0/8"),
    ],
)
def test_rules_are_compared_by_meaning(listed, text):
    assert rule_text(normal_rule({"direction": "ingress", "ethertype": "IPv4", **listed})) == text


def test_diff_shows_old_and_new_and_what_stays():
    before, after = {"cidr": "10.0.0.0/24", "enable_dhcp": False}, {"cidr": "10.0.0.0/24", "enable_dhcp": True}
    assert diff_text([Change("subnet", "lab-net1", "update", "enable_dhcp differ", before, after)]) == (
        "~ update subnet lab-net1: enable_dhcp differ\n"
        "      cidr: 10.0.0.0/24\n"
        "-     enable_dhcp: no\n"
        "+     enable_dhcp: yes\n"
    )


def test_teardown_deletes_every_resource_once_dependants_first():
    gone = deletions(as_built())
    order = "floating IP, server, router interface, port, router, network, security group, key pair"
    assert ", ".join(dict.fromkeys(change.kind for change in gone)) == order
    assert len(gone) == len(as_built().leftovers()) - len(PLAN.networks)  # a subnet goes with its network


def test_quota_counts_what_is_free_and_minus_one_is_no_limit():
    assert quota_problems({"ports": (5, 10, 5), "routers": (2, -1, 99)}) == []
    assert quota_problems({"ports": (6, 10, 5)})[0].startswith("Quota: 6 ports needed, 5 free (5 of 10 used).")


# Several interfaces, both IP versions, hosts that forward, routes by DHCP

ROOT = Path(__file__).parents[2]
RICHER = ["topologies/gateway-host.yml", "topologies/pool.yml", "tests/golden/good/dual-stack.yml"]


@pytest.mark.parametrize("path", RICHER)
def test_nothing_differs_from_what_was_built_of_richer_plans(path: str):
    wanted = build_plan(load(ROOT / path))
    assert brief(as_built(wanted), wanted) == []


def test_pairs_of_a_forwarding_host_are_put_right():
    """Neutron lists them with the MAC that it has added; the prefixes count."""
    wanted = build_plan(load(ROOT / RICHER[0]))
    observed = as_built(wanted)
    gate = next(port for port in observed.ports if port.name == "gateway-host-gate.back")
    gate.allowed_address_pairs = [{"ip_address": "0.0.0.0/0", "mac_address": "fa:16:3e:0:0:1"}]
    changes, problems = compare(wanted, observed, key=KEY)
    assert not problems
    assert [(change.action, change.kind, change.name) for change in changes] == [
        ("update", "port", "gateway-host-gate.back")
    ]
    assert changes[0].after == {
        "allowed_address_pairs": ["192.168.1.0/24", "192.168.2.0/24", "fd00:1::/64", "fd00:2::/64"]
    }


def test_routes_by_dhcp_are_put_right():
    wanted = build_plan(load(ROOT / RICHER[1]))
    observed = as_built(wanted)
    subnet = next(one for one in observed.subnets if one.name == "pool-front")
    subnet.host_routes = []
    assert brief(observed, wanted) == [("update", "subnet", "pool-front")]


def test_a_second_interface_that_is_missing_is_made_and_attached():
    wanted = build_plan(load(ROOT / RICHER[0]))
    observed = as_built(wanted)
    observed = replace(observed, ports=tuple(port for port in observed.ports if port.name != "gateway-host-gate.back"))
    changes, _ = compare(wanted, observed, key=KEY)
    assert [(change.action, change.kind, change.name, (change.after or {}).get("ports")) for change in changes] == [
        ("create", "port", "gateway-host-gate.back", None),
        ("update", "server", "gateway-host-gate", sorted(p.cloud_name for p in wanted.hosts[1].ports)),
    ]


def test_an_interface_that_goes_is_taken_out_of_its_host():
    """Neutron would delete the port under the running guest; the run stops, unplugs and starts it."""
    wanted = build_plan(load(ROOT / RICHER[0]))
    gate = next(host for host in wanted.hosts if host.name == "gate")
    hosts = tuple(replace(host, ports=host.ports[:1]) if host is gate else host for host in wanted.hosts)
    changes, problems = compare(replace(wanted, hosts=hosts), as_built(wanted), key=KEY)
    assert problems == []
    assert [(c.action, c.kind, c.name) for c in changes] == [
        ("delete", "port", gate.ports[1].cloud_name),
        ("update", "server", gate.cloud_name),
    ]


def work(wanted: model.Plan, observed: Observed) -> Work:
    """Return what the requests are made of, without a cloud."""
    facts = Facts(externals={None: "x"}, images={"debian-13": ("i", "debian-13")}, flavors={"small": "f", "large": "g"})
    return Work(SimpleNamespace(conn=None), change_set(wanted, observed, key=KEY), facts, KEY)  # type: ignore[arg-type]


def test_what_is_requested_of_the_cloud():
    """The bodies of the requests for a network of both IP versions and for a port of a host that forwards."""
    wanted = build_plan(load(ROOT / RICHER[0]))
    gate, back = wanted.hosts[1], wanted.networks[2]
    built = as_built(wanted)
    name = gate.ports[1].cloud_name
    observed = replace(
        built, subnets=without(built.subnets, "gateway-host-front.ipv6"), ports=without(built.ports, name)
    )
    one = work(wanted, observed)
    (missing,) = one.changes.of(subnet.SubnetChange)
    assert subnet.create_body(one, missing) == {
        "name": "gateway-host-front.ipv6",
        "description": "netorder:gateway-host",
        "network_id": "network:front",
        "ip_version": 6,
        "cidr": "fd00:1::/64",
        "gateway_ip": "fd00:1::1",
        "dns_nameservers": [],
        "allocation_pools": [{"start": "fd00:1::100", "end": "fd00:1::1ff"}],
        "enable_dhcp": True,
        "ipv6_ra_mode": "dhcpv6-stateful",
        "ipv6_address_mode": "dhcpv6-stateful",
    }
    (missing_port,) = one.changes.of(port.PortChange)
    body = port.create_body(one, missing_port)
    assert [fixed["ip_address"] for fixed in body["fixed_ips"]] == list(gate.ports[1].addresses)
    assert [fixed["subnet_id"] for fixed in body["fixed_ips"]] == [f"subnet:{s.cloud_name}" for s in back.subnets]
    assert body["allowed_address_pairs"][0] == {"ip_address": "192.168.1.0/24"}
    assert body["security_groups"] == [f"group:{name}" for name in gate.ports[1].security_groups]


def test_what_is_made_is_known_by_what_needs_it():
    """From nothing: each body has the ids of what was made before it."""
    one = work(PLAN, Observed())
    for kind in ("networks", "subnets", "routers", "ports", "groups"):
        getattr(one.ids, kind).update(
            {change.name: f"new {change.name}" for change in one.changes.changes}
            | {group.name: f"new {group.name}" for group in PLAN.security_groups}
        )
    bodies = [subnet.create_body(one, change) for change in one.changes.of(subnet.SubnetChange)]
    assert [body["network_id"] for body in bodies] == ["new calculator-net1", "new calculator-net2"]
    div = one.changes.of(server.ServerChange)[-1]
    assert server.create_body(one, div) == {
        "name": "calculator-div",
        "image_id": "i",
        "flavor_id": "f",
        "key_name": "calculator-key",
        "networks": [{"port": "new calculator-div"}],
        "metadata": {
            "netorder_topology": "calculator",
            "netorder_host": "div",
            "netorder_image": "debian-13",
        },
        "tags": ["netorder:calculator"],
    }
    assert [router.create_body(one, change).get("external_gateway_info") for change in
            one.changes.of(router.RouterChange)] == [{"network_id": "x"}, None]  # fmt: skip


def in_place(kind: str) -> set[str]:
    return {field.name for field in FIELDS if (field.kind, field.effect) == (kind, Effect.IN_PLACE)}


@pytest.mark.parametrize("module", [network, subnet, router])
def test_what_changes_in_place_has_its_part_in_an_update(module):
    assert set(module.UPDATE) == in_place(module.KIND)


def test_what_changes_in_place_of_a_port_has_its_part_in_an_update():
    one = work(PLAN, as_built())
    differing: dict[str, object] = dict.fromkeys(in_place("port"))
    change = port.PortChange(
        "port", "x", "update", "", after=differing, port=PLAN.hosts[0].ports[0], network="n", fixed=()
    )
    names = {"addresses": "fixed_ips", "port_security": "port_security_enabled"}
    assert set(port.update_body(one, change)) == {names.get(name, name) for name in in_place("port")}


def unfiltered(name: str) -> model.Plan:
    """Return the plan with port security off at one host."""
    text = (
        (ROOT / "topologies/calculator.yml")
        .read_text(encoding="utf-8")
        .replace("../applications", f"{ROOT}/applications")
    )
    line = next(one for one in text.splitlines() if one.strip().startswith(f"{name}:") and "network" in one)
    return build_plan(parse(text.replace(line, line.replace("{", "{port_security: false, ", 1))))


def test_port_security_goes_and_comes_in_place_with_the_groups():
    off = unfiltered("mul")
    ports = {one.cloud_name: one for host in off.hosts for one in host.ports}
    assert [name for name, one in ports.items() if not one.port_security] == ["calculator-mul"]
    one = work(off, as_built())
    (change,) = one.changes.of(port.PortChange)
    assert (change.action, port.update_body(one, change)) == (
        "update", {"port_security_enabled": False, "security_groups": []}
    )  # fmt: skip
    assert brief(as_built(off), off) == []
    back = work(PLAN, as_built(off))
    back.ids.groups["mul"] = "made before"
    (change,) = back.changes.of(port.PortChange)
    assert set(port.update_body(back, change)) == {"port_security_enabled", "security_groups"}
    (made,) = (one for one in work(off, Observed()).changes.of(port.PortChange) if one.name == "calculator-mul")
    assert made.after is not None
    assert made.after["port_security"] is False


def test_a_cloud_without_port_security_has_nothing_to_change():
    """Neutron without the extension says nothing of it, which the SDK reads as off."""
    observed = as_built()
    for one in observed.ports:
        one._update(port_security_enabled=False)
    assert brief(observed) == []


def test_mtu_is_asked_for_where_it_is_said_and_changed_in_place():
    wanted = changed_plan(networks=(replace(PLAN.networks[0], mtu=1400), *PLAN.networks[1:]))
    one = work(wanted, as_built())
    (change,) = one.changes.of(network.NetworkChange)
    assert (change.action, change.after) == ("update", {"mtu": 1400})
    name = wanted.networks[0].cloud_name
    observed = replace(as_built(), networks=altered(as_built().networks, name, mtu=1400))
    assert brief(observed, wanted) == brief(observed) == []  # one that is not said any more stays
    bodies = [network.create_body(one, change) for change in work(wanted, Observed()).changes.of(network.NetworkChange)]
    assert [body.get("mtu") for body in bodies] == [1400, *(None for _ in wanted.networks[1:])]


def test_only_what_differs_is_in_an_update():
    wanted = build_plan(load(ROOT / RICHER[1]))
    observed = as_built(wanted)
    front = next(one for one in observed.subnets if one.name == "pool-front")
    front._update(host_routes=[], enable_dhcp=False)
    one = work(wanted, observed)
    (change,) = one.changes.of(subnet.SubnetChange)
    planned = next(s for n in wanted.networks for s in n.subnets if s.cloud_name == "pool-front")
    assert subnet.update_body(change) == {
        "is_dhcp_enabled": True,
        "host_routes": [{"destination": r.destination, "nexthop": r.next_hop} for r in planned.host_routes],
    }
    ports = altered(as_built().ports, "calculator-sum", admin_state_up=False, security_groups=[])
    one = work(PLAN, replace(as_built(), ports=ports))
    (moved,) = one.changes.of(port.PortChange)
    assert port.update_body(one, moved) == {"security_groups": ["group:sum"], "admin_state_up": True}
    routers = altered(as_built().routers, "calculator-rt1", external_gateway_info=None, routes=[])
    one = work(PLAN, replace(as_built(), routers=routers))
    (gateway,) = one.changes.of(router.RouterChange)
    assert router.update_body(one, gateway) == {"external_gateway_info": {"network_id": "x"}}


def test_a_server_that_loses_a_port_is_stopped_and_gets_what_it_lacks():
    """The change holds what to unplug and to plug; one that only gains an interface is not stopped."""
    observed = as_built()
    gone = next(one for one in observed.ports if one.name == "calculator-sum")
    altered(observed.ports, "calculator-sum", **MOVED)
    (change,) = work(PLAN, observed).changes.of(server.ServerChange)
    assert (change.unplug, change.plug) == (((gone.id, gone.name),), ("calculator-sum",))
    observed = as_built()
    (change,) = work(PLAN, replace(observed, ports=without(observed.ports, gone.name))).changes.of(server.ServerChange)
    assert (change.unplug, change.plug) == ((), ("calculator-sum",))
    servers = altered(as_built().servers, "calculator-sum", status="VERIFY_RESIZE", flavor={"original_name": "tiny"})
    (change,) = work(PLAN, replace(as_built(), servers=servers)).changes.of(server.ServerChange)
    assert (change.resize, change.status) == (True, "VERIFY_RESIZE"), "confirmed first, then resized again"


def test_routes_through_an_interface_that_goes_are_removed_first_and_added_again():
    """Neutron detaches no interface that a route's next hop is behind; without a deletion nothing goes first."""
    wanted = build_plan(load(ROOT / "topologies/pool.yml"))
    built = as_built(wanted)
    name, owner = next((r.cloud_name, r) for r in wanted.routers if r.routes)
    extra = [*({"destination": r.destination, "nexthop": r.next_hop} for r in owner.routes),
             {"destination": "10.99.0.0/24", "nexthop": owner.routes[0].next_hop}]  # fmt: skip
    observed = replace(built, routers=altered(built.routers, name, routes=extra))
    found = change_set(wanted, observed, key=KEY)
    assert (found.first, [(one.verb, one.routes) for one in found.routes]) == (
        (), [("remove", (("10.99.0.0/24", owner.routes[0].next_hop),))]
    )  # fmt: skip
    for one in observed.ports:
        for fixed in one.fixed_ips:
            fixed["subnet_id"] = f"subnet:{wanted.topology}-" + fixed["subnet_id"].removeprefix("subnet:")
    hop = owner.routes[0].next_hop
    behind = next(i for i in owner.interfaces if hop.rpartition(".")[0] == i.addresses[0].rpartition(".")[0])
    fixed = [{"ip_address": "10.250.0.9", "subnet_id": f"subnet:{wanted.topology}-{behind.network}"}]
    moved = replace(observed, ports=altered(observed.ports, behind.port_name, fixed_ips=fixed))
    found = change_set(wanted, moved, key=KEY)
    through = {
        (r.destination, r.next_hop) for r in owner.routes if r.next_hop.rpartition(".")[0] == hop.rpartition(".")[0]
    }
    assert [set(one.routes) for one in found.first] == [through | {("10.99.0.0/24", hop)}]
    assert [(one.verb, set(one.routes)) for one in found.routes] == [("add", through)]


def test_rules_of_a_group_are_changed_one_by_one():
    """What it has and keeps is not touched; a new group's default rules count as its own."""
    calls: list[object] = []
    proxy = SimpleNamespace(
        create_security_group_rules=lambda bodies: calls.append([body["port_range_min"] for body in bodies]) or [],
        delete_security_group_rule=calls.append,
        update_security_group=lambda one, name: calls.append((one, name)),
    )
    observed = as_built()
    group = next(one for one in observed.groups if one.name == "calculator-calculator")
    rules = [one for one in group.security_group_rules if one["port_range_min"] != 50000]
    stray = {**rules[0], "id": "stray", "direction": "ingress", "protocol": "udp"}
    group._update(security_group_rules=[*rules, stray], name="calculator-other")
    one = work(PLAN, observed)
    one.cloud = SimpleNamespace(conn=SimpleNamespace(network=proxy))  # type: ignore[assignment]
    for job in security_group.rules(one):
        job.call()
    assert calls == [[50000], "stray", (group.id, "calculator-calculator")]


def test_only_a_host_with_two_gateways_needs_a_script_at_its_first_boot():
    """It names the addresses whose default route is removed; the shell accepts it."""
    assert all(
        first_boot(one, host) is None for one in (PLAN, build_plan(load(ROOT / RICHER[0]))) for host in one.hosts
    )
    wanted = build_plan(load(ROOT / RICHER[2]))
    scripts = {host.name: first_boot(wanted, host) for host in wanted.hosts}
    assert [name for name, script in scripts.items() if script] == ["two"]
    assert "for address in 192.168.2.30; do" in str(scripts["two"])
    subprocess.run(["sh", "-n"], input=scripts["two"], text=True, check=True)
