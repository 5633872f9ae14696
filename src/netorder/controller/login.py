"""Command lines of ssh to the hosts, over the settings file and known hosts that a run writes (decision 0014)."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.controller.process import Program
from netorder.errors import AccessError, NetorderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from netorder.plan.model import Host

__all__ = ["Done", "check", "on_each", "ssh"]

SETTINGS = "ssh_config"
PARALLEL = 8  # fewer than sshd lets in at a time before they have logged in (MaxStartups 10), for a common jump host


@dataclass(frozen=True, slots=True)
class Done:
    """What a command on one host printed, and its exit status: 255 where ssh itself failed."""

    host: str
    status: int
    stdout: str
    stderr: str


def check(directory: Path, hosts: Sequence[Host], run: str) -> None:
    """Raise unless all these hosts can be reached with the settings in ``directory``; ``run`` writes them."""
    problems = [
        f"SSH does not reach {host.name}: no rule of the topology lets it in" for host in hosts if host.ssh_path is None
    ]
    if problems:
        raise NetorderError(*problems)
    try:
        text = (directory / SETTINGS).read_text(encoding="utf-8")
    except OSError as error:
        raise AccessError(
            f"there are no SSH settings in {directory} ({error.strerror}): `{run}` writes them; --files names "
            "another directory"
        ) from None
    known = {line.split()[1] for line in text.splitlines() if line.startswith("Host ")}
    if missing := [host.name for host in hosts if host.name not in known]:
        raise NetorderError(f"{directory / SETTINGS} does not know {', '.join(missing)} yet: run `{run}`")


def ssh(directory: Path, host: str, command: Sequence[str] = (), *, options: Sequence[str] = ()) -> Program:
    """Return the ssh that logs in to a host, or runs a command there.

    A command of one word is the shell's there; of several, a program and its arguments, kept apart.
    """
    remote = (command[0] if len(command) == 1 else shlex.join(command),) if command else ()
    line = ("ssh", "-F", str(directory / SETTINGS), *options, host, *remote)
    return Program(line, install="install openssh-client")


def on_each(directory: Path, hosts: Sequence[Host], command: Sequence[str]) -> Iterator[Done]:
    """Run a command on each host, several at a time; yield what became of it in the order of the hosts.

    The jump hosts come first, one by one: what is alike shares their connections, and none is set up twice.
    """
    for jump in dict.fromkeys(jump for host in hosts for jump in host.ssh_path or ()):
        _run(directory, jump, ["true"])  # where it fails, those behind it say why
    with ThreadPoolExecutor(PARALLEL) as pool:
        yield from pool.map(lambda host: _run(directory, host.name, command), hosts)


def _run(directory: Path, host: str, command: Sequence[str]) -> Done:
    program = ssh(directory, host, command, options=("-o", "BatchMode=yes"))
    # files: a connection that stays open for the next command would hold a pipe open
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = subprocess.run(
            program.arguments, executable=program.path, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False
        ).returncode
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Done(host, status, *texts)
