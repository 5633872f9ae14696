"""The host's side of the cloud: its directory, its namespaces, the veth into it, and what must hold before a start."""

from __future__ import annotations

import ctypes
import dataclasses
import fcntl
import hashlib
import ipaddress
import json
import mmap
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud import CloudError, guest, rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODE = Path(__file__).resolve().parent
CLONE = {"mnt": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "pid": 0x20000000,
         "net": 0x40000000}  # fmt: skip
MEMORY_NEEDED, DISK_NEEDED = 6 * 2**30, 8 * 2**30  # bytes: five guests and their services; both caches and the state
GUEST_KINDS = ("vm", "container")


@dataclasses.dataclass(frozen=True)
class Cloud:
    """One local cloud: ``home`` holds all its state, ``cache`` what can be made again."""

    base: Path
    name: str

    @property
    def home(self) -> Path:
        """The directory with this cloud's state."""
        return self.base / self.name

    @property
    def cache(self) -> Path:
        """The directory with root file systems and guest images, shared by all clouds of this checkout."""
        return self.base / "cache"

    @property
    def shared(self) -> Path:
        """What host and cloud both see: parameters, status, logs, guest image."""
        return self.home / "shared"

    @property
    def link(self) -> str:
        """The name of the host's end of the veth: at most 15 characters, told apart by the directory."""
        return "lcloud-" + hashlib.sha256(str(self.home).encode()).hexdigest()[:8]

    @property
    def entry(self) -> str:
        """The name of the entry in clouds.yaml."""
        return "netorder-local" if self.name == "default" else f"netorder-local-{self.name}"

    def parameters(self) -> dict[str, str]:
        """Return what was decided when the state was made."""
        known: dict[str, str] = json.loads((self.shared / "parameters.json").read_text())
        return known

    def pid(self) -> int | None:
        """Return the process id of the cloud's PID 1, None if it does not run (the start time guards against reuse)."""
        try:
            pid, started = (self.home / "pid").read_text().split()
            Path(f"/proc/{pid}/ns/pid").readlink()  # fails as soon as it is ending, before it is a zombie
            return int(pid) if started_at(int(pid)) == started else None
        except (OSError, ValueError):
            return None


def started_at(pid: int) -> str:
    """Return a process's start time in clock ticks since boot (proc(5), field 22), "" for one that has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return "" if fields[0] == "Z" else fields[19]


def run(*words: str) -> str:
    """Run a command of the host; its failure is a CloudError with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CloudError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


@contextmanager
def locked(cloud: Cloud) -> Iterator[None]:
    """Hold the cloud's lock: two commands at once on one cloud take turns, and the second says so."""
    cloud.home.mkdir(parents=True, exist_ok=True)
    with (cloud.home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another command works on this cloud: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- before a start --------------------------------------------------------------------------------------------------


def routes() -> list[tuple[ipaddress.IPv4Network, str]]:
    """Return the host's IPv4 routes but the default one, with their devices."""
    return [
        (ipaddress.IPv4Network(route["dst"]), route.get("dev", "?"))
        for route in json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
        if route["dst"] != "default" and route.get("type") not in ("broadcast", "local")
    ]


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
    existing = cloud.base if cloud.base.exists() else cloud.base.parent
    disk = shutil.disk_usage(existing).free
    if disk < DISK_NEEDED and not (cloud.home / "upper").exists():
        problems.append(f"{disk / 2**30:.1f} GiB of disk are free in {existing}, {DISK_NEEDED / 2**30:.0f} are needed")
    if not Path("/dev/net/tun").exists():
        problems.append("/dev/net/tun is missing: the kernel must offer tun; mend: modprobe tun")
    missing = [name for name in ("ip", "mmdebstrap", "mount") if shutil.which(name) is None]
    if missing:
        problems.append(f"{', '.join(missing)} missing; mend: apt-get install iproute2 mount mmdebstrap")
    if not rootfs.KEYRING.exists():
        problems.append(f"{rootfs.KEYRING} is missing; mend: apt-get install debian-archive-keyring")
    if problems:
        raise CloudError("the local cloud cannot start here:\n" + "\n".join(f"  - {one}" for one in problems))


def kvm_works(cloud: Cloud, root: Path) -> bool:
    """Tell whether the guest's kernel really starts on KVM: /dev/kvm may be there, even run a boot sector, and no more.

    The answer holds for this boot of the host and this kernel: it is remembered, since a no takes the whole time-out.
    """
    kernel = next((cloud.shared / "guest").glob("vmlinuz*"), None)
    if not Path("/dev/kvm").exists() or kernel is None:
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdict = cloud.cache / f"kvm-{boot}-{hashlib.sha256(kernel.read_bytes()).hexdigest()[:16]}"
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


# --- control groups and loop devices: only containers need them ------------------------------------------------------


def cgroup_mounts() -> list[Path]:
    """Return where the host's control group hierarchies are mounted, of either version."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line.split(" - ")[0].split()[4] for line in lines if line.split(" - ")[1].split()[0].startswith("cgroup")]
    return [Path(path) for path in found if path.startswith("/sys/fs/cgroup")]


def join_cgroups(name: str) -> None:
    """Move this process into a group of its own in every hierarchy: the root of the cgroup namespace to come."""
    for hierarchy in cgroup_mounts():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # a new group of version 1 has none, and takes no process
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())
        (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_cgroups(name: str, patience: float = 10) -> None:
    """Remove the cloud's groups, the innermost first, once the last of its processes has ended."""
    limit = time.monotonic() + patience
    for hierarchy in cgroup_mounts():
        for group, _, _ in os.walk(hierarchy / name, topdown=False):
            while Path(group, "cgroup.procs").read_text() and time.monotonic() < limit:
                time.sleep(0.05)
            Path(group).rmdir()


def detach_loops(cloud: Cloud) -> None:
    """Detach the loop devices of the containers' disks: they outlive the namespaces that made them."""
    disks = {str(disk.stat().st_ino) for disk in cloud.home.glob("upper/var/lib/nova/instances/*/disk")}
    for line in run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-INO,BACK-FILE").splitlines():
        name, inode, file = [*line.split(), "", ""][:3]
        if inode in disks and file.startswith("/var/lib/nova/instances/"):
            run("losetup", "--detach", name)


# --- start, stop -----------------------------------------------------------------------------------------------------


def spawn(cloud: Cloud, lower: Path, guests: str) -> int:
    """Start PID 1 in new namespaces; return its process id on the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:  # the child that leaves the host's namespaces; its own child is PID 1
        os.close(reader)
        os.setsid()
        if guests == "container":
            join_cgroups(cloud.link)
        if libc.unshare(sum(CLONE.values())) != 0:
            os.write(writer, f"E unshare: {os.strerror(ctypes.get_errno())}".encode())
            os._exit(1)
        first = os.fork()
        if first == 0:
            os.close(writer)
            log = os.open(cloud.shared / "log" / "init.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, to in ((null, 0), (log, 1), (log, 2)):
                os.dup2(number, to)
            os.closerange(3, 1024)
            first_process = [sys.executable, "-B", str(CODE / "init.py"), str(cloud.home), str(lower), guests]
            os.execv(sys.executable, first_process)  # noqa: S606 - no shell is wanted
        os.write(writer, str(first).encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 200).decode()
    os.close(reader)
    os.waitpid(middle, 0)
    if not answer.isdigit():
        raise CloudError(f"the cloud's namespaces cannot be made: {answer[2:]}")
    return int(answer)


def join_network(cloud: Cloud, pid: int, values: dict[str, str]) -> None:
    """Lay the veth between host and cloud, and the host's route to the floating IPs."""
    if cloud.link in run("ip", "-br", "link"):
        run("ip", "link", "del", cloud.link)  # of a cloud that was killed in this moment
    run("ip", "link", "add", cloud.link, "type", "veth", "peer", "name", "api0", "netns", str(pid))
    run("ip", "addr", "add", f"{values['host_ip']}/30", "dev", cloud.link)
    run("ip", "link", "set", cloud.link, "up")
    external = str(ipaddress.ip_network(f"{values['gateway']}/24", strict=False))
    run("ip", "route", "replace", external, "via", values["ip"], "dev", cloud.link, "src", values["host_ip"])


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def write_clouds_yaml(cloud: Cloud, values: dict[str, str]) -> Path:
    """Write the cloud's one output: its entry in clouds.yaml, other entries kept (the file is JSON, which is YAML)."""
    path = cloud.base / "clouds.yaml"
    try:
        clouds = json.loads(path.read_text())["clouds"]
    except (OSError, ValueError, KeyError):
        clouds = {}
    clouds[cloud.entry] = {
        "auth": {
            "auth_url": f"http://{values['ip']}:5000/v3",
            "username": values["user"], "password": values["user_password"], "project_name": values["project"],
            "user_domain_id": "default", "project_domain_id": "default",
        },
        "region_name": "RegionOne", "identity_api_version": 3,
    }  # fmt: skip
    write_private(path, json.dumps({"clouds": clouds}, indent=2) + "\n")
    if "SUDO_UID" in os.environ:  # it is for the user who called sudo
        os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    return path


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


def prepare_guest(cloud: Cloud, guests: str, log: Callable[[str], None]) -> None:
    """Put the guest image where the cloud's seed finds it."""
    made = guest.build(cloud.cache, log)
    target = cloud.shared / "guest"
    marker = target / "guest.json"
    clock = tsc_khz()
    if marker.exists():
        known = json.loads(marker.read_text())
        if known["made_from"] == made.digest and abs(known["clock"] - clock) < clock / 1000:
            return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    described = {
        "made_from": made.digest, "clock": clock, "digest": f"{made.digest}-{clock}",
        "cmdline": f"{made.cmdline} tsc_early_khz={clock}", "min_ram": guest.MIN_RAM_MB, "min_disk": guest.MIN_DISK_GB,
        "properties": {"hw_rng_model": "virtio"},
    }  # fmt: skip
    for part in ("disk",) if guests == "container" else ("kernel", "initrd", "disk"):
        source = getattr(made, part)
        if source is not None:
            run("cp", "--sparse=always", str(source), str(target / source.name))
            described[part] = source.name
    described["format"] = "qcow2" if made.disk.suffix == ".qcow2" else "raw"
    marker.write_text(json.dumps(described))


def new_parameters(cloud: Cloud, net: dict[str, str], guests: str, virt_type: str) -> dict[str, str]:
    """Return the cloud's parameters: what is remembered stays, secrets are random and made once."""
    try:
        known = cloud.parameters()
    except FileNotFoundError:
        known = {name: secrets.token_hex(16) for name in ("secret", "admin_password", "user_password")}
    if known.get("guests", guests) != guests:
        raise CloudError(
            f"this cloud's state is for guests of the kind {known['guests']}, not {guests};"
            f" mend: make cloud-clean, or LOCALCLOUD_GUESTS={known['guests']}, or another LOCALCLOUD_NAME"
        )
    return {
        **known, **net, "hostname": "localcloud", "user": "netorder", "project": "netorder", "guests": guests,
        "virt_type": virt_type, "cpu_mode": "host-passthrough" if virt_type == "kvm" else "none",
        "metadata": "true" if guests == "container" else "false",
        "libvirt_uri": "lxc:///system" if guests == "container" else "qemu:///system",
        "images_type": "raw" if guests == "container" else "qcow2",
        "config_drive": "false" if guests == "container" else "true",
    }  # fmt: skip


def up(cloud: Cloud, guests: str, log: Callable[[str], None], patience: float = 600) -> None:
    """Start the cloud, from nothing or from its state, and return when a user can work on it."""
    if guests not in GUEST_KINDS:
        raise CloudError(f"LOCALCLOUD_GUESTS={guests}: must be one of {', '.join(GUEST_KINDS)}")
    preflight(cloud)
    net = pick_net(cloud)
    with locked(cloud):
        if cloud.pid() is not None:
            if not status(cloud).get("ready"):
                wait_ready(cloud, log, patience)
            log(f"the cloud is up already: OS_CLOUD={cloud.entry}")
            return
        began = time.monotonic()
        lower = rootfs.build(cloud.cache, log)
        log(f"root file system ready ({time.monotonic() - began:.0f} s)")
        (cloud.shared / "log").mkdir(parents=True, exist_ok=True)
        cloud.shared.chmod(0o700)
        prepare_guest(cloud, guests, log)
        log(f"guest image ready ({time.monotonic() - began:.0f} s)")
        virt_type = "lxc" if guests == "container" else "kvm" if kvm_works(cloud, lower) else "qemu"
        log({"kvm": "guests: virtual machines on KVM", "qemu": "guests: virtual machines, emulated (no KVM runs here)",
             "lxc": "guests: system containers"}[virt_type])  # fmt: skip
        values = new_parameters(cloud, net, guests, virt_type)
        write_private(cloud.shared / "parameters.json", json.dumps(values))
        (cloud.shared / "status.json").unlink(missing_ok=True)
        halt(cloud)  # what a killed one left
        pid = spawn(cloud, lower, guests)
        write_private(cloud.home / "pid", f"{pid} {started_at(pid)}\n")
        try:
            join_network(cloud, pid, values)
            wait_ready(cloud, log, patience)
        except BaseException:
            halt(cloud)
            raise
        write_clouds_yaml(cloud, values)
        log(f"the cloud is up after {time.monotonic() - began:.0f} s: OS_CLOUD={cloud.entry}")


def status(cloud: Cloud) -> dict[str, Any]:
    """Return what the supervisor last reported, {} before its first report."""
    try:
        report: dict[str, Any] = json.loads((cloud.shared / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return report


def log_tail(cloud: Cloud, name: str, lines: int = 12) -> str:
    """Return the last lines of a step's log."""
    path = cloud.shared / "log" / f"{name}.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def wait_ready(cloud: Cloud, log: Callable[[str], None], patience: float) -> None:
    """Wait until the supervisor reports that everything is up; show each step as it is done."""
    limit, shown = time.monotonic() + patience, set()
    while True:
        report = status(cloud)
        for name, step in report.get("steps", {}).items():
            if name not in shown and step["state"] in ("done", "running"):
                shown.add(name)
                log(f"  {name} ({step.get('took', 0):.1f} s)")
        if report.get("failed"):
            name = str(report["failed"]).split(":", 1)[0]
            raise CloudError(f"the cloud did not start: {report['failed']}\n"
                             f"the end of {cloud.shared}/log/{name}.log:\n{log_tail(cloud, name)}")  # fmt: skip
        if report.get("ready"):
            return
        if cloud.pid() is None:
            raise CloudError(f"the cloud's first process ended; the end of its log:\n{log_tail(cloud, 'init')}")
        if time.monotonic() > limit:
            waiting = [name for name, step in report.get("steps", {}).items()
                       if step["state"] not in ("done", "running")]  # fmt: skip
            raise CloudError(f"the cloud is not ready after {patience:.0f} s; not done: {', '.join(waiting)}")
        time.sleep(0.1)


def halt(cloud: Cloud, patience: float = 40) -> None:
    """End the cloud's PID 1, in order if it obeys in time, and whatever of the host's belongs to it."""
    pid = cloud.pid()
    if pid is not None:
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        limit = time.monotonic() + patience
        while cloud.pid() is not None and time.monotonic() < limit:
            time.sleep(0.05)
        if cloud.pid() is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            time.sleep(0.2)
        os.close(handle)
    (cloud.home / "pid").unlink(missing_ok=True)
    detach_loops(cloud)
    remove_cgroups(cloud.link)
    if cloud.link in run("ip", "-br", "link"):
        run("ip", "link", "del", cloud.link)


def down(cloud: Cloud, log: Callable[[str], None]) -> None:
    """Stop the cloud; its state stays."""
    if not cloud.home.exists():
        log("there is no local cloud here")
        return
    with locked(cloud):
        began = time.monotonic()
        halt(cloud)
        log(f"the cloud is down ({time.monotonic() - began:.1f} s); its state stays in {cloud.home}")


def clean(cloud: Cloud, log: Callable[[str], None]) -> None:
    """Stop the cloud and remove its state; the cache too when no other cloud of this checkout is left."""
    down(cloud, log)
    if cloud.home.exists():
        shutil.rmtree(cloud.home)
    path = cloud.base / "clouds.yaml"
    if path.exists():
        clouds = json.loads(path.read_text())["clouds"]
        clouds.pop(cloud.entry, None)
        write_private(path, json.dumps({"clouds": clouds}, indent=2) + "\n") if clouds else path.unlink()
    if cloud.base.exists() and [one.name for one in cloud.base.iterdir()] in ([], ["cache"]):
        shutil.rmtree(cloud.base)
    log("cleaned: nothing of the local cloud is left")
