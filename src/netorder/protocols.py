"""IP protocols by name and number, and ICMP messages by type: as the language, plans, Neutron and queries call them.

One *word* stands for what a rule matches apart from ports: ``tcp``, ``gre`` or ``88`` (a protocol), ``icmp`` (ICMP of
each IP version), ``icmp echo-request`` (one type of message, of each version), ``icmp 3/4`` (type and code of ICMP
itself, so IPv4), ``icmpv6``, ``icmpv6 143`` (IPv6 only), ``anything``. What it is in Neutron says :func:`on_wire`.
"""

from __future__ import annotations

from typing import NamedTuple

from netorder.ip import IPV4, IPV6
from netorder.text import did_you_mean

__all__ = [
    "ANYTHING",
    "ICMP_TYPES",
    "PING",
    "WITH_PORTS",
    "Wire",
    "icmp_word",
    "match_text",
    "normal",
    "number",
    "on_wire",
    "parse",
    "word_of",
]

ANYTHING = "anything"  # every protocol
PING = "ping"  # only asked for: an echo request of either version
WITH_PORTS = ("tcp", "udp", "sctp")  # Neutron knows ports of others too, its drivers mostly not
_ICMP = {IPV4: "icmp", IPV6: "ipv6-icmp"}

# Neutron's names (neutron_lib.constants.IP_PROTOCOL_MAP) and some that it has only numbers for (IANA, Protocol Numbers)
_NAMES = {
    1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 8: "egp", 17: "udp", 33: "dccp", 46: "rsvp", 47: "gre", 50: "esp",
    51: "ah", 58: "ipv6-icmp", 88: "eigrp", 89: "ospf", 103: "pim", 112: "vrrp", 113: "pgm", 115: "l2tp", 132: "sctp",
    136: "udplite",
}  # fmt: skip
_NUMBERS = {name: number for number, name in _NAMES.items()} | {"icmpv6": 58}
# Neutron refuses these by IPv4, and they are headers within IPv6, or a tunnel that is of use by IPv4 only
_REFUSED = {
    0: "hopopt", 41: "ipv6-encap", 43: "ipv6-route", 44: "ipv6-frag", 59: "ipv6-nonxt", 60: "ipv6-opts",
}  # fmt: skip
_ANY = {"all", "any", "anything", "everything", "ip", "-1"}
_BY_NAME = {"tcp", "udp", "sctp", "icmp", "ipv6-icmp"}  # what every Neutron knows by its name

# (type, code) of what both versions have: RFC 792, RFC 4443; a code of None is any
ICMP_TYPES: dict[str, dict[int, tuple[int, int | None]]] = {
    "echo-request": {IPV4: (8, None), IPV6: (128, None)},
    "echo-reply": {IPV4: (0, None), IPV6: (129, None)},
    "destination-unreachable": {IPV4: (3, None), IPV6: (1, None)},
    "packet-too-big": {IPV4: (3, 4), IPV6: (2, None)},
    "time-exceeded": {IPV4: (11, None), IPV6: (3, None)},
    "parameter-problem": {IPV4: (12, None), IPV6: (4, None)},
}
_ICMP_NAMES = {(version, its): name for name, types in ICMP_TYPES.items() for version, its in types.items()}


class Wire(NamedTuple):
    """What a word is in Neutron's terms, by one IP version: ``low`` and ``high`` are ICMP's type and code."""

    protocol: str | None
    low: int | None = None
    high: int | None = None


def parse(text: str) -> tuple[str | None, str]:
    """Return the word for a protocol's name or number; None and what is wrong where there is none."""
    name = text.lower()
    if name in _ANY:
        return None, f"`{text}` is not one protocol; write `all: true` for every protocol"
    known = _NUMBERS.get(name)
    if known is None and name.isdecimal():
        known = int(name)
    if known is None and name in _REFUSED.values():
        known = next(number for number, its in _REFUSED.items() if its == name)
    if known is None:
        fix = did_you_mean(name, _NUMBERS) or "; write its number (IANA, Protocol Numbers)"
        return None, f"`{text}` is not the name of an IP protocol{fix}"
    if known in _REFUSED:
        why = "IPv6 in IPv4, which OpenStack's rules cannot name" if known == 41 else "a header within IPv6 packets"  # noqa: PLR2004
        return None, f"`{text}` ({_REFUSED[known]}) is {why}; `all: true` lets it in with everything else"
    if known > 255:  # noqa: PLR2004 - the protocol field of IPv4 has 8 bits
        return None, f"`{text}` is not the number of an IP protocol; these are 1 to 255"
    name = _NAMES.get(known, str(known))
    return ("icmpv6" if name == "ipv6-icmp" else name), ""


def icmp_word(key: str, text: str) -> str:
    """Return the word for a type of message under ``icmp`` or ``icmpv6``: a name, ``TYPE`` or ``TYPE/CODE``."""
    parts = text.split("/")
    return f"{key} {'/'.join(str(int(part)) for part in parts)}" if parts[0].isdecimal() else f"{key} {text}"


def on_wire(word: str, version: int) -> Wire | None:
    """Return what ``word`` is by an IP version; None where that has no such thing."""
    if word == ANYTHING:
        return Wire(None)
    if word == PING:
        word = "icmp echo-request"
    protocol, _, message = word.partition(" ")
    if protocol not in ("icmp", "icmpv6"):
        return Wire(protocol)
    named = not message or message in ICMP_TYPES
    if (protocol == "icmpv6" and version == IPV4) or (protocol == "icmp" and version == IPV6 and not named):
        return None
    if named:
        return Wire(_ICMP[version], *(ICMP_TYPES[message][version] if message else ()))
    kind, _, code = message.partition("/")
    return Wire(_ICMP[version], int(kind), int(code) if code else None)


def word_of(protocol: str | None, low: int | None, high: int | None) -> str:
    """Return the word for a rule's protocol and, of ICMP, type and code: the same of both versions where there is one.

    The inverse of :func:`on_wire`, but for what is said of IPv6 alone.
    """
    if protocol is None:
        return ANYTHING
    if protocol not in _ICMP.values():
        return protocol
    if low is None:
        return "icmp"
    version = IPV6 if protocol == _ICMP[IPV6] else IPV4
    if name := _ICMP_NAMES.get((version, (low, high))):
        return f"icmp {name}"
    return f"{'icmpv6' if version == IPV6 else 'icmp'} {low}" + (f"/{high}" if high is not None else "")


def match_text(protocol: str | None, low: int | None, high: int | None) -> str | None:
    """Return what a rule matches, for people: ``tcp 22``, ``tcp 1-65535``, ``ipv6-icmp echo-request``; None: all."""
    if protocol is None:
        return None
    if protocol in _ICMP.values():
        _, blank, message = word_of(protocol, low, high).partition(" ")
        return f"{protocol}{blank}{message}"
    if low is None:
        return f"{protocol} 1-65535" if protocol in WITH_PORTS else protocol
    return f"{protocol} {low}" if low == high else f"{protocol} {low}-{high}"


def normal(protocol: str | None, ethertype: str) -> str | None:
    """Return one spelling of what Neutron or somebody calls a protocol; None is any."""
    if protocol is None or protocol == "any":
        return None
    name = str(protocol).lower()
    name = _NAMES.get(int(name), name) if name.isdecimal() else name
    if name == "icmpv6" or (name == "icmp" and ethertype == "IPv6"):
        return _ICMP[IPV6]
    return name


def number(protocol: str | None) -> str | None:
    """Return what to send to Neutron: a name that every release knows, else the number."""
    return protocol if protocol is None or protocol in _BY_NAME else str(_NUMBERS.get(protocol, protocol))
