"""The namespaces of a cloud: created, entered, joined to the host's network, removed."""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError
from localcloud.cloud import write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from localcloud.cloud import Cloud

INIT = Path(__file__).resolve().parent / "inside" / "init.py"
CLONE = {"mnt": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "pid": 0x20000000,
         "net": 0x40000000}  # fmt: skip
# The APIs are ready before these: the guest image may have to be built.
GUEST_STEPS = {"guest", "image"}


def run(*words: str) -> str:
    """Run a command of the host and return its output; a failure is a CloudError with its message."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CloudError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def start(cloud: Cloud, lower: Path, values: dict[str, str]) -> None:
    """Start the cloud's first process over the root file system ``lower``; its steps follow by themselves."""
    write_private(cloud.shared / "parameters.json", json.dumps(values))
    (cloud.shared / "status.json").unlink(missing_ok=True)
    halt(cloud)  # remains of one that was killed
    cloud.remember(_spawn(cloud, lower, values["guests"]))
    if values["host_ip"]:
        _join_network(cloud, values)


def _spawn(cloud: Cloud, lower: Path, guests: str) -> int:
    """Start PID 1 in new namespaces; return its process id on the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:  # this child enters the new namespaces; its own child is PID 1
        os.close(reader)
        os.setsid()
        if guests == "container":
            _join_cgroups(cloud.link)
        if libc.unshare(sum(CLONE.values())) != 0:
            os.write(writer, f"E unshare: {os.strerror(ctypes.get_errno())}".encode())
            os._exit(1)
        first = os.fork()
        if first == 0:
            os.close(writer)
            log = os.open(cloud.log_file("init"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, to in ((null, 0), (log, 1), (log, 2)):
                os.dup2(number, to)
            os.closerange(3, 1024)
            first_process = [sys.executable, "-B", str(INIT), str(cloud.home), str(lower), guests]
            os.execv(sys.executable, first_process)  # noqa: S606 - no shell is wanted
        os.write(writer, str(first).encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 200).decode()
    os.close(reader)
    os.waitpid(middle, 0)
    if not answer.isdigit():
        raise CloudError(
            f"the cloud's namespaces cannot be created: {answer[2:]};"
            " fix: run it where root may create namespaces, e.g. not in an unprivileged container"
        )
    return int(answer)


def _join_network(cloud: Cloud, values: dict[str, str]) -> None:
    """Create the veth between host and cloud, and the host's route to the floating IPs."""
    run("ip", "link", "add", cloud.link, "type", "veth", "peer", "name", "api0", "netns", str(cloud.pid()))
    run("ip", "addr", "add", f"{values['host_ip']}/30", "dev", cloud.link)
    run("ip", "link", "set", cloud.link, "up")
    external = str(ipaddress.ip_network(f"{values['gateway']}/24", strict=False))
    run("ip", "route", "add", external, "via", values["ip"], "dev", cloud.link, "src", values["host_ip"])


def entering(pid: int) -> list[str]:
    """Return the command line prefix that runs a command inside the cloud, at its root."""
    return ["nsenter", f"--target={pid}", "--all", "--root", "--wd"]


def wait_ready(
    cloud: Cloud, log: Callable[[str], None], building: Future[None] | None = None, patience: float = 600
) -> None:
    """Wait until the supervisor reports that everything is up; log each step as it is done.

    While something is still ``building``, the patience (seconds) does not run out; if it fails, so does the start.
    """
    limit, shown = time.monotonic() + patience, set()
    while True:
        if building and building.done():
            building.result()
            building, limit = None, time.monotonic() + patience
        report = cloud.status()
        steps = report.get("steps", {})
        for name, step in steps.items():
            if name not in shown and step["state"] in ("done", "running"):
                shown.add(name)
                log(f"  {name} ({step.get('took', 0):.1f} s)")
                if steps.keys() - shown <= GUEST_STEPS and name not in GUEST_STEPS:
                    log("the APIs are ready")
        if report.get("failed"):
            name = str(report["failed"]).split(":", 1)[0]
            raise CloudError(f"the cloud did not start: {report['failed']}\n"
                             f"the end of {cloud.log_file(name)}:\n{cloud.log_tail(name)}")  # fmt: skip
        if report.get("ready"):
            return
        if cloud.pid() is None:
            raise CloudError(
                f"the cloud's first process ended; the end of {cloud.log_file('init')}:\n{cloud.log_tail('init')}"
            )
        if time.monotonic() > limit and not building:
            waiting = [name for name, step in steps.items() if step["state"] not in ("done", "running")]
            raise CloudError(
                f"the cloud is not ready after {patience:.0f} s; not done: {', '.join(waiting)};"
                f" their logs are in {cloud.shared / 'log'}"
            )
        time.sleep(0.05)


def halt(cloud: Cloud, patience: float = 40) -> None:
    """End the cloud's PID 1, by force after ``patience`` (seconds), and remove the cloud's devices on the host."""
    pid = cloud.pid()
    if pid is not None:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            pass  # it has just ended
        else:
            _end(cloud, handle, patience)
    (cloud.home / "pid").unlink(missing_ok=True)
    _detach_loops(cloud)
    _remove_cgroups(cloud.link)
    if cloud.link in run("ip", "-br", "link"):
        run("ip", "link", "del", cloud.link)


def _end(cloud: Cloud, handle: int, patience: float) -> None:
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    limit = time.monotonic() + patience
    while cloud.pid() is not None and time.monotonic() < limit:
        time.sleep(0.02)
    if cloud.pid() is not None:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        time.sleep(0.2)
    os.close(handle)


def processes(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants: the cloud's PID 1 adopts every orphan inside."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(entry.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory(pid: int) -> int:
    """Return the memory in bytes that a process and its descendants keep resident, shared pages counted once (PSS)."""
    total = 0
    for one in processes(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


# --- control groups and loop devices: only containers need them ------------------------------------------------------


def _cgroup_mounts() -> list[Path]:
    """Return where the host's control group hierarchies are mounted, of either version."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line.split(" - ")[0].split()[4] for line in lines if line.split(" - ")[1].split()[0].startswith("cgroup")]
    return [Path(path) for path in found if path.startswith("/sys/fs/cgroup")]


def _join_cgroups(name: str) -> None:
    """Move this process into a group of its own in every hierarchy: the root of the cgroup namespace to come."""
    for hierarchy in _cgroup_mounts():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # a new group of version 1 has none, and takes no process
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove_cgroups(name: str, patience: float = 10) -> None:
    """Remove the cloud's groups, the innermost first, once the last of its processes has ended."""
    limit = time.monotonic() + patience
    for hierarchy in _cgroup_mounts():
        for group, _, _ in os.walk(hierarchy / name, topdown=False):
            while Path(group, "cgroup.procs").read_text() and time.monotonic() < limit:
                time.sleep(0.05)
            Path(group).rmdir()


def _detach_loops(cloud: Cloud) -> None:
    """Detach the loop devices of the containers' disks: they outlive the namespaces that made them."""
    disks = {str(disk.stat().st_ino) for disk in cloud.home.glob("upper/var/lib/nova/instances/*/disk")}
    for line in run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-INO,BACK-FILE").splitlines():
        name, inode, file = [*line.split(), "", ""][:3]
        if inode in disks and file.startswith("/var/lib/nova/instances/"):
            run("losetup", "--detach", name)
