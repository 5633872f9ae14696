"""The first process of the cloud: enters its root file system, starts the supervisor, reaps what is orphaned.

Run by ``host.spawn`` as PID 1 of new mount, pid, network, uts, ipc and cgroup namespaces; its arguments are the
directory of the cloud and its root file system. Ending it ends every process of the cloud: the kernel sees to that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

DEVICES = "null zero full random urandom tty kvm net/tun fuse loop-control".split()


def mount(*arguments: str) -> None:
    """Call mount; an error ends the start with its own words."""
    subprocess.run(["mount", *arguments], check=True)


def enter(home: Path, lower: Path) -> None:
    """Mount the root file system (``lower`` under the state of ``home``) with /proc, /sys, /dev, /run, and chroot."""
    root, code = home / "root", Path(__file__).resolve().parent
    for name in ("root", "upper", "work", "shared"):
        (home / name).mkdir(exist_ok=True)
    mount("--make-rprivate", "/")
    layers = f"lowerdir={lower},upperdir={home / 'upper'},workdir={home / 'work'}"
    mount("-t", "overlay", "-o", layers, "overlay", str(root))
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("-t", "sysfs", "sysfs", str(root / "sys"))
    if Path("/sys/fs/cgroup").is_dir():
        mount("--rbind", "/sys/fs/cgroup", str(root / "sys/fs/cgroup"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "run"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "dev"))
    (root / "dev/net").mkdir()
    loops = [device.name for device in Path("/dev").glob("loop[0-9]*")]
    for name in [*DEVICES, *loops]:
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


def main() -> None:
    """Enter, start the supervisor as a child, and stay as the reaper until it ends."""
    home, lower = Path(sys.argv[1]), Path(sys.argv[2])
    enter(home, lower)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root", "LANG": "C.UTF-8", "PYTHONPATH": "/localcloud",
    }  # fmt: skip
    child = os.fork()
    if child == 0:
        supervisor = ["python3", "-B", "-m", "localcloud.supervisor"]
        os.execve("/usr/bin/python3", supervisor, environment)  # noqa: S606 - no shell is wanted
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == child:
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
