"""Protocols and types of ICMP messages: words, what they are in Neutron, and back."""

from __future__ import annotations

import pytest

from netorder.analysis.probes import untried
from netorder.analysis.reach import OUTSIDE, Matrix
from netorder.cloud.groups import normal_rule, rule_text
from netorder.language.load import parse
from netorder.plan.build import build_plan
from netorder.plan.model import Rule
from netorder.protocols import ICMP_TYPES, PING, Wire, normal, number, on_wire, word_of
from netorder.protocols import parse as parse_protocol

# what Neutron of 2024.2 has in its IP_PROTOCOL_MAP
NEUTRON = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136,
    "vrrp": 112,
}  # fmt: skip
ONLY_IPV6 = {"ipv6-encap", "ipv6-frag", "ipv6-nonxt", "ipv6-opts", "ipv6-route"}  # refused with IPv4 by Neutron

TEXT = """\
topology: t
networks: {a: {cidr: [10.1.0.0/24, "fd00:1::/64"]}, b: {cidr: 10.2.0.0/24}}
routers: {r: {external: true, networks: [a, b]}}
hosts:
  one: {network: a, address: [10.1.0.10, "fd00:1::10"], floating_ip: true}
  two: {network: a, address: [10.1.0.11, "fd00:1::11"], groups: [pair]}
  far: {network: b, address: 10.2.0.10, groups: [pair]}
allow:
  - {from: 203.0.113.0/24, to: one, tcp: 22}
  - {to: one, icmp: echo-request}
  - {from: two, to: one, icmpv6: 143, icmp: 3/4, protocol: gre, sctp: [5000, 6000-6010]}
  - {from: one, to: far, all: true}
  - {from: far, to: one, icmp: destination-unreachable}
  - {within: pair, udp: 9}
"""
MATRIX = Matrix(build_plan(parse(TEXT)))


@pytest.mark.parametrize(("name", "value"), NEUTRON.items())
def test_every_protocol_of_neutron_is_one_by_name_and_by_number(name: str, value: int) -> None:
    ethertype = "IPv6" if "v6" in name else "IPv4"
    if name in ONLY_IPV6 | {"ip", "hopopt"}:
        for text in (name, str(value)):
            assert parse_protocol(text)[0] is None
            assert "all: true" in parse_protocol(text)[1]
        return
    word, message = parse_protocol(name)
    assert (word, message) == parse_protocol(str(value))
    assert word is not None
    wire = on_wire(word, 6 if ethertype == "IPv6" else 4)
    assert wire is not None
    # what is sent, and what a cloud may list for it, is one
    for listed in (name, str(value), name.upper(), number(wire.protocol)):
        assert normal(listed, ethertype) == wire.protocol


def test_what_is_sent_is_known_to_every_neutron() -> None:
    sent = [number(wire.protocol) for word in ("tcp", "sctp", "icmp", "gre", "eigrp", "253", "anything")
            if (wire := on_wire(word, 4))]  # fmt: skip
    assert sent == ["tcp", "sctp", "icmp", "47", "88", "253", None]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("word", ["icmp", "gre", "253", "anything", *(f"icmp {name}" for name in ICMP_TYPES)])
def test_words_and_back(word: str, version: int) -> None:
    wire = on_wire(word, version)
    assert wire is not None
    assert word_of(*wire) == word


def test_numbers_of_messages_are_of_one_version() -> None:
    assert (on_wire("icmp 3/1", 4), on_wire("icmp 3/1", 6)) == (Wire("icmp", 3, 1), None)
    assert (on_wire("icmpv6 143", 4), on_wire("icmpv6 143", 6)) == (None, Wire("ipv6-icmp", 143, None))
    assert (on_wire("icmpv6", 4), on_wire("icmpv6", 6)) == (None, Wire("ipv6-icmp"))
    assert word_of("ipv6-icmp", 143, None) == "icmpv6 143"


@pytest.mark.parametrize(
    ("flow", "state"),
    [
        (("two", "10.1.0.10", "gre"), "open"),
        (("two", "10.1.0.10", "esp"), "closed"),
        (("two", "10.1.0.10", PING), "open"),
        (("two", "10.1.0.10", "icmp"), "closed"),  # not all of it
        (("two", "10.1.0.10", "icmp packet-too-big"), "open"),  # which is 3/4
        (("two", "fd00:1::10", "icmp packet-too-big"), "closed"),
        (("far", "10.1.0.10", "icmp packet-too-big"), "open"),  # a code of a type that is open
        (("two", "10.1.0.10", "icmp 3"), "closed"),  # one code of several
        (("two", "fd00:1::10", "icmpv6 143"), "open"),
        (("two", "10.1.0.10", "icmpv6 143"), "closed"),
        (("two", "10.1.0.10", "sctp", 5000), "open"),
        (("two", "10.1.0.10", "sctp", 6011), "closed"),
        (("two", "10.1.0.10", "tcp", 5000), "closed"),
        (("one", "far", "anything"), "open"),
        (("one", "far", "88"), "open"),
        (("one", "far", "tcp", 80), "open"),
        (("two", "far", "udp", 9), "open"),
        (("far", "two", "udp", 9), "open"),
        (("one", "two", "udp", 9), "closed"),
        ((OUTSIDE, "one", PING), "open"),
        ((OUTSIDE, "one", "icmp"), "closed"),
    ],
)
def test_reach(flow: tuple[str, str, str], state: str) -> None:
    assert MATRIX.verdict(*flow) == state


def test_names_in_previews() -> None:
    texts = [
        rule_text(normal_rule(Rule("ingress", "IPv6", "ipv6-icmp", 128, None, None))),
        rule_text(normal_rule({"direction": "ingress", "ethertype": "IPv4", "protocol": "1", "port_range_min": 3,
                               "port_range_max": 4})),
        rule_text(normal_rule({"direction": "ingress", "ethertype": "IPv4", "protocol": "47"})),
        rule_text(normal_rule({"direction": "ingress", "ethertype": "IPv4", "protocol": "33", "port_range_min": 5,
                               "port_range_max": 6})),
    ]  # fmt: skip
    assert texts == [
        "ingress IPv6 ipv6-icmp echo-request from anywhere",
        "ingress IPv4 icmp packet-too-big from anywhere",
        "ingress IPv4 gre from anywhere",
        "ingress IPv4 dccp 5-6 from anywhere",  # somebody else's
    ]


def test_what_verify_does_not_try_is_said() -> None:
    assert untried(MATRIX.plan).endswith(
        "rules for gre, icmp destination-unreachable, icmp packet-too-big, icmpv6 143, sctp, udp"
    )
    tcp = "topology: t\nnetworks: {a: {cidr: 10.1.0.0/24}}\nhosts: {x: {network: a}}\nallow: [{to: x, tcp: 80}]\n"
    assert untried(build_plan(parse(tcp))) == ""


def test_within_is_from_and_to() -> None:
    both = TEXT.replace("within: pair", "from: pair, to: pair")
    assert build_plan(parse(both)) == MATRIX.plan
