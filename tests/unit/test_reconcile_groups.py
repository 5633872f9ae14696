"""Which group of the cloud stands for which of the plan, when hosts part, come together, come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openstack.network.v2.port import Port
from openstack.network.v2.security_group import SecurityGroup as CloudGroup

from netorder.cloud.groups import Groups, normal_rule, rule_text
from netorder.cloud.observe import Observed
from netorder.plan import model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LetIn = dict[str, frozenset[int]]  # what is let in to each host, as TCP ports


def rule(port: int) -> model.Rule:
    return model.Rule("ingress", "IPv4", "tcp", port, port, None)


def planned(let_in: Mapping[str, frozenset[int]]) -> Any:
    """Return a plan of hosts with one port each; the same rules share a group, named as the first host."""
    first: dict[frozenset[int], str] = {}
    for host, ports in let_in.items():
        first.setdefault(ports, host)
    return SimpleNamespace(
        security_groups=[
            model.SecurityGroup(name, f"t-{name}", tuple(map(rule, sorted(ports)))) for ports, name in first.items()
        ],
        hosts=[
            SimpleNamespace(
                name=host, cloud_name=f"t-{host}", ports=(model.Port(f"t-{host}", "net", (), (first[ports],), ()),)
            )
            for host, ports in let_in.items()
        ],
    )


class Cloud:
    """Groups and ports as a cloud has them, and netorder's order of work upon them, one request after another."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # by group id
        self.rules: dict[str, set[int]] = {}
        self.group_of: dict[str, str] = {}  # by host
        self.made = 0

    def observed(self) -> Observed:
        return Observed(
            groups=tuple(
                CloudGroup.existing(
                    id=one, name=self.names[one], created_at=f"{one:0>4}",
                    security_group_rules=[
                        {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": port,
                         "port_range_max": port}
                        for port in self.rules[one]
                    ],
                )
                for one in self.names
            ),
            ports=tuple(
                Port.existing(id=host, name=f"t-{host}", security_groups=[one]) for host, one in self.group_of.items()
            ),
        )  # fmt: skip

    def make(self, let_in: LetIn) -> Iterator[None]:
        """Make it match the plan, one request after another; a kill ends the iteration."""
        plan = planned(let_in)
        groups = Groups(plan, self.observed())
        assert not {groups.label(one.id) for one in groups.surplus} & {*groups.names.values()}
        for host in self.group_of.keys() - let_in.keys():
            del self.group_of[host]
            yield
        ids = {name: group.id for name, group in groups.found.items()}
        for name in (group.cloud_name for group in plan.security_groups if group.cloud_name not in ids):
            self.made += 1
            ids[name] = str(self.made)
            self.names[ids[name]], self.rules[ids[name]] = name, set()
            yield
        wanted = {f"t-{host.name}": ids[f"t-{host.ports[0].security_groups[0]}"] for host in plan.hosts}
        for host in let_in.keys() - self.group_of.keys():
            self.group_of[host] = wanted[f"t-{host}"]
            yield
        for group in plan.security_groups:
            its, want = self.rules[ids[group.cloud_name]], {int(one.port_min or 0) for one in group.rules}
            for port in want - its:
                its.add(port)
                yield
            for port in its - want:
                its.remove(port)
                yield
            self.names[ids[group.cloud_name]] = groups.names[group.cloud_name]
            yield
        for host in let_in:
            self.group_of[host] = wanted[f"t-{host}"]
            yield
        for old in groups.surplus:
            assert old.id not in self.group_of.values(), "Neutron deletes no group that is in use"
            del self.names[old.id], self.rules[old.id]
            yield

    def let_in(self) -> LetIn:
        return {host: frozenset(self.rules[one]) for host, one in self.group_of.items()}


def wishes() -> st.SearchStrategy[LetIn]:
    return st.dictionaries(st.sampled_from("abcdef"), st.frozensets(st.integers(1, 3), max_size=3), min_size=1)


@settings(deadline=None)  # what it holds is no matter of time, and the machine may be busy
@given(st.lists(st.tuples(wishes(), st.integers(0, 25)), min_size=1, max_size=5), wishes())
def test_killed_anywhere_it_converges_and_nobody_is_let_in_anything_of_anothers(
    killed: list[tuple[LetIn, int]], last: LetIn
) -> None:
    """Topology after topology, each run killed after some requests, the last run whole.

    At any moment a host that stays has at least the rules that it had and will have, and at most those that it had or
    will have.
    """
    cloud = Cloud()
    for wish, requests in [*killed, (last, 1000)]:
        before = cloud.let_in()
        for _, _ in zip(range(requests), cloud.make(wish), strict=False):
            now = cloud.let_in()
            for host in before.keys() & wish.keys() & now.keys():
                assert before[host] & wish[host] <= now[host] <= before[host] | wish[host]
    assert cloud.let_in() == last
    for one, name in cloud.names.items():
        assert cloud.group_of.get(name[2:]) == one, "a group is named as one of its hosts"
    assert {name: group.name for name, group in Groups(planned(last), cloud.observed()).found.items()} == Groups(
        planned(last), cloud.observed()
    ).names, "nothing is left to do"


A, B, C = frozenset({1}), frozenset({2}), frozenset({3})


@pytest.mark.parametrize(
    ("before", "after", "requests"),
    [
        ({"a": A}, {"a": A}, []),
        ({"a": A, "b": A}, {"a": B, "b": B}, ["rules a"]),
        ({"a": A, "b": A}, {"b": A}, ["name a b"]),
        ({"a": A, "b": A, "c": A}, {"a": B, "b": A, "c": A}, ["name a b", "new a"]),
        ({"a": A, "b": A}, {"a": B, "b": C}, ["new a", "new b", "old a"]),
        ({"a": A, "b": B}, {"a": B, "b": A}, ["name b a", "name a b"]),
        ({"a": A, "b": B}, {"a": A, "b": A}, ["old b"]),
        ({"a": A, "b": B}, {"a": C, "b": C}, ["rules a", "old b"]),
        ({"b": A}, {"a": A, "b": A}, []),
        ({"a": A, "b": B}, {"a": A}, ["old b"]),
        ({"a": A, "b": B}, {"a": A, "c": C}, ["new c", "old b"]),
    ],
    ids=[
        "the same", "other rules for both", "the first goes", "the first has other rules", "each has other rules",
        "they change places", "one comes to the other", "they come together with other rules", "one comes first",
        "one goes", "one goes, another comes",
    ],
)  # fmt: skip
def test_which_group_stands_for_which(before: LetIn, after: LetIn, requests: list[str]) -> None:
    """A group is kept where its rules are wanted, changed where all that use it want that, else made anew."""
    cloud = Cloud()
    for _ in cloud.make(before):
        pass
    plan = planned(after)
    groups = Groups(plan, cloud.observed())
    said = []
    for wanted in plan.security_groups:
        found = groups.found.get(wanted.cloud_name)
        if not found:
            said.append(f"new {wanted.name}")
        elif found.name != groups.names[wanted.cloud_name]:
            said.append(f"name {found.name[2:]} {groups.names[wanted.cloud_name][2:]}")
        elif {normal_rule(one) for one in found.security_group_rules} != {normal_rule(one) for one in wanted.rules}:
            said.append(f"rules {wanted.name}")
    said += [f"old {group.name[2:]}" for group in groups.surplus]
    assert sorted(said) == sorted(requests)


def test_a_group_that_goes_and_one_that_comes_by_the_same_name_are_distinguished() -> None:
    """What a port has would otherwise look like what it will have."""
    cloud = Cloud()
    for _ in cloud.make({"a": A, "b": A}):
        pass
    groups = Groups(planned({"a": B, "b": C}), cloud.observed())
    assert groups.label(cloud.group_of["a"]) == f"t-a ({cloud.group_of['a']})"
    assert groups.label("somebody else's") == "somebody else's"


def test_to_delete_a_group_is_a_loss_only_with_its_hosts() -> None:
    cloud = Cloud()
    for _ in cloud.make({"a": A, "b": B}):
        pass
    gone, parted = Groups(planned({"a": A}), cloud.observed()), Groups(planned({"a": A, "b": A}), cloud.observed())
    assert [gone.goes_with_its_hosts(group) for group in gone.surplus] == [True]
    assert [parted.goes_with_its_hosts(group) for group in parted.surplus] == [False]


def test_a_group_for_each_host_as_earlier_versions_made_is_taken_over() -> None:
    """One of those with the same rules stays, its name too; the others' hosts move to it, never with fewer rules."""
    cloud = Cloud()
    cloud.names, cloud.rules = {"1": "t-a", "2": "t-b", "3": "t-c"}, {"1": {1}, "2": {1}, "3": {2}}
    cloud.group_of = {"a": "1", "b": "2", "c": "3"}
    wish = {"a": A, "b": A, "c": B}
    for _ in cloud.make(wish):
        assert cloud.let_in() == wish
    assert (cloud.names, cloud.group_of) == ({"1": "t-a", "3": "t-c"}, {"a": "1", "b": "1", "c": "3"})


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65535}, {"protocol": "tcp"}),
        ({"protocol": "6"}, {"protocol": "tcp"}),
        ({"protocol": "17"}, {"protocol": "udp"}),
        ({"protocol": "any"}, {"protocol": None}),
        ({"protocol": "47"}, {"protocol": "gre"}),
        ({"protocol": 132}, {"protocol": "SCTP"}),
        ({"protocol": "088"}, {"protocol": "eigrp"}),
        ({"protocol": "253"}, {"protocol": 253}),
        ({"protocol": "sctp", "port_range_min": 1, "port_range_max": 65535}, {"protocol": "132"}),
        ({"ethertype": "IPv6", "protocol": "icmp"}, {"ethertype": "IPv6", "protocol": "ipv6-icmp"}),
        ({"ethertype": "IPv6", "protocol": "icmpv6"}, {"ethertype": "IPv6", "protocol": "58"}),
        ({"ethertype": "IPv6", "protocol": "1"}, {"ethertype": "IPv6", "protocol": "ipv6-icmp"}),
        ({"remote_ip_prefix": "10.0.0.1"}, {"remote_ip_prefix": "10.0.0.1/32"}),
        ({"remote_ip_prefix": "10.0.0.7/24"}, {"remote_ip_prefix": "10.0.0.0/24"}),
        ({"remote_ip_prefix": "::ffff:10.0.0.1/128"}, {"remote_ip_prefix": "::ffff:a00:1/128"}),
        ({"remote_ip_prefix": "FD00:0:0:1::/64"}, {"remote_ip_prefix": "fd00:0:0:1::/64"}),
        ({"remote_ip_prefix": "0.0.0.0/0"}, {}),
    ],
)  # fmt: skip
def test_spellings_of_one_rule(spelling: dict[str, object], other: dict[str, object]):
    """What Neutron stores in another form than it was given, or once stored, is the same rule."""
    base = {"direction": "ingress", "ethertype": "IPv4"}
    assert normal_rule(base | spelling) == normal_rule(base | other)


def test_all_ports_of_a_plan_are_what_neutron_stores():
    """The planned rule for all ports has no range, and equals both forms that a cloud may list."""
    planned_rule = model.Rule("ingress", "IPv4", "tcp", None, None, "10.0.0.0/24")
    listed = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "remote_ip_prefix": "10.0.0.0/24"}
    for ports in ({"port_range_min": None, "port_range_max": None}, {"port_range_min": 1, "port_range_max": 65535}):
        assert normal_rule(listed | ports) == normal_rule(planned_rule)
    assert rule_text(normal_rule(planned_rule)) == "ingress IPv4 tcp 1-65535 from 10.0.0.0/24"


def test_nearly_all_ports_are_not_all():
    """Ports 1 to 65534 are not all ports."""
    base = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
    assert normal_rule(base | {"port_range_min": 1, "port_range_max": 65534}) != normal_rule(base)
