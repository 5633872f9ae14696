"""What becomes of one connection: its state, the reason in words, and the paths of a packet and its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netorder.protocols import PING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorder.analysis.paths import Hop
    from netorder.plan.model import Host, Rule

__all__ = [
    "CLOSED",
    "NO_ROUTE",
    "OPEN",
    "OUTSIDE",
    "Verdict",
    "flow_text",
    "members_text",
    "others_allow",
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


def members_text(groups: Sequence[str], direction: str) -> str:
    """Return what is not known where rules are about the members of security groups; nothing where none is."""
    verb = "may" if direction == "ingress" else "may get it"
    return f"members of security group {' and '.join(groups)}, who are not in the plan, {verb}" if groups else ""


def flow_text(protocol: str, first: int | None, last: int | None = None) -> str:
    """Return a protocol and its ports: ``icmp``, ``tcp 80``, ``udp 6000-6010``; None: it has none, or all of them."""
    if protocol == PING:
        return "icmp"  # as it is asked for
    if first is None:
        return protocol
    return f"{protocol} {first}" + (f"-{last}" if last not in {None, first} else "")


def rule_text(rule: Rule) -> str:
    """Return what a rule allows: ``tcp 80 from 10.0.1.0/24``."""
    end = "from" if rule.direction == "ingress" else "to"
    return f"{rule.match} {end} {rule.remote}"
