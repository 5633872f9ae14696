"""What is wanted against what is there: the differences as changes, each with what makes it.

Compared is what is in force: devices, addresses, routes and rules as the kernel has them, containers as podman does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING

from netorder.cloud.change import Change, deletion
from netorder.containers import engine, kernel, snapshots
from netorder.containers.kernel import Space
from netorder.containers.wanted import MACHINE, host_space, machine_table, switch_space, uplink
from netorder.topology import SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netorder.containers.engine import Container
    from netorder.containers.observe import Seen
    from netorder.containers.wanted import Cable, Guest, Routing, Wanted

__all__ = ["Stage", "Step", "compare", "removals"]

# podman was killed while it made them, or while it removed them, which nothing else can end
_OF_NO_USE = dict.fromkeys(("created", "configured", "initialized"), "was never started, and may be incomplete")
_OF_NO_USE["removing"] = "somebody began to remove it"
INOTIFY_OF_GUEST, INOTIFY_MOST = 4, 8192  # kernels allow root 128 if nobody says otherwise
MISSING, DIFFERS, NOT_WANTED = "missing", "differs from the plan", "not in the topology"


class Stage(IntEnum):
    """Steps of one stage may be made in any order, the earlier stages first."""

    CONTAINERS_GO = 0
    REMOVE = 1
    SPACES = 2
    CABLES = 3
    SETTINGS = 4
    CONTAINERS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What makes a change, or a part of one that another step shows; ``act`` may be repeated after a kill."""

    stage: Stage
    change: Change | None
    act: Callable[[], None]


def compare(wanted: Wanted, seen: Seen, key: str | None) -> list[Step]:
    """Return the steps that make the machine match the plan. ``key`` is the user's public key."""
    steps = [*_strays(wanted, seen), *_networks(wanted, seen), *_routers(wanted, seen), *_cables(wanted, seen)]
    steps += [*_filters(wanted, seen), *_machine(wanted, seen), *_guests(wanted, seen, key or "")]
    return sorted(steps, key=lambda step: step.stage)


def removals(topology: str, seen: Seen, reason: str) -> list[Step]:
    """Return the steps that take away all that there is."""
    steps = [_remove_container(one, reason) for one in seen.containers]
    machine = seen.spaces[MACHINE]
    device, table = uplink(topology), machine_table(topology)
    if machine.ruleset:
        act = partial(kernel.load, MACHINE, "", [f"inet {table}"])
        steps.append(Step(Stage.REMOVE, deletion("published ports", topology, table, reason), act))
    if device in machine.links:
        act = partial(kernel.batch, MACHINE, [f"link delete {device}"])
        steps.append(Step(Stage.REMOVE, deletion("router interface", "outside", device, reason), act))
    steps += [_remove_space(space, reason) for space in seen.inodes]
    return sorted(steps, key=lambda step: step.stage)


def _remove_space(space: str, reason: str) -> Step:
    kind = {"host": "port", "router": "router"}.get(space.split(".")[2], "network")
    change = deletion(kind, space, space, reason, lossless=kind == "port")
    return Step(Stage.REMOVE, change, partial(kernel.delete_space, space))


def _remove_container(one: Container, reason: str) -> Step:
    return Step(Stage.CONTAINERS_GO, deletion("server", one.name, one.id, reason), partial(engine.remove, one))


def _strays(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    hosts = {guest.host: guest.name for guest in wanted.guests}
    for one in seen.containers:
        if hosts.get(one.host) != one.name:
            yield _remove_container(one, NOT_WANTED)
    named = {switch_space(wanted.topology), *(guest.space for guest in wanted.guests)}
    named |= {routing.space for routing in wanted.routings}
    for space in seen.inodes:
        if space not in named:
            yield _remove_space(space, NOT_WANTED)
    machine = seen.spaces[MACHINE]
    if wanted.machine is None and (machine.ruleset or uplink(wanted.topology) in machine.links):
        gone = seen.__class__({MACHINE: machine}, ())
        yield from removals(wanted.topology, gone, NOT_WANTED)


def _networks(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    space = switch_space(wanted.topology)
    there = seen.spaces.get(space)
    links = there.links if there else {}
    ports = {cable.port for cable in wanted.cables}
    for link in links:
        if link not in ports and link not in wanted.bridges:
            kind = "network" if link.startswith("b") else "port"
            change = deletion(kind, link, link, NOT_WANTED, lossless=kind == "port")
            yield Step(Stage.REMOVE, change, partial(kernel.delete_link, space, link))
    if not there:
        yield Step(Stage.SPACES, None, partial(kernel.make_space, space))  # its bridges are shown
    for name, (network, mtu) in wanted.bridges.items():
        bridge = links.get(name)
        if bridge is None:
            lines = [f"link add {name} type bridge forward_delay 0 mcast_snooping 0", f"link set {name} mtu {mtu} up"]
            change = Change("network", network, "create", MISSING, None, {"mtu": mtu})
            yield Step(Stage.CABLES, change, partial(kernel.batch, space, lines))
        elif (bridge.mtu, bridge.up) != (mtu, True):
            before: dict[str, object] = {"mtu": bridge.mtu, "up": bridge.up}
            after: dict[str, object] = {"mtu": mtu, "up": True}
            act = partial(kernel.batch, space, [f"link set {name} mtu {mtu} up"])
            yield Step(Stage.CABLES, Change("network", network, "update", DIFFERS, before, after), act)


def _routers(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    for routing in wanted.routings:
        there = seen.spaces.get(routing.space)
        after: dict[str, object] = {"routes": [" via ".join(route) for route in routing.routes]}
        if there is None:
            change = Change("router", routing.name, "create", MISSING, None, after)
            yield Step(Stage.SPACES, change, partial(_make_router, routing.space))
            for step in _settings(routing, Space(forwarding=True)):
                yield Step(step.stage, None, step.act)
        else:
            yield from _settings(routing, there)


def _make_router(space: str) -> None:
    kernel.make_space(space)
    kernel.set_forwarding(space, on=True)


def _settings(routing: Routing, there: Space) -> Iterator[Step]:
    """Yield what differs in a router."""
    space = routing.space
    if not there.forwarding:
        change = Change("router", routing.name, "update", DIFFERS, {"forwarding": False}, {"forwarding": True})
        yield Step(Stage.SETTINGS, change, partial(kernel.set_forwarding, space, on=True))
    if there.routes != set(routing.routes):
        before: dict[str, object] = {"routes": [" via ".join(route) for route in sorted(there.routes)]}
        gone = sorted(there.routes - set(routing.routes))
        lines = [f"route delete {destination} via {via}" for destination, via in gone]
        lines += [f"route replace {destination} via {via}" for destination, via in routing.routes]
        after: dict[str, object] = {"routes": [" via ".join(route) for route in routing.routes]}
        change = Change("route set", routing.name, "update", DIFFERS, before, after)
        yield Step(Stage.SETTINGS, change, partial(kernel.batch, space, lines))
    yield from _rules(("router", routing.name), space, routing.ruleset, there.ruleset, ("ip netorder",))


def _rules(what: tuple[str, str], space: str, ruleset: str, there: str, tables: tuple[str, ...]) -> Iterator[Step]:
    """Yield the step that puts a ruleset in the place of these tables, if it differs from what is ``there``."""
    expected = kernel.normal(ruleset) if ruleset else ""
    if expected == there:
        return
    before: dict[str, object] = {"rules": there.splitlines()}
    after: dict[str, object] = {"rules": expected.splitlines()}
    change = Change(*what, "update", DIFFERS, before, after) if there else Change(*what, "create", MISSING)
    yield Step(Stage.SETTINGS, change, partial(kernel.load, space, ruleset, tables))


def _cables(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    switch = seen.spaces.get(switch_space(wanted.topology), Space())
    host_spaces = {host_space(wanted.topology, guest.host): guest for guest in wanted.guests}
    for space, guest in host_spaces.items():
        there = seen.spaces.get(space)
        if there is None:
            yield Step(Stage.SPACES, None, partial(_make_host, space, guest.kernel))
        elif differing := {name: there.settings.get(name) for name in guest.kernel if _differs(there, guest, name)}:
            change = Change("port", space, "update", DIFFERS, {**differing}, {n: guest.kernel[n] for n in differing})
            yield Step(Stage.SETTINGS, change, partial(kernel.configure, space, guest.kernel))
    for cable in wanted.cables:
        near = switch.links.get(cable.port)
        far = seen.spaces.get(cable.space, Space()).links.get(cable.device)
        after: dict[str, object] = {"addresses": list(cable.addresses)} if cable.addresses else {}
        if near is None or far is None or near.master != cable.bridge:
            change = Change(cable.kind, cable.name, "create", MISSING, None, after or None)
            yield Step(Stage.CABLES, change, partial(_lay, wanted, cable))
            continue
        if (near.mtu, far.mtu, near.up, far.up) != (cable.mtu, cable.mtu, True, True):
            before: dict[str, object] = {"mtu": far.mtu, "up": near.up and far.up}
            change = Change(cable.kind, cable.name, "update", DIFFERS, before, {"mtu": cable.mtu, "up": True})
            yield Step(Stage.SETTINGS, change, partial(_set_mtu, wanted, cable))
        if cable.addresses is not None and set(far.addresses) != set(cable.addresses):
            change = Change(cable.kind, cable.name, "update", DIFFERS, {"addresses": list(far.addresses)}, after)
            yield Step(Stage.SETTINGS, change, partial(_set_addresses, cable, far.addresses))


def _differs(there: Space, guest: Guest, name: str) -> bool:
    return there.settings.get(name, "") not in {guest.kernel[name], ""}  # "": the kernel has no IPv6


def _make_host(space: str, settings: dict[str, str]) -> None:
    kernel.make_space(space)
    if settings:
        kernel.configure(space, settings)


def _lay(wanted: Wanted, cable: Cable) -> None:
    """Make a cable; what is left of one goes first."""
    switch = switch_space(wanted.topology)
    where = kernel.SPACES / cable.space if cable.space else kernel.own_space()
    kernel.delete_link(switch, cable.port)
    kernel.delete_link(cable.space, cable.device)
    peer = f"peer name {cable.device} address {cable.mac} mtu {cable.mtu} netns {where}"
    # far from the other end's number: the kernel heeds a link at once only if the two differ
    kernel.batch(
        switch,
        [
            f"link add {cable.port} mtu {cable.mtu} type veth {peer}",
            f"link set {cable.port} master {cable.bridge} up",
        ],
    )
    lines = [f"address add {address} dev {cable.device}" for address in cable.addresses or ()]
    kernel.batch(cable.space, [*lines, f"link set {cable.device} up"])


def _set_mtu(wanted: Wanted, cable: Cable) -> None:
    kernel.batch(switch_space(wanted.topology), [f"link set {cable.port} mtu {cable.mtu} up"])
    kernel.batch(cable.space, [f"link set {cable.device} mtu {cable.mtu} up"])


def _set_addresses(cable: Cable, there: tuple[str, ...]) -> None:
    planned = cable.addresses or ()
    lines = [f"address add {one} dev {cable.device}" for one in planned if one not in there]
    lines += [f"address delete {one} dev {cable.device}" for one in there if one not in planned]
    kernel.batch(cable.space, lines)


def _filters(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    space = switch_space(wanted.topology)
    there = seen.spaces.get(space, Space()).ruleset
    what = "security group", f"{wanted.topology} (all ports)"
    yield from _rules(what, space, wanted.filters, there, ("bridge netorder", "inet netorder"))


def _machine(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    if len(wanted.guests) * INOTIFY_OF_GUEST > seen.inotify // 2:  # half is for this machine, and other topologies
        reason = f"systemd takes {INOTIFY_OF_GUEST} inotify instances in each host"
        most = max(INOTIFY_MOST, 2 * INOTIFY_OF_GUEST * len(wanted.guests))
        change = Change("inotify instances", "this machine", "update", reason, {"most": seen.inotify}, {"most": most})
        yield Step(Stage.SETTINGS, change, partial(kernel.set_inotify_most, most))
    if wanted.machine is None:
        return
    machine, table = seen.spaces[MACHINE], machine_table(wanted.topology)
    what = "published ports", wanted.topology
    yield from _rules(what, MACHINE, wanted.machine, machine.ruleset, (f"inet {table}",))
    if not machine.forwarding:
        change = Change("forwarding", "this machine", "update", DIFFERS, {"on": False}, {"on": True})
        yield Step(Stage.SETTINGS, change, kernel.forward)


def _guests(wanted: Wanted, seen: Seen, key: str) -> Iterator[Step]:
    by_name = {one.name: one for one in seen.containers}
    for guest in wanted.guests:
        yield from _guest(wanted, seen, guest, by_name.get(guest.name), key)


def _remake(there: Container, make: Callable[[], None]) -> None:
    engine.remove(there)
    make()


def _started(there: Container, *, on_networks: bool) -> tuple[str, Callable[[Container], None]]:
    """Return why a container does not run, and what makes it run: podman's start does not do for all of them."""
    if there.state == "paused":
        return "is paused", engine.unpause if on_networks else _unpause_and_restart
    if there.state == "stopping":  # whoever stopped it was killed meanwhile
        return "has not stopped to its end", engine.restart
    return "does not run", engine.start


def _unpause_and_restart(there: Container) -> None:
    engine.unpause(there)
    engine.restart(there)


def _again(start: Callable[[Container], None], there: Container, guest: Guest, key: str) -> None:
    start(there)
    # which it has cannot be seen while it does not run
    engine.set_files(there, guest.files)
    engine.set_health(there, guest.health)
    if key:
        engine.set_key(there, str(guest.settings["user"]), key)


def _create(topology: str, guest: Guest, key: str) -> None:
    image = str(guest.settings["image"])
    named = snapshots.find(topology, image.removeprefix(SNAPSHOT)).id if image.startswith(SNAPSHOT) else ""
    engine.create(topology, guest, key, image=named)


def _guest(wanted: Wanted, seen: Seen, guest: Guest, there: Container | None, key: str) -> Iterator[Step]:
    make = partial(_create, wanted.topology, guest, key)
    on_networks = there is not None and seen.joined.get(there.id) == seen.inodes.get(guest.space)
    if there is None:
        change = Change("server", guest.name, "create", MISSING, None, guest.settings)
        yield Step(Stage.CONTAINERS, change, make)
    elif there.settings != guest.settings:
        names = sorted(name for name in guest.settings if guest.settings[name] != there.settings.get(name))
        before = {name: there.settings.get(name) for name in names}
        after = {name: guest.settings[name] for name in names}
        reason = f"a container keeps the {' and '.join(names)} that it was made with"
        yield Step(Stage.CONTAINERS, Change("server", guest.name, "replace", reason, before, after, there.id), make)
    elif reason := _OF_NO_USE.get(there.state, ""):
        again = partial(_remake, there, make)
        yield Step(Stage.CONTAINERS, Change("server", guest.name, "replace", reason, id=there.id, lossless=True), again)
    elif not there.runs:
        reason, start = _started(there, on_networks=on_networks)
        change = Change("server", guest.name, "update", reason, {"state": there.state}, {"state": "running"})
        yield Step(Stage.CONTAINERS, change, partial(_again, start, there, guest, key))
    elif not on_networks:
        reason = "is not on its networks"
        change = Change("server", guest.name, "update", reason, {"networks": False}, {"networks": True})
        yield Step(Stage.CONTAINERS, change, partial(_again, engine.restart, there, guest, key))
    else:
        yield from _inside(seen, guest, there, key)


def _inside(seen: Seen, guest: Guest, there: Container, key: str) -> Iterator[Step]:
    """Yield what differs within a container that runs as it should."""
    files = seen.files.get(there.id, {})
    if differing := {name: text for name, text in guest.files.items() if files.get(name) != text}:
        before: dict[str, object] = {name: files.get(name, "").splitlines() for name in differing}
        after: dict[str, object] = {name: text.splitlines() for name, text in differing.items()}
        change = Change("network files", guest.name, "update", DIFFERS, before, after)
        yield Step(Stage.CONTAINERS, change, partial(engine.set_files, there, differing))
    if seen.health.get(there.id) != guest.health:
        change = Change("health check", guest.name, "update", DIFFERS)
        yield Step(Stage.CONTAINERS, change, partial(engine.set_health, there, guest.health))
    lets_in = seen.keys.get(there.id, "")
    if lets_in and not {*key.split()[1:2]} <= {*lets_in.split()}:  # its comment may be another
        change = Change("authorized key", guest.name, "update", "your SSH key does not open it", None, {"key": key})
        yield Step(Stage.CONTAINERS, change, partial(engine.set_key, there, str(guest.settings["user"]), key))
