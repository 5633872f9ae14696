"""Preconditions of a start on the host, and properties of the host: addresses, KVM, clock."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import ipaddress
import json
import mmap
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError, capacity
from localcloud.build import KEYRING
from localcloud.machine import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from localcloud.cloud import Cloud

MEMORY_NEEDED, DISK_NEEDED = 6 * 2**30, 8 * 2**30  # bytes: five guests and their services; the caches and the state
CHOOSING = Path("/run/netorder-localcloud.lock")  # one for the machine, whose addresses all clouds share
INOTIFY, INOTIFY_MOST = Path("/proc/sys/fs/inotify/max_user_instances"), 8192
KVM = Path("/dev/kvm")
UNMOUNTABLE = frozenset(":,\\")  # separators of the overlay's options


def routes() -> list[tuple[ipaddress.IPv4Network, str]]:
    """Return the host's IPv4 routes except the default route, with their devices."""
    return [
        (ipaddress.IPv4Network(route["dst"]), route.get("dev", "?"))
        for route in json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
        if route["dst"] != "default" and route.get("type") not in ("broadcast", "local")
    ]


@contextmanager
def choosing_net() -> Iterator[None]:
    """Hold the machine's lock on the choice of addresses, until the chosen ones are in use."""
    with CHOOSING.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pick_net(cloud: Cloud) -> dict[str, str]:
    """Choose the external network's prefix and the API's /30: the first pair without a route on the host.

    The state remembers the choice (the catalog holds the address), so a taken prefix at a later start is an error.
    """
    try:
        known = cloud.parameters()
        third = int(known["gateway"].split(".")[2])
        candidates = [third]
    except FileNotFoundError:
        candidates = list(range(4, 64, 2))
    taken = [(net, device) for net, device in routes() if device != cloud.link]
    for third in candidates:
        wanted = [ipaddress.ip_network(f"172.24.{third}.0/24"), ipaddress.ip_network(f"172.24.{third + 1}.0/30")]
        clash = [(net, device) for net, device in taken for mine in wanted if net.overlaps(mine)]
        if not clash:
            return {"gateway": f"172.24.{third}.1", "host_ip": f"172.24.{third + 1}.1", "ip": f"172.24.{third + 1}.2"}
    net, device = clash[0]
    raise CloudError(
        f"the addresses of this cloud are in use: {net} is routed to {device} on this host; fix: remove that"
        " route (`ip route` and `ip link` show its owner), or remove this cloud's state with `make cloud-clean`"
    )


def preflight(cloud: Cloud) -> None:
    """Check the preconditions before anything is changed; one error names all that do not hold."""
    problems = []
    if os.geteuid() != 0:
        raise CloudError("the local cloud needs root (namespaces, mounts, a veth); fix: run it with sudo")
    if UNMOUNTABLE & set(str(cloud.home)):
        problems.append(f"LOCALCLOUD_DIR={cloud.base} contains one of : , \\ which overlay mounts do not take;"
                        " fix: choose another directory")  # fmt: skip
    free = capacity.free_memory()[1] << 20
    if free < MEMORY_NEEDED:
        problems.append(f"{free / 2**30:.1f} GiB of memory are free, {MEMORY_NEEDED / 2**30:.0f} are needed;"
                        " fix: end other programs (`ps --sort=-rss -eo rss,args`)")  # fmt: skip
    existing = next(path for path in (cloud.base, *cloud.base.parents) if path.exists())
    disk = shutil.disk_usage(existing).free
    if disk < DISK_NEEDED and not (cloud.home / "upper").exists():
        problems.append(f"{disk / 2**30:.1f} GiB of disk are free in {existing}, {DISK_NEEDED / 2**30:.0f} are needed;"
                        " fix: free some, or set LOCALCLOUD_DIR to a directory on another disk")  # fmt: skip
    if not Path("/dev/net/tun").exists():
        problems.append("/dev/net/tun is missing: the kernel must offer tun; fix: modprobe tun")
    missing = [name for name in ("ip", "mmdebstrap", "mount") if shutil.which(name) is None]
    if missing:
        problems.append(f"{', '.join(missing)} missing; fix: apt-get install iproute2 mount mmdebstrap")
    if not KEYRING.exists():
        problems.append(f"{KEYRING} is missing; fix: apt-get install debian-archive-keyring")
    if problems:
        raise CloudError("the local cloud cannot start here:\n" + "\n".join(f"  - {one}" for one in problems))


def room_for_containers(log: Callable[[str], None]) -> None:
    """Let root have enough inotify instances: systemd of each guest takes four, and kernels allow 128."""
    most = int(INOTIFY.read_text(encoding="ascii"))
    if most >= INOTIFY_MOST:
        return
    said = f"fs.inotify.max_user_instances of this machine: {most}"
    try:
        INOTIFY.write_text(str(INOTIFY_MOST), encoding="ascii")
        log(f"{said}, now {INOTIFY_MOST} (guests are containers)")
    except OSError as error:  # /proc/sys is read-only in some containers, and a few guests fit
        log(f"{said}, which is room for {most // 4} guests, and cannot be raised here: {error.strerror}")


def kvm_verdict(cache: Path, kernel: Path) -> Path:
    """Return the file that records, for this boot of the host and this guest kernel, whether KVM runs it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return cache / f"kvm-{boot}-{hashlib.sha256(kernel.read_bytes()).hexdigest()[:16]}"


def kvm_works(cache: Path, kernel: Path, root: Path) -> bool:
    """Return whether the guest's kernel really starts on KVM: /dev/kvm may exist, even run a boot sector, and no more.

    A no takes two whole time-outs, so the result is recorded. ``root`` is the root file system with qemu.
    """
    if not KVM.exists():
        return False
    verdict = kvm_verdict(cache, kernel)
    if not verdict.exists():
        works = any(_runs_on_kvm(kernel, root, seconds) for seconds in (5, 10))  # one trial may be unlucky, or slow
        verdict.write_text("yes" if works else "no")
    return verdict.read_text() == "yes"


def _runs_on_kvm(kernel: Path, root: Path, seconds: float) -> bool:
    trial = root / "boot/trial-kernel"
    shutil.copyfile(kernel, trial)
    command = ("qemu-system-x86_64 -accel kvm -cpu host -m 128 -nodefaults -display none -serial stdio -no-reboot"
               " -kernel /boot/trial-kernel").split()  # fmt: skip
    script = f'mount --rbind /dev "{root}/dev" && exec chroot "{root}" "$@"'
    try:
        printed = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *command, "-append", "console=ttyS0 panic=-1"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
        ).stdout  # fmt: skip
    except subprocess.TimeoutExpired as expired:
        printed = expired.stdout or b""
    finally:
        trial.unlink()
    return b"Linux version" in printed


def tsc_khz() -> int:
    """Measure the frequency of the processor's time-stamp counter, in kHz.

    An emulated guest reads the host's counter, but measures its frequency against an emulated timer while others have
    the processor: on a busy host it was wrong by a factor of ten, and so was the guest's clock. So the guest gets the
    frequency on its kernel command line.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))  # rdtsc; shl rdx,32; or rax,rdx; ret
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def sample() -> tuple[int, int]:
        """Return clock (ns) and counter of one moment: of many tries the one with the shortest gap between readings."""
        tries = [(time.monotonic_ns(), read(), time.monotonic_ns()) for _ in range(100)]
        before, counter, after = min(tries, key=lambda one: one[2] - one[0])
        return (before + after) // 2, counter

    began, first = sample()
    time.sleep(0.1)
    ended, last = sample()
    return round((last - first) * 1_000_000 / (ended - began))
