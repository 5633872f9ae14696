"""The target's interface: reconcile, teardown, what is there for the inventory, why a host does not answer."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING

from netorder.cloud.change import deletion
from netorder.cloud.preview import unchanged
from netorder.cloud.result import HostFacts, Result, not_allowed
from netorder.containers import engine, kernel, snapshots
from netorder.containers.compare import Stage, compare, removals
from netorder.containers.kernel import Space
from netorder.containers.observe import PARALLEL, host_key, observe, outside
from netorder.containers.wanted import (
    MACHINE,
    OUTSIDE,
    dport,
    machine_table,
    port_range,
    prefix,
    switch_space,
    wanted,
)
from netorder.errors import CloudError, RefusedError
from netorder.text import count, few
from netorder.topology import SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from netorder.cloud.change import Change, Progress
    from netorder.containers.compare import Step
    from netorder.containers.engine import Container
    from netorder.containers.observe import Seen
    from netorder.containers.wanted import Ports, Wanted
    from netorder.plan.model import Plan

__all__ = ["health", "hosts", "make_anew", "reconcile", "teardown", "there", "unanswered"]

_DPORT = re.compile(r"\b(tcp|udp) dport (\d+)(?:-(\d+))? dnat")  # as nft lists it
_SAID = {
    Stage.CONTAINERS_GO: "containers that go",
    Stage.REMOVE: "networks that go",
    Stage.SPACES: "namespaces",
    Stage.CABLES: "bridges and cables",
    Stage.SETTINGS: "routes, filters, published ports",
    Stage.CONTAINERS: "containers",
}


def reconcile(plan: Plan, *, key: str | None, check: bool, allow: Collection[str] = (), progress: Progress) -> Result:
    """Make this machine what the plan says. Raises RefusedError before the first change, CloudError after it."""
    start = time.monotonic()
    engine.check_engine()
    seen = observe(plan.topology)
    what = _wanted(plan, seen)
    steps = compare(what, seen, key)
    changes = tuple(step.change for step in steps if step.change)
    problems = _preflight(what, seen, steps)
    if not check:
        problems += not_allowed(changes, allow)
    if problems:
        raise RefusedError(_result(plan, what, changes, {}, start), *problems)
    running = seen.containers
    if steps and not check:
        if key is None:
            raise CloudError("No SSH key for the hosts: name one with netorder_ssh_key.")
        _make(steps, progress)
        running = tuple(engine.containers(plan.topology))
    with ThreadPoolExecutor(PARALLEL) as pool:
        keys = pool.map(lambda one: host_key(one) if one.runs else None, running)
        there = {one.host: (one.id, its) for one, its in zip(running, keys, strict=True)}
    return _result(plan, what, changes, there, start)


def _wanted(plan: Plan, seen: Seen) -> Wanted:
    return wanted(plan, outside(plan, seen), kernel.name_servers(), tracks_bridges=kernel.tracks_bridges())


def _make(steps: Iterable[Step], progress: Progress) -> None:
    """Make the steps of each stage; of containers several at a time, since podman's start of one takes its time."""
    for stage, group in groupby(steps, key=lambda step: step.stage):
        start, these = time.monotonic(), list(group)
        if stage in (Stage.CONTAINERS, Stage.CONTAINERS_GO):
            with ThreadPoolExecutor(PARALLEL) as pool:
                for done in [pool.submit(step.act) for step in these]:
                    done.result()
        else:
            for step in these:
                step.act()
        progress(f"{_SAID[stage]}: {len(these)} changed in {time.monotonic() - start:.1f} s")


def _preflight(what: Wanted, seen: Seen, steps: Iterable[Step]) -> list[str]:
    """Return what stands in the way of the changes."""
    servers = [step.change for step in steps if step.change and step.change.kind == "server"]
    coming = {change.name for change in servers if change.action != "delete"}
    problems = []
    images = dict.fromkeys(str(guest.settings["image"]) for guest in what.guests if guest.name in coming)
    problems += [found for image in images if (found := _image_problem(what.topology, image))]
    own = {one.name for one in seen.containers}
    others = coming & (engine.names() - own) if coming - own else set()
    problems += [
        f"container {name} is there and is not this topology's: rename it, or the topology (`podman rename`)"
        for name in sorted(others)
    ]
    return problems + _port_problems(what, seen)


def _image_problem(topology: str, image: str) -> str:
    if not image.startswith(SNAPSHOT):
        return engine.image_problem(image)
    try:
        snapshots.find(topology, image.removeprefix(SNAPSHOT))
    except CloudError as error:
        return str(error)
    return ""


def _port_problems(what: Wanted, seen: Seen) -> list[str]:
    rules = seen.spaces[MACHINE].ruleset
    new = {ports: host for ports, host in what.published.items() if f"{dport(ports)} dnat" not in rules}
    if not new:
        return []
    bound = kernel.listening()
    mine = machine_table(what.topology)
    tables = {name: kernel.read_space(MACHINE, name).ruleset for name in kernel.tables("netorder.") if name != mine}
    others = [(its, name.removeprefix("netorder.")) for name, rules in tables.items() for its in _published_by(rules)]
    problems = []
    for (protocol, first, last), host in sorted(new.items()):
        fix = "end that, or let outsiders in to the host on another port"
        problems += [
            f"{protocol} {port} of host {host} cannot be published: something on this machine has that port "
            f"(`ss -lp 'sport = {port}'`); {fix}"
            for its, port in sorted(bound)
            if its == protocol and first <= port <= last
        ]
        shared = {
            (port_range((protocol, max(first, one), min(last, other))), whose)
            for (its, one, other), whose in others
            if its == protocol and one <= last and first <= other
        }
        problems += [
            f"{protocol} {ports} of host {host} cannot be published: topology {whose} publishes it; {fix}"
            for ports, whose in sorted(shared)
        ]
    return problems


def _published_by(ruleset: str) -> Iterator[Ports]:
    for protocol, first, last in _DPORT.findall(ruleset):
        yield protocol, int(first), int(last or first)


def _result(
    plan: Plan, what: Wanted, changes: tuple[Change, ...], there: dict[str, tuple[str, str | None]], start: float
) -> Result:
    """Return the result; ``there`` has the id and the host key of each host's container."""
    nothing: tuple[None, None] = (None, None)
    facts = {}
    for host in plan.hosts:
        identity, its_key = there.get(host.name, nothing)
        facts[host.name] = HostFacts(identity, host.ports[0].addresses[0], what.floating.get(host.name), its_key)
    same = {kind: number for kind, number in unchanged(plan, changes).items() if kind != "key pair"}
    return Result(changes, same, facts, requests={"total": 0}, seconds=round(time.monotonic() - start, 3))


def teardown(topology: str, *, check: bool, progress: Progress, images: bool = False) -> list[Change]:
    """Delete all of a topology, then look again; anything left is an error that names it. Snapshots only if asked."""
    engine.check_engine()
    seen = observe(topology)
    steps = removals(topology, seen, "teardown")
    if steps and not check:
        _make(steps, progress)
        if left := observe(topology).leftovers(topology):
            raise CloudError(f"Still there after the teardown of {topology}: {few(left, 20)}. Tear down again.")
    if not check and not kernel.tables("netorder."):  # also where a teardown was killed that had taken away the rest
        kernel.forward_no_more()
    known = snapshots.snapshots(topology)
    if known and not images:
        names = few([one.name for one in known])
        progress(f"{count(len(known), 'snapshot')} stay: {names}. `-e snapshots=delete` deletes them too")
        known = []
    for one in known if not check else ():
        snapshots.remove(topology, one.name)
    going = [deletion("snapshot", one.name, one.id, "teardown") for one in known]
    return [*(step.change for step in steps if step.change), *going]


def hosts(plan: Plan) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return by host its container's state, address and floating address; and the hosts that the plan does not have."""
    engine.check_engine()
    seen = observe(plan.topology)
    what = _wanted(plan, seen)
    by_host = {one.host: one for one in seen.containers}
    found: dict[str, dict[str, object]] = {}
    for host in plan.hosts:
        one = by_host.pop(host.name, None)
        if one is not None:
            address = what.floating.get(host.name) or host.ports[0].addresses[0]
            found[host.name] = {"status": "ACTIVE" if one.runs else "SHUTOFF", "id": one.id, "address": address}
    return found, sorted(by_host)


def health(topology: str) -> dict[str, str]:
    """Return by host why the applications of those that run do not serve, "" where they do; asks them now."""
    running = [one for one in engine.containers(topology) if one.runs]
    found = engine.healths(running)
    return {one.host: found[one.id] for one in running if one.id in found}


def there(plan: Plan) -> dict[str, int]:
    """Return how many of the planned networks and routers there are."""
    seen = observe(plan.topology)
    what = _wanted(plan, seen)
    switch = seen.spaces.get(switch_space(plan.topology), Space())
    networks = sum(name in switch.links for name in what.bridges if name != OUTSIDE)
    return {"network": networks, "router": sum(one.space in seen.spaces for one in what.routings)}


def unanswered(topology: str, host: str) -> tuple[str, bool]:
    """Return the likely cause why a host does not answer, and whether waiting longer cannot help."""
    found = [one for one in engine.containers(topology) if one.host == host]
    if not found:
        return "it has no container: run ansible-playbook playbooks/provision.yml", True
    if not found[0].runs:
        return f"its container is {found[0].state}: provisioning again starts it (`podman logs {found[0].name}`)", True
    if not any(name.startswith(f"{prefix(topology)}host.{host}") for name in kernel.spaces(prefix(topology))):
        return "its network namespace is gone: provision again", True
    return f"its container runs: see inside with `podman exec {found[0].name} journalctl -b`", False


def make_anew(plan: Plan, container: Container, key: str, *, image: str) -> None:
    """Make a host's container anew from an image of its own disk: it keeps its identity."""
    guest = next(one for one in _wanted(plan, observe(plan.topology)).guests if one.host == container.host)
    engine.create(plan.topology, guest, key, image=image, instance=container.instance)
