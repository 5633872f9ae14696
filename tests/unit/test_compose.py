"""`netorder compose` without an engine: where files are, what is refused, what the file says to compose."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network, ip_network
from pathlib import Path

import pytest
import yaml

from netorder.cli.main import main
from netorder.containers import kernel
from netorder.containers.compose import compose, outside_prefix
from netorder.errors import NetorderError, TopologyError
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
FILE = ROOT / "topologies/calculator.yml"
SMALL = """
topology: small
networks: {a: {cidr: CIDR}}
routers: {out: {external: true, networks: [a]}}
applications: {web: {role: nginx_site, ports: [8080], container: {image: web}}}
hosts: {web: {network: a, count: COUNT, applications: [web]}}
allow: [{from: anywhere, to: web, tcp: 8080}]
"""


def planned(cidr: str = "10.1.0.0/24", count: int = 1, text: str = SMALL):
    return build_plan(parse(text.replace("CIDR", cidr).replace("COUNT", str(count)), target="containers"))


def composed(text: str = SMALL, **options) -> dict:
    plan = planned(text=text, **options)
    return yaml.safe_load(compose(plan, outside_prefix(plan), ".", "t.yml"))


def test_an_image_is_built_from_its_directory_wherever_the_file_is_written(tmp_path, capsys, monkeypatch):
    """Relative to the compose file; without one to the working directory."""
    target = tmp_path / "kept/compose.yml"
    target.parent.mkdir()
    assert main(["compose", str(FILE), "-o", str(target)]) == 0
    context = yaml.safe_load(target.read_text())["services"]["sum"]["build"]["context"]
    assert (target.parent / context / "Containerfile").is_file()
    monkeypatch.chdir(ROOT)
    capsys.readouterr()
    assert main(["compose", "topologies/calculator.yml"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["services"]["sum"]["build"]["context"] == "./applications/calculator"


def test_a_file_that_cannot_be_written_is_named(tmp_path, capsys):
    assert main(["compose", str(FILE), "-o", str(tmp_path / "no/where.yml")]) == 1
    assert "where.yml cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("10.99.0.0", "is too small: /24 or shorter"),
        ("10.99.0.0/25", "is too small"),
        ("10.99.0.1/24", "is not an IPv4 prefix"),
        ("fd00::/64", "is not an IPv4 prefix"),
        ("192.168.0.0/16", "overlaps network `net1` (192.168.1.0/24)"),
    ],
)
def test_an_outside_that_cannot_be(prefix, said, capsys):
    assert main(["compose", str(FILE), "--outside", prefix]) == 2
    assert said in capsys.readouterr().err


def test_the_outside_is_as_named(capsys):
    assert main(["compose", str(FILE), "--outside", "10.99.0.0/24"]) == 0
    whole = yaml.safe_load(capsys.readouterr().out)
    assert whole["networks"]["outside"]["ipam"]["config"] == [{"subnet": "10.99.0.0/24", "gateway": "10.99.0.1"}]
    assert whole["services"]["router.rt1"]["networks"]["outside"] == {"ipv4_address": "10.99.0.2"}


def test_a_range_of_ports_is_published():
    text = SMALL.replace("tcp: 8080}", "tcp: [20-30, 8000-8100], udp: 53}").replace(
        "a, count", "a, floating_ip: true, count"
    )
    router = composed(text)["services"]["router.out"]
    assert router["ports"] == ["20-21:20-21", "23-30:23-30", "8000-8100:8000-8100", "53:53/udp"]
    assert "tcp dport 8000-8100 dnat to 10.1.0." in router["command"][0]


def test_published_ports_answer_a_lan_with_a_prefix_of_the_plan():
    """Who asks from there looks like the router, which the rule of a wider prefix lets in too."""
    text = SMALL.replace("a, count", "a, floating_ip: true, count").replace("from: anywhere", "from: [FROM]")
    text = text.replace("FROM", "10.0.0.0/8, 198.51.100.0/24")
    router, host = (composed(text)["services"][name]["command"][0] for name in ("router.out", "web-1.network"))
    assert 'oifname != "$$outside" ip saddr { 10.1.0.0/24 } ct status & dnat == dnat masquerade\n' in router
    assert [line.strip() for line in host.splitlines() if "10.1.0.1/32" in line] == [
        "ip saddr 10.1.0.1/32 ip protocol tcp th dport 8080 accept"
    ]
    inner = composed(text.replace("floating_ip: true", "floating_ip: false"))["services"]["web-1.network"]
    assert "10.1.0.1/32" not in inner["command"][0]


def test_the_drawn_outside_is_nobody_elses():
    one = planned()
    drawn = outside_prefix(one)
    assert drawn == outside_prefix(one)
    there = planned(cidr=str(drawn))
    assert outside_prefix(there) != drawn
    assert not ip_network(there.networks[0].subnets[0].cidr).overlaps(outside_prefix(there))
    assert outside_prefix(planned(cidr="172.29.0.0/16")) is None


def test_an_application_without_an_image_is_an_error_at_its_place():
    text = SMALL.replace(", container: {image: web}", "")
    with pytest.raises(TopologyError, match=r":5:16: error: application `web` of web-1 has no `container`"):
        composed(text)


def test_what_containers_cannot_do_is_refused_as_by_the_target(capsys):
    assert main(["compose", str(ROOT / "topologies/gateway-host.yml")]) == 1
    assert "topologies/gateway-host.yml:8:17: error: target `containers` has no IPv6 yet" in capsys.readouterr().err


def test_the_engine_takes_an_address_that_nobody_has():
    plan = planned(cidr="10.1.0.0/28", count=6)
    taken = {address for host in plan.hosts for address in host.addresses} | {"10.1.0.1"}
    assert composed(cidr="10.1.0.0/28", count=6)["networks"]["a"]["ipam"]["config"][0]["gateway"] not in taken


def test_a_network_without_an_address_for_the_engine_is_an_error():
    """A router and a host are all that a /30 has room for, where nothing is kept for Neutron."""
    full = SMALL.replace("{cidr: CIDR}", "{cidr: CIDR, dhcp: false}")
    with pytest.raises(NetorderError, match=r"network `a` \(10.1.0.0/30\) is full: the engine needs an address"):
        composed(full, cidr="10.1.0.0/30")


def test_only_what_holds_networks_has_a_capability():
    for name, service in composed(count=3)["services"].items():
        holds = name.endswith(".network") or name.startswith("router.")
        assert service.get("cap_add", []) == (["NET_ADMIN"] if holds else [])
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
        assert ("network_mode" in service) != holds


@pytest.mark.parametrize("service", ["web-1.network", "router.out"])
@pytest.mark.parametrize("knows", [True, False])
def test_an_engine_that_draws_mac_addresses_is_found_before_anything_is_ready(tmp_path, service, knows):
    """The filters drop what has others: a container says that, and ends, with the filters in place."""
    its = composed()["services"][service]
    planned = its["networks"]["a"]["mac_address"]
    links = f"2: eth0@if9: <UP> mtu 1500 link/ether {planned if knows else '02:00:00:00:00:01'} brd ff:ff:ff:ff:ff:ff"
    for program in ("ip", "nft", "touch", "sleep"):
        said = f"echo '{links}'" if program == "ip" else ":"
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@" >>{tmp_path}/done\n{said}\n')
        (tmp_path / program).chmod(0o755)
    script = its["command"][0].replace("$$", "$")
    done = subprocess.run(
        ["sh", "-euc", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    did = (tmp_path / "done").read_text()
    assert "nft -f -" in did
    assert (done.returncode == 0, "touch /run/netorder-ready" in did) == (knows, knows)
    said = done.stderr.splitlines()
    assert len(said) == (not knows)
    if not knows:
        assert f"no device has the MAC address {planned}" in said[0]
        assert "podman-compose 1.3.0" in said[0]


def test_the_file_says_which_programs_know_what_it_says():
    head = compose(planned(), IPv4Network("172.29.1.0/24"), ".", "t.yml").partition("\nname:")[0]
    for words in ("podman-compose 1.3.0", "Docker Compose 2.24.0", "Docker Engine 25", "a bridge on the machine"):
        assert words in head


WAYS = (("10.0.0.0/8", "tun0"), ("10.9.0.0/24", "e"))


def test_a_route_of_this_machine_that_a_bridge_would_take_is_warned_of(tmp_path, capsys, monkeypatch):
    file = tmp_path / "t.yml"
    file.write_text(SMALL.replace("CIDR", "10.1.0.0/24").replace("COUNT", "1"))
    routes = [kernel.Way(IPv4Network(one), device, connected=False) for one, device in WAYS]
    monkeypatch.setattr(kernel, "routes", lambda: routes)
    assert main(["compose", str(file)]) == 0
    said = capsys.readouterr().err
    assert "network `a` (10.1.0.0/24) overlaps 10.0.0.0/8, to which this machine has a route (tun0)" in said
    assert said.count("overlaps") == 1
    assert main(["compose", str(file), "--outside", "10.9.0.0/23"]) == 0
    assert "network `outside` (10.9.0.0/23) overlaps 10.9.0.0/24" in capsys.readouterr().err


def test_low_ports_are_open_to_applications_without_a_capability():
    key = "net.ipv4.ip_unprivileged_port_start"
    assert "sysctls" not in composed()["services"]["web-1.network"]
    assert composed(SMALL.replace("[8080]", "[80]"))["services"]["web-1.network"]["sysctls"] == {key: "0"}


def test_a_dollar_is_no_variable_of_compose():
    text = SMALL.replace("image: web", 'image: web, command: ["$HOME", "{{ application.port }}"]')
    assert composed(text)["services"]["web-1"]["command"] == ["$$HOME", "8080"]


def test_every_topology_of_ours_is_composed_or_says_why_not(capsys):
    """In sentences with a place, whatever it is."""
    for file in sorted((ROOT / "topologies").glob("*.yml")):
        status = main(["compose", str(file)])
        said = capsys.readouterr()
        assert status in {0, 1}, file
        if status == 0:
            whole = yaml.safe_load(said.out)
            plan = build_plan(load(file, "containers"))
            fixed = {
                its["ipv4_address"] for one in whole["services"].values() for its in one.get("networks", {}).values()
            }
            assert {host.ports[0].addresses[0] for host in plan.hosts} <= fixed, file
            outside = IPv4Network(whole["networks"]["outside"]["ipam"]["config"][0]["subnet"])
            assert outside.prefixlen == 24
        else:
            assert f"{file}:" in said.err
            assert ": error: " in said.err
