"""The path's MTU as netorder_observe finds it, in namespaces: where a router tells of it, and where packets just end.

A host, two routers (near, far) and a server, one behind the other. On the network before each of them the address of
what is nearer to the host ends with 1, its own with 2: near is 10.203.1.2 and 10.203.2.1, and fd00:203:1::2 and so on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import namespaces
import pytest

from netorder.ansible.drift import findings

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = Path(__file__).parents[2] / "plugins/modules/netorder_observe.py"
NAMES = ("host", "near", "far", "server")
SERVE = """
import socket
one = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print(flush=True)
while True:
    one.accept()
"""
VERSIONS = (4, 6)
NOBODY = 65534


def address(version: int, network: int, number: int) -> str:
    return f"10.203.{network}.{number}" if version == 4 else f"fd00:203:{network}::{number}"


OWNERS = {
    address(version, network, number): NAMES[network + number - 2]
    for version in VERSIONS for network in (1, 2, 3) for number in (1, 2)
}  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, namespaces.Namespace]]:
    """Make all of it; give the namespaces by their names."""
    with ExitStack() as stack:
        found = {}
        for name in NAMES:
            found[name] = namespaces.Namespace(name)
            stack.callback(found[name].close)
        for index, name in enumerate(NAMES):
            lines = ["link set lo up"]
            if name != "server":
                lines.append(f"link add right type veth peer name left netns {found[NAMES[index + 1]].path}")
            its = [("left", index, 2)] * (index > 0) + [("right", index + 1, 1)] * (name != "server")
            lines += [f"address add {address(4, network, number)}/24 dev {device}" for device, network, number in its]
            lines += [
                f"address add {address(6, network, number)}/64 dev {device} nodad" for device, network, number in its
            ]
            lines += [f"link set {device} up" for device, _, _ in its]
            # to what is further than the neighbours, there and back
            for network in (1, 2, 3):
                if network > index + 1:
                    lines += [
                        f"route add {_prefix(version, network)} via {address(version, index + 1, 2)}"
                        for version in VERSIONS
                    ]
                if network < index:
                    lines += [
                        f"route add {_prefix(version, network)} via {address(version, index, 1)}"
                        for version in VERSIONS
                    ]
            with found[name].entered():
                found[name].sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})
                found[name].ip(lines)
        with found["server"].entered():
            listening = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE)
            stack.callback(listening.wait)
            stack.callback(listening.kill)
            assert listening.stdout.readline()
        yield found


def _prefix(version: int, network: int) -> str:
    return f"10.203.{network}.0/24" if version == 4 else f"fd00:203:{network}::/64"


@contextmanager
def rules(space: namespaces.Namespace, *lines: str) -> Iterator[None]:
    """Have these rules of nft in a namespace."""
    with space.entered():
        space.nft(["table inet test {", *lines, "}"])
    try:
        yield
    finally:
        with space.entered():
            space.nft(["delete table inet test"])


def drops(hook: str, match: str) -> str:
    return f"chain {hook} {{ type filter hook {hook} priority 0; {match} drop; }}"


def longer(size: int) -> str:
    """Return what matches a packet of more bytes, of either IP version."""
    return f"meta length > {size}"


def observed(
    host: namespaces.Namespace, version: int, *, echo: bool = True, user: int | None = None
) -> dict[str, object]:
    """Return the finding of the connection to the server."""
    probe = {"name": "server", "address": address(version, 3, 2), "port": 9000, "open": True, "echo": echo}
    text = MODULE.read_text(encoding="utf-8").replace(
        "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", json.dumps({"connections": [probe]})
    )
    with host.entered():
        done = subprocess.run(
            ["/usr/bin/python3", "-"], input=text, capture_output=True, text=True, check=False, user=user, group=user,
            extra_groups=None if user is None else [],
        )  # fmt: skip
        # what it has heard of is not to be remembered by the next one
        for family in ("-4", "-6"):
            subprocess.run(["ip", family, "route", "flush", "cache"], check=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = findings(
        {"netorder_observe": json.loads(done.stdout), "netorder_host_network": {"differences": []}}, node_of=OWNERS.get
    )[:1]
    assert (found["ok"], found["found"]) == (True, "open")
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_lost(made, version):
    found = observed(made["host"], version)
    assert found["mtu"] == 1500
    assert not {"lost", "warning"} & found.keys()
    assert found["ms"] > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_smaller_network_behind_a_router_is_told(made, version):
    """By what the router says of a packet that does not fit; the connection is as planned, with a warning."""
    with made["far"].entered():
        made["far"].ip(["link set right mtu 1400"])
    try:
        for echo in (True, False):
            found = observed(made["host"], version, echo=echo)
            assert found["mtu"] == 1400
            assert found["warning"] == "packets of 1500 bytes do not pass as a whole, of 1400 do"
            assert "lost" not in found
    finally:
        with made["far"].entered():
            made["far"].ip(["link set right mtu 1500"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1300, 1499])
def test_a_router_that_drops_without_a_word_is_found(made, version, size):
    """The largest size that passes, to the byte, and the hops between which the others end."""
    with rules(made["far"], drops("forward", longer(size))):
        found = observed(made["host"], version)
    after, before = address(version, 2, 2), address(version, 3, 2)
    assert found["lost"] == {"bytes": 1500, "passes": size, "segment": 1500, "after": after, "before": before}
    assert found["mtu"] == size
    assert found["warning"].startswith(
        f"packets of 1500 bytes are lost between far ({after}) and server ({before}), or their answers on the way "
        f"back, and nobody says so, of {size} they pass: connections hang"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_lost_before_the_first_router(made, version):
    with rules(made["near"], drops("prerouting", longer(1280))):
        found = observed(made["host"], version)
    assert (found["lost"]["passes"], found["lost"]["after"]) == (1280, None)
    assert f"are lost before near ({address(version, 1, 2)}) and nobody says so, of 1280" in found["warning"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_router_that_never_says_anything(made, version):
    """Not even that a packet's time is over: it is between those that do."""
    silent = "chain output { type filter hook output priority 0; meta l4proto { icmp, ipv6-icmp } drop; }"
    if version == 6:  # neighbours must be found
        silent = silent.replace("meta l4proto { icmp, ipv6-icmp }", "icmpv6 type { time-exceeded, packet-too-big }")
    with rules(made["far"], drops("forward", longer(1400)), silent):
        found = observed(made["host"], version)
    assert re.search(r"lost between near \(.*\) and server", found["warning"])


@pytest.mark.parametrize("version", VERSIONS)
def test_one_router_tells_and_the_next_does_not(made, version):
    with made["near"].entered():
        made["near"].ip(["link set right mtu 1450"])
    try:
        with rules(made["far"], drops("forward", longer(1350))):
            found = observed(made["host"], version)
    finally:
        with made["near"].entered():
            made["near"].ip(["link set right mtu 1500"])
    assert (found["lost"]["bytes"], found["lost"]["passes"]) == (1450, 1350)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_tcp_was_told_to_keep_to(made, version):
    """Where a router rewrites TCP's option, TCP passes."""
    clamp = "chain mss { type filter hook forward priority -10; tcp flags syn tcp option maxseg size set 1200; }"
    with rules(made["far"], drops("forward", longer(1400)), clamp):
        found = observed(made["host"], version)
    assert found["lost"]["segment"] == (1240 if version == 4 else 1260)
    assert "TCP sends no larger ones here" in found["warning"]


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_claimed_where_it_cannot_be_known(made, version):
    """Where a ping is not allowed, where none is answered, and where some large packets come through."""
    pings = f"icmp{'v6' * (version == 6)} type echo-request"
    with rules(made["far"], drops("forward", longer(1300))):
        assert "lost" not in observed(made["host"], version, echo=False)
        with rules(made["server"], drops("input", pings)):
            assert "lost" not in observed(made["host"], version)
    with rules(made["far"], drops("forward", f"{pings} {longer(1300)} numgen inc mod 2 == 0")):
        assert "lost" not in observed(made["host"], version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("allowed", [True, False])
def test_without_root(made, version, allowed):
    """Pings need a group of ping_group_range then; without it nothing is claimed, and the rest is as ever."""
    group = "0 2147483647" if allowed else "1 0"
    with made["host"].entered():
        made["host"].sysctl({"ipv4/ping_group_range": group})
    with rules(made["far"], drops("forward", longer(1300))):
        found = observed(made["host"], version, user=NOBODY)
    assert (found["lost"]["passes"] == 1300) if allowed else "lost" not in found
