"""The ways to have the calculator: how each is made, asked, looked into, started, saved and taken away."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from running import BASE, Running

from bench.targets_ways import meter, topology
from bench.targets_ways.commands import ROOT, FailedError, python, run, undisturbed
from localcloud import machine
from netorder.containers import engine
from netorder.controller import ssh as access
from netorder.language.load import load
from netorder.machine import images, qemu, store, target
from netorder.plan.build import build_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "bench-targets"  # of the topologies, the cloud, the compose project
FILES = ROOT / ".netorder"
CALCULATOR = ROOT / "applications" / "calculator"
IMAGE = "localhost/netorder/debian-13"
APPLICATION = "localhost/netorder/calculator"
NOBODY = 65534
PODMANS_FILES = 1 << 20  # open files that podman asks for
HOSTKEY_TIMEOUT = 1800.0  # s
ACTIVE, OFF = "ACTIVE", "SHUTOFF"
NOT_ROOT = "it needs root: run `sudo -E env PATH=$PATH bench/targets`, or `make bench-targets`, which does"


class Way:
    """One way. ``work`` is a directory for its files; figures are of all five hosts, in bytes and seconds."""

    key: ClassVar[str]
    title: ClassVar[str]
    needs_root: ClassVar[bool] = True
    takes_snapshots: ClassVar[bool] = False

    def __init__(self, work: Path) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)

    def problem(self) -> str:
        """Return why it cannot be measured here, and what to do; nothing if it can."""
        if self.needs_root and os.geteuid() != 0:
            return NOT_ROOT
        return ""

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Give what is there before the first host: a cloud, files. What a killed benchmark left is taken away."""
        self.down()
        yield

    def up(self) -> None:
        """Make all of it, from nothing."""
        raise NotImplementedError

    def url(self, service: str) -> str | None:
        """Return where ``calculator`` and ``sum`` are asked, None while that is not known yet."""
        raise NotImplementedError

    def settle(self) -> None:
        """End what making it has left that is no part of it."""

    def processes(self) -> list[int]:
        """Return the processes of this machine that are the five hosts."""
        raise NotImplementedError

    def others(self) -> list[int]:
        """Return those that make and keep hosts, and are there for as many as there are."""
        return []

    def disk(self) -> int:
        """Return what the five add."""
        raise NotImplementedError

    def image(self) -> int:
        """Return what they are made from."""
        raise NotImplementedError

    def stop(self, host: str) -> None:
        """Stop a host."""
        raise NotImplementedError

    def start(self, host: str) -> None:
        """Start it again, as it was."""
        raise NotImplementedError

    def snapshot(self, host: str) -> None:
        """Save a host."""

    def restore(self, host: str) -> None:
        """Put a host back as it was saved."""

    def inside(self, host: str, *words: str) -> list[str]:
        """Return the command line that runs Python, with a program from its standard input, in a host."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what these commands need."""
        return {}

    def down(self) -> None:
        """Take all of it away, and what was saved of it."""
        raise NotImplementedError

    def kvm(self) -> bool | None:
        """Return whether its machines are on KVM; None of what is no virtual machine."""
        return None


class Ordered(Way):
    """What ``netorder up`` makes of a topology file."""

    target: ClassVar[str]
    takes_snapshots = True

    @property
    def file(self) -> Path:
        """The topology file."""
        return self.work / "topology.yml"

    def write(self) -> None:
        """Write the topology file."""
        self.file.write_text(topology.networked(NAME, topology.applications(*shipped())), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return the environment of commands: files of runs apart from those of others, the target of the way."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT / "src"),
            "OS_CLOUD": NAME,
            "NETORDER_TARGET": self.target,
            "NETORDER_TOPOLOGY": str(self.file),
            "ANSIBLE_NOCOLOR": "1",
        }

    def netorder(self, name: str, *words: str) -> str:
        """Run a command as a user does."""
        return run(python("netorder", name, *words), self.work / f"{name}.log", environment=self.environment())

    @contextmanager
    def prepared(self) -> Iterator[None]:
        self.write()
        with super().prepared():
            yield

    def up(self) -> None:
        more = ["--hostkey-timeout", f"{HOSTKEY_TIMEOUT:g}", "--ssh-timeout", f"{HOSTKEY_TIMEOUT:g}"]
        # what verify measures is no part of making it
        self.netorder("up", str(self.file), *more, "--", "--skip-tags", "verify")

    def settle(self) -> None:
        """Close the SSH connections that are kept for the next command."""
        settings = FILES / self.environment()["OS_CLOUD"] / NAME / "ssh_config"
        for host in topology.PORTS:
            words = ["ssh", "-F", str(settings), "-O", "exit", host]
            subprocess.run(words, capture_output=True, check=False)

    def snapshot(self, host: str) -> None:
        self.netorder("snapshot", host, "-t", str(self.file))

    def restore(self, host: str) -> None:
        self.netorder("restore", host, "-t", str(self.file), "--allow", "replace")

    def inside(self, host: str, *words: str) -> list[str]:
        return python("netorder", "ssh", "-t", str(self.file), host, "--", "sudo", "python3", "-", *words)

    def down(self) -> None:
        self.netorder("down", "--name", NAME, "--yes", "--target", self.target, "--", "-e", "snapshots=delete")
        shutil.rmtree(FILES / self.environment()["OS_CLOUD"], ignore_errors=True)


def shipped() -> tuple[dict[str, Any], Path]:
    """Return the applications as they are shipped, and their source."""
    text = (ROOT / "applications" / "calculator.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["applications"], CALCULATOR / "src"


# On the local cloud


class OnCloud(Ordered):
    """Servers of a local cloud of the benchmark's own."""

    target = "openstack"
    guests: ClassVar[str]

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._running = Running(NAME, self.guests)
        self._cloud: Any = None
        self._addresses: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        cloud = self._running.cloud
        its = {"OS_CLOUD": cloud.entry, "OS_CLIENT_CONFIG_FILE": str(BASE / "clouds.yaml")}
        return super().environment() | its

    @contextmanager
    def prepared(self) -> Iterator[None]:
        self.write()
        plan = build_plan(load(self.file))
        self._addresses = {host.name: host.addresses[0] for host in plan.hosts}
        try:
            self._running.command("clean")
            done = self._running.command("up", patience=3600)
            if done.returncode:
                raise FailedError(f"the local cloud does not start:\n{(done.stdout + done.stderr)[-2000:]}")
            self._cloud = self._running.connection()
            yield
        finally:
            with undisturbed():
                self._cloud = None
                self._running.command("clean")
                shutil.rmtree(FILES / self._running.cloud.entry, ignore_errors=True)

    def url(self, service: str) -> str | None:
        for ip in self._cloud.network.ips():
            if ip.port_id and ip.fixed_ip_address == self._addresses[service]:
                return f"http://{ip.floating_ip_address}:{topology.PORTS[service]}"
        return None

    def _pid(self) -> int:
        pid = self._running.cloud.pid()
        if pid is None:
            raise FailedError("the local cloud has ended")
        return pid

    def _named(self, name: str) -> list[int]:
        """Return the cloud's processes whose name begins so."""
        found = []
        for pid in machine.processes(self._pid()):
            with suppress(OSError):
                if (meter.PROC / str(pid) / "comm").read_text(encoding="utf-8").startswith(name):
                    found.append(pid)
        return found

    def others(self) -> list[int]:
        hosts = set(self.processes())
        return [pid for pid in machine.processes(self._pid()) if pid not in hosts]

    def _server(self, host: str) -> Any:  # noqa: ANN401 - the SDK's
        return self._cloud.compute.find_server(f"{NAME}-{host}", ignore_missing=False)

    def disk(self) -> int:
        instances = self._running.cloud.home / "upper/var/lib/nova/instances"
        return meter.allocated(*(instances / self._server(host).id for host in topology.PORTS))

    def image(self) -> int:
        return meter.allocated(self._running.cloud.home / "upper/var/lib/glance/images")

    def stop(self, host: str) -> None:
        server = self._server(host)
        self._cloud.compute.stop_server(server)
        self._cloud.compute.wait_for_server(server, status=OFF, wait=300)

    def start(self, host: str) -> None:
        self._cloud.compute.start_server(self._server(host))


class VirtualMachines(OnCloud):
    """Five virtual machines."""

    key, title, guests = "vm", "virtual machines (OpenStack)", "vm"

    def processes(self) -> list[int]:
        return self._named("qemu-system")

    def kvm(self) -> bool:
        return on_kvm(self.processes())


class NovaContainers(OnCloud):
    """Five of Nova's system containers."""

    key, title, guests = "nova-container", "system containers (OpenStack)", "container"

    def processes(self) -> list[int]:
        return meter.tree(*self._named("libvirt_lxc"))


def on_kvm(pids: list[int]) -> bool:
    """Tell whether QEMU's processes say on their command line that they are on KVM."""
    lines = [(meter.PROC / str(pid) / "cmdline").read_bytes() for pid in pids]
    return bool(lines) and all(re.search(rb"accel[=\0]kvm", line) for line in lines)


# Containers of podman


def monitors(ids: list[str]) -> list[int]:
    """Return the monitors (conmon) of containers: everything in these descends from them."""
    said = engine.podman("inspect", "--type", "container", "--format", "{{.State.ConmonPid}}", *ids)
    return [int(one) for one in said.split()]


def layers(ids: list[str]) -> list[Path]:
    """Return the directories of what containers have written."""
    said = engine.podman("inspect", "--type", "container", "--format", "{{.GraphDriver.Data.UpperDir}}", *ids)
    return [Path(one).parent for one in said.split()]


def image_size(name: str) -> int:
    return int(engine.podman("image", "inspect", "--format", "{{.Size}}", name))


def engine_problem(*needed: str) -> str:
    """Return what is missing for podman's ways."""
    try:
        engine.check_engine()
    except Exception as error:  # noqa: BLE001 - it says what to do
        return str(error)
    missing = [one for one in needed if not engine.podman("images", "--quiet", one, check=False).strip()]
    return f"image {' and '.join(missing)} is not on this machine: `make application-image`" if missing else ""


class Podman(Ordered):
    """Five system containers: the target `containers`."""

    key, title, target = "podman", "system containers (podman)", "containers"

    def problem(self) -> str:
        if problem := super().problem() or engine_problem(IMAGE):
            return problem
        return "" if meter.own_address() else "this machine has no address but 127.0.0.1, and published ports need one"

    def url(self, service: str) -> str | None:
        return f"http://{meter.own_address()}:{topology.PORTS[service]}"

    def _ids(self) -> list[str]:
        return [one.id for one in engine.containers(NAME)]

    def _id(self, host: str) -> str:
        return next(one.id for one in engine.containers(NAME) if one.host == host)

    def processes(self) -> list[int]:
        return meter.tree(*monitors(self._ids()))

    def disk(self) -> int:
        return meter.allocated(*layers(self._ids()))

    def image(self) -> int:
        return image_size(IMAGE)

    def stop(self, host: str) -> None:
        engine.podman("stop", "--time", "10", self._id(host))

    def start(self, host: str) -> None:
        engine.podman("start", self._id(host))


class Compose(Way):
    """Five application containers, of a compose file: `netorder compose`, and podman-compose."""

    key, title = "compose", "application containers (compose)"
    COMPOSER = ROOT / "build" / "compose"

    @property
    def file(self) -> Path:
        """The compose file."""
        return self.work / "compose.yml"

    def problem(self) -> str:
        if problem := super().problem() or engine_problem(IMAGE, APPLICATION):
            return problem
        if not self.COMPOSER.is_dir():
            return "podman-compose is not in build/compose: `make build/compose`"
        return "" if meter.own_address() else "this machine has no address but 127.0.0.1, and published ports need one"

    def environment(self) -> dict[str, str]:
        # podman has systemd run health checks; where there is none, nobody does
        its = {"PYTHONPATH": f"{self.COMPOSER}:{ROOT / 'src'}", "DISABLE_HC_SYSTEMD": "true"}
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY and most < PODMANS_FILES:  # podman would ask for more than it may
            limits = self.work / "containers.conf"
            limits.write_text(f'[containers]\ndefault_ulimits = ["nofile={most}:{most}", "nproc=4096:4096"]\n')
            its["CONTAINERS_CONF"] = str(limits)
        return its

    def _compose(self, *words: str) -> None:
        command = python("podman_compose", "-f", str(self.file), *words)
        run(engine.viewed(*command), self.work / f"{words[0]}.log", environment=self.environment())

    @contextmanager
    def prepared(self) -> Iterator[None]:
        text = topology.networked(NAME, topology.applications(*shipped()))
        (self.work / "topology.yml").write_text(text, encoding="utf-8")
        self._write()
        with super().prepared():
            yield

    def _write(self) -> None:
        words = ["compose", str(self.work / "topology.yml"), "-o", str(self.file)]
        run(python("netorder", *words), self.work / "compose.log", environment=self.environment())

    def up(self) -> None:
        self._write()
        self._compose("up", "-d")

    def url(self, service: str) -> str | None:
        return f"http://{meter.own_address()}:{topology.PORTS[service]}"

    def _ids(self) -> list[str]:
        found = json.loads(engine.podman("ps", "--all", "--format", "json") or "[]")
        return [one["Id"] for one in found if one["Names"][0].startswith(f"{NAME}_")]

    def processes(self) -> list[int]:
        return meter.tree(*monitors(self._ids()))

    def disk(self) -> int:
        return meter.allocated(*layers(self._ids()))

    def image(self) -> int:
        return image_size(APPLICATION)

    def stop(self, host: str) -> None:
        engine.podman("stop", "--time", "10", f"{NAME}_{host}_1")

    def start(self, host: str) -> None:
        engine.podman("start", f"{NAME}_{host}_1")

    def inside(self, host: str, *words: str) -> list[str]:
        return [*engine.viewed("podman", "exec", "--interactive", f"{NAME}_{host}_1", "python3", "-", *words)]

    def down(self) -> None:
        self._compose("down", "--timeout", "2")
        if left := self._ids():
            engine.podman("rm", "--force", "--time", "0", *left)


# On this machine


class Machines(Ordered):
    """Five virtual machines, each behind its own NAT: the target `machine`."""

    key, title, target = "machine", "virtual machines (QEMU, NAT)", "machine"
    needs_root = False

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._ports: dict[str, int] = {}

    @property
    def where(self) -> Path:
        """Where its hosts are."""
        return store.root(FILES, NAME)

    def problem(self) -> str:
        try:
            qemu.check_installed()
        except Exception as error:  # noqa: BLE001 - it says what to do
            return str(error)
        return super().problem() or images.problem(FILES, "debian-13")

    def write(self) -> None:
        self._ports = dict(zip(topology.PORTS, free_ports(len(topology.PORTS)), strict=True))
        peers = {one: f"http://{topology.GATEWAY}:{self._ports[one]}" for one in topology.OPERATIONS}
        applications = topology.applications(*shipped(), peers)
        self.file.write_text(topology.machines(NAME, applications, self._ports), encoding="utf-8")

    def url(self, service: str) -> str | None:
        return f"http://127.0.0.1:{self._ports[service]}"

    def processes(self) -> list[int]:
        return [*qemu.processes(self.where).values()]

    def kvm(self) -> bool:
        return on_kvm(self.processes())

    def disk(self) -> int:
        return meter.allocated(*(self.where / host for host in topology.PORTS))

    def image(self) -> int:
        found = images.find(FILES, "debian-13")
        return meter.allocated(*(one for one in (found.disk, found.kernel, found.initrd) if one)) if found else 0

    def stop(self, host: str) -> None:
        qemu.stop(self.where / host, qemu.processes(self.where)[host])

    def start(self, host: str) -> None:
        assert host in topology.PORTS  # noqa: S101 - what is off is started, and this is
        key = access.public_key(access.private_key(FILES, None), make=False)
        plan = build_plan(load(self.file))
        target.reconcile(plan, files=FILES, key=key, check=False, progress=_silent, hostkey_timeout=HOSTKEY_TIMEOUT)

    # by hand, as docs/machine.md says: stop it, copy its disk

    def snapshot(self, host: str) -> None:
        self.stop(host)
        disk = self.where / host / qemu.DISK
        # beside the host's directory a run would take it for something that it has to remove
        run(["qemu-img", "convert", "-q", "-O", "qcow2", str(disk), str(self._saved(host))], self.work / "convert.log")
        self.start(host)

    def restore(self, host: str) -> None:
        self.stop(host)
        shutil.copyfile(self._saved(host), self.where / host / qemu.DISK)
        self.start(host)

    def _saved(self, host: str) -> Path:
        return self.work / f"{host}.qcow2"

    def down(self) -> None:
        super().down()
        for host in topology.PORTS:
            self._saved(host).unlink(missing_ok=True)


def _silent(_line: str) -> None:
    """Say nothing."""


class Bare(Way):
    """Five processes on 127.0.0.1."""

    key, title = "bare", "processes"
    needs_root = False

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        self._directory: Path | None = None

    @contextmanager
    def prepared(self) -> Iterator[None]:
        # where nobody may read too
        with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as directory:
            self._directory = Path(directory)
            self._directory.chmod(0o755)
            words = python("calculator.build", str(self._artefact))
            run(words, self.work / "build.log", environment={"PYTHONPATH": str(CALCULATOR / "src")})
            yield

    @property
    def _artefact(self) -> Path:
        assert self._directory is not None  # noqa: S101 - prepared
        return self._directory / "calculator.pyz"

    def up(self) -> None:
        self._ports = dict(zip(topology.PORTS, free_ports(len(topology.PORTS)), strict=True))
        for host in reversed(topology.PORTS):
            self.start(host)

    def url(self, service: str) -> str | None:
        return f"http://127.0.0.1:{self._ports[service]}" if self._ports else None

    def processes(self) -> list[int]:
        return [one.pid for one in self._running.values()]

    def disk(self) -> int:
        return 0

    def image(self) -> int:
        return meter.allocated(self._artefact)

    def stop(self, host: str) -> None:
        child = self._running.pop(host)
        child.terminate()
        child.wait(20)

    def start(self, host: str) -> None:
        urls = [word for one in topology.OPERATIONS for word in (f"--{one}", f"http://127.0.0.1:{self._ports[one]}")]
        words = [*self._python(), str(self._artefact), host, "--port", str(self._ports[host])]
        # and it ends when the benchmark is killed
        words = [*_dropped("--pdeathsig", "TERM"), *words]
        words += urls if host == "calculator" else []
        with (self.work / f"{host}.log").open("wb") as log:
            self._running[host] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @staticmethod
    def _python() -> list[str]:
        """Return the system's Python, which nobody may run too; without one, that of this environment."""
        system = Path("/usr/bin/python3")
        return [str(system if system.exists() else Path(sys.executable).resolve()), "-I"]

    def inside(self, host: str, *words: str) -> list[str]:
        assert host in self._running  # noqa: S101 - it is this machine, whichever the host
        return [*_dropped(), *self._python(), "-", *words]

    def down(self) -> None:
        for host in [*self._running]:
            with suppress(ProcessLookupError):
                self._running[host].send_signal(signal.SIGTERM)
        for host in [*self._running]:
            self.stop(host)


def _dropped(*options: str) -> list[str]:
    """Return what goes before a command so that nobody runs it, where root would."""
    who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *who, *options] if who or options else []


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that are free now."""
    with_all = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in with_all]
    for one in with_all:
        one.close()
    return ports


WAYS: dict[str, type[Way]] = {
    one.key: one for one in (VirtualMachines, NovaContainers, Podman, Compose, Machines, Bare)
}
