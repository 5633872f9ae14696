"""The target machine, for real: a virtual machine is made, reached, changed, killed, repaired, cloned, taken away.

What is not marked `full` is what `make test` runs: the guest boots once.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from netorder.errors import RefusedError
from netorder.machine import qemu, store
from netorder.topology import Forward

BOX = "{box: {network: nat, memory: 256}}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def kinds(result) -> list[tuple[str, str]]:
    return [(change.action, change.kind) for change in result.changes]


@pytest.fixture(scope="module")
def made(site):
    preview = site.run(BOX, check=True)
    assert not site.where.exists()
    result = site.run(BOX)
    assert kinds(result) == kinds(preview) == [("create", "server")]
    return result


def test_a_second_run_changes_nothing(site, made):
    again = site.run(BOX)
    assert again.changes == ()
    assert again.hosts == made.hosts


def test_its_owner_logs_in_and_it_is_where_a_nat_has_it(site, made):
    assert site.ssh(
        "box", "hostname; ip -4 -o address show eth0 | awk '{print $4}'; ip route | awk '/^default/ {print $3}'"
    ) == ("box\n10.0.2.15/24\n10.0.2.2")
    assert made.hosts["box"].hostkey.startswith("ssh-ed25519 ")


def test_nobody_else_reaches_it(site, made):
    """The one port that leads to it is that of SSH, at an address of its own."""
    its = made.hosts["box"]
    assert qemu.forwards(site.where / "box") == {Forward(its.port, 22, "tcp", its.floating_ip)}
    pid = qemu.processes(site.where)["box"]
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of a file that QEMU has closed meanwhile
            inodes.add(str(one.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    address = socket.inet_aton(its.floating_ip)[::-1].hex().upper()
    assert listening == [f"{address}:{its.port:04X}"]


def test_what_is_behind_the_gateway_is_this_machine(site, made):
    """What the documentation says is open: services of this machine at 127.0.0.1, too, through 10.0.2.2."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            with contextlib.suppress(OSError):
                server.accept()[0].sendall(b"here\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        ask = f'import socket; print(socket.create_connection(("10.0.2.2", {port}), 5).recv(9).decode())'
        assert site.ssh("box", f"python3 -c '{ask}'") == "here"
        thread.join(5)
    assert made.changes


def test_a_port_is_forwarded_and_no_more_while_it_runs(site, made):
    boot = site.ssh("box", "cat /proc/sys/kernel/random/boot_id")
    one = Forward(free_port(), 22)
    assert qemu.answer(one) == "refused"
    forwarded = f"{{box: {{network: nat, memory: 256, forward: [{{host: {one.host}, guest: 22}}]}}}}"
    preview = site.run(forwarded, check=True)
    assert qemu.answer(one) == "refused"
    assert kinds(site.run(forwarded)) == kinds(preview) == [("update", "port forwarding")]
    assert qemu.answer(one, 20) == "answers"
    assert any(line.endswith("before: refused; now: answers") for line in site.said), site.said
    assert site.run(forwarded).changes == ()
    assert kinds(site.run(BOX)) == [("update", "port forwarding")]
    assert qemu.answer(one) == "refused"
    assert site.ssh("box", "cat /proc/sys/kernel/random/boot_id") == boot
    assert site.run(BOX).hosts == made.hosts


def test_a_forward_to_nothing_is_not_taken_for_an_answer(site, made):
    """The NAT accepts before it asks: what the host refuses is closed at once."""
    one = Forward(free_port(), 9)
    site.run(f"{{box: {{network: nat, memory: 256, forward: [{{host: {one.host}, guest: 9}}]}}}}")
    assert qemu.answer(one, 5) == "closed by the host"
    site.run(BOX)
    assert made.changes


def test_a_port_that_somebody_has_is_refused(site, made):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RefusedError, match="has that port"):
            site.run(f"{{box: {{network: nat, memory: 256, forward: [{{host: {port}, guest: 22}}]}}}}")
    assert site.run(BOX).changes == ()
    assert made.changes


@pytest.mark.full
def test_killed_qemu_runs_again_and_its_disk_is_as_it_was(site, made):
    site.ssh("box", "echo kept >note; sync")
    os.kill(qemu.processes(site.where)["box"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while qemu.processes(site.where):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert kinds(site.run(BOX, check=True)) == [("update", "server")]
    assert kinds(site.run(BOX)) == [("update", "server")]
    assert site.ssh("box", "cat note") == "kept"
    assert site.run(BOX).hosts == made.hosts
    assert site.run(BOX).changes == ()


@pytest.mark.full
def test_other_memory_is_a_clean_restart(site, made):
    site.ssh("box", "echo written >unsynced")
    more = BOX.replace("256", "320")
    site.said.clear()
    assert kinds(site.run(more)) == [("update", "server")]
    assert not any("did not shut down" in line for line in site.said), site.said
    assert site.ssh("box", "cat unsynced") == "written"
    assert int(site.ssh("box", "awk '/^MemTotal/ {print $2}' /proc/meminfo")) > 270000
    assert site.run(more).hosts == made.hosts


@pytest.mark.full
def test_a_run_killed_at_any_moment_converges(site, made):
    """All of the run's processes are killed, QEMU too where it is still the run's own."""
    for seconds in (0.15, 0.6, 1.5):
        site.teardown()
        process = multiprocessing.get_context("fork").Process(target=_run_alone, args=(site,))
        process.start()
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        site.run(BOX)
        assert site.run(BOX).changes == (), seconds
        assert len(qemu.processes(site.where)) == 1
        assert site.ssh("box", "hostname") == "box", seconds
    assert made.changes


def _run_alone(site):
    os.setsid()
    site.run(BOX)


@pytest.mark.full
def test_a_second_machine_has_its_own_identity_and_does_not_see_the_first(site, made):
    site.run(BOX)
    port = free_port()
    both = (
        "{box: {network: nat, memory: 256}, "
        f"other: {{network: nat, memory: 256, clone: full, forward: [{{host: {port}, guest: 22}}]}}}}"
    )
    assert kinds(site.run(both)) == [("create", "server")]
    result = site.run(both)
    assert result.changes == ()
    assert len({host.hostkey for host in result.hosts.values()}) == 2
    assert site.ssh("box", "cat /etc/machine-id") != site.ssh("other", "cat /etc/machine-id")
    ask = 'import socket; print(socket.create_connection(("{}", {}), 4).recv(7).decode())'
    address = result.hosts["other"].address
    direct = site.ssh("box", f"python3 -c '{ask.format(address, 22)}' 2>/dev/null || echo none")
    assert direct == "none"
    assert site.ssh("box", f"python3 -c '{ask.format('10.0.2.2', port)}'") == "SSH-2.0"  # by the forward alone
    with pytest.raises(RefusedError, match="delete 1"):
        site.run(BOX)
    assert kinds(site.run(BOX, allow=("delete",))) == [("delete", "server")]
    assert made.changes


def disk_of(site, host: str) -> dict:
    """Return what qemu-img says of a host's disk, which may be in use."""
    said = subprocess.check_output(["qemu-img", "info", "-U", "--output=json", site.where / host / store.DISK])
    return json.loads(said)


IDENTITY = """hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub
cat /sys/class/net/eth0/address; ip -4 -o address show eth0 | awk '{print $4}'; journalctl --header --quiet |
sed -n 's/^Machine ID: //p' | sort -u | tail -n1"""


@pytest.mark.full
def test_a_clone_has_what_was_written_and_an_identity_of_its_own(site):
    """The other shuts down for it, so that all that it wrote is there, and both work beside each other."""
    first = site.run(BOX)
    site.ssh("box", "echo mine >note; sudo truncate -s 0 /var/log/wtmp; sudo touch /etc/netorder-mark")
    boot = site.ssh("box", "cat /proc/sys/kernel/random/boot_id")
    port = free_port()
    # with an address, since the first host of the file gets 10.0.2.15, which would be the copy later
    copy = f"copy: {{network: nat, address: 10.0.2.50, memory: 256, forward: [{{host: {port}, guest: 22}}], clone: "
    both = f"{BOX[:-1]}, {copy}{{of: box}}}}}}"
    preview = site.run(both, check=True)
    assert site.ssh("box", "cat /proc/sys/kernel/random/boot_id") == boot
    site.said.clear()
    result = site.run(both)
    assert kinds(result) == kinds(preview) == [("create", "server"), ("update", "server")]
    assert not any("did not shut down" in line for line in site.said), site.said
    assert site.run(both).changes == ()
    assert site.ssh("copy", "cat note; stat -c %U /etc/netorder-mark") == "mine\nroot"
    ids = [site.ssh(host, IDENTITY).splitlines() for host in ("box", "copy")]
    assert all(own and own != others for own, others in zip(*ids, strict=True)), ids
    assert result.hosts["copy"].hostkey.endswith(ids[1][2])
    assert ids[1][1] == result.hosts["copy"].id.replace("-", "")
    assert result.hosts["box"] == first.hosts["box"]
    assert qemu.answer(Forward(port, 22), 20) == "answers"
    assert disk_of(site, "copy")["backing-filename"] == disk_of(site, "box")["backing-filename"]
    # what one writes the other does not have
    site.ssh("copy", "echo changed >note")
    assert site.ssh("box", "cat note") == "mine"
    # the other goes, and the clone of it, now one of nobody, stays; another is a full copy of that
    before = site.ssh("copy", "cat /proc/sys/kernel/random/boot_id")
    alone = f"{{{copy}linked}}}}"
    with pytest.raises(RefusedError, match="delete 1"):
        site.run(alone)
    assert kinds(site.run(alone, allow=("delete",))) == [("delete", "server")]
    assert site.ssh("copy", "cat /proc/sys/kernel/random/boot_id; cat note").splitlines() == [before, "changed"]
    full = f"{{{copy}linked}}, last: {{network: nat, memory: 256, clone: {{of: copy, disk: full}}}}}}"
    assert kinds(site.run(full)) == [("create", "server"), ("update", "server")]
    assert "backing-filename" not in disk_of(site, "last")
    assert site.ssh("last", "cat note; hostname") == "changed\nlast"
    assert site.run(full).changes == ()
    site.teardown()


def test_a_teardown_leaves_nothing(site, made):
    site.run(BOX)
    pid = qemu.processes(site.where)["box"]
    assert site.teardown() == ["box"]
    assert not site.where.parent.exists()
    assert not qemu.is_running(site.where / "box", pid)
    assert qemu.processes(site.where) == {}
    assert site.teardown() == []
    assert made.changes
