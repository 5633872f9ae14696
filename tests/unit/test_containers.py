"""The target containers without a container: what a plan needs on a machine, and what differs from what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest

from netorder.cli.main import main
from netorder.containers import compare as module
from netorder.containers import engine, target
from netorder.containers import observe as observing
from netorder.containers.compare import Stage, compare, removals
from netorder.containers.engine import Container
from netorder.containers.kernel import Link, Space, Way
from netorder.containers.observe import Seen
from netorder.containers.wanted import MACHINE, SPACE, SPARE, Wanted, external_prefix, image_name, uplink, wanted
from netorder.errors import CloudError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
FILE = ROOT / "topologies/calculator.yml"
PLAN = build_plan(load(FILE, "containers"))
OUTSIDE = IPv4Network("172.29.7.0/24")
TWO = """
topology: t
networks: {a: {cidr: 10.1.0.0/24}, b: {cidr: 10.2.0.0/24, mtu: 1400}}
routers: {out: {external: true, networks: [a]}, in: {networks: [a, b]}}
hosts:
  web: {network: a, floating_ip: true}
  gate: {networks: [a, b], forward: true}
  open: {network: b, port_security: false}
allow:
"""


def needs(text: str = "", *, tracks: bool = False) -> Wanted:
    plan = build_plan(parse(text, target="containers")) if text else PLAN
    return wanted(plan, OUTSIDE, ["192.0.2.53"], tracks_bridges=tracks)


def as_wanted(what: Wanted) -> Seen:
    """Return a machine that has all of it."""
    switch = {name: Link("", mtu, True, ()) for name, (_, mtu) in what.bridges.items()}
    switch |= {one.port: Link(one.bridge, one.mtu, True, ()) for one in what.cables}
    spaces = {"netorder." + what.topology + ".switch": Space(switch, ruleset=what.filters)}
    for one in what.routings:
        spaces[one.space] = Space({}, frozenset(one.routes), True, one.ruleset)
    for guest in what.guests:
        spaces[guest.space] = Space(settings=dict(guest.kernel))
    spaces[MACHINE] = Space(forwarding=True, ruleset=what.machine or "")
    for one in what.cables:
        spaces[one.space].links[one.device] = Link("", one.mtu, True, one.addresses or ("10.9.9.9/24",))
    inodes = {space: number for number, space in enumerate(spaces, 100) if space}
    containers = tuple(
        Container(f"id-{one.host}", one.name, one.host, "running", 7, one.settings) for one in what.guests
    )
    joined = {f"id-{one.host}": inodes[one.space] for one in what.guests}
    health = {f"id-{one.host}": one.health for one in what.guests}
    files = {f"id-{one.host}": one.files for one in what.guests}
    return Seen(spaces, containers, inodes, joined, health, files)


@pytest.fixture(autouse=True)
def _no_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rulesets are compared as they are written."""
    monkeypatch.setattr(module.kernel, "normal", lambda text: text)


def differing(what: Wanted, seen: Seen) -> list[tuple[str, str, str]]:
    return [(s.change.action, s.change.kind, s.change.name) for s in compare(what, seen, "key") if s.change]


def test_what_is_as_wanted_is_left_alone():
    for text in ("", TWO + " - {from: anywhere, to: web, tcp: 80}"):
        what = needs(text)
        assert compare(what, as_wanted(what), "key") == []


def test_an_empty_machine_gets_everything_in_an_order_that_works():
    what = needs()
    steps = compare(what, Seen({MACHINE: Space()}, ()), "key")
    assert [step.stage for step in steps] == sorted(step.stage for step in steps)
    kinds = [step.change.kind for step in steps if step.change]
    assert kinds.count("server") == 5
    assert kinds.count("router") == 2
    assert kinds.count("port") == 5
    assert {step.stage for step in steps} == {Stage.SPACES, Stage.CABLES, Stage.SETTINGS, Stage.CONTAINERS}


@pytest.mark.parametrize(
    ("hosts", "most", "after"), [(16, 128, None), (17, 128, 8192), (41, 8192, None), (1000, 7000, 8192)]
)
def test_the_machine_has_room_for_the_inotify_instances_of_all(hosts, most, after):
    """A second run finds nothing to change."""
    what = needs(
        f"{{topology: t, networks: {{a: {{cidr: 10.1.0.0/20}}}}, hosts: {{web: {{network: a, count: {hosts}}}}}}}"
    )
    found = [
        step.change.after["most"]
        for step in compare(what, replace(as_wanted(what), inotify=most), "key")
        if step.change and step.change.kind == "inotify instances"
    ]
    assert found == ([after] if after else [])
    assert not after or not [
        one for one in differing(what, replace(as_wanted(what), inotify=after)) if one[1] == "inotify instances"
    ]


def test_every_thing_that_is_missing_is_found_alone():
    what = needs()
    for space in as_wanted(what).spaces:
        for link in as_wanted(what).spaces[space].links:
            seen = as_wanted(what)
            del seen.spaces[space].links[link]
            assert len(differing(what, seen)) == 1, (space, link)


def test_a_rule_made_by_hand_in_the_switch_is_taken_away():
    what, seen = needs(), as_wanted(needs())
    name = "netorder.calculator.switch"
    seen.spaces[name] = replace(seen.spaces[name], ruleset=what.filters + "more\n")
    assert differing(what, seen) == [("update", "security group", "calculator (all ports)")]


def test_a_router_that_stopped_forwarding_and_lost_its_route():
    what, seen = needs(), as_wanted(needs())
    name = "netorder.calculator.router.rt1"
    seen.spaces[name] = replace(seen.spaces[name], forwarding=False, routes=frozenset())
    assert differing(what, seen) == [("update", "router", "calculator-rt1"), ("update", "route set", "calculator-rt1")]


@pytest.mark.parametrize(
    ("changed", "action", "permission"),
    [
        ({"state": "exited", "pid": 0}, "update", None),
        ({"state": "paused"}, "update", None),
        ({"state": "stopping", "pid": 0}, "update", None),
        ({"state": "removing", "pid": 0}, "replace", None),
        ({"state": "created", "pid": 0}, "replace", None),  # podman was killed: nobody has used it
        ({"settings": {"image": "other"}}, "replace", "replace"),
        ({"id": "joined-another-namespace"}, "update", None),
    ],
)
def test_a_container_that_is_not_as_it_should_be(changed, action, permission):
    what, seen = needs(), as_wanted(needs())
    first = replace(seen.containers[0], **changed)
    seen = replace(seen, containers=(first, *seen.containers[1:]), joined=seen.joined | {first.id: 1})
    (step,) = compare(what, seen, "key")
    assert (step.change.kind, step.change.action, step.change.permission) == ("server", action, permission)


@pytest.mark.parametrize(
    ("state", "space", "did"),
    [
        ("paused", None, ["unpause"]),
        ("paused", 1, ["unpause", "stop", "start"]),
        ("stopping", None, ["stop", "start"]),
        ("removing", None, ["rm", "run"]),
        ("exited", None, ["start"]),
    ],
)
def test_a_container_in_a_state_that_cannot_be_started(monkeypatch, state, space, did):
    """As podman says of one that is paused, and one that is stopped or removed in part."""
    what, seen = needs(), as_wanted(needs())
    first = replace(seen.containers[0], state=state, pid=7 if state == "paused" else 0)
    joined = seen.joined | ({first.id: space} if space else {})
    done: list[str] = []
    monkeypatch.setattr(engine, "podman", lambda *words, **_: done.append(words[0]) or "")
    monkeypatch.setattr(engine, "run", lambda *_, **__: "")
    (step,) = compare(what, replace(seen, containers=(first, *seen.containers[1:]), joined=joined), "key")
    step.act()
    assert [one for one in done if one != "exec"] == did


def test_an_error_of_podman_begins_with_what_it_was_and_has_no_files(monkeypatch, tmp_path):
    """As of a container whose files are its arguments; also where podman is run by another command."""
    (tmp_path / "podman").write_text("#!/bin/sh\necho 'Error: no space left' >&2\nexit 125\n")
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setitem(target.kernel._ENVIRONMENT, "PATH", f"{tmp_path}:/usr/bin:/bin")
    guest = replace(needs().guests[0], health="password: secret\n")
    for before in ((), ("env", "A=b", "sh", "-c", 'exec "$@"', "sh")):
        monkeypatch.setattr(engine, "viewed", lambda *command, before=before: (*before, *command))
        with pytest.raises(CloudError) as caught:
            engine.create("calculator", guest, "ssh-ed25519 AAAA me")
        said = str(caught.value)
        assert said.startswith("`podman run --detach --replace --name calculator-calculator ")
        assert said.endswith("…` ended with 125: Error: no space left")
        assert "secret" not in said
        assert len(said) < 200
    with pytest.raises(CloudError, match=r"^`sh -c …` ended with 3: "):
        target.kernel.run("sh", "-c", "exit 3\n# more")


def test_a_command_that_does_not_end_is_an_error():
    with pytest.raises(CloudError, match=r"^`sleep 60` did not end within 0\.1 s and was killed"):
        target.kernel.run("sleep", "60", seconds=0.1)


@pytest.mark.parametrize(
    ("check", "tables", "off"),
    [(False, [], True), (True, [], False), (False, ["netorder.other"], False)],
)
def test_a_teardown_of_nothing_ends_what_a_killed_one_left(monkeypatch, check, tables, off):
    """The one before was killed after it had taken the last away, and before it put the machine's forwarding back."""
    done: list[bool] = []
    monkeypatch.setattr(target.engine, "check_engine", lambda: None)
    monkeypatch.setattr(target, "observe", lambda _: Seen({MACHINE: Space(forwarding=True)}, ()))
    monkeypatch.setattr(target.snapshots, "snapshots", lambda _: [])
    monkeypatch.setattr(target.kernel, "tables", lambda _: tables)
    monkeypatch.setattr(target.kernel, "forward_no_more", lambda: done.append(True))
    assert target.teardown("t", check=check, progress=print) == []
    assert done == [True] * off


def test_what_has_stopped_is_removed_without_crun_too(monkeypatch):
    """As where podman runs its containers by runc."""
    monkeypatch.setattr(engine, "_found", lambda tool: tool != "crun")
    done: list[tuple[str, ...]] = []
    monkeypatch.setattr(engine, "run", lambda *words, **_: done.append(words) or "")
    engine.remove(Container("id", "t-web", "web", "exited", 0))
    assert [words[0] for words in done if "crun" in words] == []
    assert len(done) == 1


def test_a_container_that_the_plan_does_not_have_needs_permission_to_go():
    what, seen = needs(), as_wanted(needs())
    stray = Container("x", "calculator-old", "old", "running", 7)
    (step,) = compare(what, replace(seen, containers=(*seen.containers, stray)), "key")
    assert (step.change.action, step.change.permission, step.stage) == ("delete", "delete", Stage.CONTAINERS_GO)


def test_a_teardown_names_everything_once():
    what, seen = needs(), as_wanted(needs())
    names = [step.change.name for step in removals("calculator", seen, "teardown")]
    assert len(names) == len(set(names)) == len(seen.leftovers("calculator")) == 5 + 8 + 2
    assert uplink("calculator") in seen.spaces[MACHINE].links
    assert removals("calculator", Seen({MACHINE: Space()}, ()), "teardown") == []
    assert what.machine


def test_only_what_outsiders_may_use_is_published_and_never_ssh():
    assert needs().published == {("tcp", 50000, 50000): "calculator"}
    rules = "  - {from: anywhere, to: web, tcp: [22, 80], udp: 53}\n  - {from: web, to: web, tcp: 90}\n"
    assert set(needs(TWO + rules).published) == {("tcp", 80, 80), ("udp", 53, 53)}
    narrow = needs(TWO + "  - {from: [192.0.2.0/24, 198.51.100.0/24], to: web, tcp: 80}\n")
    assert "ip saddr { 192.0.2.0/24, 198.51.100.0/24 } tcp dport 80 dnat" in (narrow.machine or "")
    wide = needs(TWO + "  - {from: 192.0.2.0/24, to: web, tcp: 80}\n  - {from: anywhere, to: web, tcp: 80}\n")
    assert "saddr { 192" not in (wide.machine or "")


def test_a_range_of_ports_is_published_however_long():
    what = needs(TWO + "  - {from: anywhere, to: web, tcp: [20-30, 8000-8100], udp: 20-30}\n")
    assert set(what.published) == {("tcp", 8000, 8100), ("udp", 20, 30), ("tcp", 20, 21), ("tcp", 23, 30)}
    assert f"tcp dport 8000-8100 dnat ip to {what.floating['web']}\n" in (what.machine or "")


def test_ports_in_a_range_that_somebody_has_are_found(monkeypatch):
    what = needs(TWO + "  - {from: anywhere, to: web, tcp: 8000-8100}\n")
    other = Space(ruleset="  tcp dport 7990-8002 dnat ip to 172.29.1.9\n  udp dport 8000-8100 dnat ip to 172.29.1.9\n")
    bound = {("tcp", port): "" for port in (7999, 8050, 8101)} | {("udp", 8001): ""}
    monkeypatch.setattr(target.kernel, "listening", lambda: bound)
    monkeypatch.setattr(target.kernel, "tables", lambda _: ["netorder.t", "netorder.other"])
    monkeypatch.setattr(target.kernel, "read_space", lambda *_: other)
    problems = target._port_problems(what, Seen({MACHINE: Space()}, ()))
    assert [one.split(";")[0] for one in problems] == [
        "tcp 8050 of host web cannot be published: something on this machine has that port (`ss -lp 'sport = 8050'`)",
        "tcp 8000-8002 of host web cannot be published: topology other publishes it",
    ]
    assert target._port_problems(what, Seen({MACHINE: Space(ruleset=what.machine or "")}, ())) == []


ANY = "0.0.0.0"  # noqa: S104 - what is listened on, not by us


def in_proc(address: str) -> str:
    packed = ip_address(address).packed
    return "".join(f"{int.from_bytes(packed[i : i + 4], sys.byteorder):08X}" for i in range(0, len(packed), 4))


def test_ports_are_taken_by_what_other_machines_reach_by_ipv4(monkeypatch, tmp_path):
    monkeypatch.setattr(target.kernel, "_SOCKETS", tmp_path)
    taken = {1: ANY, 2: "192.0.2.1", 3: "::", 4: "::ffff:192.0.2.1"}
    free = {11: "127.0.0.1", 12: "127.0.0.53", 13: "::1", 14: "2001:db8::1", 15: "::ffff:127.0.0.1"}
    for name, version, state in (("tcp", 4, "0A"), ("tcp6", 6, "0A"), ("udp", 4, "07"), ("udp6", 6, "07")):
        its = {port: one for port, one in (taken | free).items() if ip_address(one).version == version}
        lines = [f" 0: {in_proc(one)}:{port:04X} {in_proc(ANY)}:0000 {state} rest" for port, one in its.items()]
        lines += [f" 9: {in_proc(ANY)}:0020 {in_proc('192.0.2.9')}:0050 01 rest"] if name == "tcp" else []
        (tmp_path / name).write_text("\n".join(["  sl  local_address", *lines, ""]))
    assert set(target.kernel.listening()) == {(protocol, port) for protocol in ("tcp", "udp") for port in taken}


def test_a_machine_without_ipv6_has_ports(monkeypatch, tmp_path):
    monkeypatch.setattr(target.kernel, "_SOCKETS", tmp_path)
    for name in ("tcp", "udp"):
        (tmp_path / name).write_text(f"  sl\n 0: {in_proc(ANY)}:0050 {in_proc(ANY)}:0000 0A\n")
    assert set(target.kernel.listening()) == {("tcp", 80), ("udp", 80)}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{from: anywhere, to: web, all: true}", "all ports of TCP and UDP, of which"),
        ("{from: anywhere, to: web, tcp: 1-65535}", "all ports of TCP, of which"),
        ("{from: open, to: web, all: true}", None),
        ("{from: anywhere, to: gate, all: true}", None),
    ],
)
def test_ports_that_are_too_many_to_publish_are_said(rule, said):
    found = parse(f"{TWO}  - {rule}\n", target="containers").warnings
    lines = [str(one) for one in found if "publishes none" in str(one)]
    assert [said in line for line in lines] == ([True] if said else [])
    assert all(":6:" in line for line in lines)


def test_published_ports_answer_a_lan_with_a_prefix_of_the_plan():
    """Who asks from there looks like an address of the outside, which the rule of a wider prefix lets in too."""
    what = needs(TWO + "  - {from: 10.0.0.0/8, to: web, tcp: 80}\n  - {from: 198.51.100.0/24, to: web, tcp: 81}\n")
    (outside,) = (one for one in what.cables if one.space == MACHINE)
    assert outside.addresses == ("172.29.7.1/24", "172.29.7.254/32")
    answered = "ip saddr { 10.1.0.0/24, 10.2.0.0/24 } ct status & dnat == dnat snat ip to 172.29.7.254"
    assert f'oifname "{uplink("t")}" {answered}' in (what.machine or "")
    lines = [line.strip() for line in what.filters.splitlines()]
    assert [line for line in lines if "172.29.7." in line] == [
        "ip saddr 172.29.7.254/32 ip protocol tcp th dport 80 accept"
    ]


def test_name_servers_that_the_topology_hides_are_left_out():
    plan = build_plan(parse(TWO + "  - {from: anywhere, to: web, tcp: 80}", target="containers"))
    what = wanted(plan, OUTSIDE, ["10.1.0.1", "192.0.2.53"], tracks_bridges=True)
    for guest in what.guests:
        assert guest.files["/etc/resolv.conf"] == "nameserver 192.0.2.53\n"
        assert "DNS=10.1.0.1" not in "".join(guest.files.values())


def test_another_name_server_reaches_containers_that_run(monkeypatch):
    rule = "  - {from: anywhere, to: web, tcp: 80}"
    text = TWO.replace("10.1.0.0/24}", "10.1.0.0/24, dns_nameservers: [192.0.2.1]}") + rule
    what, seen = needs(text), as_wanted(needs(text.replace("192.0.2.1", "192.0.2.9")))
    steps = compare(what, seen, "key")
    assert [(step.change.action, step.change.kind, step.change.name) for step in steps if step.change] == [
        ("update", "network files", "t-web"), ("update", "network files", "t-gate")
    ]  # fmt: skip
    assert steps[0].change
    assert steps[0].change.before["/etc/resolv.conf"] == ["nameserver 192.0.2.9"]
    scripts: list[str] = []
    monkeypatch.setattr(engine, "podman", lambda *_, text="": scripts.append(text) or "")
    steps[0].act()
    assert "nameserver 192.0.2.1\n" in scripts[0]
    assert "DNS=192.0.2.1\n" in scripts[0]
    assert "networkctl reload" in scripts[0]


@pytest.mark.parametrize(
    ("there", "key", "differs"),
    [
        ("ssh-ed25519 AAAAold netorder\n", "ssh-ed25519 AAAAnew netorder", True),
        ("ssh-ed25519 AAAAold elsewhere\nssh-rsa AAAAhers her\n", "ssh-ed25519 AAAAold netorder", False),
        ("", "ssh-ed25519 AAAAnew netorder", False),  # not known
        ("ssh-ed25519 AAAAold netorder\n", None, False),  # a preview, before there is a key
    ],
)
def test_another_key_is_put_into_hosts_that_run(monkeypatch, there, key, differs):
    what = needs()
    seen = replace(as_wanted(what), keys={"id-sum": there})
    steps = compare(what, seen, key)
    assert [(step.change.kind, step.change.name) for step in steps if step.change] == (
        [("authorized key", "calculator-sum")] if differs else []
    )
    done: list[tuple[str, ...]] = []
    monkeypatch.setattr(engine, "podman", lambda *words, text="": done.append((*words, text)) or "")
    for step in steps:
        step.act()
        assert key in done[0][-1]


def test_a_key_takes_the_place_of_the_one_before_and_no_others(monkeypatch, tmp_path):
    for name, text in {"getent": f"echo u:x:1:1::{tmp_path}:/bin/sh", "chown": "", "install": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".ssh").mkdir()
    file, note = tmp_path / ".ssh/authorized_keys", tmp_path / "netorder-key"
    note.write_text("ssh-ed25519 OLD netorder\n")
    file.write_text("ssh-rsa HERS her\nssh-ed25519 OLD netorder\n")

    def podman(*_: str, text: str) -> str:
        script = text.replace("/etc/netorder-key", str(note))
        subprocess.run(["sh", "-s"], input=script, text=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
        return ""

    monkeypatch.setattr(engine, "podman", podman)
    for _ in range(2):
        engine.set_key(Container("id", "t-web", "web", "running", 7), "u", "ssh-ed25519 NEW it's me")
        assert file.read_text() == "ssh-rsa HERS her\nssh-ed25519 NEW it's me\n"
        assert note.read_text() == "ssh-ed25519 NEW it's me\n"
    note.unlink()  # of a host that was made before this was noted
    engine.set_key(Container("id", "t-web", "web", "running", 7), "u", "ssh-ed25519 LAST me")
    assert file.read_text() == "ssh-rsa HERS her\nssh-ed25519 NEW it's me\nssh-ed25519 LAST me\n"


def test_the_keys_of_a_container_are_those_of_its_user(monkeypatch, tmp_path):
    monkeypatch.setattr(observing, "_PROCESSES", tmp_path)
    (tmp_path / "7/root/etc").mkdir(parents=True)
    (tmp_path / "7/root/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\ndebian:x:1:1::/home/it:/bin/sh\n")
    (tmp_path / "7/root/home/it/.ssh").mkdir(parents=True)
    (tmp_path / "7/root/home/it/.ssh/authorized_keys").write_text("ssh-ed25519 KEY\n")
    one = Container("id", "t-web", "web", "running", 7, {"user": "debian"})
    assert observing._authorized_keys(one) == "ssh-ed25519 KEY\n"
    assert observing._authorized_keys(replace(one, settings={"user": "other"})) == ""


def test_the_files_of_a_container_are_those_of_its_ports(monkeypatch, tmp_path):
    monkeypatch.setattr(observing, "_PROCESSES", tmp_path)
    (tmp_path / "7/root/etc/systemd/network").mkdir(parents=True)
    for guest in needs(TWO + "  - {from: anywhere, to: web, tcp: 80}").guests:
        for name, text in guest.files.items():
            (tmp_path / f"7/root{name}").write_text(text)
        one = Container("id", guest.name, guest.host, "running", 7, guest.settings)
        assert {name: observing._read(one, name) for name in observing._file_names(one)} == guest.files


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", ["192.0.2.8"]),
        ("nameserver 127.0.0.1\n", []),
        ("nameserver 192.0.2.7\nnameserver fe80::1\n", ["192.0.2.7"]),
    ],
)
def test_name_servers_of_this_machine(monkeypatch, tmp_path, text, servers):
    """As podman finds them: where systemd-resolved answers, those that it asks."""
    (tmp_path / "resolv.conf").write_text(text)
    (tmp_path / "resolved").write_text("nameserver 192.0.2.8\nnameserver 127.0.0.1\n")
    monkeypatch.setattr(target.kernel, "_RESOLV", tmp_path / "resolv.conf")
    monkeypatch.setattr(target.kernel, "_RESOLVED", tmp_path / "resolved")
    assert target.kernel.name_servers() == servers


def test_the_outside_is_the_prefix_that_is_there():
    link = Link("", 1500, True, ("172.29.7.254/32", "172.29.7.1/24"))
    assert observing.outside(PLAN, Seen({MACHINE: Space({uplink("calculator"): link})}, ())) == OUTSIDE


def test_nothing_outside_means_nothing_on_the_machine():
    text = "topology: t\nnetworks: {a: {cidr: 10.1.0.0/24}}\nhosts: {one: {network: a}}\n"
    what = needs(text)
    assert what.machine is None
    assert not [one for one in what.cables if one.space == MACHINE]


def test_ports_without_security_and_forwarding_hosts():
    what = needs(TWO + "  - {from: anywhere, to: web, tcp: 80}")
    ports = {one.name: one.port for one in what.cables}
    assert ports["t-open"] not in what.filters
    assert ports["t-web"] in what.filters
    assert [sorted(guest.kernel.values()) for guest in what.guests] == [[], ["1", "1", "2"], []]
    assert {mtu for _, mtu in what.bridges.values()} == {1500, 1400}


def test_filters_for_both_kinds_of_kernels():
    assert "table inet" in needs().filters
    assert "table inet" not in needs(tracks=True).filters
    assert needs(tracks=True).filters.count("jump in-") == needs().filters.count("jump in-") == 5


def test_what_a_limited_host_sends_needs_both_ends():
    text = TWO.replace("allow:\n", "egress:\n  - {from: open-not, to: web, tcp: 80}\nallow:\n")
    text = text.replace("  open:", "  open-not: {network: b}\n  open:")
    text += "  - {from: anywhere, to: web, tcp: [80, 81]}\n"
    for tracks in (True, False):
        lines = [line.strip() for line in needs(text, tracks=tracks).filters.splitlines()]
        chain = lines[lines.index("chain out-open-not {") :]
        its = chain[1 : chain.index("}")]
        (rule,) = (line for line in its if " 10.1.0." in line)
        assert rule.startswith("ip daddr 10.1.0.")
        assert rule.endswith("/32 ip protocol tcp th dport 80 return")
        assert its[-1] == "ip version 4 drop"
        assert sum("jump out-" in line for line in lines) == 1
        # before it is let in anywhere
        forward = lines[max(i for i, line in enumerate(lines) if line.startswith("type filter hook forward")) :]
        jumps = [line.split(" jump ")[1].split("-")[0] for line in forward if " jump " in line]
        assert jumps == ["out", *["in"] * 4]


def test_the_marks_of_both_ends_do_not_meet():
    text = TWO.replace("allow:\n", "egress:\n  - {from: shut, all: false}\nallow:\n")
    text = text.replace("  open:", "  shut: {network: b}\n  open:") + "  - {from: anywhere, to: web, tcp: 80}\n"
    lines = [line.strip() for line in needs(text).filters.splitlines()]
    (out,) = (line for line in lines if "jump out-shut" in line)
    assert out == "meta mark and 0xffff0000 == 0x10000 jump out-shut"
    assert len({line for line in lines if "meta mark set mark or" in line}) == 4
    assert "mark set 0x10000" in next(line for line in lines if "iifname" in line and "mark set" in line)


def test_the_outside_meets_nothing_of_the_machine_or_the_plan():
    first = external_prefix(PLAN, [])
    assert first
    assert first.subnet_of(SPACE)
    assert external_prefix(PLAN, []) == first
    second = external_prefix(PLAN, [Way(first, "eth0", connected=True)])
    assert second not in {first, None}


def test_beside_a_vpn_or_docker_there_is_an_outside_too(monkeypatch):
    vpn, docker = Way(IPv4Network("172.16.0.0/12"), "tun0", connected=False), Way(SPACE, "docker0", connected=True)
    for one in (vpn, docker):
        found = external_prefix(PLAN, [one])
        assert found
        assert found.subnet_of(SPARE)
    # all traffic into a VPN, as OpenVPN has it
    halves = [Way(IPv4Network(one), "tun0", connected=False) for one in ("0.0.0.0/1", "128.0.0.0/1")]
    within = external_prefix(PLAN, halves)
    assert within
    assert within.subnet_of(SPACE)
    assert external_prefix(PLAN, [*halves, docker]).subnet_of(SPARE)
    taken = [docker, Way(SPARE, "eth1", connected=True)]
    monkeypatch.setattr(observing.kernel, "routes", lambda: taken)
    with pytest.raises(CloudError, match=r"because of routes .*172.29.0.0/16 \(docker0\), 198.18.0.0/15 \(eth1\)"):
        observing.outside(PLAN, Seen({MACHINE: Space()}, ()))
    rules = "  - {from: [172.16.0.0/12, 198.0.0.0/8], to: web, tcp: 80}"
    plan = build_plan(parse(TWO + rules, target="containers"))
    monkeypatch.setattr(observing.kernel, "routes", list)
    with pytest.raises(CloudError, match=r"because of prefixes of the topology file .*: 172.16.0.0/12, 198.0.0.0/8\. "):
        observing.outside(plan, Seen({MACHINE: Space()}, ()))


def test_another_host_changes_no_floating_address():
    more = TWO.replace("  open:", "  more: {network: a, floating_ip: true}\n  open:")
    rule = "  - {from: anywhere, to: web, tcp: 80}"
    assert needs(TWO + rule).floating["web"] == needs(more + rule).floating["web"]


def test_images_by_name():
    assert image_name("debian-13") == "localhost/netorder/debian-13"
    assert image_name("registry.example/x:1") == "registry.example/x:1"


@pytest.mark.parametrize(
    ("user", "found", "said"),
    [(1000, "/usr/bin/podman", "root alone may do"), (0, None, "podman is not installed")],
)
def test_without_root_or_engine_it_says_what_to_do(monkeypatch, tmp_path, user, found, said):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "_DOCKER", tmp_path / "none")
    monkeypatch.setattr(engine.os, "geteuid", lambda: user)
    monkeypatch.setattr(engine.shutil, "which", lambda *_args, **_options: found)
    with pytest.raises(CloudError, match=said):
        engine.check_engine()


def test_what_podman_without_root_lacks_is_said_with_its_fix(monkeypatch, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine.os, "geteuid", lambda: 54321)  # of nobody
    monkeypatch.setattr(engine.shutil, "which", lambda tool, **_: f"/usr/bin/{tool}" if tool == "podman" else None)
    monkeypatch.setattr(engine, "_TUN", tmp_path / "none")
    monkeypatch.setattr(engine, "_hybrid", lambda: True)
    with pytest.raises(CloudError) as caught:
        engine.check_engine()
    said = "\n".join(caught.value.problems)
    for fix in ("apt-get install uidmap", "usermod --add-subuids 100000-165535 54321", "--add-subgids",
                "apt-get install slirp4netns", "chmod 666", "which crun refuses"):  # fmt: skip
        assert fix in said


@pytest.mark.parametrize("named", ["unix:///run/docker.sock", "ssh://user@other", "tcp://192.0.2.1:2375"])
def test_docker_is_refused_with_the_reason_and_the_way(monkeypatch, named):
    monkeypatch.setenv("DOCKER_HOST", named)
    with pytest.raises(CloudError, match=r"DOCKER_HOST is .* joins no named network namespace.*netorder compose FILE"):
        engine.check_engine()


def test_the_socket_of_podman_is_no_docker(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/podman/podman.sock")
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine.shutil, "which", lambda *_args, **_options: "/usr/bin/it")
    engine.check_engine()


def test_docker_alone_is_not_enough(monkeypatch, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "_DOCKER", tmp_path)
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine.shutil, "which", lambda *_args, **_options: None)
    with pytest.raises(CloudError, match="Docker is on this machine and podman is not"):
        engine.check_engine()


def test_a_host_key_counts_only_when_the_container_has_become_its_host(monkeypatch, tmp_path):
    """One that is made from a snapshot has the key of the host before, until its first start is through."""
    etc = tmp_path / "7/root/etc"
    (etc / "ssh").mkdir(parents=True)
    (etc / "ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 OLD root@sum\n")
    (etc / "netorder-instance").write_text("other")
    monkeypatch.setattr(observing, "_PROCESSES", tmp_path)
    monkeypatch.setattr(observing, "_KEY_TIMEOUT", 0.2)
    one = Container("id", "calculator-sum", "sum", "running", 7, instance="mine")
    assert observing.host_key(one) is None
    (etc / "ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 NEW root@sum\n")
    (etc / "netorder-instance").write_text("mine")
    assert observing.host_key(one) == "ssh-ed25519 NEW"
    assert observing.host_key(replace(one, pid=8)) is None


@pytest.mark.parametrize("what", ["link", "directory link", "pipe", "zero"])
def test_files_of_a_container_do_not_lead_out_of_it(monkeypatch, tmp_path, what):
    """Its root may put anything there."""
    monkeypatch.setattr(observing, "_PROCESSES", tmp_path)
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "netorder-health").write_text("secret")
    etc = tmp_path / "7/root/etc"
    etc.parent.mkdir(parents=True)
    if what == "directory link":
        etc.symlink_to(secret)
    else:
        etc.mkdir()
        file = etc / "netorder-health"
        if what == "pipe":
            os.mkfifo(file)
        else:
            file.symlink_to(secret / "netorder-health" if what == "link" else "/dev/zero")
    one = Container("id", "calculator-sum", "sum", "running", 7)
    assert observing._health(one) == ""


def test_who_lacks_a_route_is_told_and_nothing_leaves_the_topology():
    (external,) = (one for one in needs().routings if one.ruleset)
    assert (
        'oifname "ext" ip daddr { 192.168.1.0/24, 192.168.2.0/24 } reject with icmp net-unreachable' in external.ruleset
    )


def test_the_target_of_the_command_line_takes_the_place_of_the_files(tmp_path, capsys, monkeypatch):
    file = tmp_path / "t.yml"
    file.write_text(TWO.replace("web: {", "web: {tags: [x], ") + "  - {from: 192.0.2.0/24, to: web, tcp: 80}\n")
    assert main(["check", str(file)]) == 0
    assert main(["check", "--target", "containers", str(file)]) == 1
    assert f"{file}:6:15: error: target `containers` has no `tags`: they are Nova's" in capsys.readouterr().err
    monkeypatch.setenv("NETORDER_TARGET", "containers")
    assert main(["check", str(file)]) == 1
    monkeypatch.setenv("NETORDER_TARGET", "contaners")
    assert main(["check", str(file)]) == 2
    assert "did you mean `containers`?" in capsys.readouterr().err
