"""A network gains or loses IPv6 while its hosts run: in place, as preview, diff and requests say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from test_reconcile_compare import KEY, altered, as_built, brief, change_set, work

from netorder.analysis.diff import change, differences
from netorder.cloud.resources import port, router_interface
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.plan.lifecycle import address_fields

if TYPE_CHECKING:
    from netorder.cloud.observe import Observed
    from netorder.plan import model

TEXT = """\
topology: lab
networks:
  front: {{cidr: {front}}}
  back: {{cidr: {back}}}
routers: {{edge: {{external: true, networks: [front, back]}}}}
hosts:
  web: {{network: front, floating_ip: true}}
  two: {{networks: [back, front]}}
"""
FOUR, BOTH, SIX = "10.1.0.0/24", '[10.1.0.0/24, "fd00:1::/64"]', '"fd00:1::/64"'


def plan(front: str, back: str = "10.2.0.0/24") -> model.Plan:
    return build_plan(parse(TEXT.format(front=front, back=back)))


def built(wanted: model.Plan) -> Observed:
    """Return the cloud with subnets' real ids on the ports."""
    observed = as_built(wanted)
    ids = {(s.network_id, s.ip_version): s.id for s in observed.subnets}
    for one in observed.ports:
        for fixed in one.fixed_ips:
            fixed["subnet_id"] = ids[one.network_id, 6 if ":" in fixed["ip_address"] else 4]
        if one.device_id:
            for ip in observed.floating_ips:
                ip._update(router_id="router:edge")
    return observed


@pytest.mark.parametrize(
    ("had", "planned", "field"),
    [
        (["10.0.0.5"], ["10.0.0.5", "fd00::5"], "addresses"),
        (["fd00::5", "10.0.0.5"], ["10.0.0.5"], "addresses"),
        (["fd00::5"], ["10.0.0.5", "fd00::5"], "addresses"),
        (["10.0.0.5", "fd00::5"], ["fd00::5", "10.0.0.5"], "address"),
        (["10.0.0.5"], ["10.0.0.6", "fd00::5"], "address"),
        (["10.0.0.5", "fd00::5"], ["10.0.0.5", "fd00::6"], "address"),
        (["10.0.0.5"], ["fd00::5"], "address"),
        (["10.0.0.5", "10.0.0.6"], ["10.0.0.5"], "address"),
        ([], ["10.0.0.5"], "address"),
    ],
)
def test_only_the_coming_and_going_of_one_version_is_in_place(had, planned, field):
    before, after = address_fields(had, planned)
    assert (*before, *after) == (field, field)
    assert (before == after) == (sorted(had) == sorted(planned))


def test_ipv6_comes_without_replacing_a_port_or_stopping_a_server():
    """The subnet and the router's second port are made, the hosts' ports get one more address."""
    wanted = plan(BOTH)
    changes = change_set(wanted, built(plan(FOUR)), key=KEY)
    assert changes.problems == ()
    assert {(c.action, c.kind, c.name) for c in changes.changes if c.kind != "security group"} == {
        ("create", "subnet", "lab-front.ipv6"),
        ("create", "router interface", "lab-edge.front.ipv6"),
        ("update", "port", "lab-web"),
        ("update", "port", "lab-two.front"),
    }
    assert {c.permission for c in changes.changes} == {None}
    one = work(wanted, built(plan(FOUR)))
    one.ids.subnets["lab-front.ipv6"] = "new"
    (web,) = [c for c in one.changes.of(port.PortChange) if c.name == "lab-web"]
    v4, v6 = wanted.hosts[0].ports[0].addresses
    assert (web.before, web.after) == ({"addresses": [v4]}, {"addresses": [v4, v6]})
    assert port.update_body(one, web) == {
        "fixed_ips": [
            {"subnet_id": "subnet:lab-front", "ip_address": v4},
            {"subnet_id": "new", "ip_address": v6},
        ]
    }
    (interface,) = one.changes.of(router_interface.InterfaceChange)
    assert router_interface.create_body(one, interface)["fixed_ips"] == [
        {"subnet_id": "new", "ip_address": "fd00:1::1"}
    ]


def grown(wanted: model.Plan) -> Observed:
    """Return the cloud of a plan whose IPv6 came later: routers have a second port for it."""
    observed = built(wanted)
    ports = []
    for one in observed.ports:
        six = [fixed for fixed in one.fixed_ips if ":" in fixed["ip_address"]]
        if str(one.device_owner) != "network:router_interface" or not six:
            ports.append(one)
            continue
        fields = {key: value for key, value in one.to_dict().items() if key != "location"}
        ports.append(type(one).existing(**{**fields, "fixed_ips": [f for f in one.fixed_ips if f not in six]}))
        ports.append(type(one).existing(**{**fields, "id": "six", "name": f"{one.name}.ipv6", "fixed_ips": six}))
    return replace(observed, ports=tuple(ports))


@pytest.mark.parametrize("made", [built, grown])
def test_a_router_may_have_its_ipv6_address_on_either_port(made):
    wanted = plan(BOTH)
    assert brief(made(wanted), wanted) == []


@pytest.mark.parametrize(
    ("made", "interface"), [(built, ("update", "lab-edge.front")), (grown, ("delete", "lab-edge.front.ipv6"))]
)
def test_ipv6_goes_without_replacing_a_port_or_stopping_a_server(made, interface):
    """What stays loses its address before the subnet goes; the floating address is not touched."""
    wanted, observed = plan(FOUR), made(plan(BOTH))
    changes = change_set(wanted, observed, key=KEY)
    assert changes.problems == ()
    action, name = interface
    assert {(c.action, c.kind, c.name) for c in changes.changes if c.kind != "security group"} == {
        ("delete", "subnet", "lab-front.ipv6"),
        (action, "router interface", name),
        ("update", "port", "lab-web"),
        ("update", "port", "lab-two.front"),
    }
    calls: list[tuple[object, ...]] = []
    network = SimpleNamespace(
        update_port=lambda one, **fields: calls.append((one, fields)),
        remove_interface_from_router=lambda router, subnet: calls.append((router, subnet)),
    )
    one = work(wanted, observed)
    one.cloud = SimpleNamespace(conn=SimpleNamespace(network=network))  # type: ignore[assignment]
    for job in [*port.releases(one), *router_interface.releases(one)]:
        job.call()
    web = {"subnet_id": "subnet:lab-front", "ip_address": wanted.hosts[0].ports[0].addresses[0]}
    assert ("port:lab-web", {"fixed_ips": [web]}) in calls
    assert (("router:edge", "subnet:lab-front.ipv6") in calls) == (action == "update")
    assert [*port.updates(one), *router_interface.attachments(one)] == [], "done already"


def test_what_else_differs_of_a_port_that_loses_an_address_is_changed_too():
    observed = built(plan(BOTH))
    altered(observed.ports, "lab-web", admin_state_up=False)
    one = work(plan(FOUR), observed)
    (web,) = [c for c in one.changes.of(port.PortChange) if c.name == "lab-web"]
    assert [c.names for c in port.updates(one)] == [("lab-web",)]
    assert port.update_body(one, web).keys() == {"fixed_ips", "admin_state_up"}


@pytest.mark.parametrize(("old", "new"), [(SIX, BOTH), (BOTH, SIX), (FOUR, SIX), (SIX, FOUR)])
def test_where_ipv4_comes_or_goes_the_subnet_changes_its_name_and_its_ports_are_replaced(old, new):
    text = TEXT.replace(", floating_ip: true", "")
    before, after = (build_plan(parse(text.format(front=one, back="10.2.0.0/24"))) for one in (old, new))
    kinds = {(action, kind) for action, kind, _ in brief(built(before), after)}
    assert {("replace", "port"), ("replace", "router interface"), ("replace", "subnet")} <= kinds


@pytest.mark.parametrize(("old", "new"), [(FOUR, BOTH), (BOTH, FOUR)])
def test_diff_says_the_same(old, new):
    """Nothing is replaced, nothing stops, no permission is needed but for the subnet that goes."""
    found = differences(plan(old), plan(new))
    told: dict[tuple[str, str], Any] = {(one.kind, one.name): one for one in found}
    assert told["port", "web"].action == "changed"
    assert told["port", "web"].what.startswith("addresses: ")
    assert told["router interface", "edge.front"].action == "changed"
    assert not [one for one in found if one.stops]
    assert "interrupted" not in {flow.fate for flow in change(plan(old), plan(new)).flows}
    assert ("host", "web") not in told or told["host", "web"].action == "changed"
