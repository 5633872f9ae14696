"""The module against systemd-networkd, netplan and NetworkManager of Debian: now, after a restart, after a boot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from machine import Machine

    Host = Callable[..., Machine]

# a host as topologies/gateway-host.yml has it: the first interface's gateway is the host's, of both IP versions
ROUTES = [
    {"destination": "192.168.9.0/24", "next_hop": "192.168.1.9"},
    {"destination": "fd00:9::/64", "next_hop": "fd00:1::9"},
]
BEHIND = [
    {"destination": "192.168.8.0/24", "next_hop": "192.168.2.9"},
    {"destination": "fd00:8::/64", "next_hop": "fd00:2::9"},
]
INTERFACES = [{"address": "192.168.1.5"}, {"address": "192.168.2.5", "unwanted": [4, 6]}]
ADDRESSES = ["192.168.1.5", "fd00:1::5"]
ONE: dict[str, Any] = {"routes": ROUTES, "addresses": ADDRESSES}
TWO: dict[str, Any] = {
    "routes": [*ROUTES, *BEHIND],
    "interfaces": INTERFACES,
    "addresses": [*ADDRESSES, "192.168.2.5", "fd00:2::5"],
    "forwarding": True,
}
# what only the program can do: the first router's advertisements count no longer, so that networkd must reload
RELOADS: dict[str, Any] = {**ONE, "interfaces": [{"address": "192.168.1.5", "unwanted": [6]}]}
NOTHING: dict[str, Any] = {"routes": []}
EVERYWHERE = [
    pytest.param(image, suite, id=f"{image}-{suite}")
    for image in ("networkd", "netplan", "NetworkManager")
    for suite in ("trixie", "bookworm")
]


def defaults(it: Machine) -> list[str]:
    """Return the interfaces of the default routes, of both IP versions."""
    return [route.split()[-1] for version in (4, 6) for route in it.routes(version) if route.startswith("default ")]


def static(it: Machine) -> list[str]:
    """Return the other routes that have a next hop."""
    return [route for version in (4, 6) for route in it.routes(version) if not route.startswith("default ")]


def expected(routes: list[dict[str, str]]) -> list[str]:
    """Return these routes as the kernel lists them."""
    interface = {"1": "eth0", "2": "eth1"}
    found = []
    for one in routes:
        number = one["next_hop"].replace("::", ".").split(".")[-2][-1]
        found.append(f"{one['destination']} via {one['next_hop']} dev {interface[number]}")
    return sorted(found, key=lambda route: (":" in route, route))


def changed(it: Machine, **arguments: Any) -> dict[str, Any]:
    """Run the module, which must change something and then have nothing more to change."""
    result = it.module(**arguments)
    assert not result.get("failed"), result["msg"] + it.log()
    again = it.module(**arguments)
    assert (result["changed"], again["changed"], again["differences"]) == (True, False, [])
    return result


@pytest.mark.parametrize(("image", "suite"), EVERYWHERE)
def test_one_interface(host: Host, image: str, suite: str) -> None:
    """Both IP versions, through a restart of the network and a boot; a route is there once, and none is lost."""
    it = host(image, suite=suite)
    before = (it.addresses("eth0"), defaults(it))
    changed(it, **ONE)
    it.wait(lambda: (static(it), it.addresses("eth0"), defaults(it)) == (expected(ROUTES), *before))
    it.restart()
    it.wait(lambda: static(it) == expected(ROUTES))
    it.has_addresses()
    assert not it.differs(**ONE)
    it.boot()
    it.has_addresses()
    it.wait(lambda: static(it) == expected(ROUTES))
    assert not it.differs(**ONE)
    changed(it, **NOTHING)
    it.wait(lambda: (static(it), it.addresses("eth0"), defaults(it)) == ([], *before))


@pytest.mark.parametrize(("image", "suite"), EVERYWHERE)
def test_two_interfaces_of_one_definition(host: Host, image: str, suite: str) -> None:
    """Each gets what is for it alone: routes of both, the default gateway of the first, which stays over a boot."""
    it = host(image, suite=suite, homes=2)
    before = [it.addresses(name) for name in ("eth0", "eth1")]
    changed(it, **TWO)
    routes = expected([*ROUTES, *BEHIND])
    it.wait(lambda: (static(it), defaults(it)) == (routes, ["eth0", "eth0"]))
    it.restart()
    it.wait(lambda: static(it) == routes and defaults(it) == ["eth0", "eth0"])
    it.boot()
    it.wait(lambda: [it.addresses(name) for name in ("eth0", "eth1")] == before)
    it.wait(lambda: static(it) == routes and defaults(it) == ["eth0", "eth0"])
    assert it("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding") == "1\n1\n"
    assert not it.differs(**TWO)
    changed(it, **NOTHING)
    it.boot()
    it.has_addresses()
    assert (static(it), sorted(defaults(it))) == ([], ["eth0", "eth0", "eth1", "eth1"])
    assert not it.differs(**NOTHING)


@pytest.mark.parametrize("image", ["networkd", "netplan", "NetworkManager"])
def test_what_others_made_stays(host: Host, image: str) -> None:
    """A VIP, routes and forwarding of other programs: before, after, and when the host no longer forwards."""
    it = host(image, homes=2)
    it("ip", "address", "add", "192.168.1.77/32", "dev", "eth0")
    it("ip", "address", "add", "fd00:1::77/128", "dev", "eth0")
    it("ip", "route", "add", "10.8.0.0/24", "via", "192.168.1.7")
    it("ip", "route", "add", "10.9.0.0/24", "via", "192.168.1.7", "table", "7")
    it("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def others() -> list[bool]:
        return [
            {"192.168.1.77/32", "fd00:1::77/128"} <= it.addresses("eth0"),
            "10.8.0.0/24 via 192.168.1.7 dev eth0" in static(it),
            "10.9.0.0/24 via 192.168.1.7" in it("ip", "route", "show", "table", "7"),
            it("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n",
        ]

    assert not it.differs(**NOTHING)
    watch = it.watch()
    result = changed(it, **TWO)
    assert others() == [True] * 4
    assert set(expected([*ROUTES, *BEHIND])) <= set(static(it))
    it.wait(lambda: defaults(it) == ["eth0", "eth0"])
    changed(it, **NOTHING)
    assert others() == [True] * 4
    # not even for a moment
    assert [
        line for line in watch() if "Deleted" in line and ("77/" in line or "10.8." in line or "10.9." in line)
    ] == []
    # ip alone does all that this interface needs
    assert "warnings" not in result


@pytest.mark.parametrize("image", ["networkd", "NetworkManager"])
def test_what_the_topology_manages_goes(host: Host, image: str) -> None:
    """Addresses and forwarding by hand are removed where the host's are declared to be netorder's alone."""
    it = host(image)
    it("ip", "address", "add", "192.168.1.77/24", "dev", "eth0")
    it("sysctl", "-qw", "net.ipv4.ip_forward=1")
    managed = {**ONE, "manage": {"addresses": True, "forwarding": True}}
    changed(it, **managed)
    assert it.addresses("eth0") == {"192.168.1.5/24", "fd00:1::5/128"}
    assert it("cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"


@pytest.mark.parametrize(
    ("image", "leased"), [("networkd", False), ("networkd", True), ("netplan", False), ("NetworkManager", False)]
)
def test_a_static_address(host: Host, image: str, *, leased: bool) -> None:
    """One on the second interface, and a route by it: now, after a boot, and gone with the plan.

    Nobody gives it, or a lease that says nothing of the network (DHCPv6 without advertisements).
    """
    it = host(image, homes=2)
    if leased:
        it("ip", "-6", "address", "add", "fd00:3::5/128", "dev", "eth1", "noprefixroute")
    route = {"destination": "fd00:7::/64", "next_hop": "fd00:3::9"}
    arguments = {"routes": [route], "interfaces": [INTERFACES[0], {**INTERFACES[1], "static": ["fd00:3::5/64"]}]}
    changed(it, **arguments)
    it.boot()
    it.wait(lambda: "fd00:3::5/64" in it.addresses("eth1"))
    it.wait(lambda: static(it) == ["fd00:7::/64 via fd00:3::9 dev eth1"])
    it.wait(lambda: not it.differs(**arguments))
    changed(it, **NOTHING)
    assert "fd00:3::5/64" not in it.addresses("eth1")


def test_a_bridge_on_the_interface_keeps_its_own_file(host: Host) -> None:
    """It has the interface's MAC; what the image says in [Match] and in drop-ins counts further on."""
    files = {
        "/etc/systemd/network/20-wired.network.d/mtu.conf": "[Link]\nMTUBytes=1400\n",
        "/etc/systemd/network/30-bridge.netdev": "[NetDev]\nName=br0\nKind=bridge\nMACAddress=fa:16:3e:00:00:02\n",
        "/etc/systemd/network/30-bridge.network": "[Match]\nName=br0\n\n[Network]\nAddress=10.3.0.1/24\n"
        "ConfigureWithoutCarrier=yes\n",
    }
    it = host("networkd", homes=2, files=files)
    it.wait(lambda: it.addresses("br0") == {"10.3.0.1/24"})
    changed(it, **TWO)
    it.boot()
    it.wait(lambda: it.addresses("br0") == {"10.3.0.1/24"})
    it.wait(lambda: static(it) == expected([*ROUTES, *BEHIND]))
    assert {one["ifname"]: one["mtu"] for one in json.loads(it("ip", "-json", "link", "show"))} | {"lo": 0} == {
        "lo": 0, "eth0": 1400, "eth1": 1400, "br0": 1500,
    }  # fmt: skip


def test_the_image_changes_and_the_host_comes_up(host: Host) -> None:
    """A link of ours to a file that is no longer there is ignored at the boot, and put right by the next run."""
    it = host("networkd", homes=2)
    changed(it, **TWO)
    text = it("cat", "/etc/systemd/network/20-wired.network")
    it("rm", "/etc/systemd/network/20-wired.network")
    it.write("/etc/systemd/network/25-other.network", text)
    it.boot()
    it.has_addresses()
    assert not it.module(check=True, **TWO)["in_line"]
    changed(it, **TWO)
    assert defaults(it) == ["eth0", "eth0"]


def test_without_d_bus(host: Host) -> None:
    """Then networkd is restarted, as it cannot be made to reload."""
    it = host("networkd", homes=2, bus=False)
    changed(it, **TWO)
    it.wait(lambda: (static(it), defaults(it)) == (expected([*ROUTES, *BEHIND]), ["eth0", "eth0"]))
    it.boot()
    it.wait(lambda: static(it) == expected([*ROUTES, *BEHIND]) and defaults(it) == ["eth0", "eth0"])


@pytest.mark.parametrize("image", ["networkd", "netplan"])
def test_a_change_that_takes_the_address_is_taken_back(host: Host, image: str) -> None:
    """Here a program that runs at each reload flushes the interface if our file is there."""
    it = host(image)
    before = (it.addresses("eth0"), defaults(it), it("sh", "-c", "find /etc -newer /run/booted -type f | sort"))
    it.write(
        "/usr/local/bin/networkctl",
        '#!/bin/sh\n/usr/bin/networkctl "$@"\nsleep 2\n'
        "[ ! -e /etc/systemd/network/05-netorder-eth0.network ] || ip -4 address flush dev eth0\n",
        mode=0o755,
    )
    result = it.module(**RELOADS, _replaced=("SETTLE_SECONDS = 20", "SETTLE_SECONDS = 3"))
    assert result["failed"]
    assert "is gone" in result["msg"]
    it.has_addresses()
    found = (it.addresses("eth0"), defaults(it), it("sh", "-c", "find /etc -newer /run/booted -type f | sort"))
    assert (found, static(it)) == (before, [])


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
def test_an_interface_that_networkd_gives_up_comes_back(host: Host, suite: str) -> None:
    """A route that the kernel refuses makes networkd give up the interface, which no reload revives."""
    it = host("networkd", suite=suite)
    result = it.module(**RELOADS, _replaced=("GatewayOnLink=no", "Scope=link"))
    assert (result["failed"], "state of eth0 is failed" in result["msg"]) == (True, True), it.log()
    it.has_addresses()
    assert (static(it), it.differs(**NOTHING)) == ([], [])
    changed(it, **ONE)


def test_a_connection_that_networkmanager_refuses_is_as_before(host: Host) -> None:
    """A refusal on the second interface takes back what was done on the first."""
    it = host("NetworkManager", homes=2)
    it.write(
        "/usr/local/bin/nmcli",
        '#!/bin/sh\ncase "$*" in *modify*fd00:8::*) echo "Error: refused." >&2; exit 1;; esac\n'
        'exec /usr/bin/nmcli "$@"\n',
        mode=0o755,
    )
    result = it.module(**TWO)
    assert (result["failed"], "Error: refused." in result["msg"]) == (True, True)
    it.has_addresses()
    assert (static(it), sorted(defaults(it))) == ([], ["eth0", "eth0", "eth1", "eth1"]), it.log()
    assert "192.168.9" not in it("sh", "-c", "cat /etc/NetworkManager/system-connections/*")
    it("rm", "/usr/local/bin/nmcli")
    changed(it, **TWO)


def test_a_file_of_an_earlier_version_that_netplan_refuses_is_removed(host: Host) -> None:
    """It is no longer called in line: netplan itself says so."""
    it = host("netplan", homes=2)
    text = json.dumps({"network": {"version": 2, "ethernets": {"all-eth": {"dhcp6-overrides": {"use-routes": False}}}}})
    broken = "/etc/netplan/90-netorder.yaml"
    it.write(broken, f"# Written by netorder, role static_routes: changes made here are overwritten.\n{text}\n", 0o600)
    found = [one["what"] for one in it.module(check=True, **TWO)["differences"]]
    assert "netplan's configuration" in found
    changed(it, **TWO)
    assert not it("test", "-e", broken, check=None)
    it.boot()
    it.wait(lambda: static(it) == expected([*ROUTES, *BEHIND]) and defaults(it) == ["eth0", "eth0"])


def test_what_netplan_refuses_of_others_is_reported(host: Host) -> None:
    """At its next boot the host has no network, which no run can fix."""
    it = host("netplan")
    changed(it, **ONE)
    it.write("/etc/netplan/95-other.yaml", "network: {ethernets: {eth0: {dhcp4: perhaps}}}\n", 0o600)
    result = it.module(**ONE)
    assert (result["changed"], [one["what"] for one in result["differences"]]) == (False, ["netplan's configuration"])


def test_a_connection_that_several_interfaces_share(host: Host) -> None:
    """Each gets a connection of its own, made from that."""
    shared = (
        "[connection]\nid=shared\nuuid=5f6a3e5e-7a3c-4a53-9d5a-0d5f2f6a0001\ntype=ethernet\nmulti-connect=3\n"
        "[ethernet]\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=auto\n"
    )
    files = {"/etc/NetworkManager/system-connections/shared.nmconnection": shared}
    it = host("NetworkManager", homes=2, files=files)
    changed(it, **TWO)
    assert it("cat", "/etc/NetworkManager/system-connections/shared.nmconnection").count("route") == 0
    it.boot()
    it.wait(lambda: static(it) == expected([*ROUTES, *BEHIND]) and defaults(it) == ["eth0", "eth0"])
    it.wait(lambda: not it.differs(**TWO))


def test_netplan_with_networkmanager(host: Host) -> None:
    """What netplan wrote at the boot stays below what the connection has beyond it."""
    yaml = "network:\n  version: 2\n  renderer: NetworkManager\n  ethernets:\n    eth0: {dhcp4: true, dhcp6: true}\n"
    it = host("NetworkManager", files={"/etc/netplan/90-default.yaml": yaml})
    changed(it, **ONE)
    it.boot()
    it.wait(lambda: static(it) == expected(ROUTES))
    it.wait(lambda: not it.differs(**ONE))


def test_a_second_route_of_an_earlier_version_goes(host: Host) -> None:
    """It stood, without a metric, beside NetworkManager's own after each run."""
    it = host("NetworkManager")
    changed(it, **ONE)
    it("ip", "route", "add", "192.168.9.0/24", "via", "192.168.1.9", "proto", "static")
    assert len(static(it)) == 3
    changed(it, **ONE)
    assert static(it) == expected(ROUTES)


@pytest.mark.parametrize(("image", "suite"), EVERYWHERE)
def test_loopback_addresses_and_an_mtu(host: Host, image: str, suite: str) -> None:
    """Through a restart of the network and a boot; the loopback's own addresses stay, and all of it goes again."""
    it = host(image, suite=suite)
    what: dict[str, Any] = {
        "routes": ROUTES,
        "interfaces": [{"address": "192.168.1.5", "mtu": 1400}],
        "loopback_addresses": ["10.255.0.1", "fd00:ff::1"],
    }
    localhost = ["127.0.0.1/8", "::1/128"]
    theirs = sorted([*localhost, "10.255.0.1/32", "fd00:ff::1/128"])

    def loopback() -> list[str]:
        return sorted(line.split()[3] for line in it("ip", "-o", "address", "show", "lo").splitlines())

    def mtu() -> str:
        return it("cat", "/sys/class/net/eth0/mtu").strip()

    changed(it, **what)
    assert loopback() == theirs
    assert mtu() == "1400"
    it.restart()
    it.wait(lambda: static(it) == expected(ROUTES))
    it.has_addresses()
    assert not it.differs(**what)
    it.boot()
    it.has_addresses()
    it.wait(lambda: static(it) == expected(ROUTES) and mtu() == "1400")
    it.wait(lambda: loopback() == theirs)
    assert not it.differs(**what)
    changed(it, **NOTHING)
    assert loopback() == localhost
    it.boot()
    it.has_addresses()
    assert loopback() == localhost
    assert mtu() == "1500"
