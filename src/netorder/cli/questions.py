"""A topology by questions, each with a default answer: networks one behind the other, hosts on each, what is open."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import yaml

from netorder.errors import NetorderError, TopologyError, UsageError
from netorder.language.load import parse
from netorder.language.resolve import RESERVED
from netorder.topology import LAST_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ask"]

Answer = TypeVar("Answer")
NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
HOST = re.compile(r"([a-z](?:[a-z0-9-]*[a-z0-9])?)(?:\*([0-9]{1,3}))?")
MOST = 200  # networks


@dataclass(frozen=True, slots=True)
class _Hosts:
    """Hosts of one name on a network."""

    name: str
    count: int
    network: str


def ask(name: str) -> str:
    """Ask on the terminal, or read the answers from standard input, a line each; return the topology as YAML.

    Raises UsageError for an answer that is none, where nobody is there to give another.
    """
    print("Enter takes what is in brackets. Several words: with spaces between.", file=sys.stderr)
    networks = _asked("networks, from the outside inwards", "front back", _names)
    hosts: list[_Hosts] = []
    for index, network in enumerate(networks):
        usual = "web" if index == 0 else "app*2" if index == 1 else f"host-{network}"
        hosts += _asked(
            f"hosts on {network} (app*2: two of them; none)",
            usual,
            partial(_hosts, network=network, taken={*networks, *(one.name for one in hosts)}),
        )
    if not hosts:
        raise UsageError("there is no host: name one on some network")
    names = [one.name for one in hosts if one.network == networks[0]]
    if not names:
        raise UsageError(f"there is no host on {networks[0]}, the network that the outside reaches: name one there")
    entries = _asked("which of them the outside reaches", names[0], lambda text: _among(text, names))
    ports = _asked(f"TCP ports that are open to everybody on {', '.join(entries)}", "80 443", _ports)
    ssh = _asked("who logs in there by SSH (your prefix, as 203.0.113.0/24, or anywhere)", "anywhere", _prefix)
    on = {network: [one.name for one in hosts if one.network == network] for network in networks}
    inner = [
        (near, far, _asked(f"TCP ports that are open from {near} to {far}", "8080", _ports))
        for near, far in pairwise(network for network in networks if on[network])
    ]
    image, flavor, user = (
        _asked(what, usual, _word)
        for what, usual in (("image", "debian-13"), ("flavor", "small"), ("the image's user", "debian"))
    )
    rules = [
        f"{{from: {ssh}, to: {_list(entries)}, tcp: 22}}",
        f"{{from: anywhere, to: {_list(entries)}{_tcp(ports)}, icmp: true}}",
        *(f"{{from: {_list(on[near])}, to: {_list(on[far])}{_tcp(its)}, icmp: true}}" for near, far, its in inner),
    ]
    lines = [
        f"topology: {name} # the name in the cloud; under another one a run makes everything anew",
        "",
        "networks:",
        *(f"  {one}: {{cidr: 192.168.{number}.0/24}}" for number, one in enumerate(networks, 1)),
        "",
        "routers:",
        f"  edge: {{external: true, networks: [{networks[0]}]}} # joins the cloud's external network",
        *(f"  to-{far}: {{networks: [{near}, {far}]}}" for near, far in pairwise(networks)),
        "",
        "# What hosts have unless they say otherwise: an image and a flavor that your cloud has, and the image's user.",
        f"defaults: {{image: {_quoted(image)}, flavor: {_quoted(flavor)}, user: {_quoted(user)}}}",
        "",
        "hosts:",
        *(_host(one, is_entry=one.name in entries) for one in hosts),
        "",
        "# Everything else is closed. Hosts that no rule lets SSH in to are reached through one before them.",
        "allow:",
        *(f"  - {rule}" for rule in rules),
    ]
    text = "\n".join([*lines, ""])
    try:
        parse(text, "the answers")
    except TopologyError as error:
        wrong = [one.message for one in error.diagnostics if one.severity == "error"]
        raise NetorderError("nothing is written; of these answers comes no topology:", *wrong) from None
    return text


def _asked(question: str, usual: str, read: Callable[[str], Answer]) -> Answer:
    """Return the answer as ``read`` reads it, which raises ValueError with what is wrong with it."""
    while True:
        print(f"{question} [{usual}]: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line and sys.stdin.isatty():
            raise UsageError(f"{question}: no answer; nothing is written")
        if not sys.stdin.isatty():
            print(file=sys.stderr)  # where nobody has pressed Enter
        try:
            return read(line.strip() or usual)
        except ValueError as error:
            if not sys.stdin.isatty():
                raise UsageError(f"{question}: {error}") from None
            print(f"  {error}", file=sys.stderr)


def _names(text: str) -> list[str]:
    found = text.split()
    for one in found:
        if not NAME.fullmatch(one):
            raise ValueError(f"`{one}` is no name: letters, digits and hyphens, a letter first")
        if one in RESERVED or _quoted(one) != one:
            raise ValueError(f"`{one}` is {RESERVED.get(one, 'something else to YAML')}: another name")
    if len(set(found)) < len(found) or len(found) > MOST:
        raise ValueError(f"each name once, and {MOST} of them at most")
    return found


def _hosts(text: str, network: str, taken: set[str]) -> list[_Hosts]:
    found: list[_Hosts] = []
    for one in text.split() if text != "none" else ():
        match = HOST.fullmatch(one)
        if match is None or match[2] == "0":
            raise ValueError(f"`{one}` is neither a name nor a name and a number, as app*2")
        if match[1] in RESERVED or _quoted(match[1]) != match[1]:
            raise ValueError(f"`{match[1]}` is {RESERVED.get(match[1], 'something else to YAML')}: another name")
        if match[1] in taken:
            raise ValueError(f"`{match[1]}` is taken: another name")
        taken = taken | {match[1]}
        found.append(_Hosts(match[1], int(match[2] or 1), network))
    return found


def _among(text: str, names: Sequence[str]) -> list[str]:
    found = text.split()
    for one in found:
        if one not in names:
            raise ValueError(f"`{one}` is none of {', '.join(names)}")
    return found


def _ports(text: str) -> list[int]:
    found = [] if text == "none" else text.replace(",", " ").split()
    for one in found:
        if not one.isdecimal() or not 1 <= int(one) <= LAST_PORT:
            raise ValueError(f"`{one}` is no port (1 to {LAST_PORT}, or `none`)")
    return [*map(int, found)]


def _prefix(text: str) -> str:
    if text == "anywhere":
        return text
    try:
        return _quoted(str(ip_network(text)))
    except ValueError as error:
        raise ValueError(f"`{text}` is no prefix: {error}") from None


def _word(text: str) -> str:
    if not re.fullmatch(r"[\w./-]+( [\w./-]+)*", text):
        raise ValueError(f"`{text}` is no name")
    return text


def _quoted(text: str) -> str:
    """Return the text as YAML that means it: `true` and `::/0` are something else without quotes."""
    try:
        is_plain = yaml.safe_load(f"{{a: {text}}}") == {"a": text}
    except yaml.YAMLError:
        is_plain = False
    return text if is_plain else json.dumps(text)


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _tcp(ports: Sequence[int]) -> str:
    return f", tcp: {_list([*map(str, ports)])}" if ports else ""


def _host(one: _Hosts, *, is_entry: bool) -> str:
    more = f", count: {one.count}" if one.count > 1 else ""
    more += ", floating_ip: true" if is_entry else ""
    comment = " # an address that the outside reaches" if is_entry else ""
    return f"  {one.name}: {{network: {one.network}{more}}}{comment}"
