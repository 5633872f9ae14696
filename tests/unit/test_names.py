"""Names of other hosts: which address each host finds, and the block in its hosts file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netorder.ansible.plans import names
from tests.unit.test_host_network import converge, guest, host_network

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

__all__ = ["guest", "host_network"]  # fixtures

TOPOLOGY = """
topology: t
defaults: {names: hosts_file}
networks:
  front: {cidr: [10.1.0.0/24, "fd00:1::/64"]}
  back: {cidr: 10.2.0.0/24}
  alone: {cidr: 10.3.0.0/24}
routers:
  edge: {external: true, networks: [front]}
hosts:
  jump: {networks: {front: [10.1.0.10, "fd00:1::10"], back: 10.2.0.10}, floating_ip: true}
  web: {network: front, address: [10.1.0.20, "fd00:1::20"]}
  db: {network: back, address: 10.2.0.30}
  island: {network: alone, address: 10.3.0.40}
  quiet: {network: front, address: [10.1.0.50, "fd00:1::50"], names: none}
allow: [{from: 203.0.113.0/24, to: jump, tcp: 22}]
"""
BEGIN = "# BEGIN netorder, names of the topology's hosts: changes made here are overwritten\n"
WEB = {"address": "10.1.0.20", "name": "web"}
WEB6 = {"address": "fd00:1::20", "name": "web"}
DB = {"address": "10.2.0.30", "name": "db"}
THEIRS = "127.0.0.1 localhost\n127.0.1.1 me\n10.9.9.9 db\n"
BLOCK = BEGIN + "10.1.0.20 web\nfd00:1::20 web\n10.2.0.30 db\n# END netorder\n"


@pytest.fixture
def topology(tmp_path: Path) -> str:
    (tmp_path / "t.yml").write_text(TOPOLOGY)
    return str(tmp_path / "t.yml")


def found(topology: str, host: str) -> dict[str, list[str]]:
    """Return the addresses that a host finds by each name."""
    by_name: dict[str, list[str]] = {}
    for one in names(topology, host):
        by_name.setdefault(one["name"], []).append(one["address"])
    return by_name


def test_each_host_finds_the_address_on_its_own_side(topology):
    assert found(topology, "web")["jump"] == ["10.1.0.10", "fd00:1::10"]
    assert found(topology, "db") == {"jump": ["10.2.0.10"]}  # nothing joins back and front: jump does not forward


def test_what_no_path_leads_to_has_no_name(topology):
    assert found(topology, "jump").keys() == {"web", "db", "quiet"}
    assert found(topology, "island") == {}


def test_a_host_without_the_key_has_none(topology):
    assert names(topology, "quiet") == []


def hosts(guest) -> Path:
    return guest.root / "etc/hosts"


def test_the_block_comes_goes_and_leaves_others_lines_alone(guest, host_network: ModuleType):
    hosts(guest).parent.mkdir(exist_ok=True)
    hosts(guest).write_text(THEIRS)
    hosts(guest).chmod(0o640)
    seen = converge(host_network, set(), names=[WEB, WEB6, DB], check_mode=True)
    assert seen["changed"]
    assert hosts(guest).read_text() == THEIRS
    assert seen["differences"] == [{"what": f"names in {hosts(guest)}", "expected": "3 of netorder", "found": "none"}]
    assert converge(host_network, set(), names=[WEB, WEB6, DB])["changed"]
    assert hosts(guest).read_text() == THEIRS + BLOCK
    assert hosts(guest).stat().st_mode & 0o777 == 0o640
    again = converge(host_network, set(), names=[WEB, WEB6, DB])
    assert (again["changed"], again["in_line"]) == (False, True)
    hosts(guest).write_text(hosts(guest).read_text() + "10.8.8.8 after\n")
    less = converge(host_network, set(), names=[WEB])
    assert {(one["expected"], one["found"]) for one in less["differences"]} == {
        ("none", "fd00:1::20 web"),
        ("none", "10.2.0.30 db"),
    }
    assert "10.2.0.30 db" in less["diff"]["before"]
    assert hosts(guest).read_text() == THEIRS + BEGIN + "10.1.0.20 web\n# END netorder\n10.8.8.8 after\n"
    converge(host_network, set())
    assert hosts(guest).read_text() == THEIRS + "10.8.8.8 after\n"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (None, BLOCK),
        ("127.0.0.1 localhost", "127.0.0.1 localhost\n" + BLOCK),
        ("a\r\nb\r\n", "a\r\nb\r\n" + BLOCK),
        ("1.2.3.4 a # BEGIN netorder\n", "1.2.3.4 a # BEGIN netorder\n" + BLOCK),
    ],
)
def test_whatever_the_file_is_like(guest, host_network: ModuleType, text: str | None, after: str):
    hosts(guest).parent.mkdir(exist_ok=True)
    if text is not None:
        hosts(guest).write_bytes(text.encode())
    converge(host_network, set(), names=[WEB, WEB6, DB])
    assert hosts(guest).read_bytes().decode() == after


def test_bytes_that_are_no_text_stay(guest, host_network: ModuleType):
    hosts(guest).parent.mkdir(exist_ok=True)
    hosts(guest).write_bytes(b"# caf\xe9\n")
    converge(host_network, set(), names=[DB])
    assert hosts(guest).read_bytes().startswith(b"# caf\xe9\n# BEGIN")


def test_a_link_stays_a_link(guest, host_network: ModuleType):
    hosts(guest).parent.mkdir(exist_ok=True)
    (guest.root / "etc/real").write_text(THEIRS)
    hosts(guest).symlink_to("real")
    converge(host_network, set(), names=[WEB, WEB6, DB])
    assert str(hosts(guest).readlink()) == "real"
    assert (guest.root / "etc/real").read_text() == THEIRS + BLOCK


def test_somebody_altered_the_block(guest, host_network: ModuleType):
    hosts(guest).parent.mkdir(exist_ok=True)
    hosts(guest).write_text(THEIRS + BLOCK.replace("10.2.0.30 db", "10.2.0.31 db"))
    seen = converge(host_network, set(), names=[WEB, WEB6, DB], check_mode=True)
    assert {(one["expected"], one["found"]) for one in seen["differences"]} == {
        ("10.2.0.30 db", "10.2.0.31 db"),
    }


@pytest.mark.parametrize("text", [BEGIN, "# END netorder\n", BLOCK + BLOCK, "# END netorder\n" + BEGIN])
def test_marks_that_are_no_pair_are_an_error(guest, host_network: ModuleType, text: str):
    hosts(guest).parent.mkdir(exist_ok=True)
    hosts(guest).write_text(text)
    with pytest.raises(host_network.HostNetworkError, match="not one pair"):
        converge(host_network, set(), names=[WEB])
    assert hosts(guest).read_text() == text


def test_what_cloud_init_makes_the_file_from_has_the_block_too(guest, host_network: ModuleType):
    template = guest.root / "etc/cloud/templates/hosts.debian.tmpl"
    template.parent.mkdir(parents=True)
    template.write_text("## template:jinja\n127.0.1.1 {{fqdn}} {{hostname}}\n")
    other = template.with_name("hosts.redhat.tmpl")
    other.write_text("not this one\n")
    says = "# Your system has configured 'manage_etc_hosts' as True.\n# a.) /etc/cloud/templates/hosts.debian.tmpl or\n"
    hosts(guest).write_text(says)
    converge(host_network, set(), names=[WEB, WEB6, DB])
    assert template.read_text() == "## template:jinja\n127.0.1.1 {{fqdn}} {{hostname}}\n" + BLOCK
    assert other.read_text() == "not this one\n"
    hosts(guest).write_text(says + BLOCK)  # as the next boot makes it
    assert not converge(host_network, set(), names=[WEB, WEB6, DB])["changed"]


def test_a_template_of_a_file_that_cloud_init_leaves_alone_stays(guest, host_network: ModuleType):
    template = guest.root / "etc/cloud/templates/hosts.debian.tmpl"
    template.parent.mkdir(parents=True)
    template.write_text("x\n")
    hosts(guest).write_text(THEIRS)
    converge(host_network, set(), names=[WEB])
    assert template.read_text() == "x\n"


def test_an_address_that_is_none_is_named(host_network: ModuleType):
    with pytest.raises(host_network.HostNetworkError, match=r"names\[0\]\.address"):
        converge(host_network, set(), names=[{"address": "db", "name": "db"}])
