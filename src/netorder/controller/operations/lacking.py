"""Operations that a target does not have, and what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netorder.errors import UsageError
from netorder.topology import CONTAINERS, MACHINE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["require"]

_NO_SNAPSHOT = (
    "target `machine` has no snapshots yet: `clone: {of: HOST}` in the topology makes another host of its disk as that "
    "is now (docs/machine.md)"
)
_LACKING: Mapping[str, Mapping[str, str]] = {
    CONTAINERS: {
        "resize": "target `containers` has no flavors: there is nothing to resize",
        "power": (
            "target `containers` keeps no note of what is off on purpose: `podman stop` and `podman start` stop and "
            "start a host, and the next run starts it"
        ),
        "golden": (
            "target `containers` has no golden images: a snapshot of a configured host does it (netorder snapshot "
            "HOST), and `image: {snapshot: HOST}` makes others of it"
        ),
    },
    MACHINE: {
        "resize": "target `machine` has no flavors: write `memory:` in the topology, and run again",
        "power": (
            "target `machine` keeps no note of what is off on purpose: `netorder exec HOST -- sudo poweroff` stops a "
            "host, and the next run starts it"
        ),
        "golden": "target `machine` has no golden images: a copy of a host's disk is an image (docs/machine.md)",
        "snapshot": _NO_SNAPSHOT,
        "restore": _NO_SNAPSHOT,
    },
}


def require(target: str, operation: str) -> None:
    """Raise UsageError where a target does not have the operation, with what to do instead."""
    if message := _LACKING.get(target, {}).get(operation):
        raise UsageError(message)
