"""What becomes of one connection: its state, the reason in words, and the paths of a packet and its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.protocols import PING

if TYPE_CHECKING:
    from netorder.analysis.paths import Hop
    from netorder.plan.model import Host, Rule

__all__ = [
    "CLOSED",
    "NO_ROUTE",
    "OPEN",
    "OUTSIDE",
    "Verdict",
    "flow_text",
    "others_allow",
    "remote_text",
    "rule_text",
]

OUTSIDE = "outside"
OPEN, CLOSED, NO_ROUTE = "open", "closed", "no route"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ``state`` (open, closed or no route), the ``reason`` in words, and the paths there and back.

    ``dropped_by`` is the node on the path there at which the packet ends although that has a route on, ``rule`` the
    destination's rule that lets it in.
    """

    state: str
    reason: str
    source_address: str | None
    address: str | None
    there: tuple[Hop, ...]
    back: tuple[Hop, ...]
    dropped_by: str | None = None
    rule: Rule | None = None


def others_allow(host: Host) -> str:
    """Return what is not known of what comes in to a host; nothing where all is."""
    groups = host.ports[0].existing_groups
    return f"what its existing security groups ({', '.join(groups)}) allow is not in the plan" if groups else ""


def flow_text(protocol: str, first: int | None, last: int | None = None) -> str:
    """Return a protocol and its ports: ``icmp``, ``tcp 80``, ``udp 6000-6010``; None: it has none, or all of them."""
    if protocol == PING:
        return "icmp"  # as it is asked for
    if first is None:
        return protocol
    return f"{protocol} {first}" + (f"-{last}" if last not in {None, first} else "")


def remote_text(rule: Rule) -> str:
    """Return a rule's remote prefix as people write it: ``anywhere``, an address alone without its length."""
    if rule.remote_cidr is None:
        return "anywhere"
    return rule.remote_cidr.removesuffix("/128" if rule.ethertype == "IPv6" else "/32")


def rule_text(rule: Rule) -> str:
    """Return what a rule allows: ``tcp 80 from 10.0.1.0/24``."""
    end = "from" if rule.direction == "ingress" else "to"
    return f"{rule.match} {end} {remote_text(rule)}"
