"""The module netorder_host_network against a made-up host: its files in a directory, its kernel a set of routes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

MODULE = Path(__file__).parents[2] / "plugins/modules/netorder_host_network.py"
TO_NET2 = ("192.168.2.0/24", "192.168.1.9")
TO_NET3 = ("192.168.3.0/24", "192.168.1.9")


class _Guest:
    """A host with eth0 on 192.168.1.0/24; ``table`` is the kernel's, as (destination, gateway, metric)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = {("0.0.0.0/0", "192.168.1.1", 1024), ("10.9.0.0/16", "192.168.1.7", 0)}
        self.commands: list[str] = []
        self.active = "systemd-networkd"
        self.proc = root / "proc/sys"
        self.foreign: list[dict[str, object]] = []
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter"):
            (self.proc / key).parent.mkdir(parents=True, exist_ok=True)
            (self.proc / key).write_text("0\n")

    def run(self, *command: str, check: bool = True) -> str:  # noqa: ARG002 - the module's signature
        line = " ".join(command)
        self.commands.append(line)
        if line == "ip -json -4 address show":
            eth0 = {"ifname": "eth0", "ifindex": 2, "addr_info": [{"local": "192.168.1.5", "prefixlen": 24}]}
            return json.dumps([{"ifname": "lo", "ifindex": 1, "addr_info": []}, {}, eth0])
        if line == "ip -json -4 route show table main":
            return json.dumps([{"dst": "192.168.1.0/24", "dev": "eth0"}, *map(self.shown, sorted(self.table))])
        if line == "ip -json address show":
            own = {"local": "192.168.1.5", "prefixlen": 24, "scope": "global", "dynamic": True}
            eth0 = {"ifname": "eth0", "ifindex": 2, "addr_info": [own, *self.foreign]}
            return json.dumps([{"ifname": "lo", "ifindex": 1, "addr_info": [{"local": "127.0.0.1"}]}, {}, eth0])
        if command[:3] == ("ip", "address", "del"):
            self.foreign = [a for a in self.foreign if command[3] != f"{a['local']}/{a['prefixlen']}"]
        if command[:3] == ("sysctl", "-q", "-w"):
            for setting in command[3:]:
                key, value = setting.split("=")
                (self.proc / key.replace(".", "/")).write_text(f"{value}\n")
        if command[:2] == ("ip", "route"):
            verb, destination, _, gateway = command[2:6]
            (self.table.add if verb == "replace" else self.table.remove)((destination, gateway, 0))
        if command[:2] == ("systemctl", "is-active"):
            return "active\n" if command[2] == self.active else "inactive\n"
        return "eth0 connection\n" if command[0] == "nmcli" and "-g" in command else ""

    @staticmethod
    def shown(route: tuple[str, str, int]) -> dict[str, object]:
        destination, gateway, metric = route
        entry = {"dst": "default" if destination == "0.0.0.0/0" else destination, "gateway": gateway, "dev": "eth0"}
        return entry | ({"metric": metric} if metric else {})

    def edits(self) -> list[str]:
        return [line for line in self.commands if "show" not in line and "is-active" not in line]


@pytest.fixture
def host_network() -> ModuleType:
    spec = importlib.util.spec_from_file_location("host_network", MODULE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def guest(tmp_path: Path, host_network: ModuleType, monkeypatch: pytest.MonkeyPatch) -> _Guest:
    """Give a host that systemd-networkd configures."""
    it = _Guest(tmp_path)
    monkeypatch.setattr(host_network, "ETC", tmp_path / "etc")
    monkeypatch.setattr(host_network, "RUN", tmp_path / "run")
    monkeypatch.setattr(host_network, "PROC", it.proc)
    monkeypatch.setattr(host_network, "run", it.run)
    monkeypatch.setattr(host_network.shutil, "which", lambda _: None)
    bus = tmp_path / "run/dbus/system_bus_socket"
    bus.parent.mkdir(parents=True)
    bus.touch()
    links = tmp_path / "run/systemd/netif/links"
    links.mkdir(parents=True)
    (links / "2").write_text("ADMIN_STATE=configured\nNETWORK_FILE=/usr/lib/systemd/network/20-wired.network\n")
    return it


def drop_in(guest: _Guest) -> Path:
    return guest.root / "etc/systemd/network/20-wired.network.d/60-netorder.conf"


def test_a_new_route_is_in_force_and_written_down(host_network: ModuleType, guest: _Guest) -> None:
    """The drop-in lies beside the .network file in use, and networkd is told."""
    result = host_network.converge({TO_NET2}, [], check_mode=False)
    assert (result["changed"], result["added"], result["backend"]) == (
        True,
        ["192.168.2.0/24 via 192.168.1.9"],
        "systemd-networkd",
    )
    assert (*TO_NET2, 0) in guest.table
    assert drop_in(guest).read_text().splitlines()[1:] == [
        "",
        "[Route]",
        "Destination=192.168.2.0/24",
        "Gateway=192.168.1.9",
    ]
    assert guest.edits() == ["ip route replace 192.168.2.0/24 via 192.168.1.9 proto static", "networkctl reload"]


def test_without_d_bus_networkd_is_restarted(host_network: ModuleType, guest: _Guest) -> None:
    """Small images have none, and networkctl needs it."""
    (guest.root / "run/dbus/system_bus_socket").unlink()
    host_network.converge({TO_NET2}, [], check_mode=False)
    assert guest.edits()[-1] == "systemctl restart systemd-networkd"


def test_a_second_run_changes_nothing(host_network: ModuleType, guest: _Guest) -> None:
    """Neither files nor kernel are touched, and nobody is asked anything."""
    host_network.converge({TO_NET2, TO_NET3}, [], check_mode=False)
    guest.commands.clear()
    probes = [{"name": "sum", "address": "192.168.2.20", "port": None}]
    result = host_network.converge({TO_NET2, TO_NET3}, probes, check_mode=False)
    assert (result["changed"], result["in_line"], result["probes"], guest.edits()) == (False, True, [], [])


def test_a_route_deleted_by_hand_comes_back_and_nothing_else_moves(host_network: ModuleType, guest: _Guest) -> None:
    """The files are right already, so networkd is left in peace."""
    host_network.converge({TO_NET2, TO_NET3}, [], check_mode=False)
    guest.table.remove((*TO_NET2, 0))
    guest.commands.clear()
    assert host_network.converge({TO_NET2, TO_NET3}, [], check_mode=False)["changed"]
    assert guest.edits() == ["ip route replace 192.168.2.0/24 via 192.168.1.9 proto static"]


def test_a_lost_file_is_written_again(host_network: ModuleType, guest: _Guest) -> None:
    """A route in force that the next boot would lose is not in line."""
    host_network.converge({TO_NET2}, [], check_mode=False)
    drop_in(guest).unlink()
    assert not host_network.converge({TO_NET2}, [], check_mode=True)["in_line"]
    host_network.converge({TO_NET2}, [], check_mode=False)
    assert drop_in(guest).exists()


def test_a_route_that_left_the_plan_goes_and_others_stay(host_network: ModuleType, guest: _Guest) -> None:
    """Of the kernel's table only what was written earlier is removed; the last one takes the file along."""
    host_network.converge({TO_NET2, TO_NET3}, [], check_mode=False)
    result = host_network.converge({TO_NET3}, [], check_mode=False)
    assert result["removed"] == ["192.168.2.0/24 via 192.168.1.9"]
    assert host_network.converge(set(), [], check_mode=False)["changed"]
    assert guest.table == {("0.0.0.0/0", "192.168.1.1", 1024), ("10.9.0.0/16", "192.168.1.7", 0)}
    assert not drop_in(guest).exists()
    assert not host_network.converge(set(), [], check_mode=False)["changed"]


def test_check_mode_tells_and_does_nothing(host_network: ModuleType, guest: _Guest) -> None:
    """The diff says what is in force and what is written, before and after."""
    result = host_network.converge({TO_NET2}, [], check_mode=True)
    assert (result["changed"], guest.edits(), drop_in(guest).exists()) == (True, [], False)
    assert result["diff"]["before"] == ""
    assert result["diff"]["after"] == "192.168.2.0/24 via 192.168.1.9 (in force, kept over reboots)\n"


def test_a_route_of_dhcp_is_not_taken_for_ours(host_network: ModuleType, guest: _Guest) -> None:
    """It has a metric, so a lease that changes cannot take the planned route away."""
    guest.table.add((*TO_NET2, 1024))
    assert host_network.converge({TO_NET2}, [], check_mode=False)["added"] == ["192.168.2.0/24 via 192.168.1.9"]
    assert {(*TO_NET2, 1024), (*TO_NET2, 0)} < guest.table


def test_netplan_gets_a_file_of_its_own(
    host_network: ModuleType, guest: _Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under netplan's name for the interface, readable by root only, and read back as the record."""
    monkeypatch.setattr(host_network.shutil, "which", lambda name: f"/usr/sbin/{name}")
    (guest.root / "etc/netplan").mkdir(parents=True)
    (guest.root / "etc/netplan/50-cloud-init.yaml").write_text("network: {}\n")
    state = guest.root / "run/systemd/netif/links/2"
    state.write_text("NETWORK_FILE=/run/systemd/network/10-netplan-uplink.network\n")
    assert host_network.converge({TO_NET2}, [], check_mode=False)["backend"] == "netplan"
    file = guest.root / "etc/netplan/90-netorder.yaml"
    assert json.loads(file.read_text().split("\n", 1)[1]) == {
        "network": {
            "version": 2,
            "ethernets": {"uplink": {"routes": [{"to": "192.168.2.0/24", "via": "192.168.1.9"}]}},
        }
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert guest.edits()[1:] == ["netplan generate", "networkctl reload"]
    assert not host_network.converge({TO_NET2}, [], check_mode=False)["changed"]
    host_network.converge(set(), [], check_mode=False)
    assert (file.exists(), (*TO_NET2, 0) in guest.table) == (False, False)


def test_networkmanager_keeps_the_routes_in_the_connection(host_network: ModuleType, guest: _Guest) -> None:
    """Only the difference is edited, and the interface stays up."""
    (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active = "NetworkManager"
    assert host_network.converge({TO_NET2}, [], check_mode=False)["backend"] == "NetworkManager"
    assert guest.edits()[-2:] == [
        "nmcli connection modify eth0 connection +ipv4.routes 192.168.2.0/24 192.168.1.9",
        "nmcli device reapply eth0",
    ]
    assert not host_network.converge({TO_NET2}, [], check_mode=False)["changed"]
    guest.commands.clear()
    host_network.converge({TO_NET3}, [], check_mode=False)
    assert guest.edits()[2] == (
        "nmcli connection modify eth0 connection"
        " -ipv4.routes 192.168.2.0/24 192.168.1.9 +ipv4.routes 192.168.3.0/24 192.168.1.9"
    )


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        (
            {("192.168.2.0/24", "10.0.0.1")},
            r"^next hop 10\.0\.0\.1 of 192\.168\.2\.0/24 is on no network of this host \(192\.168\.1\.0/24\)$",
        ),
    ],
)
def test_a_next_hop_that_is_not_connected_is_refused(
    host_network: ModuleType, guest: _Guest, routes: set[tuple[str, str]], message: str
) -> None:
    """Before anything is written."""
    with pytest.raises(host_network.HostNetworkError, match=message):
        host_network.converge(routes, [], check_mode=False)
    assert guest.edits() == []


def test_a_host_without_a_known_network_configuration_is_refused(host_network: ModuleType, guest: _Guest) -> None:
    """Routes that the next boot loses are not what was asked for."""
    (guest.root / "run/systemd/netif/links/2").unlink()
    with pytest.raises(host_network.HostNetworkError, match="routes would be lost at the next boot"):
        host_network.converge({TO_NET2}, [], check_mode=False)


def test_probes_show_the_difference_that_a_route_makes(
    host_network: ModuleType, guest: _Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked once before and once after."""
    monkeypatch.setattr(
        host_network,
        "ask",
        lambda _probe, _seconds: (
            (True, "tcp 22 answers") if (*TO_NET2, 0) in guest.table else (False, "tcp 22: no answer")
        ),
    )
    probes = [{"name": "sum", "address": "192.168.2.20", "port": 22}]
    assert host_network.converge({TO_NET2}, probes, check_mode=False)["probes"] == [
        {
            "name": "sum",
            "address": "192.168.2.20",
            "before": "tcp 22: no answer",
            "after": "tcp 22 answers",
            "reached_before": False,
            "reached_after": True,
        }
    ]


def test_an_address_added_by_hand_goes_and_lent_ones_stay(host_network: ModuleType, guest: _Guest) -> None:
    """Only on the interface of a planned address; without planned addresses nobody looks."""
    hand = {"local": "192.168.1.77", "prefixlen": 24, "scope": "global"}
    lent = {"local": "fd00::77", "prefixlen": 64, "scope": "global", "dynamic": True}
    guest.foreign = [hand, lent]
    assert host_network.converge(set(), [], check_mode=True)["in_line"]
    result = host_network.converge(set(), [], check_mode=False, addresses=["192.168.1.5"])
    assert result["differences"] == [
        {"what": "address 192.168.1.77/24 on eth0", "expected": "none", "found": "there, by nobody's plan"}
    ]
    assert (guest.edits(), guest.foreign) == (["ip address del 192.168.1.77/24 dev eth0"], [lent])
    assert host_network.converge(set(), [], check_mode=False, addresses=["192.168.1.5"])["in_line"]


def test_a_planned_address_that_is_missing_is_told_and_not_made_up(host_network: ModuleType, guest: _Guest) -> None:
    """It is DHCP's to give: no change is claimed that nobody makes."""
    result = host_network.converge(set(), [], check_mode=False, addresses=["192.168.1.5", "192.168.1.6"])
    assert (result["changed"], result["in_line"], guest.edits()) == (False, False, [])
    assert result["differences"] == [{"what": "address 192.168.1.6", "expected": "there", "found": "missing: ask DHCP"}]


def test_forwarding_switched_by_hand_is_switched_back(host_network: ModuleType, guest: _Guest) -> None:
    """What is in force counts, not what is written down."""
    (guest.proc / "net/ipv4/ip_forward").write_text("1\n")
    result = host_network.converge(set(), [], check_mode=True)
    assert result["differences"] == [{"what": "net.ipv4.ip_forward", "expected": "0", "found": "1"}]
    assert host_network.converge(set(), [], check_mode=False)["changed"]
    assert guest.edits() == ["sysctl -q -w net.ipv4.ip_forward=0"]
    assert host_network.converge(set(), [], check_mode=False)["in_line"]


def test_each_difference_of_routes_is_told_once(host_network: ModuleType, guest: _Guest) -> None:
    """A route taken by another router's, one that only the kernel has, and a file that says more than routes."""
    host_network.converge({TO_NET2, TO_NET3}, [], check_mode=False)
    guest.table.remove((*TO_NET2, 0))
    guest.table.add((TO_NET2[0], "192.168.1.3", 0))
    found = host_network.converge({TO_NET2, TO_NET3}, [], check_mode=True)["differences"]
    assert found == [
        {
            "what": "route 192.168.2.0/24 via 192.168.1.9",
            "expected": "in force, kept over reboots",
            "found": "not in force (but via 192.168.1.3), kept over reboots",
        }
    ]
    drop_in(guest).write_text(drop_in(guest).read_text() + "\n[Link]\nMTUBytes=1000\n")
    found = host_network.converge({TO_NET2, TO_NET3}, [], check_mode=True)["differences"]
    assert [one["what"] for one in found] == ["route 192.168.2.0/24 via 192.168.1.9", f"file {drop_in(guest)}"]
    drop_in(guest).unlink()
    found = host_network.converge({TO_NET3}, [], check_mode=True)["differences"]
    assert [(one["what"], one["found"]) for one in found] == [
        ("route 192.168.3.0/24 via 192.168.1.9", "in force, not kept")
    ]


# Several interfaces


class _Router(_Guest):
    """A host with eth0 on 192.168.1.0/24 and eth1 on 192.168.3.0/24, dual stack; both have a default route by DHCP."""

    LINKS = (
        {
            "ifname": "eth0",
            "ifindex": 2,
            "address": "fa:16:3e:00:00:01",
            "addr_info": [
                {"local": "192.168.1.5", "prefixlen": 24, "scope": "global"},
                {"local": "fe80::5", "prefixlen": 64, "scope": "link"},
                {"local": "fd00:1::5", "prefixlen": 128, "scope": "global"},
            ],
        },
        {
            "ifname": "eth1",
            "ifindex": 3,
            "address": "fa:16:3e:00:00:02",
            "addr_info": [{"local": "192.168.3.5", "prefixlen": 24, "scope": "global"}],
        },
    )

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.defaults = {"eth0", "eth1"}
        self.six: set[tuple[str, str]] = set()
        self.static: dict[str, list[dict[str, object]]] = {}

    def run(self, *command: str, check: bool = True) -> str:
        line = " ".join(command)
        if line in ("ip -json -4 address show", "ip -json -6 address show", "ip -json address show"):
            self.commands.append(line)
            kept = {"-4": (False,), "-6": (True,)}.get(command[2], (False, True))
            return json.dumps(
                [
                    link
                    | {
                        "addr_info": [
                            a
                            for a in (*link["addr_info"], *self.static.get(link["ifname"], []))
                            if (":" in a["local"]) in kept
                        ]
                    }
                    for link in self.LINKS
                ]
            )
        if line.startswith("ip -json -4 route show default dev "):
            return json.dumps([{"dst": "default", "protocol": "dhcp"}] if command[-1] in self.defaults else [])
        if line.startswith("ip -json -6 route show default dev "):
            mine = [{"dst": "default", "protocol": "static"}] if ("::/0", "fd00:1::9") in self.six else []
            return json.dumps(mine)
        if line.startswith("ip -4 route del default dev "):
            assert command[-2:] == ("proto", "dhcp")
            self.defaults.remove(command[-3])
        assert not line.startswith("ip -6 route del default")
        if line == "ip -json -6 route show table main":
            return json.dumps([{"dst": to, "gateway": via, "protocol": "static"} for to, via in sorted(self.six)])
        if line.startswith("ip -6 address replace"):
            address, length = command[4].split("/")
            self.static.setdefault(command[6], []).append(
                {"local": address, "prefixlen": int(length), "scope": "global"}
            )
        if line.startswith("ip -6 route replace"):
            # as the kernel does: the next hop must be on a network that is there
            assert any(command[6].startswith(net) for net in ("fd00:1::", *(["fd00:3::"] if self.static else [])))
            self.six.add((command[4], command[6]))
        if line.startswith("ip -6 route del"):
            self.six.remove((command[4], command[6]))
        return super().run(*command, check=check)


TO_BACK6 = ("fd00:9::/64", "fd00:1::9")
BOTH = [
    {"address": "192.168.1.5", "static": [], "unwanted": []},
    {"address": "192.168.3.5", "static": ["fd00:3::5/64"], "unwanted": [4]},
]


@pytest.fixture
def router(tmp_path: Path, host_network: ModuleType, guest: _Guest, monkeypatch: pytest.MonkeyPatch) -> _Router:
    """Give a host with two interfaces that one .network file configures."""
    assert guest.root == tmp_path
    it = _Router(tmp_path)
    monkeypatch.setattr(host_network, "run", it.run)
    shared = tmp_path / "20-wired.network"
    shared.write_text("# for all\n[Match]\nName=eth*\n\n[Network]\nDHCP=ipv4\n")
    for index in (2, 3):
        (tmp_path / f"run/systemd/netif/links/{index}").write_text(f"NETWORK_FILE={shared}\n")
    return it


def converge(host_network: ModuleType) -> dict[str, object]:
    routes = {TO_NET2, TO_BACK6}
    return host_network.converge(routes, [], check_mode=False, interfaces=BOTH, forwarding=True)


def test_each_of_several_interfaces_has_a_file_of_its_own(host_network: ModuleType, router: _Router) -> None:
    """Made from the shared one, with its own routes only; the second interface's default route goes."""
    assert converge(host_network)["changed"]
    directory = router.root / "etc/systemd/network"
    first, second = (directory / f"05-netorder-eth{number}.network" for number in (0, 1))
    common = ["[Network]", "DHCP=ipv4", "", "[Network]", "IPv6AcceptRA=true"]
    assert first.read_text().splitlines()[2:] == [
        "[Match]", "MACAddress=fa:16:3e:00:00:01", "", *common, "",
        "[Route]", "Destination=192.168.2.0/24", "Gateway=192.168.1.9", "",
        "[Route]", "Destination=fd00:9::/64", "Gateway=fd00:1::9",
    ]  # fmt: skip
    assert second.read_text().splitlines()[2:] == [
        "[Match]", "MACAddress=fa:16:3e:00:00:02", "", *common, "Address=fd00:3::5/64", "",
        "[DHCPv4]", "UseRoutes=false", "UseGateway=false",
    ]  # fmt: skip
    assert (router.defaults, router.six) == ({"eth0"}, {TO_BACK6})


def test_a_forwarding_host_forwards_now_and_after_a_reboot(host_network: ModuleType, router: _Router) -> None:
    """And stops when it shall no longer."""
    converge(host_network)
    file = router.root / "etc/sysctl.d/60-netorder.conf"
    assert "net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\n" in file.read_text()
    now = [router.proc / key for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")]
    assert [path.read_text() for path in now] == ["1\n", "1\n"]
    host_network.converge(set(), [], check_mode=False)
    assert not file.exists()
    assert [path.read_text() for path in now] == ["0\n", "0\n"]
    assert not list((router.root / "etc/systemd/network").glob("05-netorder-*"))


def test_a_second_run_on_several_interfaces_changes_nothing(host_network: ModuleType, router: _Router) -> None:
    """Even when networkd by then uses the files of the first run, and these are made from the shared one again."""
    converge(host_network)
    for index in (2, 3):
        own = router.root / f"etc/systemd/network/05-netorder-eth{index - 2}.network"
        (router.root / f"run/systemd/netif/links/{index}").write_text(f"NETWORK_FILE={own}\n")
    router.commands.clear()
    result = converge(host_network)
    assert (result["changed"], result["in_line"], router.edits()) == (False, True, [])


def test_a_next_hop_on_a_static_network_of_the_same_run(host_network: ModuleType, router: _Router) -> None:
    """Nobody announces that network: the host has it by the very address that the run gives it, first."""
    route = ("fd00:8::/64", "fd00:3::9")
    result = host_network.converge({route}, [], check_mode=False, interfaces=BOTH, forwarding=False)
    assert result["added"] == ["fd00:8::/64 via fd00:3::9"]
    assert route in router.six
    assert host_network.converge({route}, [], check_mode=False, interfaces=BOTH, forwarding=False)["in_line"]


def test_a_planned_default_route_is_not_an_unwanted_one(host_network: ModuleType, router: _Router) -> None:
    """Where several routers advertise themselves, their routes are unwanted and the planned one stays."""
    both = [BOTH[0] | {"unwanted": [6]}, BOTH[1]]
    route = ("::/0", "fd00:1::9")
    host_network.converge({route}, [], check_mode=False, interfaces=both, forwarding=False)
    assert route in router.six
    assert host_network.converge({route}, [], check_mode=False, interfaces=both, forwarding=False)["in_line"]


def test_an_interface_that_is_not_there_yet_is_an_error(host_network: ModuleType, router: _Router) -> None:
    with pytest.raises(host_network.HostNetworkError, match=r"no interface has 192\.168\.7\.1"):
        host_network.converge(
            set(), [], check_mode=True, interfaces=[{"address": "192.168.7.1", "static": [], "unwanted": []}]
        )
    assert not router.edits()
