"""What was made on a real cloud is written by `netorder import` as though it were nobody's, and is the same plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned import in_the_cloud

from netorder.cloud.importing.ask import ask
from netorder.cloud.importing.make import make
from netorder.cloud.session import connect
from netorder.language.load import load
from netorder.plan.build import build_plan

pytestmark = pytest.mark.full

TOPOLOGY = """\
topology: lab
networks:
  front: {cidr: [192.168.71.0/24, "fd00:71::/64"], dns_nameservers: [9.9.9.9]}
  back: {cidr: 192.168.72.0/24}
  deep: {cidr: 192.168.73.0/24, mtu: 1300}
routers:
  edge: {external: true, networks: [front]}
  inner: {networks: [front, back]}
hosts:
  web: {network: front, count: 2, floating_ip: true}
  gate: {networks: [back, deep], forward: true}
  db: {network: deep, metadata: {owner: anna}, tags: [store]}
  twins: {network: back, count: 2, virtual_addresses: 192.168.72.100, server_group: soft-anti-affinity}
allow:
  - {from: 203.0.113.0/24, to: web, tcp: 22}
  - {from: anywhere, to: web, tcp: [80, 443], icmp: true}
  - {from: web, to: db, tcp: 5432, udp: 5000-5010}
  - {within: twins, protocol: vrrp}
egress:
  - {from: db, to: web, tcp: 443}
"""


class Nobodys:
    """A resource without what netorder writes on it."""

    def __init__(self, one):
        self._one = one

    def __getattr__(self, name):
        value = getattr(self._one, name)
        if name == "description":
            return ""
        if name == "tags":
            return [tag for tag in value or () if not tag.startswith("netorder:")]
        if name == "metadata":
            return {key: text for key, text in value.items() if not key.startswith("netorder_")}
        return value


@pytest.mark.parametrize("owned", [False, True])
def test_what_was_made_is_written_as_it_was_ordered(site, owned):
    site.run(TOPOLOGY)
    plan = build_plan(load(site.directory / "topology.yml"))
    before = site.listing()
    found = ask(connect(print))
    if not owned:
        kinds = ("networks", "subnets", "routers", "ports", "groups", "floating_ips", "servers")
        found = replace(found, **{kind: tuple(map(Nobodys, getattr(found, kind))) for kind in kinds})
    imported = make(found, "lab", None if owned else "lab-")
    assert site.listing() == before
    file = site.directory / "imported.yml"
    file.write_text(imported.text)
    assert imported.owned is owned
    assert in_the_cloud(build_plan(load(file))) == in_the_cloud(plan), imported.text
    assert not imported.left_out
    assert not imported.differences.problems
    assert not imported.differences.changes, imported.differences.changes
    if owned:  # and a run of it finds nothing to do
        assert not site.run(imported.text, check=True)["changes"]
