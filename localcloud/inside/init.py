"""The first process of the cloud: enters its root file system, starts the supervisor, reaps orphans.

Run by ``machine.start`` as PID 1 of new mount, pid, network, uts, ipc and cgroup namespaces; its arguments are the
directory of the cloud and its root file system. When it ends, the kernel ends every process of the cloud.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

DEVICES = "null zero full random urandom tty kvm net/tun fuse loop-control".split()

LOOPS = 1024  # a container's disk is a loop device; the host may use some of the first


def mount(*arguments: str) -> None:
    """Call mount; its error, with its message in the log, ends the start."""
    subprocess.run(["mount", *arguments], check=True)


def mount_cgroups(target: Path) -> None:
    """Mount the control group hierarchies: in this cgroup namespace each shows only the cloud's groups.

    Beside those of version 1 that of version 2 is left out: libvirt would use it as soon as a program on the host
    (podman, say) has enabled a controller in it.
    """
    hierarchies = [line.split(":", 2)[:2] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    if hierarchies == [["0", ""]]:
        mount("-t", "cgroup2", "cgroup2", str(target))
        return
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(target))
    for _, controllers in hierarchies:
        if not controllers:
            continue
        directory = target / controllers.removeprefix("name=")
        directory.mkdir()
        options = f"none,{controllers}" if controllers.startswith("name=") else controllers
        mount("-t", "cgroup", "-o", options, "cgroup", str(directory))


def enter(home: Path, lower: Path, guests: str) -> None:
    """Mount the root file system (``lower`` under the state of ``home``) with /proc, /sys, /dev, /run, and chroot."""
    root, code = home / "root", Path(__file__).resolve().parents[1]
    for name in ("root", "upper", "work", "shared"):
        (home / name).mkdir(exist_ok=True)
    mount("--make-rprivate", "/")
    layers = f"lowerdir={lower},upperdir={home / 'upper'},workdir={home / 'work'}"
    mount("-t", "overlay", "-o", layers, "overlay", str(root))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "sysfs", "sysfs", str(root / "sys"))
    if guests == "container":
        mount_cgroups(root / "sys/fs/cgroup")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "run"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "dev"))
    (root / "dev/net").mkdir()
    for number in range(LOOPS if guests == "container" else 0):
        os.mknod(root / f"dev/loop{number}", 0o600 | stat.S_IFBLK, os.makedev(7, number))
    for name in DEVICES:
        device = Path("/dev", name)
        if device.exists():
            (root / "dev" / name).touch()
            mount("--bind", str(device), str(root / "dev" / name))
    for name, options in (("pts", "newinstance,ptmxmode=0666,mode=620,gid=5"), ("shm", "mode=1777")):
        (root / "dev" / name).mkdir()
        mount("-t", "devpts" if name == "pts" else "tmpfs", "-o", options, name, str(root / "dev" / name))
    for link, to in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1")):
        (root / "dev" / link).symlink_to(to)
    for name, source in (("localcloud", code), ("shared", home / "shared")):
        (root / "localcloud" / name).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(source), str(root / "localcloud" / name))
    mount("-o", "remount,bind,ro", str(root / "localcloud/localcloud"))
    os.chroot(root)
    os.chdir("/")


def supervise() -> int:
    """Start the supervisor; return its process id."""
    child = os.fork()
    if child == 0:
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "LANG": "C.UTF-8", "PYTHONPATH": "/localcloud",
            "MALLOC_ARENA_MAX": "1",  # glibc keeps one heap for each thread otherwise
        }  # fmt: skip
        supervisor = ["python3", "-B", "-m", "localcloud.inside"]
        os.execve("/usr/bin/python3", supervisor, environment)  # noqa: S606 - no shell is wanted
    return child


def main() -> None:
    """Enter, start the supervisor as a child, and stay as the reaper until it exits by itself.

    If it was killed, nothing manages its processes any more: they are ended, and everything is started again.
    """
    home, lower, guests = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    enter(home, lower, guests)
    child = supervise()
    stopping = False

    def stop(received: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        os.kill(child, received)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid != child:
            continue
        if stopping or not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))
        print(f"the supervisor was ended by signal {os.WTERMSIG(status)}: starting everything again", flush=True)
        os.kill(-1, signal.SIGKILL)
        time.sleep(1)
        child = supervise()


if __name__ == "__main__":
    main()
