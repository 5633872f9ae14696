"""QEMU: its command line, its processes as this machine has them, its monitor, and the ports that it forwards."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netorder.errors import CloudError
from netorder.ip import near
from netorder.machine.store import DISK
from netorder.topology import SSH, Forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netorder.machine.images import Image
    from netorder.machine.store import Kept

__all__ = [
    "BROKEN",
    "CONSOLE",
    "PAUSED",
    "SEED",
    "add_forward",
    "answer",
    "arguments",
    "bind_problem",
    "check_installed",
    "forwards",
    "host_key",
    "is_running",
    "kvm_problem",
    "processes",
    "remove_forward",
    "resume",
    "start",
    "state",
    "stop",
]

ARCHITECTURE = "x86_64"
PROGRAM = f"qemu-system-{ARCHITECTURE}"
SEED, CONSOLE = "seed.iso", "console.log"  # of a host's directory
# what QEMU says of a guest that stands still: it may go on (io-error: no room for what it writes), or must start anew
PAUSED, BROKEN = ("paused", "io-error"), "internal-error"
_MONITOR, _PIDFILE = "monitor", "pid"
_NETDEV = "net0"
PROCESSORS = 2  # of a host, where this machine has as many
_MONITOR_TIMEOUT = 20.0  # s
_POWERDOWN = 30.0  # s for the guest to shut down
_QUIT = 5.0  # s for QEMU to end
_PAUSE = 0.05
_RESUMED = 1.0  # s in which a guest whose disk still has no room stands still again
_KVM = Path("/dev/kvm")
_TRIALS = (5.0, 10.0)  # s for a kernel to say its first line on KVM
_TRYING = threading.Lock()
_SAID = 300  # characters of what QEMU says
_FORWARD = re.compile(r"^\s*(TCP|UDP)\[HOST_FORWARD\]\s+-?\d+\s+(\S+)\s+(\d+)\s+\S+\s+(\d+)\s", re.MULTILINE)
_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+")
_ANYWHERE = "0.0.0.0"  # noqa: S104 - where the topology says so


# The command line


def arguments(
    directory: Path, kept: Kept, name: str, image: Image, ports: Iterable[Forward], *, kvm: bool
) -> list[str]:
    """Return the command line of a host. Its monitor's path is relative: a socket's may not be long."""
    its = kept.hardware
    netdev = {
        "id": _NETDEV, "net": its["network"], "host": its["gateway"], "dns": its["name server"],
        "dhcpstart": its["address"], "hostname": name, "ipv6": "off",
    }  # fmt: skip
    forwarded = [f"hostfwd={_rule(one, its['address'])}" for one in ports]
    boots = image.kernel is not None
    words = [
        PROGRAM, "-name", f"guest={name}", "-uuid", kept.uuid, "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "pc", "-m", its["memory"], "-smp", str(min(PROCESSORS, os.cpu_count() or 1)),
        # what emulation costs is mostly translation; a boot of the guest image fills more than QEMU's own 32 MiB
        *(["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg,tb-size=96"]),
        # some distributions need more than QEMU's plainest processor
        *(["-cpu", "max"] if not kvm and not boots else []),
        "-drive", f"file={_value(directory / DISK)},format=qcow2,if=virtio,discard=unmap",
        "-drive", f"file={_value(directory / SEED)},format=raw,if=ide,media=cdrom,readonly=on",
        "-netdev", ",".join(["user", *(f"{key}={value}" for key, value in netdev.items()), *forwarded]),
        "-device", f"virtio-net-pci,netdev={_NETDEV},mac={its['mac address']},romfile=",
        "-device", "virtio-rng-pci",
        "-qmp", f"unix:{_MONITOR},server=on,wait=off",
        "-serial", f"file:{_value(directory / CONSOLE)}",
        "-pidfile", str(directory / _PIDFILE), "-daemonize",
        "-sandbox", "on,obsolete=deny,resourcecontrol=deny",  # more forbids what -daemonize does
    ]  # fmt: skip
    if image.kernel is not None:
        # a clone's disk has the machine id of the other
        machine_id = f" systemd.machine_id={kept.uuid.replace('-', '')}"
        words += ["-kernel", str(image.kernel), "-append", (image.cmdline if kvm else image.emulated) + machine_id]
        words += ["-initrd", str(image.initrd)] if image.initrd else []
    return words


def _value(path: Path) -> str:
    """Return a path as the value of an option, where a comma ends it."""
    return str(path).replace(",", ",,")


def _rule(one: Forward, address: str) -> str:
    return f"{_side(one)}-{address}:{one.guest}"


def _side(one: Forward) -> str:
    return f"{one.protocol}:{one.address}:{one.host}"


def check_installed() -> None:
    """Raise CloudError where a program is missing, or this machine is of another kind."""
    if platform.machine() != ARCHITECTURE:
        raise CloudError(
            f"target `machine` makes virtual machines of {ARCHITECTURE} on machines of {ARCHITECTURE}, and this one is "
            f"{platform.machine()}: use `target: openstack`, or another machine"
        )
    missing = [program for program in (PROGRAM, "qemu-img") if shutil.which(program) is None]
    if missing:
        raise CloudError(
            f"{' and '.join(missing)}: not installed on this machine. `make machine-image` installs what the target "
            "`machine` needs (Debian: qemu-system-x86, qemu-utils)"
        )


def kvm_problem(cache: Path, kernel: Path | None) -> str:
    """Return why no kernel starts on KVM, nothing where one really does.

    /dev/kvm may exist, be open to us, even run a boot sector, and no more: so a kernel is tried, and the answer kept
    until this machine boots again. Without a kernel to try, it is enough that QEMU begins on it.
    """
    if not _KVM.exists():
        return f"this machine has no {_KVM}"
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return f"{_KVM} is not open to this user (`usermod -aG kvm USER`, and log in again)"
    # some distributions let root alone read theirs
    kernel = kernel or max((one for one in Path("/boot").glob("vmlinuz-*") if os.access(one, os.R_OK)), default=None)
    if kernel is None:
        return _beginning()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    verdict = cache / f"kvm-{boot}"
    with _TRYING:  # hosts that start at the same time would make each other's trials slow
        said = verdict.read_text(encoding="utf-8") if verdict.exists() else ""
        if not said.startswith(("yes", "no: ")):  # a bare no is that of a version which tried once
            why = _trial(kernel)
            said = f"no: {why}" if why else "yes"
            _keep(verdict, said)
    if said.startswith("yes"):
        return ""
    return f"{said.removeprefix('no: ')}; to try again before this machine boots, remove {verdict}"


def _keep(verdict: Path, said: str) -> None:
    """Keep the answer of this boot, whole, for who reads it at the same time; remove those of others."""
    verdict.parent.mkdir(parents=True, exist_ok=True)
    for old in {*verdict.parent.glob("kvm-*")} - {verdict}:
        old.unlink(missing_ok=True)
    new = verdict.with_name(f".kvm-{os.getpid()}-{threading.get_ident()}")
    new.write_text(said, encoding="utf-8")
    new.replace(verdict)


def _on_kvm(*words: str) -> list[str]:
    return [PROGRAM, "-accel", "kvm", "-cpu", "host", "-m", "128", "-nodefaults", "-display", "none", *words]


def _beginning() -> str:
    """Return why QEMU does not even make a machine on KVM; it runs nothing."""
    command = _on_kvm("-S", "-monitor", "stdio")
    try:
        done = subprocess.run(command, input=b"quit\n", capture_output=True, timeout=_TRIALS[-1], check=False)
    except subprocess.TimeoutExpired:
        return f"QEMU did not begin on it within {_TRIALS[-1]:g} s"
    said = " ".join(done.stderr.decode(errors="replace").split())[:_SAID]
    return (said or f"QEMU ended with {done.returncode} on it") if done.returncode else ""


def _trial(kernel: Path) -> str:
    """Return why a kernel does not start on KVM in any of the trials: one alone may be unlucky, or slow."""
    command = _on_kvm("-serial", "stdio", "-no-reboot", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1")
    why = ""
    for seconds in _TRIALS:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
            printed, complaint = done.stdout, done.stderr
        except subprocess.TimeoutExpired as expired:
            printed, complaint = expired.stdout or b"", expired.stderr or b""
        if b"Linux version" in printed:
            return ""
        said = " ".join(complaint.decode(errors="replace").split())[:_SAID]
        why = said or f"a kernel that was tried on it said nothing for {seconds:g} s"
    return why


# Processes


def processes(where: Path) -> dict[str, int]:
    """Return the process of each host of the directory ``where``, found by the pidfile on its command line.

    Not by what the pidfile says: a run may have been killed before it was written, and numbers are used again.
    """
    if not Path("/proc/self/cmdline").exists():
        raise CloudError("target `machine` finds its processes in /proc, which this system does not have: use Linux")
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (directory := _directory_of(int(entry.name))) and directory.parent == where:
            found[directory.name] = int(entry.name)
    return found


def _directory_of(pid: int) -> Path | None:
    """Return the directory of the host whose QEMU a process is; None of other processes."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if not os.path.basename(words[0]).startswith(b"qemu-system-") or b"-pidfile" not in words:  # noqa: PTH119 - bytes
        return None
    return Path(os.fsdecode(words[words.index(b"-pidfile") + 1])).parent


def is_running(directory: Path, pid: int) -> bool:
    """Tell whether a process is still the QEMU of the host of this directory."""
    return _directory_of(pid) == directory


def start(directory: Path, words: list[str]) -> None:
    """Start a host's QEMU, which is in the background when this returns. Raises CloudError with what it said."""
    if not (said := _started(directory, words)):
        return
    # a run that was killed a moment ago may have begun to start it, when there was no QEMU to be seen yet
    if (pid := processes(directory.parent).get(directory.name)) is not None:
        stop(directory, pid, clean=False)
        said = _started(directory, words)
    if said:
        raise CloudError(f"host {directory.name} does not start: {said}")


def _started(directory: Path, words: list[str]) -> str:
    """Start it; return what it says where it does not start."""
    (directory / _MONITOR).unlink(missing_ok=True)
    with (directory / "qemu.log").open("w+", encoding="utf-8") as log:
        done = subprocess.run(
            words, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, start_new_session=True
        )
        log.seek(0)
        return (" ".join(log.read().split()) or f"exit status {done.returncode}") if done.returncode else ""


def stop(directory: Path, pid: int, *, clean: bool = True) -> str:
    """End a host's QEMU: as its power button does, then by its monitor, then by a signal; return what it took."""
    # a guest that stands still does not feel its power button
    ways = [("shut down", ("cont", "system_powerdown"), _POWERDOWN)] if clean else []
    for word, commands, seconds in [*ways, ("ended", ("quit",), _QUIT)]:
        waits = seconds
        try:
            with suppress(OSError), monitor(directory) as ask:
                for command in commands:
                    ask(command)
        except CloudError:  # it refuses: nothing comes of it
            waits = _QUIT
        if _ended(directory, pid, waits):
            return word
    if is_running(directory, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except PermissionError:
            raise CloudError(
                f"process {pid}, the QEMU of host {directory.name}, is another user's: run as that user, or as root"
            ) from None
    if not _ended(directory, pid, _QUIT):
        raise CloudError(f"process {pid}, the QEMU of host {directory.name}, does not end")
    return "killed"


def _ended(directory: Path, pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while is_running(directory, pid):
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True


# The monitor


@contextmanager
def monitor(directory: Path) -> Iterator[Any]:
    """Give a function that asks a host's monitor (QMP); raises OSError where none answers, CloudError if it refuses."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_MONITOR_TIMEOUT)
            connection.connect(f"/proc/self/fd/{handle}/{_MONITOR}")  # short, however long the directory's path is
            with connection.makefile("rwb") as stream:

                def ask(command: str, **given: str) -> Any:  # noqa: ANN401 - JSON
                    request = {"execute": command, "arguments": {key.replace("_", "-"): v for key, v in given.items()}}
                    stream.write(json.dumps(request).encode() + b"\n")
                    stream.flush()
                    while line := stream.readline():
                        answer = json.loads(line)
                        if "error" in answer:
                            raise CloudError(f"host {directory.name}: {command}: {answer['error']['desc']}")
                        if "return" in answer:
                            return answer["return"]
                    raise CloudError(f"host {directory.name}: its monitor closed the connection ({command})")

                stream.readline()  # the greeting
                ask("qmp_capabilities")
                yield ask
    finally:
        os.close(handle)


def _human(directory: Path, line: str) -> str:
    return str(_asked(directory, "human-monitor-command", command_line=line))


def _asked(directory: Path, command: str, **given: str) -> Any:  # noqa: ANN401 - JSON
    try:
        with monitor(directory) as ask:
            return ask(command, **given)
    except OSError as error:
        raise CloudError(
            f"host {directory.name}: its monitor does not answer ({error.strerror or error}): end its process, and run "
            "again"
        ) from None


def state(directory: Path) -> str:
    """Return QEMU's word for what a guest does, such as `running` or `io-error`."""
    return str(_asked(directory, "query-status")["status"])


def resume(directory: Path) -> None:
    """Have a guest that stands still go on. Raises CloudError where it stops again at once."""
    _asked(directory, "cont")
    end = time.monotonic() + _RESUMED
    while (found := state(directory)) == "running":
        if time.monotonic() > end:
            return
        time.sleep(_PAUSE)
    raise CloudError(
        f"host {directory.name}: it stands still again ({found}): is there room where its disk is ({directory})? Make "
        "room, and run again"
    )


def forwards(directory: Path) -> frozenset[Forward]:
    """Return the ports that a running host's NAT forwards."""
    return parse_forwards(_human(directory, "info usernet"))


def parse_forwards(text: str) -> frozenset[Forward]:
    """Return the forwarded ports of what `info usernet` says."""
    return frozenset(
        Forward(int(port), int(guest), protocol.lower(), _ANYWHERE if address == "*" else address)
        for protocol, address, port, guest in _FORWARD.findall(text)
    )


def add_forward(directory: Path, one: Forward, address: str) -> None:
    """Forward a port to a running host. Raises CloudError with what QEMU says."""
    said = _human(directory, f"hostfwd_add {_NETDEV} {_rule(one, address)}").strip()
    if said:
        raise CloudError(f"host {directory.name}: {one} cannot be forwarded: {said}")


def remove_forward(directory: Path, one: Forward) -> None:
    """Forward a port of a running host no more. Raises CloudError with what QEMU says."""
    said = _human(directory, f"hostfwd_remove {_NETDEV} {_side(one)}").strip()
    if "removed" not in said:
        raise CloudError(f"host {directory.name}: {one} is still forwarded: {said}")


def bind_problem(one: Forward) -> str:
    """Return why this machine's port of a forward cannot be had; nothing if it can."""
    kind = socket.SOCK_STREAM if one.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if one.protocol == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((one.address, one.host))
        except OSError as error:
            return _BIND.get(error.errno or 0, error.strerror or str(error))
    return ""


_BIND: Mapping[int, str] = {
    errno.EADDRINUSE: "something on this machine has that port (`ss -lnp`): end it, or choose another `host:` port",
    errno.EACCES: "ports below 1024 are root's: choose another `host:` port, or run as root",
    errno.EADDRNOTAVAIL: "this machine has no such address: name one of its own (`ip address`)",
}


def answer(one: Forward, seconds: float = 1.0) -> str:
    """Say what a connection to a forwarded TCP port comes to. The NAT accepts it before it has asked the host."""
    try:
        with socket.create_connection((near(one.address), one.host), seconds) as connection:
            connection.settimeout(seconds)
            try:
                return "answers" if connection.recv(1) else "closed by the host"
            except TimeoutError:
                return "open"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return "closed by the host" if isinstance(error, ConnectionResetError) else f"no answer ({error})"


def host_key(directory: Path) -> str | None:
    """Return the SSH host key that a host's console showed last, None if it did not yet."""
    try:
        text = (directory / CONSOLE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    shown = _KEYS.findall(text.replace("\r", ""))
    found = _KEY.search(shown[-1]) if shown else None
    return found[0] if found else None


def ssh_forward(kept: Kept) -> Forward:
    """Return the forwarded port by which this machine's SSH reaches a host."""
    return Forward(kept.ssh_port, SSH, "tcp", kept.outside)
