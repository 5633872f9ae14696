"""One local cloud on the host: its directory, its parameters, its first process, its entry in clouds.yaml."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Cloud:
    """One local cloud: ``home`` holds all its state, ``cache`` what can be made again."""

    base: Path
    name: str

    @property
    def home(self) -> Path:
        """The directory with this cloud's state, private to its owner: it contains guests' disks."""
        return self.base / self.name

    @property
    def cache(self) -> Path:
        """The directory with root file systems, fresh states and guest images, shared by all clouds of this base."""
        return self.base / "cache"

    @property
    def shared(self) -> Path:
        """The directory that host and cloud share: parameters, status, logs, guest image."""
        return self.home / "shared"

    @property
    def link(self) -> str:
        """The name of the host's end of the veth: at most 15 characters (IFNAMSIZ), unique by the directory."""
        return "lcloud-" + hashlib.sha256(str(self.home).encode()).hexdigest()[:8]

    @property
    def entry(self) -> str:
        """The name of the entry in clouds.yaml."""
        return "netorder-local" if self.name == "default" else f"netorder-local-{self.name}"

    def make(self) -> None:
        """Make the directories."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)
        (self.shared / "log").mkdir(parents=True, exist_ok=True)

    def parameters(self) -> dict[str, str]:
        """Return what was decided when the state was made."""
        known: dict[str, str] = json.loads((self.shared / "parameters.json").read_text())
        return known

    def pid(self) -> int | None:
        """Return the process id of the cloud's PID 1, None if it does not run."""
        try:
            pid, *identity = (self.home / "pid").read_text().split()
            Path(f"/proc/{pid}/ns/pid").readlink()  # fails as soon as it is ending, before it is a zombie
            return int(pid) if self._identity(int(pid)) == identity else None
        except (OSError, ValueError):
            return None

    def remember(self, pid: int) -> None:
        """Record which process is the cloud's PID 1."""
        write_private(self.home / "pid", " ".join([str(pid), *self._identity(pid)]) + "\n")

    @staticmethod
    def _identity(pid: int) -> list[str]:
        """Return what distinguishes processes of the same id: the start in ticks since boot, and the boot."""
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()  # proc(5): after the name, field 3
        return [
            "ended" if fields[0] == "Z" else fields[19],
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        ]

    def status(self) -> dict[str, Any]:
        """Return the supervisor's last report, {} before the first."""
        try:
            report: dict[str, Any] = json.loads((self.shared / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return report

    def log_file(self, step: str) -> Path:
        """Return the file with a step's output."""
        return self.shared / "log" / f"{step}.log"

    def log_tail(self, step: str, lines: int = 12) -> str:
        """Return the last lines of a step's log."""
        path = self.log_file(step)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cloud's lock: a second command on the same cloud reports that it waits."""
        self.make()
        with (self.home / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another command works on this cloud: waiting for it", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def add_to_clouds_yaml(self, values: dict[str, str]) -> None:
        """Write the cloud's entry in clouds.yaml and keep the others (the file is JSON, which is YAML)."""
        entry = {
            "auth": {
                "auth_url": f"http://{values['ip']}:5000/v3",
                "username": values["user"], "password": values["user_password"], "project_name": values["project"],
                "user_domain_id": "default", "project_domain_id": "default",
            },
            "region_name": "RegionOne", "identity_api_version": 3,
        }  # fmt: skip
        with self._alone_with_clouds():
            clouds = self._clouds()
            if clouds.get(self.entry) != entry:
                self._write_clouds(clouds | {self.entry: entry})

    def remove_from_clouds_yaml(self) -> None:
        """Remove the entry, and the file with the last one."""
        if not self.base.exists():
            return
        with self._alone_with_clouds():
            clouds = self._clouds()
            if clouds.pop(self.entry, None):
                self._write_clouds(clouds)

    @contextmanager
    def _alone_with_clouds(self) -> Iterator[None]:
        """Keep other clouds' commands from the file that is read here and written again."""
        directory = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _clouds(self) -> dict[str, Any]:
        try:
            clouds: dict[str, Any] = json.loads((self.base / "clouds.yaml").read_text())["clouds"]
        except (OSError, ValueError, KeyError):
            return {}
        return clouds

    def _write_clouds(self, clouds: dict[str, Any]) -> None:
        path = self.base / "clouds.yaml"
        if not clouds:
            path.unlink()
            return
        write_private(path, json.dumps({"clouds": clouds}, indent=2) + "\n")
        if "SUDO_UID" in os.environ:  # the caller of sudo uses it
            os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, atomically."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
