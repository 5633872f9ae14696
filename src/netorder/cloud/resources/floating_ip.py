"""Floating IPs of hosts: one that is there and free is used again, one that is given is used and stays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from netorder.cloud.change import Change, kept, kept_for, marker
from netorder.cloud.jobs import Job, bound
from netorder.cloud.observe import is_kept
from netorder.plan.lifecycle import exit_router, reason
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openstack.connection import Connection
    from openstack.network.v2.floating_ip import FloatingIP

    from netorder.cloud.change import ChangeSet
    from netorder.cloud.draft import Draft
    from netorder.cloud.observe import Observed
    from netorder.cloud.work import Work
    from netorder.plan.model import FloatingIp, Host

__all__ = [
    "KIND",
    "FloatingChange",
    "FloatingRelease",
    "compare",
    "create_body",
    "jobs",
    "loosened",
    "release",
    "teardown",
    "update_body",
]

KIND = "floating IP"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingChange(Change):
    """A host's floating IP to create, replace or associate, for the port of this name in the cloud.

    ``network`` is the external network's name or id, None the cloud's only one. One that is ``loosened`` keeps its
    address, but is disassociated before what it blocks is deleted, or before another takes its place. ``description``
    is the marker to give it, None for one that is not ours.
    """

    port: str
    network: str | None
    description: str | None = None
    loosened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingRelease(Change):
    """A floating IP that a host loses: it is deleted, or ``stays`` the project's."""

    stays: bool = False


class _Slot(NamedTuple):
    """What is planned for one port: the host, the floating address, and what its change is called."""

    host: Host
    floating: FloatingIp
    name: str

    @property
    def port(self) -> str:
        return self.host.port(self.floating.network).cloud_name

    def description(self, topology: str) -> str:
        its = self.floating
        return kept(topology, self.host.name, its.network) if its.keep else marker(topology)


def compare(draft: Draft) -> None:
    """Compare each host's floating IPs; those that are free go to hosts without one, the rest are deleted.

    So an address moves with the word in the file. One that is given is used, and only let go; one that is kept too.
    """
    _Comparison(draft).run()


class _Comparison:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._topology = draft.plan.topology
        observed = draft.observed
        self._own = list(observed.floating_ips)
        self._everything = {str(ip.floating_ip_address): ip for ip in (*self._own, *observed.other_floating_ips)}
        self._ports = {port.id: port for port in observed.ports}
        self._slots = [
            _Slot(host, one, f"{host.name}.{one.network}" if index else host.name)
            for host in draft.plan.hosts
            for index, one in enumerate(host.floating)
        ]
        self._given = {slot.floating.address for slot in self._slots if slot.floating.address}
        self._claimed: dict[str, FloatingIP] = {}  # by the slots' ports

    def run(self) -> None:
        self._claim()
        taken = {ip.id for ip in self._claimed.values()}
        for ip in self._draft.observed.associated:
            if ip.id not in taken and not self._is_own(ip):
                self._release(ip, stays=True)
        for ip in self._own:
            if ip.id not in taken and (ip.port_id or not is_kept(ip)):
                self._release(ip, stays=is_kept(ip))
        for slot in self._slots:
            self._compare(slot)

    def _is_own(self, ip: FloatingIP) -> bool:
        return any(one.id == ip.id for one in self._own)

    def _claim(self) -> None:
        """Find for each slot the floating IP that is, or becomes, its."""
        for slot in self._slots:
            if (address := slot.floating.address) and (ip := self._everything.get(address)):
                self._claimed[slot.port] = ip
        free = [ip for ip in self._own if str(ip.floating_ip_address) not in self._given]
        wanting = [slot for slot in self._slots if not slot.floating.address]

        def take(fits: Callable[[_Slot, FloatingIP], bool]) -> None:
            for slot in wanting:
                if slot.port not in self._claimed and (ip := next((one for one in free if fits(slot, one)), None)):
                    self._claimed[slot.port] = ip
                    free.remove(ip)

        take(lambda slot, ip: self._is_at(slot, ip) and not _loses_port(self._draft, ip))
        take(self._is_at)
        take(lambda slot, ip: kept_for(self._topology, ip.description) == (slot.host.name, slot.floating.network))
        take(lambda slot, ip: not ip.port_id and not is_kept(ip) and self._fits(slot, ip))
        take(lambda slot, ip: self._fits(slot, ip) and bool(ip.port_id) and is_kept(ip) <= slot.floating.keep)

    def _is_at(self, slot: _Slot, ip: FloatingIP) -> bool:
        port = self._draft.chosen.ports.get(slot.port)
        return port is not None and ip.port_id == port.id

    def _network(self, slot: _Slot) -> str | None:
        return (
            exit_router(self._draft.plan, slot.floating.network).external_network or self._draft.plan.external_network
        )

    def _fits(self, slot: _Slot, ip: FloatingIP) -> bool:
        """Return whether an address is of the external network that the slot's router joins."""
        named = self._network(slot)
        return named in {None, ip.floating_network_id, self._draft.externals.get(str(ip.floating_network_id))}

    def _compare(self, slot: _Slot) -> None:
        draft, network, ip = self._draft, self._network(slot), self._claimed.get(slot.port)
        own = ip is None or self._is_own(ip)
        description = slot.description(self._topology) if own else None
        change = partial(FloatingChange, KIND, slot.name, port=slot.port, network=network, description=description)
        if ip is None and slot.floating.address:
            has = few(sorted(self._everything), 10) or "none"
            draft.refuse(
                "existing",
                "found",
                f"Host {slot.host.name}: this project has no floating address {slot.floating.address}; it has: {has}. "
                "`openstack floating ip create NETWORK` gives it one.",
            )
        elif ip is None:
            draft.add(
                change("create", "missing", after={"port": slot.port} | ({"keep": True} if slot.floating.keep else {}))
            )
        elif ip.port_id and ip.port_id not in self._ports:
            draft.refuse(
                KIND,
                "holder",
                f"Host {slot.host.name}: floating address {ip.floating_ip_address} leads to port {ip.port_id}, which "
                f"is not this topology's. Free it: openstack floating ip unset --port {ip.floating_ip_address}",
            )
        elif slot.floating.address is None and not self._fits(slot, ip):
            before: dict[str, object] = {"network": draft.externals.get(str(ip.floating_network_id))}
            draft.add(change("replace", reason(KIND, before), before, {"network": network}, ip.id))
        else:
            self._associate(slot, ip, change)

    def _associate(self, slot: _Slot, ip: FloatingIP, change: Callable[..., FloatingChange]) -> None:
        """Compare where a floating IP leads, and whether it is noted as kept."""
        draft, after = self._draft, dict[str, object]()
        before: dict[str, object] = {}
        loose = bool(ip.port_id) and _loses_port(draft, ip)
        if loose or not self._is_at(slot, ip):
            at = self._ports[ip.port_id].name if ip.port_id else None
            before |= {"address": ip.floating_ip_address, "port": at}
            after |= {"address": ip.floating_ip_address, "port": slot.port}
        noted = kept_for(self._topology, ip.description)
        planned = (slot.host.name, slot.floating.network) if slot.floating.keep else None
        if self._is_own(ip) and noted != planned:
            before["keep"], after["keep"] = (" on ".join(one) if one else None for one in (noted, planned))
        if not after:
            return
        # where another leads to its new place still, or it must leave its old one first, it is taken off beforehand
        moves = "port" in after and bool(ip.port_id)
        why = f"{', '.join(key for key in after if key != 'address')} differ"
        if "port" in after:
            why = "its port or exit router is replaced" if loose else "leads elsewhere" if moves else "not associated"
        draft.add(change("update", why, before, after, ip.id, loosened=moves))

    def _release(self, ip: FloatingIP, *, stays: bool) -> None:
        address = str(ip.floating_ip_address)
        why = "not in the topology; the address stays the project's" if stays else "not in the topology"
        before: dict[str, object] = {"address": address}
        self._draft.add(FloatingRelease(KIND, address, "delete", why, before=before, id=ip.id, stays=stays))


def _loses_port(draft: Draft, ip: FloatingIP) -> bool:
    """Return whether what carries an address is deleted or replaced: its port, or its router's interface there."""
    port = next((port for port in draft.observed.ports if port.id == ip.port_id), None)
    if port is None or port.id in draft.going:
        return port is not None
    return any((ip.router_id, fixed.get("subnet_id")) in draft.detached for fixed in port.fixed_ips or ())


def create_body(work: Work, change: FloatingChange) -> dict[str, Any]:
    """Return the fields of a create request."""
    return {
        "floating_network_id": work.facts.externals[change.network],
        "port_id": work.ids.ports[change.port],
        "description": change.description,
    }


def update_body(work: Work, change: FloatingChange) -> dict[str, Any]:
    """Return the fields of an update request."""
    fields: dict[str, Any] = {"port_id": work.ids.ports[change.port]} if "port" in (change.after or {}) else {}
    return fields | ({"description": change.description} if change.description else {})


def jobs(work: Work) -> Iterable[Job]:
    """Create or associate floating IPs, when their router has its interface and their host its port."""

    def call(change: FloatingChange) -> None:
        if change.action == "update":
            ip = work.conn.network.update_ip(change.id, **update_body(work, change))
        else:
            ip = work.conn.network.create_ip(**create_body(work, change))
        work.floating[change.port] = str(ip.floating_ip_address)

    for change in work.changes.of(FloatingChange, "create", "update", "replace"):
        needs = frozenset({"routers", "interfaces", *work.batches([change.port])})
        yield Job(KIND, (change.name,), change.action, bound(call, change), needs)


def loosened(changes: ChangeSet) -> list[FloatingChange]:
    """Return those that keep their address, but block what is deleted, replaced or put there."""
    return [change for change in changes.of(FloatingChange, "update") if change.loosened]


def teardown(observed: Observed, *, kept: bool) -> list[Change]:
    """Return the release of each floating IP: given ones, and those to be ``kept``, are let go where they lead here."""
    ports = {port.id for port in observed.ports}

    def stays(ip: FloatingIP) -> bool:
        return kept and is_kept(ip)

    own = [ip for ip in observed.floating_ips if not stays(ip) or ip.port_id in ports]
    others = [ip for ip in observed.other_floating_ips if ip.port_id in ports]
    return [
        FloatingRelease(
            KIND, str(ip.name), "delete", "teardown", before={"id": ip.id}, id=ip.id, stays=stays(ip) or ip in others
        )
        for ip in (*own, *others)
    ]


def release(conn: Connection, change: Change) -> None:
    """Delete a floating IP, or disassociate one that stays."""
    if isinstance(change, FloatingChange) and change.action == "update":
        # Whose it will be is noted at once: after a kill here nothing else says where a kept one was to go.
        fields: dict[str, Any] = {"description": change.description} if change.description else {}
        conn.network.update_ip(change.id, port_id=None, **fields)
    elif isinstance(change, FloatingRelease) and change.stays:
        conn.network.update_ip(change.id, port_id=None)
    else:
        conn.network.delete_ip(change.id, ignore_missing=False)
