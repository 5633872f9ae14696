"""The flavors that every cloud offers; the host reads them too, to size the cloud for them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FLAVORS", "SMALL", "Flavor"]


class Flavor(NamedTuple):
    """One flavor of Nova."""

    name: str
    vcpus: int
    ram: int  # MiB
    disk: int  # GiB, as Nova counts its GB


SMALL = Flavor("small", 1, 256, 2)
FLAVORS = (SMALL, Flavor("small2", 1, 512, 4), Flavor("medium", 2, 1024, 8))
