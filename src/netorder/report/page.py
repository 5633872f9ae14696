"""The report as one HTML page, which makes no request: the picture with what was measured, hosts, matrix, times.

Texts that come from hosts are data, and are written as such; the page's own policy forbids every request.
"""

from __future__ import annotations

import base64
import gzip
import json
import shlex
from collections import defaultdict
from dataclasses import replace
from html import escape
from importlib.resources import files
from statistics import median
from typing import TYPE_CHECKING, Any

from netorder.analysis.causes import Causes
from netorder.analysis.overview import overview, to_json
from netorder.analysis.reach import OUTSIDE, Matrix
from netorder.picture.model import picture
from netorder.picture.svg import svg
from netorder.plan.build import build_plan
from netorder.plan.security_groups import Declarations
from netorder.plan.serialize import to_json as plan_json
from netorder.report.measured import RIGHT, WORDS, WRONG, Measured
from netorder.text import count, few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from netorder.analysis.overview import Entry
    from netorder.plan.model import Host
    from netorder.topology import Topology

__all__ = ["LIVE_POLICY", "page", "running"]

MOST_IN_MATRIX = 40  # hosts; of more a table is nothing to read
ARROWS = 60  # of more, those that are as planned say nothing
MANY = 8  # hosts, of which there is a field to filter
LARGE = 500_000  # bytes of a file, which is compressed then: the plan of 1,000 hosts has several million
SLOWEST = 60  # requests that are shown
BRIEF = 0.5  # s; shorter tasks have no bar
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'"
LIVE_POLICY = f"{POLICY}; connect-src 'self'; img-src 'self'"  # it asks who serves it, and nobody else
# the picture's own colours are in its style: light first, then dark
STATES = """
.right .arrow { stroke: #1a7f37; } .right .tip { fill: #1a7f37; } .right .number { stroke: #1a7f37; }
.wrong .arrow { stroke: #c62828; stroke-width: 2.5; } .wrong .tip { fill: #c62828; } .wrong .number { stroke: #c62828; }
.unmeasured .arrow { stroke: #6b7785; stroke-dasharray: 5 4; } .unmeasured .tip { fill: #6b7785; }
.unmeasured .number { stroke: #6b7785; } .host.wrong rect { stroke: #c62828; stroke-width: 2.5; }
.host.right rect { stroke: #1a7f37; } a:focus-visible rect { stroke-width: 3; } a:hover rect { stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  .right .arrow { stroke: #56d364; } .right .tip { fill: #56d364; } .right .number { stroke: #56d364; }
  .wrong .arrow { stroke: #ff8a80; } .wrong .tip { fill: #ff8a80; } .wrong .number { stroke: #ff8a80; }
  .unmeasured .arrow { stroke: #98a4b1; } .unmeasured .tip { fill: #98a4b1; } .unmeasured .number { stroke: #98a4b1; }
  .host.wrong rect { stroke: #ff8a80; } .host.right rect { stroke: #56d364; }
}"""


def page(topology: Topology, kept: Mapping[str, Any], version: str = "", file: str = "") -> str:
    """Return the page; ``kept`` is what runs left: ``runs``, ``hosts``, ``verify``, ``drift``, or some of them.

    ``file`` is the topology's, for what to type. One with a ``version`` asks who serves it what a run does now, and for
    a newer version of itself.
    """
    return _Page(topology, kept, file).text(version)


def running(run: Mapping[str, Any], seconds: float) -> str:
    """Return what a run does now, or that none is at work, as HTML; it runs for so many ``seconds``."""
    if not run:
        return '<p class="soft">No run is at work.</p>'
    if not run["alive"]:
        return f'<p class="wrong">{escape(run["playbook"])}, {escape(run["time"])}: it was interrupted.</p>'
    does = escape(": ".join(run["now"]))
    stages = [*run["stages"]]
    if stages and stages[-1]["name"] == run["now"][0]:  # it goes on
        stages[-1] = {**stages[-1], "seconds": seconds - stages[-1]["start"]}
    whole = {**run, "seconds": seconds, "stages": stages}
    return f'<p role="status">{does}</p>{_run(run["playbook"], whole, is_open=True)}'


class _Page:
    def __init__(self, topology: Topology, kept: Mapping[str, Any], file: str) -> None:
        self._kept = kept
        self._file = shlex.quote(file) if file else ""
        self._plan = build_plan(topology)
        self._matrix = Matrix(self._plan)
        self._measured = Measured(kept.get("verify"))
        self._causes = Causes(self._matrix, Declarations(topology), self._measured.findings)
        ends = [*self._matrix.hosts, OUTSIDE]
        self._overview = overview(self._matrix, topology, ends, ends)
        pairs = self._measured.pairs
        wrong = [pair for pair, probes in pairs.items() if not all(probe.ok for probe in probes)]
        self._drawn = picture(topology, opened=self._overview.entries, most=ARROWS, always=wrong)
        self._plain = replace(self._drawn, arrows=()) if self._drawn.left_out else self._drawn
        self._timed = {pair: took for pair in pairs if (took := self._measured.latency(pair)) is not None}
        # the newest first
        self._runs = sorted(kept.get("runs", {}).items(), key=lambda one: str(one[1]["time"]), reverse=True)

    def text(self, version: str = "") -> str:
        parts = {
            **({"run": ("Now", '<div id="now"></div>')} if version else {}),
            "picture": ("Picture", self._picture()),
            "differs": ("What differs", self._differs()),
            "hosts": ("Hosts", self._hosts()),
            "matrix": ("Who reaches whom", self._reach()),
            "times": ("Where the time went", self._times()),
            "files": ("Files", self._files()),
        }
        name = escape(self._plan.topology)
        style, script, live = (
            files("netorder.report").joinpath(name).read_text(encoding="utf-8")
            for name in ("page.css", "page.js", "live.js")
        )
        script += live if version else ""
        links = "".join(f'<a href="#{key}">{title}</a>' for key, (title, _) in parts.items())
        sections = "".join(
            f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>\n{body}\n</section>\n'
            for key, (title, body) in parts.items()
        )
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{LIVE_POLICY if version else POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{name}: netorder report</title>\n<style>\n{style}</style>\n</head>\n"
            f"<body{f' data-version={version}' if version else ''}>\n"
            f'<header><h1>{name}</h1>{self._summary()}<nav aria-label="Parts">{links}</nav></header>\n'
            f"<main>\n{sections}</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
        )

    def _typed(self, command: str) -> str:
        return escape(f"netorder {command} {self._file}".rstrip())

    # The parts

    def _summary(self) -> str:
        plan = self._plan
        parts = [(plan.hosts, "host"), (plan.networks, "network"), (plan.routers, "router")]
        facts = [", ".join(count(len(its), kind) for its, kind in parts)]
        for playbook, run in self._runs[:1]:
            facts.append(f"last run: {escape(playbook)}, {escape(run['time'])}, {run['seconds']:.0f} s")
        wrong = len(self._measured.wrong())
        if self._measured.when:
            said = f"{wrong} of {count(self._measured.checks, 'check')} differ" if wrong else "as planned"
            state = WRONG if wrong else RIGHT
            facts.append(f'measured: <span class="{state}">{said}</span>, {escape(self._measured.when)}')
        else:
            facts.append(f'<span class="unmeasured">nothing was measured yet: {self._typed("verify")}</span>')
        if drift := self._kept.get("drift"):
            number = len(drift["differences"]) + len(drift["refused"])
            said, state = (count(number, "difference"), WRONG) if drift["drift"] else ("none", RIGHT)
            facts.append(f'drift: <span class="{state}">{said}</span>, {escape(drift["time"])}')
        return f'<ul class="facts">{"".join(f"<li>{fact}</li>" for fact in facts)}</ul>'

    def _picture(self) -> str:
        shown = self._measured.drawn(self._drawn)
        links = {node.id: f"#host-{node.members[0]}" for node in shown.nodes if node.kind == "host"}
        key = (
            '<p class="soft">A host leads to what is said of it. Arrows are what the rules let through: '
            '<span class="right">green as planned</span>, <span class="wrong">red differs</span>, '
            '<span class="unmeasured">grey and dashed not measured</span>.</p>'
        )
        if shown.left_out or len(shown.arrows) > ARROWS:
            arrows = tuple(one for one in shown.arrows if one.state == WRONG)[:ARROWS]
            every = len(shown.arrows) + shown.left_out
            key += f"<p>Of {every:,} arrows {len(arrows)} are drawn: those that differ.</p>"
            shown = replace(shown, arrows=arrows)
        return f"{key}{_scrolling('Picture', svg(shown, links, STATES))}"

    def _differs(self) -> str:
        found = []
        if wrong := self._measured.wrong():
            keys = ("what", "expected", "found")
            rows = [
                (
                    escape(str(one.get("from", host))),
                    *(escape(str(one[key])) for key in keys),
                    escape(self._causes.of(host, one)),
                )
                for host, one in wrong
            ]
            found.append(f"<p>Measured, {escape(self._measured.when)}:</p>{_table(('from', *keys, 'likely'), rows)}")
        if (drift := self._kept.get("drift")) and drift["drift"]:
            its = ("where", "what", "expected", "actual")
            rows = [tuple(escape(str(one[key])) for key in its) for one in drift["differences"]]
            found.append(f"<p>Drift, {escape(drift['time'])}:</p>{_table(its, rows) if rows else ''}")
            texts = [f"refused: {one}" for one in drift["refused"]]
            texts += [f"{name}: not checked: {why}" for name, why in drift["not_checked"].items()]
            found += [f"<p>{escape(one)}</p>" for one in texts]
        if warnings := self._measured.warnings():
            texts = [f"{escape(who)}: {escape(what)}" for who, what in warnings]
            found.append(f"<p>As planned, and worth knowing:</p>{_list(texts)}")
        looked = [word for word, key in (("verify", "verify"), ("drift", "drift")) if self._kept.get(key)]
        if found:
            return "".join(found)
        return f"<p>Nothing, as {' and '.join(looked)} found.</p>" if looked else "<p>Nobody has looked yet.</p>"

    def _hosts(self) -> str:
        field = (
            '<p hidden><label for="filter">Only those with </label><input id="filter" type="search" '
            'placeholder="a name, an address, a port"></p>'
        )
        incoming: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._overview.entries:
            for name in entry.destinations:
                incoming[name].append(entry)
        shown = "".join(self._host(host, incoming[host.name]) for host in self._plan.hosts)
        return (field if len(self._plan.hosts) > MANY else "") + shown

    def _host(self, host: Host, incoming: Sequence[Entry]) -> str:
        known = self._kept.get("hosts", {}).get(host.name) or {}
        state = self._measured.host(host.name)
        addresses = [f"{escape(port.network)}: <code>{', '.join(port.addresses)}</code>" for port in host.ports]
        if host.floating_ip:
            outside = known.get("floating_ip")
            addresses.append(f"floating: <code>{escape(outside)}</code>" if outside else "floating, not known yet")
        through = f", through {', '.join(host.ssh_path)}" if host.ssh_path else ""
        which = f"-t {self._file} " if self._file else ""
        login = f"<code>netorder ssh {escape(which)}{escape(host.name)}</code>{escape(through)}"
        applications = []
        for one in host.applications:
            ports = [f"tcp {port}" for port in one.tcp_ports] + [f"udp {port}" for port in one.udp_ports]
            calls = [name for name, _ in one.calls]
            applications.append(
                escape(one.name)
                + (f" ({', '.join(ports)})" if ports else "")
                + (f", calls {escape(', '.join(calls))}" if calls else "")
            )
        facts = {
            "addresses": addresses,
            "image, flavor": [escape(f"{host.image}, {host.flavor}")],
            "log in": ["not reachable from outside" if host.ssh_path is None else login],
            "gateways": [f"<code>{', '.join(host.gateways)}</code>"] if host.gateways else [],
            "static routes": [f"<code>{one.destination} via {one.next_hop}</code>" for one in host.routes],
            "forwards": ["yes"] if host.forwarding else [],
            "applications": applications,
            "reached by": [
                f"{escape(few([name for name in one.sources if name != host.name], 6))}: {escape(', '.join(one.open))}"
                for one in incoming
                if set(one.sources) != {host.name}
            ],
            "measured": self._checks(host.name),
        }
        rows = "".join(f"<dt>{key}</dt><dd>{_list(values)}</dd>" for key, values in facts.items() if values)
        first = f'<span class="soft">{escape(", ".join(host.addresses))}</span>'
        said = f', <span class="{state}">{WORDS[state]}</span>' if self._measured.when else ""
        return (
            f'<details class="host" id="host-{escape(host.name)}"><summary><strong>{escape(host.name)}</strong> '
            f"{first}{said}</summary><dl>{rows}</dl></details>\n"
        )

    def _checks(self, name: str) -> list[str]:
        found = self._measured.findings.get(name)
        if found is None:
            return ["not measured"] if self._measured.when else []
        wrong = [
            f'<span class="wrong">{escape(str(one["what"]))}: expected {escape(str(one["expected"]))}, '
            f"found {escape(str(one['found']))}</span>"
            for one in found
            if not one["ok"]
        ]
        return [f"{count(len(found), 'check')}, {len(wrong)} differ", *self._latencies(name), *wrong]

    def _latencies(self, name: str) -> list[str]:
        """Say how long connections from a host took, of each pair the median, and what its paths take."""
        mine = {to: took for (source, to), took in self._timed.items() if source == name}
        if not mine:
            return []
        slowest = max(mine, key=lambda to: mine[to])
        sizes = sorted({size for to in mine if (size := self._measured.mtu((name, to)))})
        text = f"round trip {median(mine.values()):.2f} ms (median of {count(len(mine), 'host')}), "
        text += f"slowest {escape(slowest)} {mine[slowest]:.2f} ms"
        return [text, *([f"path MTU {', '.join(map(str, sizes))}"] if sizes else [])]

    def _reach(self) -> str:
        rows = [
            (
                escape(few(one.sources, 6)),
                escape(few(one.destinations, 6)),
                escape(", ".join(one.open)),
                escape(few([place.rpartition(":")[2] for place in one.rules])),
                self._state_of(one),
            )
            for one in self._overview.entries
        ] + [*self._members()]
        listed = _table(("from", "to", "open", "lines of the file", "measured"), rows)
        hosts = [host.name for host in self._plan.hosts]
        if len(hosts) > MOST_IN_MATRIX:
            return f"<p>What is alike is one line; {self._closed()}</p>{listed}"
        return f"{self._table_of(hosts)}<p>The same, what is alike in one line; {self._closed()}</p>{listed}"

    def _members(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Yield what is open to and from members of security groups that are not the topology's."""
        for one in self._overview.members:
            ends = (f"members of security group {one.group}", few(one.hosts, 6))
            ends = ends if one.direction == "ingress" else (ends[1], ends[0])
            lines = few([place.rpartition(":")[2] for place in one.rules])
            yield escape(ends[0]), escape(ends[1]), escape(", ".join(one.open)), escape(lines), "not in the plan"

    def _closed(self) -> str:
        found = self._overview
        return f"nothing is open on {found.pairs - found.some:,} of {found.pairs:,} pairs."

    def _state_of(self, entry: Entry) -> str:
        pairs = [(a, b) for a in entry.sources for b in entry.destinations if a != b]
        state = self._measured.of(pairs, entry.open)
        return f'<span class="{state}">{WORDS[state]}</span>'

    def _table_of(self, hosts: Sequence[str]) -> str:
        open_: dict[tuple[str, str], list[str]] = defaultdict(list)
        for one in self._overview.entries:
            for source in one.sources:
                for destination in one.destinations:
                    open_[source, destination] += one.open
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (*hosts, OUTSIDE))
        rows = []
        for source in (*hosts, OUTSIDE):
            cells = "".join(self._cell(source, to, open_.get((source, to), ())) for to in (*hosts, OUTSIDE))
            rows.append(f'<tr><th scope="row">{escape(source)}</th>{cells}</tr>')
        head = f'<thead><tr><th scope="col">from, to</th>{head}</tr></thead>'
        return _scrolling("Matrix", f'<table class="matrix">{head}<tbody>{"".join(rows)}</tbody></table>')

    def _cell(self, source: str, destination: str, what: Sequence[str]) -> str:
        if source == destination:
            return '<td class="self"></td>'
        pair = source, destination
        lines = {one: self._measured.of([pair], [one]) for one in what}
        lines |= {f"tcp {one.port} is {one.found}!": WRONG for one in self._measured.pairs.get(pair, ()) if not one.ok}
        shown = "\n".join(f'<span class="{state}">{escape(one)}</span>' for one, state in lines.items())
        if (took := self._timed.get(pair)) is not None:
            shown += f'\n<span class="soft">{took:.2f} ms</span>'
        return f"<td>{shown or '-'}</td>"

    def _times(self) -> str:
        if not self._runs:
            return f"<p>No run has been kept yet: {self._typed('up')}</p>"
        head = f"<p>The last run of each kind: a bar for each stage, and for each task of {BRIEF} s or more.</p>"
        return head + "".join(_run(name, run, is_open=not index) for index, (name, run) in enumerate(self._runs))

    def _files(self) -> str:
        name = self._plan.topology
        given = {
            f"{name}-plan.json": ("the plan", plan_json(self._plan)),
            f"{name}-reach.json": ("what is open between whom", to_json(self._overview, name)),
            f"{name}.svg": ("the picture", svg(self._plain)),
        }
        if timed := self._measured.timed():
            given[f"{name}-times.json"] = ("round trips and path MTUs", json.dumps(timed, indent=1) + "\n")
        return _list([f"{_download(file, text)}: {what}" for file, (what, text) in given.items()])


def _run(playbook: str, run: Mapping[str, Any], *, is_open: bool) -> str:
    whole = max(run["seconds"], 0.01)
    bars = []
    for stage in run["stages"]:
        bars.append(_bar(stage, whole, escape(stage["name"])))
        tasks = [task for task in stage["tasks"] if task["seconds"] >= BRIEF]
        bars += [_bar(task, whole, escape(task["name"]), "part") for task in tasks]
    timings = sorted(run.get("timings", ()), key=lambda one: -one["seconds"])
    requests = ""
    if shown := sorted(timings[:SLOWEST], key=lambda one: one["start"]):
        end = max(one["start"] + one["seconds"] for one in timings)
        of = f"the {SLOWEST} slowest of {len(timings)}" if len(timings) > SLOWEST else f"{len(timings)}"
        rows = [_bar(one, end, escape(f"{one['action']} {one['kind']} {one['name']}"), "part") for one in shown]
        requests = f"<p>What was asked of the cloud ({of}), from the login:</p>{_bars(rows)}"
    said = f"{escape(playbook)}, {escape(run['time'])}, {run['seconds']:.1f} s"
    return f"<details{' open' if is_open else ''}><summary>{said}</summary>{_bars(bars)}{requests}</details>"


def _bars(bars: Iterable[str]) -> str:
    return f'<div class="bars">{"".join(bars)}</div>'


def _download(name: str, text: str) -> str:
    kind = "image/svg+xml" if name.endswith(".svg") else "application/json"
    content = text.encode()
    if len(content) > LARGE:
        kind, name, content = "application/gzip", f"{name}.gz", gzip.compress(content, mtime=0)
    data = base64.b64encode(content).decode()
    return f'<a download="{escape(name)}" href="data:{kind};base64,{data}">{escape(name)}</a>'


def _bar(one: Mapping[str, Any], whole: float, name: str, kind: str = "") -> str:
    left = min(max(100 * one["start"] / whole, 0), 100)
    width = min(100 * one["seconds"] / whole, 100 - left)
    failed = " failed" if one.get("failed") else ""
    return (
        f'<span class="{kind}" title="{name}">{name}</span><span class="track"><span class="bar{failed}" '
        f'style="left:{left:.2f}%;width:{width:.2f}%"></span></span><span class="time">{one["seconds"]:.1f} s</span>\n'
    )


def _list(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"<ul>{''.join(f'<li>{value}</li>' for value in values)}</ul>"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; what is in the ``rows`` is HTML."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return _scrolling("Table", f"<table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>")


def _scrolling(name: str, body: str) -> str:
    """Return what may be larger than the screen, which the keyboard can scroll too."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{name}">{body}</div>'
