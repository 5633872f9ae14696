"""The target containers, for real: what is made, who reaches it, what is repaired, what is left of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from netorder.containers import engine, kernel, snapshots, target
from netorder.containers.observe import observe
from netorder.controller import status
from netorder.errors import CloudError, RefusedError

SERVE = "nohup python3 -m http.server {} >/dev/null 2>&1 &"


PAGE = """
cat >/etc/systemd/system/page.service <<'END'
[Service]
WorkingDirectory=/srv
ExecStart=/usr/bin/python3 -m http.server 8080
[Install]
WantedBy=multi-user.target
END
systemctl enable --now --quiet page.service
"""


def run(plan, key, *, check=False, allow=()):
    public = key.with_suffix(".pub").read_text().strip()
    return target.reconcile(plan, key=public, check=check, allow=allow, progress=lambda _: None)


def container(plan, host):
    return next(one for one in engine.containers(plan.topology) if one.host == host)


def opens(address: str, port: int, inside=None) -> bool:
    """Tell whether a TCP port answers: from here, or from inside a container."""
    script = f"timeout 2 python3 -c 'import socket; socket.create_connection((\"{address}\", {port}), 1)' 2>/dev/null"
    script += " && echo open || echo closed"
    said = engine.shell(inside, script) if inside else subprocess.check_output(["sh", "-c", script], text=True)
    return said.strip() == "open"


def kinds(result) -> list[tuple[str, str]]:
    return [(change.action, change.kind) for change in result.changes]


@pytest.fixture(scope="module")
def made(plan, key):
    """Make it, serve on ports that are open and on ports that are not, and give the floating address."""
    preview = run(plan, key, check=True)
    result = run(plan, key)
    assert kinds(result) == kinds(preview)
    for host, ports in {"web": (8081, 8082), "store": (9000, 9001)}.items():
        engine.shell(container(plan, host), "\n".join(SERVE.format(port) for port in ports))
    # what the role of an application does
    engine.shell(container(plan, "web"), PAGE)
    # what the role host_network does
    deadline = time.monotonic() + 20
    add = "ip route replace 10.201.2.0/24 via {}"
    via = next(r for r in plan.hosts[0].routes if r.destination == "10.201.2.0/24").next_hop
    while True:
        try:
            engine.shell(container(plan, "web"), add.format(via))
            break
        except CloudError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    while not opens(result.hosts["web"].floating_ip, 8080):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return result


def test_a_second_run_changes_nothing(plan, key, made):
    again = run(plan, key)
    assert again.changes == ()
    assert again.hosts == made.hosts
    assert all(host.hostkey for host in again.hosts.values())


def test_the_machine_reaches_what_is_open_and_nothing_else(plan, made):
    floating = made.hosts["web"].floating_ip
    web, store = (host.addresses[0] for host in plan.hosts)
    assert [opens(floating, port) for port in (22, 8080, 8081)] == [True, True, False]
    router = str(plan.routers[0].interfaces[0].addresses[0])
    assert not opens(web, 8080)
    assert not opens(store, 9000)
    # also for somebody who routes there
    outside = floating.rsplit(".", 1)[0] + ".2"
    kernel.batch("", [f"route add 10.201.0.0/16 via {outside}"])
    try:
        assert [opens(*one) for one in ((web, 8080), (web, 22), (store, 9000), (router, 22))] == [False] * 4
    finally:
        kernel.batch("", [f"route delete 10.201.0.0/16 via {outside}"])


def test_a_neighbour_reaches_what_is_published_and_nothing_else(plan, made, machine):
    floating = made.hosts["web"].floating_ip
    web, store = (host.addresses[0] for host in plan.hosts)
    closed = [("10.202.0.1", 8081), ("10.202.0.1", 22), (floating, 8080), (floating, 22), (web, 8080), (store, 9000)]
    with machine.entered():
        assert opens("10.202.0.1", 8080)
        assert [one for one in closed if opens(*one)] == []


def test_the_machine_itself_uses_the_published_port(made):
    assert opens("10.202.0.1", 8080)
    assert made.changes


def test_hosts_reach_each_other_as_allowed_through_the_router(plan, made):
    web, store = container(plan, "web"), container(plan, "store")
    inside, behind = plan.hosts[0].addresses[0], plan.hosts[1].addresses[0]
    assert [opens(behind, port, web) for port in (22, 9000, 9001)] == [True, True, False]
    # open to everybody, but store sends to two ports alone
    assert opens(made.hosts["web"].floating_ip, 8082)
    assert not opens(inside, 8082, store)
    assert [opens(inside, port, store) for port in (22, 8080, 8081)] == [True, True, False]
    assert "ttl=63" in engine.shell(store, f"ping -c 1 -W 2 {inside}")
    assert made.changes


def test_no_host_uses_an_address_that_is_not_its_own(plan, made):
    store = container(plan, "store")
    answer = "ping -c 1 -W 1 {} {} >/dev/null && echo yes || echo no"
    web = plan.hosts[0].addresses[0]
    assert engine.shell(store, answer.format("", web)).strip() == "yes"
    engine.shell(store, "ip address add 10.201.2.200/24 dev eth0")
    assert engine.shell(store, answer.format("-I 10.201.2.200", web)).strip() == "no"
    engine.shell(store, "ip address delete 10.201.2.200/24 dev eth0")
    assert made.changes


def test_what_stops_serving_is_unhealthy_and_says_why(plan, made):
    web = container(plan, "web")
    assert target.health(plan.topology) == {"web": "", "store": ""}
    engine.shell(web, "systemctl stop page.service")
    assert target.health(plan.topology) == {"web": "page: unit page.service is inactive", "store": ""}
    shown = json.loads(engine.podman("inspect", web.id))[0]["State"]
    assert (shown.get("Health") or shown["Healthcheck"])["Status"] == "unhealthy"
    host = status.ask(plan, lambda _: None, "containers").hosts[0]
    assert (host.state, host.note, host.is_well) == ("ACTIVE", "unhealthy: page: unit page.service is inactive", False)
    engine.shell(web, "systemctl start page.service")
    deadline = time.monotonic() + 10
    while target.health(plan.topology)["web"]:
        assert time.monotonic() < deadline
    log = engine.shell(web, "journalctl --unit page.service --output cat")
    assert "page does not serve: unit page.service is inactive" in log
    assert "page serves again" in log
    assert made.changes


def test_a_health_check_that_somebody_changed_is_repaired(plan, key, made):
    engine.shell(container(plan, "web"), "echo 'import sys; sys.exit(0)' >/etc/netorder-health")
    assert kinds(run(plan, key, check=True)) == [("update", "health check")]
    assert kinds(run(plan, key)) == [("update", "health check")]
    assert run(plan, key).changes == ()
    assert made.changes


def test_what_somebody_changed_is_previewed_and_repaired(plan, key, made):
    name = f"netorder.{plan.topology}"
    first = container(plan, "store").pid
    changes = {
        "a rule more": (["nsenter", f"--net=/run/netns/{name}.switch", "nft", "add", "rule", "inet", "netorder",
                         "in-web", "tcp", "dport", "8081", "accept"], [("update", "security group")]),
        "published no more": (["nft", "delete", "table", "inet", name], [("create", "published ports")]),
        "forwarding off": (["nsenter", f"--net=/run/netns/{name}.router.in", "sh", "-c",
                            "echo 0 >/proc/sys/net/ipv4/ip_forward"], [("update", "router")]),
        "default route gone": (["ip", "-n", f"{name}.router.out", "route", "delete", "default"],
                               [("update", "route set")]),
        "stopped": (["kill", "-9", str(first)], None),
    }  # fmt: skip
    for what, (command, expected) in changes.items():
        subprocess.run(command, check=True)
        if expected is not None:
            assert kinds(run(plan, key, check=True)) == expected, what
            assert kinds(run(plan, key)) == expected, what
    deadline = time.monotonic() + 20  # its restart policy starts what died
    while container(plan, "store").pid in {0, first}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert run(plan, key).changes == ()
    assert run(plan, key).hosts == made.hosts


def test_a_host_whose_namespace_is_gone_gets_another_and_joins_it(plan, key, made):
    kernel.delete_space(f"netorder.{plan.topology}.host.store")
    assert kinds(run(plan, key, check=True)) == [("create", "port"), ("update", "server")]
    assert kinds(run(plan, key)) == [("create", "port"), ("update", "server")]
    assert run(plan, key).changes == ()
    store, gateway = container(plan, "store"), "10.201.2.1"
    deadline = time.monotonic() + 20
    while "ttl=64" not in engine.shell(store, f"ping -c 1 -W 1 {gateway} || true"):
        assert time.monotonic() < deadline
    assert made.changes


def test_a_port_that_somebody_has_is_refused_before_the_first_change(plan, key, made):
    subprocess.run(["nft", "delete", "table", "inet", f"netorder.{plan.topology}"], check=True)
    holder = subprocess.Popen(
        ["python3", "-m", "http.server", "8080"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while not opens("10.202.0.1", 8080):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(RefusedError, match="tcp 8080 of host web cannot be published"):
            run(plan, key)
    finally:
        holder.kill()
        holder.wait()
    assert kinds(run(plan, key)) == [("create", "published ports")]
    assert made.changes


def test_a_snapshot_holds_what_was_changed(plan, key, made):
    store = container(plan, "store")
    engine.shell(store, "echo before >/root/note")
    made_of_it = snapshots.make(plan.topology, store, "store-1")
    engine.shell(store, "echo after >/root/note")
    public = key.with_suffix(".pub").read_text().strip()
    target.make_anew(plan, store, public, image=made_of_it.id)
    assert engine.shell(container(plan, "store"), "cat /root/note").strip() == "before"
    assert run(plan, key).hosts["store"].hostkey == made.hosts["store"].hostkey
    assert run(plan, key).changes == ()
    assert snapshots.find(plan.topology, "store").name == "store-1"


def test_killed_at_any_moment_the_next_run_converges(plan, key, made):
    """Also podman is killed: all of the run's processes are."""
    took = made.seconds
    for part in (0.3, 0.5, 0.7, 0.85):
        target.teardown(plan.topology, check=False, progress=lambda _: None)
        process = multiprocessing.get_context("fork").Process(target=_run_alone, args=(plan, key))
        process.start()
        time.sleep(took * part)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        run(plan, key)
        assert run(plan, key).changes == (), part
        deadline = time.monotonic() + 20  # the run knows its key before sshd is there
        while not opens(made.hosts["web"].floating_ip, 22):
            assert time.monotonic() < deadline, part
            time.sleep(0.2)


def _run_alone(plan, key):
    os.setsid()
    run(plan, key)


def test_a_teardown_leaves_nothing_and_touches_nobody_elses(plan, key, made):
    run(plan, key)
    name = f"other-{os.getpid()}"
    image = "localhost/netorder/debian-13"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["nft", "add", "table", "inet", name], check=True)
    engine.podman("create", "--name", name, "--network", "none", image)
    try:
        target.teardown(plan.topology, check=False, progress=lambda _: None, images=True)
        assert observe(plan.topology).leftovers(plan.topology) == []
        assert snapshots.snapshots(plan.topology) == []
        assert subprocess.run(["pgrep", "-f", f"conmon .* -n {plan.topology}-"], check=False).returncode == 1
        assert name in engine.names()
        assert name in kernel.spaces("other-")
        links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
        assert {link["ifname"] for link in links} == {"lo", "lan0"}
        tables = subprocess.check_output(["nft", "list", "tables"], text=True).split("\n")
        assert [one for one in tables if one] == [f"table inet {name}"]
        assert target.teardown(plan.topology, check=False, progress=lambda _: None) == []
        assert subprocess.check_output(["cat", "/proc/sys/net/ipv4/ip_forward"], text=True).strip() == "1"
    finally:
        engine.podman("rm", "--force", name)
        subprocess.run(["ip", "netns", "delete", name], check=True)
        subprocess.run(["nft", "delete", "table", "inet", name], check=True)
    assert made.changes
