"""What preflight learns of the cloud, and the changes need."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Facts"]


@dataclass(slots=True)
class Facts:
    """What the changes need to know of the cloud: ids by name; that of the only external network by None too.

    Of an image (id, name), by what the topology calls it, which is one of them.
    """

    key_pair: str | None = None  # an existing one
    externals: dict[str | None, str] = field(default_factory=dict)
    images: dict[str, tuple[str, str]] = field(default_factory=dict)
    flavors: dict[str, str] = field(default_factory=dict)
