"""What this machine has of a topology: hosts that are kept, their processes, the ports that these forward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netorder.errors import CloudError
from netorder.machine import qemu, store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from netorder.machine.store import Kept
    from netorder.topology import Forward

__all__ = ["Seen", "observe"]


@dataclass(frozen=True, slots=True)
class Seen:
    """By host what is ``kept``, the process that is ``running``, the ports that it ``forwards`` (None: it hangs).

    ``paused`` has QEMU's word for those that stand still, though their process is there.

    Of what else is in the directory ``leftovers`` are what killed runs left, ``lost`` by name the directories of hosts
    that lost what is known of them, and ``foreign`` what is not ours.
    """

    kept: dict[str, Kept]
    running: dict[str, int]
    forwards: dict[str, frozenset[Forward] | None]
    leftovers: tuple[Path, ...] = ()
    lost: Mapping[str, Path] = field(default_factory=dict)
    foreign: tuple[Path, ...] = ()
    paused: Mapping[str, str] = field(default_factory=dict)

    @property
    def everything(self) -> list[str]:
        """Name everything that is ours, for the end of a teardown."""
        found = [f"host {host}" for host in self.kept]
        found += [f"process {pid} of host {host}" for host, pid in self.running.items()]
        return found + [str(one) for one in (*self.leftovers, *self.lost.values())]


def observe(where: Path) -> Seen:
    """Return what there is; changes nothing."""
    kept, foreign = store.kept(where), tuple(store.foreign(where))
    others = {one.name for one in foreign}
    running = {host: pid for host, pid in qemu.processes(where).items() if host not in others}
    forwards: dict[str, frozenset[Forward] | None] = {}
    paused: dict[str, str] = {}
    for host in running:
        try:
            forwards[host] = qemu.forwards(where / host) if host in kept else frozenset()
            if host in kept and (state := qemu.state(where / host)) in {*qemu.PAUSED, qemu.BROKEN}:
                paused[host] = state
        except CloudError:
            forwards[host] = None
    return Seen(kept, running, forwards, tuple(store.leftovers(where)), store.lost(where), foreign, paused)
