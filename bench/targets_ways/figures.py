"""What is measured, and the tables of it: medians, ratios, what a probe means. Pure."""

from __future__ import annotations

import json
import math
import statistics
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

Ways = dict[str, dict[str, Any]]  # by its key, what is kept of each way: see `ready` in bench/targets


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: its key, what it is, its unit; ``more`` where more is better, ``chart`` where a chart shows it."""

    key: str
    title: str
    unit: str
    more: bool = False
    chart: bool = False


METRICS = (
    Metric("answer", "from nothing to the answer", "s", chart=True),
    Metric("done", "until all of it is configured", "s"),
    Metric("ready", "before that, once: what makes hosts starts", "s"),
    Metric("start", "start of one host, until its service answers", "s", chart=True),
    Metric("memory", "memory of the five, resident", "MB", chart=True),
    Metric("others", "memory of what makes them, resident", "MB"),
    Metric("disk", "disk that the five add", "MB", chart=True),
    Metric("image", "image, once", "MB", chart=True),
    Metric("idle", "processor of the five, idle", "% of a core", chart=True),
    Metric("others_idle", "processor of what makes them, idle", "% of a core"),
    Metric("calculator_p50", "calculator, one client: p50", "ms", chart=True),
    Metric("calculator_p99", "calculator, one client: p99", "ms"),
    Metric("calculator_rate", "calculator, 4 clients", "requests/s", more=True),
    Metric("sum_p50", "sum, one client: p50", "ms"),
    Metric("sum_p99", "sum, one client: p99", "ms"),
    Metric("sum_rate", "sum, 16 clients", "requests/s", more=True, chart=True),
    Metric("snapshot", "snapshot of a host", "s"),
    Metric("restore", "restore of a host, until its service answers", "s"),
    Metric("down", "until nothing of it is left", "s"),
)
BY_KEY = {one.key: one for one in METRICS}

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)  # capability.h, in its order
# with one of these a process rules the machine whose kernel it is
RULING = ("SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "SYS_ADMIN", "SYS_BOOT", "SYS_TIME", "MKNOD", "NET_ADMIN", "BPF")
SECCOMP = {0: "no", 1: "strict", 2: "filter"}
THIS = "this machine's"
LEAST = 0.01  # that is shown
MOST_PIDS = 10_000  # a limit beyond it is none for a bomb


KEPT = {"title", "date", "machine", "runs"}  # of each way, at the least


def read(text: str) -> Ways:
    """Return what is kept of each way. Raises ValueError where it is something else."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(one, dict) and one.keys() >= KEPT for one in found.values()):
        raise ValueError("no results of this benchmark")
    return found


def medians(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Return the median of each figure over the runs that have it."""
    keys = dict.fromkeys(key for run in runs for key in run)
    values = {key: [value for run in runs if (value := run.get(key)) is not None] for key in keys}
    return {key: statistics.median(its) for key, its in values.items() if its}


def number(value: float | None) -> str:
    """Return a figure, none of which is below 0, with the three digits that say something."""
    if value is None or math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    if value < LEAST:
        return f"<{LEAST}"
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(digits, 2)}f}"


def ratio(value: float | None, reference: float | None) -> str:
    """Return how many times a figure is another: nothing where there is none to compare with."""
    if value is None or not reference:
        return ""
    times = value / reference
    return f"x{times:,.0f}" if times >= 10 else f"x{times:.1f}" if times >= 0.95 else f"x{times:.2g}"  # noqa: PLR2004


def reference_of(ways: Collection[str]) -> str:
    """Return the way that others are compared with: podman's containers, where they were measured."""
    return "podman" if "podman" in ways or not ways else next(iter(ways))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "".join(f"{line}\n" for line in lines)


def numbers(ways: Ways) -> str:
    """Return the table of figures: a column for each way, ratios to the reference behind each figure."""
    middle = {key: medians(one["runs"]) for key, one in ways.items()}
    reference = reference_of(ways)
    rows = []
    for metric in METRICS:
        cells = []
        base = middle[reference].get(metric.key) if reference in middle else None
        for key, its in middle.items():
            value = its.get(metric.key)
            times = "" if key == reference else ratio(value, base)
            cells.append(f"{number(value)} {f'({times})' if times else ''}".strip())
        if any(cell != "-" for cell in cells):
            rows.append([f"{metric.title} ({metric.unit})", *cells])
    rows.append(["runs", *(str(len(one["runs"])) for one in ways.values())])
    return table(["", *(one["title"] for one in ways.values())], rows)


# What a probe means


def capabilities(mask: str) -> list[str]:
    """Return the names of the capabilities of a mask of /proc/PID/status."""
    bits = int(mask, 16)
    names = [name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1]
    unknown = (bits >> len(CAPABILITIES)).bit_count()  # a newer kernel's
    return names + [f"unknown-{index}" for index in range(unknown)]


def has_own_kernel(probe: Mapping[str, Any], machine: Mapping[str, Any]) -> bool:
    """Return whether a process there runs on another kernel than this machine's, by the number of the boot."""
    return bool(probe["boot"] != machine["boot"])


def bomb_problem(key: str, probe: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """Return why no bomb of processes is tried in a way; nothing where it has its own kernel, or a limit."""
    if key == "bare":
        return "not tried: it is this machine"
    limit = probe["limits"]["pids"]
    if not has_own_kernel(probe, machine) and (limit is None or limit > MOST_PIDS):
        return "not tried: no limit"
    return ""


def rights(its: Mapping[str, Any] | None) -> str:
    """Return the rights of a process in words."""
    if its is None:
        return "not seen"
    names = capabilities(its["eff"])
    ruling = [name for name in RULING if name in names]
    shown = f": {', '.join(ruling)}" if ruling else ""
    user = "root" if its["uid"] == 0 else f"user {its['uid']}"
    return (
        f"{user}, {len(names)} capabilities{shown}; seccomp {SECCOMP[its['seccomp']]}, "
        f"no_new_privs {'yes' if its['no_new_privs'] else 'no'}"
    )


def limits(probe: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """Return the limits of memory and processes in words. Some containers are shown less memory than there is."""
    memory, pids = probe["limits"]["memory"], probe["limits"]["pids"]
    least = min(probe["memory"], memory or probe["memory"])
    own = has_own_kernel(probe, machine)
    shown = f"{number(least / 1e6)} MB" if own or least < machine["memory"] else f"no limit: {number(least / 1e6)} MB"
    return f"{shown}; {'no limit of processes' if pids is None else f'{pids:,} processes'}"


def attempt(word: str, *, own: bool) -> str:
    """Return in words what became of an attempt: on a kernel of its own it concerns that one alone."""
    if word == "yes":
        return "yes, its own" if own else f"**yes, {THIS}**"
    return {"is root": "is root", "ENOENT": "there is none"}.get(word, f"no ({word})")


def bombed(one: Mapping[str, Any]) -> str:
    """Return what became of the bomb."""
    its = one.get("bomb")
    if not its:
        return str(one.get("bomb_problem") or "not tried")
    if "problem" in its:
        return str(its["problem"])
    text = f"{its['started']:,} of {its['most']:,}" + (f" ({its['stopped']})" if its["stopped"] else "")
    if its["alive"] < its["started"]:
        text += f", {its['alive']:,} alive after some seconds"
    return text


def felt(one: Mapping[str, Any]) -> str:
    """Return what this machine felt of the bomb."""
    its = one.get("felt")
    if not its:
        return ""
    before, during = its["before"], its["during"]
    return (
        f"{during['processes'] - before['processes']:+,.0f} processes here, "
        f"{number(max(0.0, (before['available'] - during['available']) / 1e6))} MB; "
        f"a process starts in {number(during['spawn'])} ms (before: {number(before['spawn'])})"
    )


def isolation(ways: Ways) -> str:
    """Return the table of what a process inside sees and can do."""
    probed = {key: one for key, one in ways.items() if one.get("probe")}
    rows: list[list[str]] = []

    def row(title: str, cells: Iterable[str]) -> None:
        rows.append([title, *cells])

    its = [(one, one["probe"], one["machine"], has_own_kernel(one["probe"], one["machine"])) for one in probed.values()]
    row("kernel", [f"{'its own' if own else THIS}: {probe['kernel']}" for _, probe, _, own in its])
    row("who gets in as administrator", [rights(probe["self"]) for _, probe, _, _ in its])
    row("the service's process", [rights(probe["service"]) for _, probe, _, _ in its])
    seen = [(f"{p['processes']:,}", ", its own" if own else f" of {m['processes']:,}") for _, p, m, own in its]
    row("processes that it sees", [f"{how_many}{whose}" for how_many, whose in seen])
    row("devices, disks of them", [f"{probe['devices']}, {probe['blocks']}" for _, probe, _, _ in its])
    for title, key in (
        ("reads this machine's disk", "disk"),
        ("reads the kernel's memory (/proc/kcore)", "kcore"),
        ("reads the kernel's log", "kernel log"),
        ("may restart it (/proc/sysrq-trigger)", "sysrq"),
        ("mounts", "mount"),
        ("makes a user namespace", "user namespace"),
        ("becomes root", "become root"),
    ):
        plain = key in ("mount", "user namespace", "become root")  # concern itself alone
        words = [(probe["tries"][key], own) for _, probe, _, own in its]
        row(title, ["yes" if plain and word == "yes" else attempt(word, own=own) for word, own in words])
    row("memory, processes", [limits(probe, here) for _, probe, here, _ in its])
    row("fork bomb: started", [bombed(one) for one, _, _, _ in its])
    row("fork bomb: felt outside", [felt(one) or "-" for one, _, _, _ in its])
    row("Python", [probe["python"] for _, probe, _, _ in its])
    return table(["", *(one["title"] for one in probed.values())], rows) if its else ""


# Virtual machine and container, criterion by criterion

CRITERIA = (
    ("start time, one host", "start", "every restart while one works on it", "how long a service is away at a reboot"),
    ("start time, all from nothing", "answer", "a new environment for each test", "a rebuild after a loss"),
    ("memory", "memory", "how many hosts fit beside the editor", "how many hosts a server holds"),
    ("processor, idle", "idle", "a laptop's battery and fan", "what a server pays for hosts that wait"),
    ("disk", "disk", "room for several versions side by side", "room for many hosts of one image"),
    ("image size", "image", "each pull and push", "each host that fetches it, and the registry"),
    ("response time, p50", "calculator_p50", "what a test of the whole takes", "what users wait, at the least"),
    ("response time, p99", "calculator_p99", "time limits in tests", "what is promised to users"),
    ("requests", "sum_rate", "how much load a test can make", "how many hosts a load needs"),
)
VIRTUAL, CONTAINED = ("vm", "machine"), ("podman", "compose", "nova-container")


def pair_of(ways: Collection[str]) -> tuple[str, str] | None:
    """Return the virtual machine and the container that are compared; None where one of them was not measured."""
    one = next((key for key in VIRTUAL if key in ways), None)
    other = next((key for key in CONTAINED if key in ways), None)
    return (one, other) if one and other else None


def answers(ways: Ways) -> str:
    """Return the criteria by which both are compared in general, each with its figures and for whom it counts."""
    pair = pair_of(ways)
    if pair is None:
        return ""
    middle = {key: medians(ways[key]["runs"]) for key in pair}
    rows = []
    for title, key, developer, administrator in CRITERIA:
        values = [middle[one].get(key) for one in pair]
        shown = [f"{number(value)} {BY_KEY[key].unit}" if value is not None else "-" for value in values]
        rows.append([title, *shown, ratio(*values) or "-", developer, administrator])
    rows.append(
        [
            "isolation",
            *(isolated(ways[key]) for key in pair),
            "",
            "what a faulty or hostile dependency reaches",
            "what somebody who broke out of a service reaches",
        ]
    )
    heads = ["", *(ways[key]["title"] for key in pair), "first to second"]
    return table([*heads, "for who develops it", "for who administers it"], rows)


def isolated(one: Mapping[str, Any]) -> str:
    """Return in a few words what holds a process in."""
    probe = one.get("probe")
    if not probe:
        return "-"
    own = has_own_kernel(probe, one["machine"])
    held = len(capabilities(probe["self"]["eff"]))
    kernel = "a kernel of its own" if own else "this machine's kernel"
    root = "root" if probe["self"]["uid"] == 0 else f"user {probe['self']['uid']}"
    return f"{kernel}; {root} inside has {held} capabilities {'of it' if own else 'on it'}"


# The page

BEGIN, END = "<!-- figures: written by bench/targets -->", "<!-- end of figures -->"


def conditions(ways: Ways) -> str:
    """Return on what and when it was measured, a sentence for all ways that have it in common."""
    lines: dict[str, list[str]] = {}
    for one in ways.values():
        its = one["machine"]
        programs = ", ".join(f"{name} {version}" for name, version in its["programs"].items() if version)
        text = f"{its['cores']} cores ({its['model']}), {number(its['memory'] / 1e9)} GB, Linux {its['kernel']}"
        lines.setdefault(f"{text}, {programs}", []).append(f"{one['title']} on {one['date']}, load {its['load']:.1f}")
    said = [f"{text}: {'; '.join(these)} before it began." for text, these in lines.items()]
    for kvm, what in ((False, "without KVM, so emulated"), (True, "on KVM")):
        if titles := [one["title"] for one in ways.values() if one["machine"].get("kvm") is kvm]:
            said.append(f"{' and '.join(titles)} were {what}.")
    return " ".join(said)


def wrapped(text: str, width: int = 120) -> str:
    """Return a paragraph in lines of at most ``width`` characters."""
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False) + "\n"


def body(ways: Ways, chart: str) -> str:
    """Return what a page says of the figures, in Markdown; ``chart`` is the picture's name, or nothing."""
    parts = [wrapped(conditions(ways))]
    if chart:
        parts.append(f"![The figures as bars: shorter is better, but for requests]({chart})\n")
    first = ways.get(reference_of(ways))
    if first and len(ways) > 1:
        parts.append(wrapped(f"In brackets: how many times that of {first['title']}."))
    parts.append(numbers(ways))
    if both := answers(ways):
        parts += ["### Virtual machine and container, criterion by criterion\n", both]
    if probed := isolation(ways):
        parts += ["### What a process inside sees and can do\n", probed]
    return "\n".join(parts)


def page(text: str, ways: Ways, chart: str) -> str:
    """Return a page with what is between its marks written anew. Raises ValueError where it has no marks."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"there is no `{BEGIN}` with `{END}` after it")
    return f"{before}{BEGIN}\n\n{body(ways, chart)}\n{END}{after}"


# The chart


def bars(ways: Ways) -> list[dict[str, Any]]:
    """Return the panels of the chart: what each shows, and a bar for each way that has it."""
    middle = {key: medians(one["runs"]) for key, one in ways.items()}
    panels = []
    for metric in METRICS:
        its = [(ways[key]["title"], found[metric.key]) for key, found in middle.items() if metric.key in found]
        if metric.chart and its:
            better = "; more is better" if metric.more else ""
            shown = [{"title": title, "value": value, "text": number(value)} for title, value in its]
            panels.append({"title": f"{metric.title} ({metric.unit}{better})", "bars": shown})
    return panels
