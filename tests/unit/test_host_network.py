"""The module netorder_host_network against a made-up host: its files in a directory, its kernel lists of routes.

What the real programs make of it is tests/hostnet's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

MODULE = Path(__file__).parents[2] / "plugins/modules/netorder_host_network.py"
PLACEHOLDER = "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"
TO_NET2 = ("192.168.2.0/24", "192.168.1.9")
TO_NET3 = ("192.168.3.0/24", "192.168.1.9")
MANAGE = {"addresses": True, "forwarding": True}


class _Guest:
    """A host with eth0 on 192.168.1.0/24. ``table`` is the kernel's, as ip lists routes, by IP version."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links: list[dict[str, Any]] = [
            {"ifname": "lo", "ifindex": 1, "addr_info": [{"local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
            {},
            {
                "ifname": "eth0",
                "ifindex": 2,
                "address": "fa:16:3e:00:00:01",
                "mtu": 1500,
                "addr_info": [{"local": "192.168.1.5", "prefixlen": 24, "scope": "global", "dynamic": True}],
            },
        ]
        self.table: dict[int, list[dict[str, Any]]] = {
            4: [
                {"dst": "default", "gateway": "192.168.1.1", "dev": "eth0", "protocol": "dhcp", "metric": 1024},
                {"dst": "192.168.1.0/24", "dev": "eth0", "protocol": "kernel", "metric": 100},
            ],
            6: [],
        }
        self.commands: list[str] = []
        self.active = "systemd-networkd"
        self.profile = {"ipv4.routes": "", "ipv6.routes": "", "ipv4.never-default": "no", "ipv6.never-default": "no"}
        self.nm_version = "1.42.4"
        self.reloaded = True
        self.advertised = ""
        self.asked: list[tuple[int, str, int]] = []
        self.proc = root / "proc/sys"
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter"):
            (self.proc / key).parent.mkdir(parents=True, exist_ok=True)
            (self.proc / key).write_text("0\n")

    def run(self, *command: str, check: bool = True) -> str:
        """Stand for the module's function of this name."""
        line = " ".join(command)
        self.commands.append(line)
        if line == "ip -json -details address show":
            return json.dumps(self.links)
        if line.startswith("ip -json -") and line.endswith("route show table all"):
            return json.dumps(self.table[int(command[2][1])])
        if command[:4] == ("ip", "link", "set", "dev"):
            next(link for link in self.links if link.get("ifname") == command[4])["mtu"] = int(command[6])
        elif command[0] == "ip":
            self.change(int(command[1][1]), command[2], command[3], list(command[4:]), check=check)
        if command[:3] == ("sysctl", "-q", "-w"):
            for setting in command[3:]:
                key, value = setting.split("=")
                (self.proc / key.replace(".", "/")).write_text(f"{value}\n")
        if command[:2] == ("systemctl", "is-active"):
            return "active\n" if command[2] == self.active else "inactive\n"
        if line == "networkctl --version":
            return "systemd 257 (257.13-1~deb13u1)\n+PAM\n"
        if line in ("networkctl reload", "systemctl restart systemd-networkd") and self.reloaded:
            self.read_files()
        return self.nmcli(command) if command[0] == "nmcli" else ""

    def change(self, version: int, kind: str, verb: str, rest: list[str], *, check: bool) -> None:
        """Do what ip does to routes and addresses."""
        words = dict(zip(rest[1::2], rest[2::2], strict=False))
        if kind == "address":
            link = next(link for link in self.links if link.get("ifname") == words["dev"])
            local, length = rest[0].split("/")
            link["addr_info"] = [a for a in link["addr_info"] if a["local"] != local]
            if verb == "replace":
                link["addr_info"].append({"local": local, "prefixlen": int(length), "scope": "global"})
            return
        names = {"via": "gateway", "proto": "protocol"}
        entry: dict[str, Any] = {"dst": "default" if rest[0] in ("0.0.0.0/0", "::/0") else rest[0]}
        entry |= {names.get(key, key): int(value) if key == "metric" else value for key, value in words.items()}
        found = [one for one in self.table[version] if entry.items() <= one.items()]
        # the kernel takes the first, and lists by metric
        first = min(found, key=lambda one: one.get("metric", 0), default=None)
        kept = [one for one in self.table[version] if one is not first]
        if verb == "del":
            assert not check or len(kept) < len(self.table[version]), f"no such route: {entry}"
        else:
            kept = [one for one in kept if (one["dst"], one.get("metric")) != (entry["dst"], entry.get("metric"))]
            kept.append(entry)
        self.table[version] = kept

    def raw_socket(self, *_kind: int) -> Any:
        """Stand for a raw socket that asks the routers; ``advertised`` is the address that comes of it, if any."""

        def sendto(packet: bytes, to: tuple[str, int, int, int]) -> None:
            self.asked.append((packet[0], to[0], to[3]))
            if self.advertised:
                own = {"local": self.advertised, "prefixlen": 128, "scope": "global", "dynamic": True}
                info = next(one for one in self.links if one.get("ifindex") == to[3])["addr_info"]
                info += [own] if own not in info else []
                self.table[6].append({"dst": "default", "gateway": "fe80::1", "dev": "eth0", "protocol": "ra"})

        return nullcontext(SimpleNamespace(sendto=sendto, setsockopt=lambda *_: None))

    def read_files(self) -> None:
        """Do what systemd-networkd does: use the first file, in the order of names, that is an interface's."""
        for link in self.links[2:]:
            own = sorted((self.root / "etc/systemd/network").glob(f"*-netorder-{link['ifname']}.network"))
            self.uses(link["ifindex"], own[0] if own else self.root / "20-wired.network")

    def uses(self, index: int, path: Path) -> None:
        links = self.root / "run/systemd/netif/links"
        links.mkdir(parents=True, exist_ok=True)
        (links / str(index)).write_text(f"ADMIN_STATE=configured\nNETWORK_FILE={path}\n")

    def nmcli(self, command: tuple[str, ...]) -> str:
        """Do what NetworkManager's command does to its one connection."""
        if command[1] == "--version":
            return f"nmcli tool, version {self.nm_version}\n"
        if "GENERAL.STATE" in command:
            return "100 (connected)\n"
        if "UUID,DEVICE,NAME" in command:
            return "c0ffee:eth0:eth0 connection\n"
        if command[-3:-1] == ("connection", "show"):
            fields = command[4].split(",")
            return "".join(self.profile.get(one, "") + "\n" for one in fields)
        if command[1:3] == ("connection", "modify"):
            for field, given in zip(command[4::2], command[5::2], strict=True):
                value = given
                key, had = field.lstrip("+-"), self.profile.get(field.lstrip("+-"), "")
                parts = [one.strip() for one in had.split(",") if one.strip()]
                if field[0] in "+-":
                    parts = [one for one in parts if one != value] + ([value] if field[0] == "+" else [])
                    value = ", ".join(parts)
                self.profile[key] = value
        return ""

    def edits(self) -> list[str]:
        return [line for line in self.commands if not any(one in line for one in ("show", "is-active", "--version"))]

    def static(self, version: int = 4) -> set[tuple[str, str]]:
        """Return the routes of protocol static."""
        return {(one["dst"], one["gateway"]) for one in self.table[version] if one.get("protocol") == "static"}

    def route(self, route: tuple[str, str], **more: Any) -> dict[str, Any]:
        return {"dst": route[0], "gateway": route[1], "dev": "eth0", **more}


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
    monkeypatch.setattr(host_network, "LIB", (tmp_path / "usr/lib",))
    monkeypatch.setattr(host_network, "PROC", it.proc)
    monkeypatch.setattr(host_network, "run", it.run)
    monkeypatch.setattr(host_network, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(host_network, "STABLE_SECONDS", 0)
    monkeypatch.setattr(host_network, "REVIVE_SECONDS", 0)
    monkeypatch.setattr(host_network, "SOLICIT_SECONDS", 0)
    monkeypatch.setattr(host_network.socket, "socket", it.raw_socket)
    monkeypatch.setattr(host_network.shutil, "which", lambda _: None)
    bus = tmp_path / "run/dbus/system_bus_socket"
    bus.parent.mkdir(parents=True)
    bus.touch()
    (tmp_path / "20-wired.network").write_text("# for all\n[Match]\nName=eth*\nType=ether\n\n[Network]\nDHCP=ipv4\n")
    it.read_files()
    return it


def converge(
    host_network: ModuleType, routes: set[tuple[str, str]], *, check_mode: bool = False, **arguments: Any
) -> dict[str, Any]:
    listed = [{"destination": destination, "next_hop": next_hop} for destination, next_hop in sorted(routes)]
    params = host_network.parsed(host_network.validated({"routes": listed, **arguments}, host_network.SPEC))
    return host_network.converge(params, check_mode=check_mode)


def own(guest: _Guest, interface: str = "eth0") -> Path:
    return guest.root / f"etc/systemd/network/05-netorder-{interface}.network"


def drop_in(guest: _Guest, interface: str = "eth0") -> Path:
    return own(guest, interface).with_name(f"05-netorder-{interface}.network.d") / "zz-netorder.conf"


def test_a_new_route_is_in_force_and_written_down(host_network: ModuleType, guest: _Guest) -> None:
    """The interface's own file is the image's, narrowed to the interface by a drop-in, and networkd reads it."""
    result = converge(host_network, {TO_NET2})
    assert (result["changed"], result["added"], result["backend"]) == (
        True,
        ["192.168.2.0/24 via 192.168.1.9"],
        "systemd-networkd",
    )
    assert guest.static() == {TO_NET2}
    assert own(guest).readlink() == guest.root / "20-wired.network"
    assert drop_in(guest).read_text().splitlines()[1:] == [
        "[Match]", "Name=", "Name=eth0", "MACAddress=", "MACAddress=fa:16:3e:00:00:01", "",
        "[Route]", "Destination=192.168.2.0/24", "Gateway=192.168.1.9", "GatewayOnLink=no",
    ]  # fmt: skip
    # no reload, which would take the address away for a moment
    assert guest.edits() == ["ip -4 route replace 192.168.2.0/24 via 192.168.1.9 dev eth0 proto static"]


def as_in_a_golden_image(path: Path) -> str:
    """Leave its MAC out, as netorder.cloud.golden_scripts does."""
    text = "".join(one for one in path.read_text().splitlines(True) if not one.startswith("MACAddress=fa:"))
    assert text != path.read_text()
    path.write_text(text)
    return text


def test_a_host_of_a_golden_image_keeps_the_file_that_came_with_it(host_network: ModuleType, guest: _Guest) -> None:
    """Where there is one interface its name is enough; with a change the MAC comes back."""
    converge(host_network, {TO_NET2})
    text = as_in_a_golden_image(drop_in(guest))
    guest.read_files()
    assert not converge(host_network, {TO_NET2})["changed"]
    assert drop_in(guest).read_text() == text
    assert converge(host_network, {TO_NET2, TO_NET3})["changed"]
    assert "MACAddress=fa:16:3e:00:00:01\n" in drop_in(guest).read_text()


def test_drop_ins_of_the_image_are_the_own_files_too(host_network: ModuleType, guest: _Guest) -> None:
    """Of two of one name the one in /etc counts, as for networkd."""
    paths = [guest.root / f"{top}/systemd/network/20-wired.network.d/{name}" for top, name in (
        ("etc", "mtu.conf"), ("usr/lib", "mtu.conf"), ("usr/lib", "dns.conf"))]  # fmt: skip
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[Network]\nIPv6AcceptRA=no\n")
    converge(host_network, {TO_NET2}, interfaces=[{"address": "192.168.1.5"}])
    links = {path.name: path.readlink() for path in drop_in(guest).parent.iterdir() if path.is_symlink()}
    assert links == {"mtu.conf": paths[0], "dns.conf": paths[2]}
    # what the image says of advertisements counts
    assert "IPv6AcceptRA" not in drop_in(guest).read_text()


def test_a_bridge_is_matched_by_its_name_alone(host_network: ModuleType, guest: _Guest) -> None:
    """Its MAC is that of one of its interfaces, or made up at each boot."""
    guest.links[2]["linkinfo"] = {"info_kind": "bridge"}
    converge(host_network, {TO_NET2})
    assert "MACAddress" not in drop_in(guest).read_text()


@pytest.mark.parametrize(
    ("base", "prefix"), [("10-netplan-all-en.network", "05"), ("01-x.network", "00"), ("00-a.network", "!")]
)
def test_the_own_file_is_sorted_before_the_images(host_network: ModuleType, base: str, prefix: str) -> None:
    """Of the files that match, networkd uses the first."""
    assert host_network.prefix_before(base) == prefix
    assert f"{prefix}-netorder-eth0.network" < base


def test_old_systemd_gets_no_word_that_it_would_fail_with(host_network: ModuleType) -> None:
    """Only from 250 on does networkd wait until a next hop can be reached."""
    link = host_network.Link({"ifname": "eth0", "ifindex": 2, "address": "fa:16:3e:00:00:01"})
    text = host_network.networkd_text(link, host_network.Need([TO_NET2], None), "", waits=False)
    assert "GatewayOnLink" not in text


UNWANTED = [{"address": "192.168.1.5", "unwanted": [6]}]


def test_only_networkd_can_refuse_a_gateway_and_so_it_reloads(host_network: ModuleType, guest: _Guest) -> None:
    """It would take the default route again with the next lease. A route that goes is one that it knows by then."""
    converge(host_network, {TO_NET2}, interfaces=UNWANTED)
    assert guest.edits()[-1] == "networkctl reload"
    guest.commands.clear()
    converge(host_network, {TO_NET2, TO_NET3}, interfaces=UNWANTED)
    assert "networkctl reload" not in guest.edits()
    converge(host_network, {TO_NET2}, interfaces=UNWANTED)
    assert guest.edits()[-1] == "networkctl reload"


def test_without_d_bus_networkd_is_restarted(host_network: ModuleType, guest: _Guest) -> None:
    """Small images have none, and networkctl needs it."""
    (guest.root / "run/dbus/system_bus_socket").unlink()
    converge(host_network, {TO_NET2}, interfaces=UNWANTED)
    assert guest.edits()[-1] == "systemctl restart systemd-networkd"


def test_a_second_run_changes_nothing(host_network: ModuleType, guest: _Guest) -> None:
    """Neither files nor kernel are touched, and no probe is made."""
    converge(host_network, {TO_NET2, TO_NET3})
    guest.commands.clear()
    probes = [{"name": "sum", "address": "192.168.2.20"}]
    result = converge(host_network, {TO_NET2, TO_NET3}, probes=probes)
    assert (result["changed"], result["in_line"], result["probes"], guest.edits()) == (False, True, [], [])


def test_a_route_deleted_by_hand_comes_back_and_nothing_else_moves(host_network: ModuleType, guest: _Guest) -> None:
    """The files are right already, so networkd does not read them again."""
    converge(host_network, {TO_NET2, TO_NET3})
    guest.table[4] = [one for one in guest.table[4] if one["dst"] != TO_NET2[0]]
    guest.commands.clear()
    assert converge(host_network, {TO_NET2, TO_NET3})["changed"]
    assert guest.edits() == ["ip -4 route replace 192.168.2.0/24 via 192.168.1.9 dev eth0 proto static"]


def test_a_lost_file_is_written_again(host_network: ModuleType, guest: _Guest) -> None:
    """A route in force that the next boot would lose is not in line."""
    converge(host_network, {TO_NET2})
    drop_in(guest).unlink()
    assert not converge(host_network, {TO_NET2}, check_mode=True)["in_line"]
    converge(host_network, {TO_NET2})
    assert drop_in(guest).exists()


def test_a_route_that_left_the_plan_goes_and_others_stay(host_network: ModuleType, guest: _Guest) -> None:
    """Of the kernel's table only what was written earlier is removed; the last one takes the files along."""
    guest.table[4].append({"dst": "10.9.0.0/16", "gateway": "192.168.1.7", "dev": "eth0"})
    before = list(guest.table[4])
    converge(host_network, {TO_NET2, TO_NET3})
    result = converge(host_network, {TO_NET3})
    assert result["removed"] == ["192.168.2.0/24 via 192.168.1.9"]
    assert converge(host_network, set())["changed"]
    assert guest.table[4] == before
    assert not any((guest.root / "etc/systemd/network").iterdir())
    assert not converge(host_network, set())["changed"]


def test_check_mode_reports_and_does_nothing(host_network: ModuleType, guest: _Guest) -> None:
    """The diff says what is in force and what is written, before and after."""
    result = converge(host_network, {TO_NET2}, check_mode=True)
    assert (result["changed"], guest.edits(), drop_in(guest).exists()) == (True, [], False)
    assert result["diff"]["before"] == ""
    assert result["diff"]["after"] == "192.168.2.0/24 via 192.168.1.9 (in force, kept over reboots)\n"


def test_a_route_of_dhcp_is_not_taken_for_ours(host_network: ModuleType, guest: _Guest) -> None:
    """So a lease that changes cannot take the planned route away."""
    lease = guest.route(TO_NET2, protocol="dhcp", metric=1024)
    guest.table[4].append(lease)
    assert converge(host_network, {TO_NET2})["added"] == ["192.168.2.0/24 via 192.168.1.9"]
    assert lease in guest.table[4]
    assert guest.static() == {TO_NET2}


def test_below_netplan_the_own_file_is_what_netplan_generated(host_network: ModuleType, guest: _Guest) -> None:
    """So netplan has nothing of ours to refuse, and a file of an earlier version, which it may refuse, goes."""
    generated = guest.root / "run/systemd/network/10-netplan-all-en.network"
    generated.parent.mkdir(parents=True)
    generated.write_text("[Match]\nName=en*\n")
    guest.uses(2, generated)
    earlier = guest.root / "etc/netplan/90-netorder.yaml"
    earlier.parent.mkdir(parents=True)
    ethernets = {"all-en": {"routes": [{"to": TO_NET2[0], "via": TO_NET2[1]}]}}
    earlier.write_text(f"# Written by netorder\n{json.dumps({'network': {'ethernets': ethernets}})}\n")
    converge(host_network, {TO_NET2})
    assert (own(guest).readlink(), earlier.exists()) == (generated, False)
    assert "netplan generate" in guest.edits()
    assert converge(host_network, {TO_NET2})["in_line"]


def test_networkmanager_keeps_the_routes_in_the_connection(host_network: ModuleType, guest: _Guest) -> None:
    """Only the difference is edited. A new route gets NetworkManager's own metric, so that it adds no second one."""
    (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active = "NetworkManager"
    assert converge(host_network, {TO_NET2})["backend"] == "NetworkManager"
    assert guest.edits() == [
        "ip -4 route replace 192.168.2.0/24 via 192.168.1.9 dev eth0 metric 100 proto static",
        "nmcli connection modify c0ffee +ipv4.routes 192.168.2.0/24 192.168.1.9",
    ]
    assert not converge(host_network, {TO_NET2})["changed"]
    guest.commands.clear()
    converge(host_network, {TO_NET3})
    assert guest.edits()[-2:] == [
        f"nmcli connection modify c0ffee -ipv4.routes {' '.join(TO_NET2)} +ipv4.routes {' '.join(TO_NET3)}",
        "nmcli device reapply eth0",
    ]


def test_what_went_from_the_connection_is_not_called_kept(host_network: ModuleType, guest: _Guest) -> None:
    """NetworkManager's connection counts, not what was recorded once."""
    (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active = "NetworkManager"
    converge(host_network, {TO_NET2})
    guest.profile["ipv4.routes"] = ""
    found = converge(host_network, {TO_NET2}, check_mode=True)["differences"]
    assert [one["found"] for one in found] == ["in force, not kept"]
    converge(host_network, {TO_NET2})
    assert guest.profile["ipv4.routes"] == "192.168.2.0/24 192.168.1.9"


def test_a_second_route_beside_networkmanagers_is_removed(host_network: ModuleType, guest: _Guest) -> None:
    """An earlier version made it, without a metric."""
    (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active = "NetworkManager"
    converge(host_network, {TO_NET2})
    guest.table[4].append(guest.route(TO_NET2, protocol="static"))
    found = converge(host_network, {TO_NET2})["differences"]
    assert [(one["expected"], one["found"]) for one in found] == [("once", "twice, with two metrics")]
    assert [one.get("metric") for one in guest.table[4] if one["dst"] == TO_NET2[0]] == [100]


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
        converge(host_network, routes)
    assert guest.edits() == []


def test_a_host_without_a_known_network_configuration_is_refused(host_network: ModuleType, guest: _Guest) -> None:
    """Routes that the next boot loses are not what was declared."""
    (guest.root / "run/systemd/netif/links/2").unlink()
    with pytest.raises(host_network.HostNetworkError, match="routes would be lost at the next boot"):
        converge(host_network, {TO_NET2})


def test_a_file_of_the_image_that_is_no_longer_there_is_named(host_network: ModuleType, guest: _Guest) -> None:
    """Until networkd reads its files again it uses what nobody can see."""
    converge(host_network, {TO_NET2}, interfaces=UNWANTED)
    (guest.root / "20-wired.network").unlink()
    with pytest.raises(
        host_network.HostNetworkError, match=r"20-wired\.network, by which eth0 is configured, does not"
    ):
        converge(host_network, {TO_NET2}, interfaces=UNWANTED)


def test_what_networkd_does_not_take_is_taken_back(host_network: ModuleType, guest: _Guest) -> None:
    """Files, routes and settings are as before, and the error says why."""
    guest.reloaded = False
    before = list(guest.table[4])
    with pytest.raises(
        host_network.HostNetworkError, match=r"does not use the new file of eth0.*of before is in force"
    ):
        converge(host_network, {TO_NET2}, forwarding=True, interfaces=UNWANTED)
    assert guest.table[4] == before
    assert [path for path in (guest.root / "etc").rglob("*") if path.is_file()] == []
    assert (guest.proc / "net/ipv4/ip_forward").read_text() == "0\n"


def test_probes_show_the_difference_that_a_route_makes(
    host_network: ModuleType, guest: _Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probed once before and once after."""
    monkeypatch.setattr(
        host_network,
        "probe_one",
        lambda _probe, _seconds: (
            (True, "tcp 22 answers") if TO_NET2 in guest.static() else (False, "tcp 22: no answer")
        ),
    )
    probes = [{"name": "sum", "address": "192.168.2.20", "port": 22}]
    assert converge(host_network, {TO_NET2}, probes=probes)["probes"] == [
        {
            "name": "sum",
            "address": "192.168.2.20",
            "before": "tcp 22: no answer",
            "after": "tcp 22 answers",
            "reached_before": False,
            "reached_after": True,
        }
    ]


# What others made

HAND = {"local": "192.168.1.77", "prefixlen": 24, "scope": "global"}
LENT = {"local": "fd00::77", "prefixlen": 64, "scope": "global", "dynamic": True}


def test_an_address_added_by_hand_goes_where_it_is_managed(host_network: ModuleType, guest: _Guest) -> None:
    """Else it is none of ours. Those of a lease stay in any case."""
    guest.links[2]["addr_info"] += [HAND, LENT]
    assert converge(host_network, set(), check_mode=True, addresses=["192.168.1.5"])["in_line"]
    assert converge(host_network, set(), check_mode=True, manage=MANAGE)["in_line"]
    result = converge(host_network, set(), addresses=["192.168.1.5"], manage=MANAGE)
    assert result["differences"] == [
        {"what": "address 192.168.1.77/24 on eth0", "expected": "none", "found": "present, not planned"}
    ]
    assert guest.edits() == ["ip -4 address del 192.168.1.77/24 dev eth0"]
    assert LENT in guest.links[2]["addr_info"]
    assert converge(host_network, set(), addresses=["192.168.1.5"], manage=MANAGE)["in_line"]


def test_a_virtual_address_stays_whether_it_is_there_or_not(host_network: ModuleType, guest: _Guest) -> None:
    what = {"addresses": ["192.168.1.5"], "virtual_addresses": ["192.168.1.77"], "manage": MANAGE}
    assert converge(host_network, set(), **what)["in_line"]
    guest.links[2]["addr_info"].append({**HAND, "prefixlen": 32})
    assert converge(host_network, set(), **what)["in_line"]


NETWORKD_LOOPBACK = "etc/systemd/network/04-loopback-netorder.network"
NM_LOOPBACK = "etc/NetworkManager/system-connections/netorder-loopback.nmconnection"


@pytest.mark.parametrize(("active", "file"), [("systemd-networkd", NETWORKD_LOOPBACK), ("NetworkManager", NM_LOOPBACK)])
def test_loopback_addresses_come_stay_and_go(host_network: ModuleType, guest: _Guest, active: str, file: str) -> None:
    """They are in force and in the file; other addresses of the interface stay, and no program is told."""
    if active == "NetworkManager":
        (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active = active
    path = guest.root / file
    guest.links[0]["addr_info"].append({"local": "10.9.9.9", "prefixlen": 32, "scope": "global"})  # somebody else's
    planned = converge(host_network, set(), loopback_addresses=["10.255.0.1", "fd00::1"], check_mode=True)
    assert planned["differences"][0] == {
        "what": "loopback address 10.255.0.1/32",
        "expected": "in force, kept over reboots",
        "found": "not in force, not kept",
    }
    assert not path.exists()
    assert converge(host_network, set(), loopback_addresses=["10.255.0.1", "fd00::1"])["changed"]
    assert [one["local"] for one in guest.links[0]["addr_info"]] == ["127.0.0.1", "10.9.9.9", "10.255.0.1", "fd00::1"]
    assert {"10.255.0.1/32", "fd00::1/128"} <= {
        line.partition("=")[2] for line in path.read_text().splitlines() if "ddress" in line
    }
    assert path.stat().st_mode & 0o777 == (0o600 if active == "NetworkManager" else 0o644)
    assert not any("reload" in line or "reapply" in line for line in guest.commands)
    assert converge(host_network, set(), loopback_addresses=["10.255.0.1", "fd00::1"])["in_line"]
    moved = converge(host_network, set(), loopback_addresses=["10.255.0.2"])
    assert len(moved["differences"]) == 3
    assert [one["local"] for one in guest.links[0]["addr_info"]] == ["127.0.0.1", "10.9.9.9", "10.255.0.2"]
    assert converge(host_network, set())["changed"]
    assert not path.exists()
    assert [one["local"] for one in guest.links[0]["addr_info"]] == ["127.0.0.1", "10.9.9.9"]


def test_what_somebody_did_to_a_loopback_address_is_one_difference(host_network: ModuleType, guest: _Guest) -> None:
    what = {"loopback_addresses": ["10.255.0.1"]}
    converge(host_network, set(), **what)
    guest.links[0]["addr_info"].pop()
    (gone,) = converge(host_network, set(), **what, check_mode=True)["differences"]
    assert gone["found"] == "not in force, kept over reboots"
    assert converge(host_network, set(), **what)["changed"]
    path = guest.root / NETWORKD_LOOPBACK
    path.write_text(path.read_text() + "# mine\n")
    (edited,) = converge(host_network, set(), **what)["differences"]
    assert edited["what"] == f"file {path}"
    assert converge(host_network, set(), **what)["in_line"]


def test_an_old_network_manager_keeps_no_loopback_address(host_network: ModuleType, guest: _Guest) -> None:
    (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active, guest.nm_version = "NetworkManager", "1.36.6"
    assert converge(host_network, set())["in_line"]
    with pytest.raises(host_network.HostNetworkError, match=r"from 1\.42 on"):
        converge(host_network, set(), loopback_addresses=["10.255.0.1"])
    assert [one["local"] for one in guest.links[0]["addr_info"]] == ["127.0.0.1"]


@pytest.mark.parametrize("active", ["systemd-networkd", "NetworkManager"])
def test_an_mtu_that_nobody_tells_the_interface(host_network: ModuleType, guest: _Guest, active: str) -> None:
    if active == "NetworkManager":
        (guest.root / "run/systemd/netif/links/2").unlink()
    guest.active = active
    what = [{"address": "192.168.1.5", "mtu": 1400}]
    seen = converge(host_network, set(), interfaces=what, check_mode=True)
    assert {"what": "mtu of eth0", "expected": "1400", "found": "1500"} in seen["differences"]
    assert guest.links[2]["mtu"] == 1500
    converge(host_network, set(), interfaces=what)
    assert guest.links[2]["mtu"] == 1400
    if active == "NetworkManager":
        assert guest.profile["802-3-ethernet.mtu"] == "1400"
    else:
        assert "[Link]\nMTUBytes=1400\n" in drop_in(guest).read_text()
    assert converge(host_network, set(), interfaces=what)["in_line"]
    assert (guest.root / "proc/sys/net/ipv4/conf/all/rp_filter").read_text() == "0\n"
    guest.links[2]["mtu"] = 1500
    (drift,) = converge(host_network, set(), interfaces=what, check_mode=True)["differences"]
    assert drift["what"] == "mtu of eth0"
    converge(host_network, set(), interfaces=[])
    assert guest.links[2]["mtu"] == 1500  # left as it is
    assert guest.profile.get("802-3-ethernet.mtu", "0") == "0"
    assert not own(guest).exists()


def test_an_mtu_that_is_taken_back_is_the_one_of_before(host_network: ModuleType) -> None:
    """A connection has one, whoever set it."""
    nothing: dict[str, set[Any]] = {"routes": set(), "addresses": set(), "never": set(), "mtu": set()}

    def edits(had: set[int], want: set[int], has: set[int]) -> tuple[list[str], list[str]]:
        given = ({**nothing, "mtu": one} for one in (had, want, has))
        made, opposite, _ = host_network.nm_edits(*given)
        return made[1:], opposite[1:]

    assert edits({1400}, {1300}, {1400}) == (["1300"], ["1400"])
    assert edits(set(), {1300}, {9000}) == (["1300"], ["9000"])
    assert edits(set(), {1300}, set()) == (["1300"], ["0"])
    assert edits({1300}, set(), {1300}) == (["0"], ["1300"])
    assert edits({1300}, {1300}, {1300}) == ([], [])


def test_a_host_is_the_default_gateway_in_place_of_dhcps(host_network: ModuleType, guest: _Guest) -> None:
    interfaces = [{"address": "192.168.1.5", "unwanted": [4]}]
    route = ("0.0.0.0/0", "192.168.1.9")
    assert converge(host_network, {route}, interfaces=interfaces)["changed"]
    assert ("default", "192.168.1.9") in guest.static(4)
    assert [one["gateway"] for one in guest.table[4] if one["dst"] == "default"] == ["192.168.1.9"]
    assert converge(host_network, {route}, interfaces=interfaces)["in_line"]


@pytest.mark.parametrize(
    ("others", "named"),
    [
        (lambda guest: guest.links[2]["addr_info"].append(HAND), "address 192.168.1.77/24 on eth0"),
        (
            lambda guest: guest.table[4].append(guest.route(("10.8.0.0/24", "192.168.1.7"), table="7")),
            "route 10.8.0.0/24 via 192.168.1.7 on eth0",
        ),
    ],
)
def test_a_reload_that_would_drop_what_others_made_is_left_to_the_next_boot(
    host_network: ModuleType, guest: _Guest, others: Any, named: str
) -> None:
    """The kernel has the route at once, the files are written, and a warning says what is not done, and why."""
    others(guest)
    result = converge(host_network, {TO_NET2}, interfaces=UNWANTED)
    # the first is reverse-path filtering
    assert (guest.edits()[1:], drop_in(guest).exists()) == (
        ["ip -4 route replace 192.168.2.0/24 via 192.168.1.9 dev eth0 proto static"],
        True,
    )
    assert named in result["warnings"][0]
    assert converge(host_network, {TO_NET2}, interfaces=UNWANTED)["in_line"]


def test_a_lease_without_end_is_not_taken_for_what_others_made(host_network: ModuleType, guest: _Guest) -> None:
    """OVN gives IPv6 addresses for ever, so the kernel does not call them dynamic; they come back after a reload."""
    guest.links[2]["addr_info"].append({"local": "fd00:1::5", "prefixlen": 128, "scope": "global"})
    routes = [{"dst": "fd00:1::/64", "dev": "eth0", "protocol": "ra"}]
    guest.table[6] += routes
    given = ["192.168.1.5", "fd00:1::5"]
    assert "warnings" not in converge(host_network, {TO_NET2}, interfaces=UNWANTED, addresses=given)
    other = {"local": "fd00:1::6", "prefixlen": 128, "scope": "global"}
    guest.links[2]["addr_info"].append(other)
    said = converge(host_network, set(), interfaces=UNWANTED, addresses=given)["warnings"][0]
    assert "fd00:1::6/128 on eth0" in said
    assert "fd00:1::5" not in said


def test_an_address_made_up_of_an_advertisement_is_not_taken_for_what_others_made(
    host_network: ModuleType, guest: _Guest
) -> None:
    """Planned or not: on a network of others each interface may have one. OVN's advertisements have no end either."""
    made_up = {"local": "fd00:1::f816:3eff:fe00:5", "prefixlen": 64, "scope": "global", "mngtmpaddr": True}
    guest.links[2]["addr_info"].append(made_up)
    guest.table[6] += [{"dst": "fd00:1::/64", "dev": "eth0", "protocol": "ra"}]
    for planned in (["192.168.1.5"], ["192.168.1.5", "fd00:1::f816:3eff:fe00:5"]):
        result = converge(host_network, {TO_NET2}, interfaces=UNWANTED, addresses=planned, manage=MANAGE)
        assert "warnings" not in result
        assert made_up in guest.links[2]["addr_info"]
        assert converge(host_network, {TO_NET2}, interfaces=UNWANTED, addresses=planned, manage=MANAGE)["in_line"]


def test_a_planned_address_that_is_missing_is_reported_and_not_made_up(host_network: ModuleType, guest: _Guest) -> None:
    """It is DHCP's to give: no change is claimed that nobody makes."""
    result = converge(host_network, set(), addresses=["192.168.1.5", "192.168.1.6"])
    assert (result["changed"], result["in_line"], guest.edits()) == (False, False, [])
    assert result["differences"] == [
        {"what": "address 192.168.1.6", "expected": "present", "found": "missing: ask DHCP"}
    ]


def test_forwarding_switched_by_hand_is_switched_back_where_it_is_managed(
    host_network: ModuleType, guest: _Guest
) -> None:
    """What is in force counts, not what is written down. Else it is Docker's, for instance."""
    (guest.proc / "net/ipv4/ip_forward").write_text("1\n")
    assert converge(host_network, set(), check_mode=True)["in_line"]
    result = converge(host_network, set(), check_mode=True, manage=MANAGE)
    assert result["differences"] == [{"what": "net.ipv4.ip_forward", "expected": "0", "found": "1"}]
    assert converge(host_network, set(), manage=MANAGE)["changed"]
    assert guest.edits() == ["sysctl -q -w net.ipv4.ip_forward=0"]
    assert converge(host_network, set(), manage=MANAGE)["in_line"]


def test_forwarding_that_was_on_before_stays_on_after(host_network: ModuleType, guest: _Guest) -> None:
    """The file remembers what was before; without it, or in one of an earlier version, that is off."""
    four, six = (guest.proc / key for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"))
    four.write_text("1\n")
    converge(host_network, set(), forwarding=True)
    converge(host_network, set(), forwarding=True)
    assert (four.read_text(), six.read_text()) == ("1\n", "1\n")
    converge(host_network, set())
    assert (four.read_text(), six.read_text()) == ("1\n", "0\n")
    file = guest.root / "etc/sysctl.d/60-netorder.conf"
    file.write_text("# Written by netorder, role static_routes\nnet.ipv4.ip_forward = 1\n")
    converge(host_network, set())
    assert (four.read_text(), file.exists()) == ("0\n", False)


def test_each_difference_of_routes_is_reported_once(host_network: ModuleType, guest: _Guest) -> None:
    """A route taken by another router's, one that only the kernel has, and a file that says more than routes."""
    converge(host_network, {TO_NET2, TO_NET3})
    guest.table[4] = [one for one in guest.table[4] if one["dst"] != TO_NET2[0]]
    guest.table[4].append(guest.route((TO_NET2[0], "192.168.1.3")))
    found = converge(host_network, {TO_NET2, TO_NET3}, check_mode=True)["differences"]
    assert found == [
        {
            "what": "route 192.168.2.0/24 via 192.168.1.9",
            "expected": "in force, kept over reboots",
            "found": "not in force (but via 192.168.1.3), kept over reboots",
        }
    ]
    drop_in(guest).write_text(drop_in(guest).read_text() + "\n[Link]\nMTUBytes=1000\n")
    found = converge(host_network, {TO_NET2, TO_NET3}, check_mode=True)["differences"]
    assert [one["what"] for one in found] == ["route 192.168.2.0/24 via 192.168.1.9", f"file {drop_in(guest)}"]
    drop_in(guest).unlink()
    found = converge(host_network, {TO_NET3}, check_mode=True)["differences"]
    assert [(one["what"], one["found"]) for one in found] == [
        ("route 192.168.3.0/24 via 192.168.1.9", "in force, not kept")
    ]


# Several interfaces

TO_BACK6 = ("fd00:9::/64", "fd00:1::9")
BOTH = [{"address": "192.168.1.5"}, {"address": "192.168.3.5", "static": ["fd00:3::5/64"], "unwanted": [4]}]


@pytest.fixture
def router(guest: _Guest) -> _Guest:
    """Give a host with eth1 on 192.168.3.0/24, too, dual stack; both have a default route by DHCP."""
    guest.links[2]["addr_info"] += [
        {"local": "fe80::5", "prefixlen": 64, "scope": "link"},
        {"local": "fd00:1::5", "prefixlen": 128, "scope": "global", "dynamic": True},
    ]
    guest.links.append(
        {
            "ifname": "eth1",
            "ifindex": 3,
            "address": "fa:16:3e:00:00:02",
            "addr_info": [{"local": "192.168.3.5", "prefixlen": 24, "scope": "global", "dynamic": True}],
        }
    )
    guest.table[4].append({
        "dst": "default", "gateway": "192.168.3.1", "dev": "eth1", "protocol": "dhcp", "metric": 1025,
    })  # fmt: skip
    guest.read_files()
    return guest


def both(host_network: ModuleType) -> dict[str, Any]:
    return converge(host_network, {TO_NET2, TO_BACK6}, interfaces=BOTH, forwarding=True)


def test_of_several_interfaces_a_golden_images_file_gets_the_mac(host_network: ModuleType, router: _Guest) -> None:
    """Their names may change places at a boot."""
    both(host_network)
    as_in_a_golden_image(drop_in(router, "eth1"))
    router.read_files()
    assert both(host_network)["changed"]
    assert "MACAddress=fa:16:3e:00:00:02\n" in drop_in(router, "eth1").read_text()


def test_each_of_several_interfaces_has_a_file_of_its_own(host_network: ModuleType, router: _Guest) -> None:
    """Made from the shared one, with its own routes only; the second interface's default route goes."""
    assert both(host_network)["changed"]
    wait = "GatewayOnLink=no"
    assert drop_in(router, "eth0").read_text().splitlines()[1:] == [
        "[Match]", "Name=", "Name=eth0", "MACAddress=", "MACAddress=fa:16:3e:00:00:01", "",
        "[Network]", "IPv6AcceptRA=true", "",
        "[Route]", "Destination=192.168.2.0/24", "Gateway=192.168.1.9", wait, "",
        "[Route]", "Destination=fd00:9::/64", "Gateway=fd00:1::9", wait,
    ]  # fmt: skip
    assert drop_in(router, "eth1").read_text().splitlines()[1:] == [
        "[Match]", "Name=", "Name=eth1", "MACAddress=", "MACAddress=fa:16:3e:00:00:02", "",
        "[Network]", "IPv6AcceptRA=true", "Address=fd00:3::5/64", "",
        "[DHCPv4]", "UseRoutes=false", "UseGateway=false",
    ]  # fmt: skip
    defaults = [one["dev"] for one in router.table[4] if one["dst"] == "default"]
    assert (defaults, router.static(6)) == (["eth0"], {TO_BACK6})


def test_a_forwarding_host_forwards_now_and_after_a_reboot(host_network: ModuleType, router: _Guest) -> None:
    """And stops when it must no longer."""
    both(host_network)
    file = router.root / "etc/sysctl.d/60-netorder.conf"
    assert [line for line in file.read_text().splitlines() if not line.startswith("#")] == [
        "net.ipv4.ip_forward = 1", "net.ipv6.conf.all.forwarding = 1", "net.ipv4.conf.all.rp_filter = 2",
    ]  # fmt: skip
    now = [router.proc / key for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")]
    assert [path.read_text() for path in now] == ["1\n", "1\n"]
    converge(host_network, set())
    assert not file.exists()
    assert [path.read_text() for path in now] == ["0\n", "0\n"]
    assert not list((router.root / "etc/systemd/network").glob("05-netorder-*"))


def test_a_second_run_on_several_interfaces_changes_nothing(host_network: ModuleType, router: _Guest) -> None:
    """By then networkd uses the files of the first run, and these are made from the shared one again."""
    both(host_network)
    router.commands.clear()
    result = both(host_network)
    assert (result["changed"], result["in_line"], router.edits()) == (False, True, [])


def test_a_next_hop_on_a_static_network_of_the_same_run(host_network: ModuleType, router: _Guest) -> None:
    """Nobody announces that network: the host has it by the very address that the run gives it, first."""
    route = ("fd00:8::/64", "fd00:3::9")
    result = converge(host_network, {route}, interfaces=BOTH)
    assert result["added"] == ["fd00:8::/64 via fd00:3::9"]
    commands = [line for line in router.edits() if line.startswith("ip -6")]
    assert [line.split()[2] for line in commands] == ["address", "route"]
    assert converge(host_network, {route}, interfaces=BOTH)["in_line"]
    # and the address goes when nothing needs it any more
    converge(host_network, set())
    assert "fd00:3::5" not in {one["local"] for one in router.links[3]["addr_info"]}


def test_a_static_address_that_is_there_without_its_network(host_network: ModuleType, router: _Guest) -> None:
    """DHCPv6 without advertisements gives a /128; the kernel would keep it so, and find no way to the next hop."""
    router.links[3]["addr_info"].append({"family": "inet6", "local": "fd00:3::5", "prefixlen": 128, "scope": "global"})
    route = ("fd00:8::/64", "fd00:3::9")
    assert converge(host_network, {route}, interfaces=BOTH)["added"] == ["fd00:8::/64 via fd00:3::9"]
    commands = [" ".join(line.split()[2:5]) for line in router.edits() if line.startswith("ip -6")]
    assert commands == ["address del fd00:3::5/128", "address replace fd00:3::5/64", "route replace fd00:8::/64"]
    assert converge(host_network, {route}, interfaces=BOTH)["in_line"]


def test_a_next_hop_is_on_the_network_that_has_its_prefix(host_network: ModuleType, router: _Guest) -> None:
    """Two networks that are parts of one /64: DHCPv6 gives addresses without prefixes, some clients make it a /64."""
    router.links[3]["addr_info"] += [
        {"local": "fd00:1::1:0:0:5", "prefixlen": 64, "scope": "global", "dynamic": True},
    ]
    route = ("fd00:9::/64", "fd00:1::1:0:0:9")
    prefixes = ["fd00:1::/80", "fd00:1:0:0:1::/80"]
    converge(host_network, {route, TO_BACK6}, ipv6_prefixes=prefixes)
    assert "Gateway=fd00:1::1:0:0:9" in drop_in(router, "eth1").read_text()
    with pytest.raises(host_network.HostNetworkError, match="on no network of this host"):
        converge(host_network, {("fd00:9::/64", "fd00:1::2:0:0:9")}, ipv6_prefixes=prefixes)


def test_a_planned_default_route_is_not_an_unwanted_one(host_network: ModuleType, router: _Guest) -> None:
    """Where several routers advertise themselves, their routes are unwanted and the planned one stays."""
    hops = [{"gateway": f"fe80::{one}", "dev": "eth0", "weight": 1} for one in (1, 2)]
    router.table[6].append({"dst": "default", "protocol": "ra", "metric": 512, "nexthops": hops})
    interfaces = [{**BOTH[0], "unwanted": [6]}, BOTH[1]]
    route = ("::/0", "fd00:1::9")
    found = converge(host_network, {route}, interfaces=interfaces, check_mode=True)["differences"]
    assert [one["what"] for one in found].count("IPv6 default route on eth0") == 2
    router.table[6].clear()
    converge(host_network, {route}, interfaces=interfaces)
    assert ("default", "fd00:1::9") in router.static(6)
    assert converge(host_network, {route}, interfaces=interfaces)["in_line"]


def test_a_route_by_a_numbered_next_hop_is_deleted_by_that_number(host_network: ModuleType) -> None:
    """The kernel would take the first of this metric, whatever its interface."""
    entry = {
        "version": 6,
        "dst": "::/0",
        "gateway": "fe80::1",
        "dev": "eth1",
        "protocol": "ra",
        "metric": 512,
        "nhid": 7,
    }
    assert " ".join(host_network.route_command("del", entry)) == "ip -6 route del ::/0 nhid 7 metric 512 proto ra"


def test_an_interface_that_is_not_there_yet_is_an_error(host_network: ModuleType, router: _Guest) -> None:
    with pytest.raises(host_network.HostNetworkError, match=r"no interface has 192\.168\.7\.1"):
        converge(host_network, set(), check_mode=True, interfaces=[{"address": "192.168.7.1"}])
    assert not router.edits()


# As a process


def process(tmp_path: Path, arguments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Run the module as Ansible does with pipelining, on a host without network programs."""
    ip = tmp_path / "ip"
    ip.write_text(
        '#!/bin/sh\ncase "$*" in *address*) echo \'[{"ifname": "lo", "ifindex": 1}]\';; *) echo "[]";; esac\n'
    )
    ip.chmod(0o755)
    source = MODULE.read_text()
    assert source.count(PLACEHOLDER) == 1
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-"],
        input=source.replace(PLACEHOLDER, json.dumps(arguments)),
        env={"PATH": str(tmp_path), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_as_a_process_with_its_arguments_it_answers_in_json(tmp_path: Path) -> None:
    """The standard library alone; quotes and backslashes in arguments are well."""
    routes = [{"destination": "192.168.2.0/24", "next_hop": "192.168.1.9"}]
    probes = [{"name": 'it\'s \\ a """ name\n', "address": "192.168.2.1"}]
    status, said = process(tmp_path, {"routes": routes, "probes": probes, "_ansible_check_mode": True})
    assert (status, said["failed"], said["msg"]) == (
        1,
        True,
        "next hop 192.168.1.9 of 192.168.2.0/24 is on no network of this host (none)",
    )
    assert said["invocation"] == {"module_args": {"routes": routes, "probes": probes}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "routes is required"),
        (
            {"routes": [], "route": 1},
            ("route is not supported: use routes, interfaces, addresses, ipv6_prefixes, virtual_addresses, "
                "loopback_addresses, forwarding, "
            "manage, names, probes"),
        ),
        ({"routes": "all"}, 'routes must be a list, not "all"'),
        ({"routes": [{"destination": "10.0.0.0/8"}]}, "routes[0].next_hop is required"),
        ({"routes": [], "forwarding": "perhaps"}, 'forwarding must be true or false, not "perhaps"'),
        ({"routes": [], "manage": {"address": True}}, "manage.address is not supported: use addresses, forwarding"),
        ({"routes": [], "manage": []}, "manage must be a dictionary, not []"),
        (
            {"routes": [], "probes": [{"name": "a", "address": "b", "port": "ssh"}]},
            'probes[0].port must be a whole number, not "ssh"',
        ),
        (
            {
                "routes": [{"destination": "10.0.0.1/8", "next_hop": "x"}],
                "interfaces": [{"address": "y", "unwanted": [5]}],
            },
            (
                "interfaces[0].unwanted: 5 is no IP version (4, 6); "
                "routes[0].destination: 10.0.0.1/8 has host bits set; "
                "routes[0].next_hop: 'x' does not appear to be an IPv4 or IPv6 address; "
                "interfaces[0].address: 'y' does not appear to be an IPv4 or IPv6 address"
            ),
        ),
    ],
)  # fmt: skip
def test_wrong_arguments_are_all_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    """Before the host is touched."""
    status, said = process(tmp_path, arguments)
    assert (status, said["failed"], said["msg"]) == (1, True, message)


@pytest.mark.parametrize("value", ["yes", "True", "on", 1, True])
def test_truth_is_what_ansible_takes_for_it(host_network: ModuleType, value: object) -> None:
    assert host_network.validated({"routes": [], "forwarding": value}, host_network.SPEC)["forwarding"] is True


def test_ansible_sends_the_module_with_its_arguments() -> None:
    """What Ansible takes for a module of the other style would be packed with its library."""
    text = MODULE.read_text()
    assert (text.startswith("#!/usr/bin/python\n"), "ansible.module_utils" in text) == (True, False)


DUAL = ["192.168.1.5", "fd00:1::5"]


def test_routers_are_asked_for_an_ipv6_address_that_came_while_the_host_ran(host_network: ModuleType, guest: _Guest):
    """Nothing else makes the host learn it now; the network is not configured anew. What needs it is then possible."""
    guest.advertised = "fd00:1::5"
    result = converge(host_network, {TO_NET2, ("fd00:2::/64", "fd00:1::9")}, addresses=DUAL)
    assert guest.asked == [(133, "ff02::2", 2)]
    assert result["added"] == ["192.168.2.0/24 via 192.168.1.9", "fd00:2::/64 via fd00:1::9"]
    guest.asked.clear()
    assert converge(host_network, {TO_NET2, ("fd00:2::/64", "fd00:1::9")}, addresses=DUAL)["in_line"]
    assert guest.asked == []


def test_routers_are_asked_for_the_default_route_of_an_address_that_came_without(
    host_network: ModuleType, guest: _Guest
):
    """Some programs ask DHCPv6 before any router says so; that gives no route."""
    guest.advertised = "fd00:1::5"
    guest.links[2]["addr_info"].append({"local": "fd00:1::5", "prefixlen": 128, "scope": "global", "dynamic": True})
    assert converge(host_network, set(), addresses=DUAL)["in_line"]
    assert guest.asked == [(133, "ff02::2", 2)]
    assert converge(host_network, set(), addresses=DUAL)["in_line"]
    assert len(guest.asked) == 1, "the route is there now"


def test_a_tentative_address_is_waited_for(host_network: ModuleType):
    """Nobody gets an answer from it before the host has found that it has it alone."""
    link = {"ifname": "eth0", "ifindex": 2, "link_type": "ether", "address": "fa:16:3e:00:00:01"}
    four = {"local": "192.168.1.5", "prefixlen": 24, "scope": "global"}
    six = {"local": "fd00:1::5", "prefixlen": 128, "scope": "global"}
    routes = {4: [], 6: [{"dst": "fd00:1::/64", "dev": "eth0", "protocol": "ra"}]}
    missing = []
    for address in (six | {"tentative": True}, six):
        host = host_network.Snapshot([link | {"addr_info": [four, address]}], routes)
        missing.append(host_network.unadvertised({"addresses": DUAL, "interfaces": []}, host))
    assert missing == [{"eth0"}, set()]


def test_an_ipv6_address_that_does_not_come_is_reported_as_before(host_network: ModuleType, guest: _Guest):
    result = converge(host_network, set(), addresses=DUAL)
    assert guest.asked == [(133, "ff02::2", 2)]
    assert (result["changed"], result["in_line"]) == (False, False)
    assert [one["found"] for one in result["differences"]] == ["missing: ask DHCP"]


def test_nobody_is_asked_in_check_mode_nor_for_ipv4_nor_for_what_the_role_sets(host_network: ModuleType, guest: _Guest):
    converge(host_network, set(), addresses=DUAL, check_mode=True)
    converge(host_network, set(), addresses=["192.168.1.5", "192.168.1.6"])
    converge(host_network, set(), addresses=DUAL, interfaces=[{"address": "192.168.1.5", "static": ["fd00:1::5/64"]}])
    assert guest.asked == []


@pytest.mark.usefixtures("guest")
def test_a_host_without_ipv6_is_not_failed_for_it(host_network: ModuleType, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: int) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(host_network.socket, "socket", refused)
    assert not converge(host_network, set(), addresses=DUAL)["in_line"]


@pytest.mark.parametrize("others", [False, True])
def test_dhcpv6_that_pauses_is_made_to_ask_again_unless_others_would_lose(
    host_network: ModuleType, guest: _Guest, monkeypatch: pytest.MonkeyPatch, *, others: bool
):
    """Where a router's word has come and no address: networkd's client asked without that word, and pauses."""
    monkeypatch.setattr(host_network, "SOLICIT_SECONDS", 0.3)
    monkeypatch.setattr(host_network, "RENEW_SECONDS", -1)
    guest.table[6].append({"dst": "default", "gateway": "fe80::1", "dev": "eth0", "protocol": "ra"})
    if others:
        guest.links[2]["addr_info"].append({"local": "192.168.1.77", "prefixlen": 32, "scope": "global"})
    result = converge(host_network, set(), addresses=DUAL)
    assert guest.commands.count("networkctl reconfigure eth0") == (0 if others else 1)
    assert not result["in_line"]
