"""What a process inside a host sees and can do. Runs there, from standard input, with the standard library alone.

Prints one JSON object. With ``--bomb N`` it starts at most N processes that sleep, says how many there are, holds them
for ``--hold`` seconds, and ends them; each ends by itself after a minute, whatever becomes of this one. Everything else
is tried in a way that changes nothing: files are opened and not written, mounts are in a namespace of their own or are
taken away at once.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import platform
import signal
import stat
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
NEWNS, NEWUSER = 0x00020000, 0x10000000  # clone(2)
PRIVATE, RECURSIVE = 1 << 18, 1 << 14  # mount(2)
LONGEST = 60  # s that a process of the bomb lives at most
UNLIMITED = 1 << 60  # bytes: version 1's word for no limit is beyond it
DEEPEST = 20  # groups above one's own


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def tried(action) -> str:  # noqa: ANN001 - a host's Python may be old: no types beyond what it has
    """Return "yes" where an action works, else the name of its error; in a process of its own, which ends with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = action() or "yes"
        except OSError as error:
            said = errno.errorcode.get(error.errno, str(error.errno))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            said = type(error).__name__
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 200).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return said or "killed"  # seccomp may end a process


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshared(flags: int) -> None:
    checked(libc().unshare(flags))


def mounted() -> None:
    """Mount a tmpfs on a new directory: in a mount namespace of its own, where there may be one."""
    calls = libc()
    own = calls.unshare(NEWNS) == 0
    if own:
        checked(calls.mount(b"none", b"/", None, PRIVATE | RECURSIVE, None))
    directory = tempfile.mkdtemp()
    try:
        checked(calls.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, None))
        checked(calls.umount(directory.encode()))
    finally:
        os.rmdir(directory)  # noqa: PTH106 - no more than is needed in such a process


def opened(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


def memory_of_kernel() -> str:
    """Read the first bytes of /proc/kcore; an empty file has been put in its place."""
    handle = os.open("/proc/kcore", os.O_RDONLY)
    return "yes" if os.read(handle, 4) == b"\x7fELF" else "empty"


def disk(device: int) -> None:
    """Make a node of a block device and read from it."""
    problem = OSError(errno.EACCES, "")
    for place in ("/dev", "/run", "/root", tempfile.gettempdir()):
        node = os.path.join(place, f"probe-{os.getpid()}")  # noqa: PTH118
        try:
            os.mknod(node, stat.S_IFBLK | 0o600, device)
        except OSError as error:
            problem = error
            continue
        try:
            handle = os.open(node, os.O_RDONLY)
            os.read(handle, 512)
        except OSError as error:
            problem = error
        else:
            return
        finally:
            os.unlink(node)  # noqa: PTH108
    raise problem


def status(pid: str) -> dict[str, object]:
    """Return what /proc says of the rights of a process."""
    lines = (PROC / pid / "status").read_text().splitlines()
    its = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {
        "uid": int(its["Uid"].split()[1]),
        "eff": its["CapEff"].strip(),
        "bnd": its["CapBnd"].strip(),
        "seccomp": int(its.get("Seccomp", "0")),
        "no_new_privs": int(its.get("NoNewPrivs", "0")),
    }


def service() -> dict[str, object] | None:
    """Return the rights of the calculator's process on this host; None where none is seen."""
    for pid in processes():
        with suppress(OSError):
            words = (PROC / pid / "cmdline").read_bytes().split(b"\0")
            if pid != str(os.getpid()) and any(b"calculator" in word and word.endswith(b".pyz") for word in words):
                return status(pid)
    return None


def processes() -> list[str]:
    return [one for one in os.listdir(PROC) if one.isdigit()]  # noqa: PTH208


def limit(controller: str, names: tuple[str, ...]) -> int | None:
    """Return the least limit of the control groups that this process is in, of either version; None without one.

    What is above the group that is mounted is not seen from here.
    """
    found = []
    for line in (PROC / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tops = [CGROUP] if not controllers else [CGROUP / controllers, CGROUP / controller]
        for top in tops:
            group = top / path.lstrip("/")
            for _ in range(DEEPEST):
                found += [number for name in names if (number := number_in(group / name)) is not None]
                if group == top:
                    break
                group = group.parent
    return min(found, default=None)


def number_in(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < UNLIMITED else None


def memory() -> int:
    """Return the memory (bytes) that this kernel has."""
    for line in (PROC / "meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) << 10
    return 0


def devices() -> tuple[list[str], list[str]]:
    """Return the devices in /dev, and those that are disks."""
    every, blocks = [], []
    for directory, _, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118
            with suppress(OSError):
                mode = os.lstat(path).st_mode
                if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
                    every.append(path)
                if stat.S_ISBLK(mode):
                    blocks.append(path)
    return sorted(every), sorted(blocks)


def look(device: int) -> dict[str, object]:
    """Return everything but the bomb."""
    every, blocks = devices()
    return {
        "kernel": platform.release(),
        "boot": (PROC / "sys/kernel/random/boot_id").read_text().strip(),
        "python": platform.python_version(),
        "processes": len(processes()),
        "devices": len(every),
        "blocks": len(blocks),
        "memory": memory(),
        "limits": {
            "memory": limit("memory", ("memory.max", "memory.limit_in_bytes")),
            "pids": limit("pids", ("pids.max",)),
        },
        "self": status("self"),
        "service": service(),
        "tries": {
            "mount": tried(mounted),
            "user namespace": tried(lambda: unshared(NEWUSER)),
            "become root": "is root" if os.geteuid() == 0 else tried(lambda: os.setuid(0)),
            "sysrq": tried(lambda: opened("/proc/sysrq-trigger", os.O_WRONLY)),
            "kcore": tried(memory_of_kernel),
            "kernel log": tried(lambda: opened("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)),
            "disk": tried(lambda: disk(device)) if device else "not tried",
        },
    }


def bomb(most: int, hold: float) -> dict[str, object]:
    """Start processes until no more can be, or there are ``most``; hold them; end them."""
    children: list[int] = []
    stopped, began = "", time.monotonic()
    try:
        while len(children) < most and not stopped:
            try:
                child = os.fork()
            except OSError as error:
                stopped = errno.errorcode.get(error.errno or 0, str(error.errno))
                continue
            if child == 0:
                sleep()
            children.append(child)
        took = time.monotonic() - began
        print(json.dumps({"holding": len(children)}), flush=True)
        time.sleep(hold)
        alive = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
        started, children = len(children), alive
    finally:
        for child in children:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with suppress(OSError):
                os.waitpid(child, 0)
    # what does not live any more was ended by a kernel that was short of memory
    return {"started": started, "alive": len(alive), "stopped": stopped, "seconds": took, "most": most}


def sleep() -> None:
    """Sleep, as a process that is the first to go where memory is short, and does not outlive its time."""
    signal.alarm(LONGEST)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    while True:
        signal.pause()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=int, default=0, help="number of the block device that is tried")
    parser.add_argument("--bomb", type=int, default=0, help="start at most so many processes, and look at nothing")
    parser.add_argument("--hold", type=float, default=3.0, help="for so many seconds")
    given = parser.parse_args()
    print(json.dumps(bomb(given.bomb, given.hold) if given.bomb else look(given.device)), flush=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
