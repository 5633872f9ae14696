"""Wait until one host answers SSH as a run does, and ask the target that made the host why it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.cloud.waits import Waits
from netorder.controller import local, ssh_wait
from netorder.controller.ssh import own_address
from netorder.errors import NetorderError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from netorder.cloud.signs import Signs
    from netorder.controller.ssh_wait import Answer

__all__ = ["Login", "Reason", "failure", "until_answered"]


@dataclass(frozen=True, slots=True)
class Login:
    """A host, who made it (``target``, ``cloud``), and how SSH reaches it.

    ``before`` are the addresses of the last host that the connection goes through, none where it is direct;
    ``blocked`` is why this machine may be blocked. ``directory`` is the topology's in ``files``.
    """

    topology: str
    host: str
    user: str
    address: str
    before: tuple[str, ...]
    blocked: str
    target: str
    cloud: str | None
    files: Path
    directory: Path

    @property
    def command(self) -> list[str]:
        """A login that does nothing, by the connection that Ansible will use."""
        options = ["-F", str(self.directory / "ssh_config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        return ["ssh", *options, f"{self.user}@{self.address}", "true"]

    @property
    def origin(self) -> tuple[tuple[str, ...], str]:
        """The addresses that it is connected from, one of which it is, and why they may be blocked."""
        if self.before:
            return self.before, self.blocked
        try:
            return (own_address(self.address),), self.blocked
        except OSError as error:
            return (), f"this machine has no route to {self.address}: {error.strerror}"


@dataclass(frozen=True, slots=True)
class Reason:
    """The likely cause why a host does not answer, and what the cloud shows of it; None of a target on this machine."""

    cause: ssh_wait.Cause
    signs: Signs | None = None


def until_answered(
    login: Login,
    seconds: float,
    *,
    progress: Callable[[str], None],
    warn: Callable[[str], None],
    spent: float = 0.0,
    once: bool = False,
) -> tuple[Answer, str]:
    """Wait for a host; return what became of it, and what to say where it did not answer ("" with ``once``, a try).

    ``warn`` is told where the cloud cannot be asked, which proves nothing about the host.
    """
    known: list[Reason] = []

    def is_hopeless(said: str) -> bool:
        reason = _reason(login, said, warn)
        known[:] = [reason] if reason else known
        return reason is not None and reason.cause.certain

    answer = ssh_wait.wait(
        login.command,
        seconds,
        waits=Waits.of(login.directory),
        host=login.host,
        progress=progress,
        hopeless=is_hopeless,
        spent=spent,
        once=once,
    )
    if not answer.rc or once:
        return answer, ""
    is_hopeless(answer.said)
    return answer, failure(login.host, answer, *known)


def _reason(login: Login, said: str, warn: Callable[[str], None]) -> Reason | None:
    if login.target in local.LOCAL:
        return Reason(ssh_wait.Cause(*local.unanswered(login.target, login.topology, login.host, login.files)))
    # here: each host has a process of its own, and importing the SDK takes longer than a host's answer
    from netorder.cloud.session import connect  # noqa: PLC0415
    from netorder.cloud.signs import signs  # noqa: PLC0415

    try:
        found = signs(connect(lambda _: None, login.cloud), login.topology, login.host)
    except NetorderError as error:
        warn(f"{login.host}: the cloud could not be asked why it does not answer: {error}")
        return None
    sources, blocked = login.origin
    expected = None if login.before else login.address
    return Reason(ssh_wait.likely_cause(said, found, sources=sources, blocked=blocked, expected=expected), found)


def failure(host: str, answer: Answer, reason: Reason | None = None) -> str:
    """Say that a host does not answer, and why, as far as that is known."""
    if reason and reason.signs:
        return ssh_wait.diagnosis(host, answer, reason.cause, reason.signs)
    likely = f"; likely cause: {reason.cause.text}" if reason else ""
    return f"{host} does not answer SSH: {answer.said}{likely}"
