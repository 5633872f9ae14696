"""What a run ends with: who is reachable where, what changed, what failed (once each), what to type next. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netorder.analysis.explain import opened
from netorder.analysis.reach import OUTSIDE
from netorder.ip import near
from netorder.text import count, few, table
from netorder.topology import SSH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netorder.analysis.reach import Matrix
    from netorder.ansible.course import Course
    from netorder.plan.model import Host

__all__ = [
    "ADDRESSED",
    "CHANGING",
    "Failure",
    "Named",
    "addresses",
    "changed",
    "next_steps",
    "outcome",
    "problems",
    "rebuilt",
    "served",
]

MANY = 12  # hosts with a floating address that are listed one by one
WIDEST = 40  # of the commands to type, those that are aligned
_DONE = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted"}
ADDRESSED = ("configure", "provision", "redeploy", "site")  # playbooks after which the hosts' addresses are of use
_MADE = {("server", "create"), ("server", "replace")}
CONFIGURING = "Configure"  # how the names of the stages begin in which roles work
CHANGING = (*ADDRESSED, "teardown")


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed on a host; ``place`` is that of the task, FILE:LINE."""

    host: str
    task: str
    place: str
    text: str
    item: str = ""


def outcome(result: Mapping[str, Any]) -> str:
    """Return what a failed task says: its message, and what a program printed that is not in it."""
    if "censored" in result:
        return str(result["censored"])
    message = str(result.get("msg") or "").strip()
    parts = [message] if message else []
    for key in ("module_stderr", "stderr", "module_stdout", "stdout"):
        said = str(result.get(key) or "").strip()
        if said and said not in "\n".join(parts):
            parts.append(said)
    if "rc" in result and f"{result['rc']}" not in message:
        parts.append(f"exit status {result['rc']}")
    return "\n".join(parts) or "it failed without a message (-v shows what it returned)"


def problems(failures: Iterable[Failure], failed: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return each failure once, for all hosts that share it, the causes before what follows of them.

    Those of hosts that are not among the ``failed`` ones are apart: the playbook handled them, and went on.
    """
    alike: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for one in failures:
        text = re.sub(rf"(?<![\w./-]){re.escape(one.host)}(?![\w/-]|\.\w)", "\0", one.text)
        alike.setdefault((one.task, one.item, one.place, text), {})[one.host] = None
    still = set(failed)
    lasting: list[str] = []
    handled: list[str] = []
    for (task, item, place, text), hosts in sorted(
        alike.items(), key=lambda one: "where something failed" in one[0][3]
    ):
        for kept, its in (
            (lasting, [host for host in hosts if host in still]),
            (handled, [host for host in hosts if host not in still]),
        ):
            if its:
                said = text.replace("\0", its[0])  # as the first of them said it
                head = f"{few(its, 10)}: {task}" + (f" ({item})" if item else "")
                lines = [head, *(f"  {line}" for line in said.splitlines()), *([f"  at {place}"] if place else [])]
                kept.append("\n".join(lines))
    return lasting, handled


@dataclass(frozen=True, slots=True)
class Named:
    """The topology file as one types it; ``is_default``: it is the one that most commands mean without it."""

    path: str
    is_default: bool

    @property
    def argument(self) -> str:
        """What those commands need, with a space before it."""
        return "" if self.is_default else f" {self.path}"


def addresses(matrix: Matrix, given: Mapping[str, str], file: Named) -> list[str]:
    """Return who is reachable where: what is open where the outside reaches hosts (``given``), URLs, hosts behind."""
    plan = matrix.plan
    known = [host for host in plan.hosts if host.name in given]
    rows = [(host.name, *_open(matrix, host, given[host.name])) for host in known[:MANY]]
    lines = table(rows, indent="  ")
    lines += [f"  and {len(known) - MANY} more: netorder status{file.argument}"] if len(known) > MANY else []
    lines = ["reachable from outside:", *lines] if lines else []
    urls = [line for host in known for line in served(matrix, host, given[host.name])]
    lines += ["applications:", *(f"  {line}" for line in urls[:MANY])] if urls else []
    lines += [f"  and {len(urls) - MANY} more"] if len(urls) > MANY else []
    behind: dict[str, list[str]] = {}
    for host in plan.hosts:
        if host.ssh_path:
            behind.setdefault(host.ssh_path[0], []).append(host.name)
    lines += [f"by SSH through {name}: {few(hosts, 8)}" for name, hosts in [*behind.items()][:MANY]]
    if sealed := [host.name for host in plan.hosts if host.ssh_path is None]:
        lines.append(f"not reachable from outside: {few(sealed, 8)}")
    return lines


def _open(matrix: Matrix, host: Host, address: str) -> tuple[str, str]:
    """Return where a host is reached from outside, and what is open there."""
    if host.forwards:
        return "this machine", ", ".join(map(str, host.forwards))
    return address, ", ".join(opened(matrix, OUTSIDE, host.name).what) or "nothing is open"


def served(matrix: Matrix, host: Host, address: str) -> list[str]:
    """Return the applications of a host that the outside may call, as URLs where they speak HTTP."""
    found = []
    for one in host.applications:
        for port in one.tcp_ports:
            http = one.check is not None and one.check.path is not None and one.check.port == port
            for end, there in _ends(matrix, host, address, port):
                shown = f"{end}:{there}".removesuffix(":80" if http else "\0")
                found.append(f"{one.name}: http://{shown}" if http else f"{one.name}: {shown} (tcp)")
    return found


def _ends(matrix: Matrix, host: Host, address: str, port: int) -> list[tuple[str, int]]:
    """Return the addresses and ports at which the outside reaches a TCP port of a host."""
    if host.forwards:
        its = [one for one in host.forwards if (one.protocol, one.guest) == ("tcp", port)]
        return [(near(one.address), one.host) for one in its]
    if matrix.verdict(OUTSIDE, host.name, "tcp", port) != "open" and not matrix.sources(host.name, "tcp", port):
        return []
    return [(f"[{address}]" if ":" in address else address, port)]


def changed(course: Course, *, check: bool) -> str:
    """Return what a run changed, or would change, in a line."""
    changes = Counter(str(change["action"]) for change in course.provisioned.get("changes", []))
    if check:
        done = [f"{number} to {action}" for action, number in changes.items()]
    else:
        done = [f"{number} {_DONE.get(action, action)}" for action, number in changes.items()]
    parts = [f"in the cloud {', '.join(done)}"] if done else []
    tasks = sum(stage.pending if check else stage.changed for stage in course.ran) - bool(
        course.provisioned.get("changed")
    )
    parts += [f"on the hosts {count(tasks, 'task')}"] if tasks > 0 else []
    return f"{'would change' if check else 'changed'}: {'; '.join(parts) or 'nothing'}"


def rebuilt(course: Course) -> list[str]:
    """Return how long a rebuild from golden images took, and what roles had to do nevertheless."""
    made = [one for one in course.provisioned.get("changes", []) if (one["kind"], one["action"]) in _MADE]
    if not made:
        return ["no host was made: all of them were there, and --golden says only what new ones are made of"]
    roles = [stage for stage in course.ran if stage.name.startswith(CONFIGURING)]
    again = [task for stage in roles for task in stage.tasks if task.changed]
    parts = ", ".join(f"{stage.name} {stage.seconds:.0f} s" for stage in course.ran)
    lines = [f"rebuilt from golden images, {count(len(made), 'host')}, in {course.now:.0f} s ({parts})"]
    if not again:
        return [f"{lines[0]}: no role changed anything"]
    lines += [f"  changed nevertheless: {one.name}, on {count(one.changed, 'host')}" for one in again[:MANY]]
    return [*lines, "  golden images are as their hosts were then: netorder golden makes them anew"]


def next_steps(
    playbook: str, file: Named, course: Course, hosts: Sequence[str], *, check: bool, failed: bool
) -> list[str]:
    """Return what to type next, each with what it is for."""
    named = file.argument
    for_host = f" -t{named}" if named else ""
    run = f"netorder up{named}"
    if failed:
        steps = [(f"netorder status{named}", "what the cloud has of it")] if course.unanswered else []
        steps += _after_failure(playbook, file, course)
    elif playbook == "teardown":
        steps = [] if check else [(run, "make it again")]
    elif check:
        allow = course.provisioned.get("needs_allow")
        steps = [(f"{run} --allow {','.join(allow)}" if allow else run, "do it")]
    elif playbook in {*ADDRESSED, "verify"}:
        steps = [(f"netorder ssh{for_host} {hosts[0]}", "log in")] if hosts else []
        steps.append((f"netorder report{named}", "picture, matrix and times of this run as a page"))
        steps.append((f"netorder drift{named}", "see later whether it still is as planned"))
    else:
        steps = []
    width = max((len(line) for line, _ in steps if len(line) <= WIDEST), default=0)
    return [f"  {line:{width}}  {what}" for line, what in steps]


def _after_failure(playbook: str, file: Named, course: Course) -> list[tuple[str, str]]:
    named = file.argument
    again = {"drift": f"netorder up{named}", "teardown": f"netorder down{named}", "verify": f"netorder up{named}"}
    steps = []
    if playbook in {"verify", "site"} and course.findings:
        steps.append((f"netorder drift{named}", "what differs, in the cloud and inside the hosts"))
        steps.append((f"netorder report{named}", "the same in a picture"))
    if playbook in {"site", "provision", "configure", "drift", "verify", "teardown"}:
        what = "repair it" if playbook in {"drift", "verify"} else "when that is corrected: what is done stays done"
        steps.append((again.get(playbook, f"netorder up{named}"), what))
    wrong = [(host, one) for host, found in course.findings.items() for one in found if not one["ok"] and "port" in one]
    for host, one in wrong[:1]:  # a pair that differs
        if one["expected"] == "open" and one["port"] != SSH:
            log = f"netorder logs{f' -t{named}' if named else ''} {one['name']}"
            steps.append((log, f"what {one['name']} says, where tcp {one['port']} does not answer"))
        else:
            pair = f"--from {one.get('from', host)} --to {one['name']} --port {one['port']}"
            steps.append((f"netorder reach {file.path} {pair}", "what the plan says of it, hop by hop"))
    return steps
