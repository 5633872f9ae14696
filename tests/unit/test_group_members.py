"""Rules whose other end is the members of a security group that exists in the cloud."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from openstack.network.v2.security_group import SecurityGroup
from test_import import listed_of, project
from test_reconcile_compare import KEY, as_built, planned
from test_reconcile_ownership import FakeCloud

from netorder.analysis.diff import change, render
from netorder.analysis.diff import to_json as diff_json
from netorder.analysis.overview import overview, to_json
from netorder.analysis.overview import render as render_overview
from netorder.analysis.probes import from_outside, untried
from netorder.analysis.reach import OUTSIDE, Matrix
from netorder.cloud.compare import compare
from netorder.cloud.existing import Existing, look_up
from netorder.cloud.facts import Facts
from netorder.cloud.importing.ask import Image
from netorder.cloud.importing.make import make
from netorder.cloud.observe import Observed
from netorder.cloud.preview import diff_text
from netorder.cloud.resources import security_group
from netorder.cloud.teardown import deletions
from netorder.cloud.work import Work
from netorder.language.load import TopologyError, parse
from netorder.plan.build import build_plan
from netorder.plan.render import render as plan_text
from netorder.report.page import page
from netorder.topology import SSH

if TYPE_CHECKING:
    from netorder.cloud.change import ChangeSet
    from netorder.plan.model import Plan, Rule

TEXT = """
topology: t
networks:
  lan: {cidr: [10.1.0.0/24, "fd00:1::/64"]}
  back: {cidr: 10.2.0.0/24}
routers: {edge: {external: true, networks: [lan]}}
hosts:
  door: {network: lan, floating_ip: true}
  web: {network: lan}
  gate: {networks: [lan, back], forward: true}
  db: {network: back}
  probe: {network: lan, security_groups: [monitoring]}
allow:
  - {from: 203.0.113.0/24, to: door, tcp: 22}
  - {from: {security_group: monitoring}, to: [door, web, db], tcp: 9}
  - {from: [back, {security_group: [batch, monitoring]}], to: web, icmp: echo-request}
egress:
  - {from: web, to: {security_group: databases}, tcp: 5432}
"""
IDS = {name: f"group:{name}" for name in ("monitoring", "batch", "databases")}
EXISTING = Existing(groups=IDS)
plan = partial(planned, TEXT)
WITHOUT = ("  - {from: {security_group: monitoring}, to: [door, web, db], tcp: 9}\n", "")


def rules(of: Plan, host: str) -> list[Rule]:
    """Return the rules of a host that are about members of groups."""
    (group,) = [one for one in of.security_groups if one.name == host]
    return [rule for rule in group.rules if rule.remote_group]


def said(of: Plan, host: str) -> set[str]:
    return {f"{rule.direction} {rule.ethertype} {rule.match} {rule.remote}" for rule in rules(of, host)}


# The plan


def test_there_is_a_rule_of_each_ip_version_that_the_host_has():
    assert said(plan(), "web") == {
        "ingress IPv4 tcp 9 security group monitoring",
        "ingress IPv6 tcp 9 security group monitoring",
        "ingress IPv4 icmp echo-request security group batch",
        "ingress IPv6 ipv6-icmp echo-request security group batch",
        "ingress IPv4 icmp echo-request security group monitoring",
        "ingress IPv6 ipv6-icmp echo-request security group monitoring",
        "egress IPv4 tcp 5432 security group databases",
        "egress IPv6 tcp 5432 security group databases",
    }
    assert said(plan(), "db") == {"ingress IPv4 tcp 9 security group monitoring"}
    assert all(rule.remote_cidr is None and not rule.anywhere for rule in rules(plan(), "web"))


def test_the_host_on_the_way_lets_members_pass_and_nobody_else():
    """As with other sources: what is for hosts behind it comes in by its port."""
    assert "ingress IPv4 tcp 9 security group monitoring" in said(plan(), "gate")
    matrix = Matrix(plan())
    assert matrix.verdict("probe", "db", "tcp", 9) == "open"
    assert matrix.verdict("door", "db", "tcp", 9) == "closed"


def test_hosts_of_the_topology_that_are_members_are_let_in():
    matrix = Matrix(plan())
    assert [matrix.verdict(one, "web", "tcp", 9) for one in ("probe", "door", "gate")] == ["open", "closed", "closed"]
    assert matrix.verdict(matrix.hosts["probe"].addresses[1], "web", "tcp", 9) == "open"
    assert matrix.verdict("probe", "web", "tcp", 10) == "closed"


def test_what_hosts_send_to_members_is_no_limit_for_those_of_the_topology():
    its = plan(("[monitoring]}", "[databases]}"), ("egress:", "  - {to: [probe, door], tcp: 5432}\negress:"))
    matrix = Matrix(its)
    assert matrix.verdict("web", "probe", "tcp", 5432) == "open"
    assert matrix.verdict("web", "door", "tcp", 5432) == "closed"
    assert next(one for one in its.security_groups if one.name == "web").is_limited


def test_names_hold_variables_and_stand_beside_what_there_are_many_of():
    """What is written out of a list moves nothing of the rest to another place."""
    text = """
topology: t
networks: {lan: {cidr: 10.1.0.0/24}}
hosts: {web: {network: lan, count: 3}}
for_each:
  team:
    count: 2
    hosts: {pc: {network: lan}}
    allow:
      - {from: [web, {security_group: ["agents-$team", OTHER]}], to: pc, tcp: 80}
"""
    first, second = parse(text).rules
    assert (first.security_groups, second.security_groups) == (("agents-1", "OTHER"), ("agents-2", "OTHER"))
    assert len(first.sources) == 3
    with pytest.raises(TopologyError) as raised:
        parse(text.replace("OTHER", "pc-1"))
    assert {(one.line, one.message.partition(",")[0]) for one in raised.value.diagnostics} == {
        (10, "`pc-1` is a host of this file")
    }


def test_a_group_is_no_way_in_for_ssh():
    """Who its members are is not known, so no SSH path counts on them."""
    its = plan(("from: 203.0.113.0/24, to: door", "from: {security_group: ops}, to: door"))
    assert {host.name: host.ssh_path for host in its.hosts}["door"] is None
    assert "SSH does not reach it" in plan_text(its)
    assert Matrix(its).sources("door", "tcp", SSH) == ()


# What is said of those whom the plan does not know


def test_more_may_come_in_than_the_plan_knows():
    matrix = Matrix(plan())
    assert matrix.explain(OUTSIDE, "door", "tcp", 9).reason == (
        "no rule of door allows tcp 9 from anywhere; members of security group monitoring, who are not in the plan, may"
    )
    assert "members" not in matrix.explain(OUTSIDE, "door", "tcp", 10).reason
    assert matrix.explain("web", OUTSIDE, "tcp", 5432).reason == (
        "no rule of web allows tcp 5432 to the outside; members of security group databases, who are not in the plan, "
        "may get it"
    )


def test_verify_does_not_try_it():
    """The controller may be a member; what is closed to all others is tried still."""
    matrix = Matrix(plan())
    assert [one.port for one in from_outside(matrix, matrix.hosts["door"])] == []
    without = Matrix(plan(WITHOUT))
    assert [(one.port, one.open) for one in from_outside(without, without.hosts["door"])] == [(9, False)]
    assert untried(plan()) == (
        "not tried, the plan does not know them: members of security group batch, databases, monitoring"
    )


def seen(*ends: str) -> Any:
    topology = parse(TEXT)
    matrix = Matrix(build_plan(topology))
    return overview(matrix, topology, ends, ends), matrix


def test_reach_lists_it_apart():
    found, matrix = seen(*Matrix(plan()).hosts, OUTSIDE)
    lines = render_overview(found, matrix, "<text>", None, closed=False).splitlines()
    assert [one for one in lines if "members" in one] == [
        "members of security group monitoring (not in the plan) -> door, db: tcp 9 [15]",
        "members of security group batch (not in the plan) -> web: icmp echo-request [16]",
        "members of security group monitoring (not in the plan) -> web: icmp echo-request, tcp 9 [15, 16]",
        "members of security group batch (not in the plan) -> gate: icmp echo-request",
        "members of security group monitoring (not in the plan) -> gate: icmp echo-request, tcp 9",
        "web -> members of security group databases (not in the plan): tcp 5432",
    ]
    first, *_, last = json.loads(to_json(found, "t"))["members"]
    assert (first["group"], first["hosts"], first["open"]) == ("monitoring", ["door", "db"], ["tcp 9"])
    assert (last["group"], last["direction"]) == ("databases", "egress")
    inside, _ = seen("door", "web")
    assert inside.members == ()
    assert "members" not in json.loads(to_json(inside, "t"))


def test_the_report_has_it():
    text = page(parse(TEXT), {}, "t.yml")
    assert "members of security group monitoring" in text


def test_diff_says_it():
    text = render(change(plan(WITHOUT), plan()))
    assert "rules: +tcp 9 from probe, security group monitoring" in text
    assert "probe -> web, db, door" in text
    assert text.endswith("Not counted: flows of members of security group monitoring, who are not in the plan.\n")
    done = change(plan(("batch, ", "")), plan())
    assert json.loads(diff_json(done))["members"] == ["batch"]
    assert "members" not in json.loads(diff_json(change(plan(), plan(("203.0.113.0/24", "203.0.113.0/25")))))


# The cloud


def looked_up(of: Plan, *groups: tuple[str, str], **fields: Any) -> Existing:
    listed = [SecurityGroup.existing(id=id_, name=name, project_id="p1", **fields) for id_, name in groups]
    cloud = FakeCloud(security_groups=listed)
    return look_up(cloud, of, Observed(), addresses_allowed=False)  # type: ignore[arg-type]


ALL = tuple((id_, name) for name, id_ in IDS.items())


def test_the_groups_of_rules_are_found():
    found = looked_up(plan(), *ALL)
    assert (found.groups, found.problems) == (IDS, [])


UUID = "4f9e3b7a-0000-4000-8000-00000000aaaa"


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (
            ALL[:2],
            "Security group databases (<text>:18): there is no security group databases in this cloud",
        ),
        (
            (*ALL, ("other", "databases")),
            "Security group databases (<text>:18): 2 security groups are called databases; write the id of one: ",
        ),
        (ALL[1:], "Security group monitoring (hosts: probe; <text>:15): there is no security group monitoring"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(groups: tuple[tuple[str, str], ...], text: str):
    (problem,) = looked_up(plan(), *groups).problems
    assert problem.startswith(text)


def test_one_group_by_two_names_is_a_problem():
    """Which hosts are members is known by the name alone."""
    assert looked_up(plan(("[batch, ", f"[{UUID}, ")), ALL[0], ALL[2], (UUID, "batch")).problems == []
    its = plan(("security_groups: [monitoring]", f"security_groups: [{UUID.upper()}]"))
    (problem,) = looked_up(its, (UUID, "monitoring"), *ALL[1:]).problems
    assert problem == f"Security group monitoring (<text>:15) is what {UUID} is too: write the same in both places."


def test_an_own_group_is_no_existing_one():
    (first, *_) = looked_up(plan(), *ALL, description="netorder:t").problems
    assert first.endswith("is this topology's own, not an existing one: name its hosts instead.")


def compared(of: Plan, observed: Observed) -> ChangeSet:
    return compare(of, replace(observed, floating_ips=as_built(of).floating_ips), key=KEY, existing=EXISTING)


def built(of: Plan) -> Observed:
    """Return a cloud that has all of the plan."""
    seen = as_built(of)
    for port in seen.ports:
        if port.name == "t-probe":
            port.security_group_ids = [*port.security_group_ids, IDS["monitoring"]]
    return seen


def test_a_second_run_changes_nothing():
    result = compared(plan(), built(plan()))
    assert (result.changes, result.problems) == ((), ())


def requests(found: ChangeSet) -> list[Any]:
    """Return what is requested for the rules of groups."""
    calls: list[Any] = []
    proxy = SimpleNamespace(
        create_security_group_rules=lambda bodies: calls.extend(bodies) or [],
        delete_security_group_rule=calls.append,
    )
    cloud = SimpleNamespace(conn=SimpleNamespace(network=proxy))
    for job in security_group.rules(Work(cloud, found, Facts(), KEY)):  # type: ignore[arg-type]
        job.call()
    return calls


def test_a_rule_that_comes_is_made_in_place_and_shown_by_name():
    result = compared(plan(), built(plan(WITHOUT)))
    assert {(one.action, one.kind) for one in result.changes} == {("update", "security group")}
    assert "+     rules: ingress IPv4 tcp 9 from security group monitoring" in diff_text(result.changes).splitlines()
    bodies = [one for one in requests(result) if one["remote_group_id"] and one["security_group_id"] == "group:door"]
    assert bodies == [
        {
            "security_group_id": "group:door", "direction": "ingress", "ethertype": ethertype, "protocol": "tcp",
            "port_range_min": 9, "port_range_max": 9, "remote_ip_prefix": None,
            "remote_group_id": "group:monitoring", "description": "netorder:t",
        }
        for ethertype in ("IPv4", "IPv6")
    ]  # fmt: skip


def test_a_rule_that_goes_is_deleted_alone():
    result = compared(plan(WITHOUT), built(plan()))
    assert {(one.action, one.kind) for one in result.changes} == {("update", "security group")}
    assert "-     rules: ingress IPv4 tcp 9 from security group monitoring" in diff_text(result.changes).splitlines()
    assert set(map(str, requests(result))) == {"rule:1"}


def test_another_group_in_a_rule_is_another_rule():
    """A rule that names the same ports and no group, or another one, is no such rule."""
    seen = built(plan())
    for group in seen.groups:
        for listed in group.security_group_rules:
            if listed["remote_group_id"] == IDS["monitoring"]:
                listed["remote_group_id"] = "group:others"
    text = diff_text(compared(plan(), seen).changes)
    assert "-     rules: ingress IPv4 tcp 9 from security group group:others" in text
    assert "+     rules: ingress IPv4 tcp 9 from security group monitoring" in text


def test_a_teardown_leaves_the_group():
    assert not {one.id for one in deletions(built(plan()))} & {*IDS.values()}


# Import


def test_what_was_ordered_comes_back():
    its = plan()
    images = {host.image: Image(host.image, host.image) for host in its.hosts}
    listed = listed_of(its, "t")
    found = make(project(listed, images=images), "t", None)
    assert not found.differences.changes, diff_text(found.differences.changes)
    assert "security_group: monitoring" in found.text
    assert {rule for group in found.plan.security_groups for rule in group.rules if rule.remote_group} == {
        rule for group in its.security_groups for rule in group.rules if rule.remote_group
    }


def test_ssh_for_members_alone_is_no_way_in_and_nobody_is_told_to_open_it_to_all() -> None:
    text = """
topology: t
networks: {lan: {cidr: 10.1.0.0/24}}
routers: {r: {networks: [lan], external: true}}
hosts: {g: {network: lan, floating_ip: true}}
allow: [{from: {security_group: mon}, to: g, tcp: 1-1024}]
"""
    (said,) = [one.message for one in parse(text).warnings]
    assert said.endswith("who is in security group mon is not known here: let in the prefix that you come from")
    (said,) = [one.message for one in parse(text.replace("1-1024", "80")).warnings]
    assert said.endswith("add to `allow:` `- {from: anywhere, to: g, tcp: 22}`")
