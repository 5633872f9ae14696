"""What must hold on the host before a start, and what the host is like: addresses, KVM, clock."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import ipaddress
import json
import mmap
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import CloudError
from localcloud.build import KEYRING
from localcloud.machine import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localcloud.cloud import Cloud

MEMORY_NEEDED, DISK_NEEDED = 6 * 2**30, 8 * 2**30  # bytes: five guests and their services; the caches and the state
CHOOSING = Path("/run/netorder-localcloud.lock")  # one for the machine: clouds of different directories share addresses


def routes() -> list[tuple[ipaddress.IPv4Network, str]]:
    """Return the host's IPv4 routes but the default one, with their devices."""
    return [
        (ipaddress.IPv4Network(route["dst"]), route.get("dev", "?"))
        for route in json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
        if route["dst"] != "default" and route.get("type") not in ("broadcast", "local")
    ]


@contextmanager
def choosing_net() -> Iterator[None]:
    """Keep other starts on this machine, whoever's, from choosing until what was chosen is in use."""
    with CHOOSING.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pick_net(cloud: Cloud) -> dict[str, str]:
    """Choose the external network's prefix and the API's /30: the first pair that nothing on the host uses.

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
        f"the addresses of this cloud are in use: {net} is routed to {device} on this host; mend: free it"
        " (`ip route` and `ip link` show whose it is), or give up this cloud's state with `make cloud-clean`"
    )


def preflight(cloud: Cloud) -> None:
    """Refuse, with every reason at once and before anything is changed, what cannot work."""
    problems = []
    if os.geteuid() != 0:
        raise CloudError("the local cloud needs root (namespaces, mounts, a veth); mend: run it with sudo")
    memory = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    free = int(memory[1]) * 1024 if memory else 0
    if free < MEMORY_NEEDED:
        problems.append(f"{free / 2**30:.1f} GiB of memory are free, {MEMORY_NEEDED / 2**30:.0f} are needed")
    existing = next(path for path in (cloud.base, *cloud.base.parents) if path.exists())
    disk = shutil.disk_usage(existing).free
    if disk < DISK_NEEDED and not (cloud.home / "upper").exists():
        problems.append(f"{disk / 2**30:.1f} GiB of disk are free in {existing}, {DISK_NEEDED / 2**30:.0f} are needed")
    if not Path("/dev/net/tun").exists():
        problems.append("/dev/net/tun is missing: the kernel must offer tun; mend: modprobe tun")
    missing = [name for name in ("ip", "mmdebstrap", "mount") if shutil.which(name) is None]
    if missing:
        problems.append(f"{', '.join(missing)} missing; mend: apt-get install iproute2 mount mmdebstrap")
    if not KEYRING.exists():
        problems.append(f"{KEYRING} is missing; mend: apt-get install debian-archive-keyring")
    if problems:
        raise CloudError("the local cloud cannot start here:\n" + "\n".join(f"  - {one}" for one in problems))


def kvm_verdict(cache: Path, kernel: Path) -> Path:
    """Return the file that remembers, for this boot of the host and this kernel, whether KVM runs it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return cache / f"kvm-{boot}-{hashlib.sha256(kernel.read_bytes()).hexdigest()[:16]}"


def kvm_works(cache: Path, kernel: Path, root: Path) -> bool:
    """Tell whether the guest's kernel really starts on KVM: /dev/kvm may be there, even run a boot sector, and no more.

    A no takes the whole time-out, so the answer is remembered. ``root`` is the root file system with qemu.
    """
    if not Path("/dev/kvm").exists():
        return False
    verdict = kvm_verdict(cache, kernel)
    if not verdict.exists():
        trial = root / "boot/trial-kernel"
        shutil.copyfile(kernel, trial)
        command = ("qemu-system-x86_64 -accel kvm -cpu host -m 128 -nodefaults -display none -serial stdio -no-reboot"
                   " -kernel /boot/trial-kernel").split()  # fmt: skip
        script = f'mount --rbind /dev "{root}/dev" && exec chroot "{root}" "$@"'
        try:
            said = subprocess.run(
                ["unshare", "--mount", "sh", "-c", script, "sh", *command, "-append", "console=ttyS0 panic=-1"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False,
            ).stdout  # fmt: skip
        except subprocess.TimeoutExpired as expired:
            said = expired.stdout or b""
        finally:
            trial.unlink()
        verdict.write_text("yes" if b"Linux version" in said else "no")
    return verdict.read_text() == "yes"


def tsc_khz() -> int:
    """Measure the frequency of the processor's time-stamp counter, in kHz.

    An emulated guest reads the host's counter, but measures its frequency against an emulated timer while others have
    the processor: on a busy host it was ten times off, and so was the guest's clock. So the guest is told.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))  # rdtsc; shl rdx,32; or rax,rdx; ret
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def sample() -> tuple[int, int]:
        """Return clock (ns) and counter of one moment: of many tries the one that took least between two readings."""
        tries = [(time.monotonic_ns(), read(), time.monotonic_ns()) for _ in range(100)]
        before, counter, after = min(tries, key=lambda one: one[2] - one[0])
        return (before + after) // 2, counter

    began, first = sample()
    time.sleep(0.1)
    ended, last = sample()
    return round((last - first) * 1_000_000 / (ended - began))
