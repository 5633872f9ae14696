"""What runs matches the plan, observed on the hosts and from outside."""

from __future__ import annotations

import json
import shlex
import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING

from netorder.analysis.probes import from_inside, from_outside, listens_on
from netorder.analysis.reach import Matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    import testinfra
    from conftest import On

    from netorder.plan.model import Host, Plan

# On the host: try all connections at once, print those that were accepted. Guests have Python, and need have no nc.
CONNECT = """
import concurrent.futures, json, socket, sys
def accepts(target):
    try:
        socket.create_connection(target, 4).close()
    except OSError:
        return False
    return True
targets = [tuple(target) for target in json.loads(sys.argv[1])]
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps([target for target, ok in zip(targets, pool.map(accepts, targets)) if ok]))
"""


def accepting(host: testinfra.host.Host, targets: list[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return the targets that accept a connection from ``host``."""
    result = host.check_output(f"python3 -c {shlex.quote(CONNECT)} {shlex.quote(json.dumps(targets))}")
    return {(address, port) for address, port in json.loads(result)}


def test_the_host_has_its_name_and_its_planned_addresses(planned: Host, on: On) -> None:
    """The addresses are the plan's, not ones that DHCP chose."""
    guest = on(planned)
    links = json.loads(guest.check_output("ip -json address show scope global"))
    # an address of another scope is an empty entry
    found = {entry["local"] for link in links for entry in link.get("addr_info", []) if entry}
    assert (guest.check_output("hostname"), found) == (planned.name, set(planned.addresses))


def test_a_host_forwards_if_it_is_planned_to(planned: Host, on: On) -> None:
    """In both IP versions."""
    said = on(planned).check_output("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding")
    assert said.split() == (["1", "1"] if planned.forwarding else ["0", "0"])


def test_the_routes_are_in_force(routed: Host, on: On) -> None:
    """By the kernel's own lookup: which router a packet for the other network goes to."""
    for route in routed.routes:
        target = ip_network(route.destination)[1]
        answer = json.loads(on(routed).check_output(f"ip -json route get {target}"))
        assert answer[0]["gateway"] == route.next_hop


def test_the_routes_are_written_down(routed: Host, on: On) -> None:
    """In files that networkd can read and only root can change: a drop-in of each interface's own file."""
    guest = on(routed)
    found = guest.check_output("find /etc/systemd/network -name zz-netorder.conf")
    files = [guest.file(path) for path in found.split()]
    assert {(file.user, file.mode) for file in files} == {("root", 0o644)}
    said = "".join(file.content_string for file in files)
    lacking = [one for one in routed.routes if f"Destination={one.destination}\nGateway={one.next_hop}" not in said]
    assert lacking == []


def test_the_service_runs_now_and_at_boot(serving: Host, the_plan: Plan, on: On) -> None:
    """Listening on its port at the plan's address alone, under an account that is not root's."""
    (application,) = serving.applications
    (name,), (port,) = application.units, application.tcp_ports
    guest = on(serving)
    unit = guest.service(name)
    assert (unit.is_running, unit.is_enabled) == (True, True)
    listening = [place for place in guest.socket.get_listening_sockets() if place.endswith(f":{port}")]
    assert listening == [f"tcp://{listens_on(Matrix(the_plan), serving)}:{port}"]
    user = guest.check_output(f"ps -o user= -p $(systemctl show -p MainPID --value {name})")
    assert user.strip() not in {"root", ""}


def test_a_host_reaches_what_it_may_and_nothing_else(planned: Host, the_plan: Plan, on: On) -> None:
    """Every SSH and service port of every host, from every host: among them the services, from a host of Net1."""
    probes = from_inside(Matrix(the_plan), planned)
    found = accepting(on(planned), [(probe.address, probe.port) for probe in probes])
    assert found == {(probe.address, probe.port) for probe in probes if probe.open}


def test_the_services_do_not_answer_the_neighbour(the_plan: Plan, on: On) -> None:
    """It has a route to them, so it is the security groups that block it."""
    neighbours = [host for host in the_plan.hosts if host.routes and not host.applications]
    services = [(host.ports[0].addresses[0], port) for host in the_plan.hosts for port in host.tcp_ports]
    behind = [(address, port) for address, port in services if port != 50000]  # 50000 is open to all
    for neighbour in neighbours:
        assert accepting(on(neighbour), behind) == set()


def test_from_outside_only_what_is_declared_is_open(
    floating: Host, the_plan: Plan, address_outside: Callable[[Host], str]
) -> None:
    """The services' ports are not open at the floating address, nor is one that nobody declared."""
    found = set()
    probes = from_outside(Matrix(the_plan), floating)
    for probe in probes:
        with socket.socket() as connection:
            connection.settimeout(4)
            if connection.connect_ex((address_outside(floating), probe.port)) == 0:
                found.add(probe.port)
    assert found == {probe.port for probe in probes if probe.open}


def test_the_calculator_answers_from_outside(calculate: Callable[[str], str]) -> None:
    """All four services are called."""
    assert calculate("(5+3)*2") == "result = 16"
    assert calculate("(7-1)/4+2*3") == "result = 7.5"
