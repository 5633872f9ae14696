"""Manual changes: playbooks/drift.yml reports them and changes nothing, a run repairs them and nothing else.

The tests run in this order; before and after each of them everything matches the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from netorder.controller import records, state
from playbooks import ROOT, changes, drift, topology_file

if TYPE_CHECKING:
    from pathlib import Path

    import openstack
    from conftest import On

    from netorder.plan.model import Plan

# All that a run might touch: files with their times, what is in force, since when the services run.
INSIDE = """
find /etc/systemd /etc/sysctl.d /etc/default /usr/local/lib -printf '%p %T@ %C@\\n' | sort
ip -o route; ip -o address | sed 's/ valid_lft.*//'
cat /proc/sys/net/ipv4/ip_forward
systemctl show 'netorder-*' -p Id -p ActiveState -p UnitFileState -p ActiveEnterTimestamp -p NRestarts -p MainPID
"""
# Another version in place of the planned one: an artefact with a file more, a unit that names it, a service running it.
OLD_VERSION = """
set -e
cd /usr/local/lib; planned=$(grep -o 'netorder-calculator-[0-9a-f]*.pyz' /etc/systemd/system/netorder-div.service)
python3 - "$planned" > /tmp/old.pyz <<'PROGRAM'
import shutil, sys, zipfile
shutil.copy(sys.argv[1], "/tmp/new.zip")
with zipfile.ZipFile("/tmp/new.zip", "a") as archive:
    archive.writestr("OLD", "an older version")
sys.stdout.buffer.write(open("/tmp/new.zip", "rb").read())
PROGRAM
old=netorder-calculator-$(sha256sum /tmp/old.pyz | cut -c1-12).pyz
install -m 644 /tmp/old.pyz "$old"
sed -i "s/$planned/$old/" /etc/systemd/system/netorder-div.service
systemctl daemon-reload; systemctl restart netorder-div
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Give a place for drift's report."""
    return tmp_path / "drift.json"


# else addresses and forwarding of others are none of netorder's
FOUND = (records.FILE, records.PAGE)
MANAGED = ("-e", '{"netorder_manage": {"addresses": true, "forwarding": true}}')


def revisions(cloud: openstack.connection.Connection, topology: str) -> dict[tuple[str, str], Any]:
    """Return what the cloud counts up when a resource changes, by type and id; of servers, when they changed."""
    marked = {"description": f"netorder:{topology}"}
    net = cloud.network
    kinds = {
        "network": net.networks,
        "subnet": net.subnets,
        "router": net.routers,
        "port": net.ports,
        "security group": net.security_groups,
        "floating IP": net.ips,
    }
    found: dict[tuple[str, str], Any] = {
        (kind, one.name): one.revision_number for kind, listed in kinds.items() for one in listed(**marked)
    }
    servers = [one for one in cloud.compute.servers() if one.name.startswith(f"{topology}-")]
    return found | {("server", one.name): (one.status, one.updated_at) for one in servers}


def inside(on: On, hosts: list[str]) -> dict[str, str]:
    """Return what each host is like inside."""
    return {host: on(host).check_output(INSIDE) for host in hosts}


def kept_here(topology: str) -> dict[str, int]:
    """Return when each file on the controller was written, but for those that say what was found."""
    directory = state.directory(ROOT / ".netorder", None, topology)
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir() if path.name not in FOUND}


def named(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Return where each difference is, and of what, without line numbers."""
    return {(one["where"], one["what"].partition(", line ")[0]) for one in found["differences"]}


def test_drift_of_each_kind_is_reported_and_nothing_changes_until_a_run_repairs_just_that(
    cloud: openstack.connection.Connection, the_plan: Plan, on: On, report: Path
) -> None:
    """Rules, a router's extra route, routes, addresses, forwarding, a service's state, its unit, its version."""
    topology = the_plan.topology
    hosts = [host.name for host in the_plan.hosts]
    as_planned = revisions(cloud, topology)
    groups = {group.name: group for group in cloud.network.security_groups(description=f"netorder:{topology}")}
    mul, sum_ = groups[f"{topology}-mul"], groups[f"{topology}-sum"]
    rules = cloud.network.security_group_rules(security_group_id=mul.id, direction="ingress", protocol="tcp")
    (rule,) = [rule for rule in rules if rule.port_range_min == 50003]
    cloud.network.delete_security_group_rule(rule)
    cloud.network.create_security_group_rule(
        security_group_id=sum_.id, direction="ingress", ethertype="IPv4", protocol="tcp",
        port_range_min=9999, port_range_max=9999,
    )  # fmt: skip
    router = cloud.network.find_router(f"{topology}-rt1", ignore_missing=False)
    neighbour = next(host for host in the_plan.hosts if host.name == "neighbour")
    route = {"destination": "10.99.0.0/16", "nexthop": neighbour.addresses[0]}
    cloud.network.add_extra_routes_to_router(router, {"router": {"routes": [route]}})
    on("neighbour").check_output("ip route del 192.168.2.0/24")
    on("calculator").check_output("ip address add 192.168.1.77/24 dev eth0")
    on("sum").check_output("sysctl -w net.ipv4.ip_forward=1")
    on("sub").check_output("systemctl disable --now netorder-sub")
    on("mul").check_output(
        "sed -i 's/^RestartSec=.*/RestartSec=9/' /etc/systemd/system/netorder-mul.service && systemctl daemon-reload"
    )
    on("div").check_output(OLD_VERSION)

    before = (revisions(cloud, topology), inside(on, hosts), kept_here(topology))
    found = drift(report, *MANAGED)
    assert (revisions(cloud, topology), inside(on, hosts), kept_here(topology)) == before
    assert named(found) == {
        ("cloud", f"security group {topology}-mul: rules"),
        ("cloud", f"security group {topology}-sum: rules"),
        ("cloud", f"router {topology}-rt1: routes"),
        ("neighbour", f"route 192.168.2.0/24 via {neighbour.routes[0].next_hop}"),
        ("calculator", "address 192.168.1.77/24 on eth0"),
        ("sum", "net.ipv4.ip_forward"),
        ("sub", "unit netorder-sub.service"),
        ("mul", "file /etc/systemd/system/netorder-mul.service"),
        ("div", "file /etc/systemd/system/netorder-div.service"),
        ("div", "version of netorder-div.service"),
    }
    assert found["not_checked"] == {}

    routes, service = "host_network : Configure the network of the host", "calculator : Run the service now and at boot"
    expected = {
        ("Make the cloud match the plan", "localhost"),
        *((routes, host) for host in ("neighbour", "calculator", "sum")),
        *((service, host) for host in ("sub", "mul", "div")),
    }
    preview = changes("site.yml", "--check", "--diff", "--skip-tags", "verify", *MANAGED)
    assert preview == expected
    assert (revisions(cloud, topology), inside(on, hosts), kept_here(topology)) == before
    assert changes("site.yml", *MANAGED) == expected
    now = revisions(cloud, topology)
    assert {one for one in as_planned.keys() | now.keys() if as_planned.get(one) != now.get(one)} == {
        ("security group", mul.name),
        ("security group", sum_.name),
        ("router", router.name),
    }


def test_causes_of_unreachable_hosts_are_distinguished_from_consequences(
    cloud: openstack.connection.Connection, the_plan: Plan, on: On, report: Path
) -> None:
    """Without its floating IP the first host is out of reach, and so are all behind it: none is reported as drift."""
    topology = the_plan.topology
    (floating,) = cloud.network.ips(description=f"netorder:{topology}")
    cloud.network.update_ip(floating, port_id=None)
    server = cloud.compute.find_server(f"{topology}-div", ignore_missing=False)
    cloud.compute.stop_server(server)
    cloud.compute.wait_for_server(server, status="SHUTOFF", wait=120)

    before = revisions(cloud, topology)
    found = drift(report)
    assert revisions(cloud, topology) == before
    assert named(found) == {("cloud", "floating IP calculator: port"), ("cloud", f"server {topology}-div: status")}
    assert found["not_checked"].keys() == {host.name for host in the_plan.hosts}

    assert changes("site.yml") == {("Make the cloud match the plan", "localhost")}
    # includes what the test before broke
    assert drift(report)["differences"] == []
    assert on("div").service("netorder-div").is_running


def test_what_a_run_would_refuse_is_in_the_report_beside_what_it_would_change(the_plan: Plan, report: Path) -> None:
    """A flavor that the cloud does not have, and a host that does not exist yet."""
    topology = topology_file()
    topology["hosts"]["div"]["flavor"] = "none-such"
    topology["hosts"]["more"] = {"network": the_plan.hosts[0].ports[0].network}
    changed = report.with_name("topology.yml")
    changed.write_text(yaml.safe_dump(topology))
    found = drift(report, "-e", f"topology={changed}")
    name = the_plan.topology
    assert named(found) == {
        ("cloud", f"server {name}-div: flavor"),
        # the same sources may reach it as neighbour, so it needs no security group of its own
        *(("cloud", f"{kind} {name}-more") for kind in ("port", "server")),
    }
    assert [problem.partition(". ")[0] for problem in found["refused"]] == [
        "Host div: flavor none-such does not exist in this cloud"
    ]
