"""How many guests the cloud accepts: overcommit from the host's memory, and the room that is left, from Placement.

A guest uses its vCPU rarely and its memory all the time: Nova overcommits processors until memory is the limit, and
memory by what a guest of the kind was measured to use.
"""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from localcloud.inside.flavors import SMALL, Flavor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from localcloud.cloud import Cloud

__all__ = ["SERVICES_MIB", "Provider", "Room", "fitting", "free_memory", "overcommit", "read_room"]

SERVICES_MIB = 2560  # resident (PSS) without guests: 1.6 GiB fresh, 2.5 GiB after some use with containers
# RAM of flavors per MiB of real memory. Measured resident (PSS) with the flavor small, 256 MiB: an idle container
# 21 MiB, to which the services of its user come; an emulated virtual machine right after its boot 220 MiB (five had
# 2.78 GiB together with the cloud's fresh services, 1.7 GiB), which grows with the page cache of its kernel.
RAM_RATIO = {"vm": 1.0, "container": 4.0}
LEAST_CPU_RATIO = 16  # Nova's own default, cpu_allocation_ratio
NAMES = {"VCPU": "processors", "MEMORY_MB": "memory", "DISK_GB": "disk"}
PATIENCE = 5.0  # seconds for each answer


class Provider(NamedTuple):
    """A node as Placement accounts for it: inventory and usage of each resource class."""

    inventory: Mapping[str, Mapping[str, Any]]
    usage: Mapping[str, int]


class Room(NamedTuple):
    """How many more servers of a flavor fit, and what ends first (a word of NAMES; "" without any node)."""

    flavor: Flavor
    servers: int
    limit: str

    def __str__(self) -> str:
        limit = f"; {self.limit} is the limit" if self.limit else ""
        size = f"{self.flavor.vcpus} vCPU, {self.flavor.ram} MiB, {self.flavor.disk} GB"
        return f"room for {self.servers} more of the flavor {self.flavor.name} ({size}){limit}"


def free_memory() -> tuple[int, int]:
    """Return the host's memory in MiB: total, and available to new processes."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
    return int(fields["MemTotal"]) >> 10, int(fields["MemAvailable"]) >> 10


def overcommit(guests: str, cores: int, total: int, available: int) -> dict[str, str]:
    """Return the parameters of nova.conf that decide how many guests fit; memory in MiB.

    ``available`` is that of the host before the cloud starts: what others use, and the cloud's own services, is
    reserved. The fake driver's node has 1000 processors and 800 GB that do not exist.
    """
    if guests == "fake":
        return {"cpu_ratio": str(LEAST_CPU_RATIO), "ram_ratio": "2.0", "reserved_memory": "0"}
    ratio = RAM_RATIO[guests]
    reserved = min(total, total - available + SERVICES_MIB)
    servers = int((total - reserved) * ratio) // SMALL.ram
    per_core = -(-servers * SMALL.vcpus // cores)
    return {
        "cpu_ratio": str(max(LEAST_CPU_RATIO, per_core)), "ram_ratio": str(ratio), "reserved_memory": str(reserved)
    }  # fmt: skip


def fitting(providers: Sequence[Provider], flavor: Flavor) -> Room:
    """Return how many more servers of the flavor the nodes take, as the scheduler counts.

    A server is on one node. Capacity is int((total - reserved) * allocation_ratio), and a request above max_unit is
    refused (Placement API, resource provider inventories).
    """
    need = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": flavor.disk}
    nodes = []
    for inventory, usage in providers:
        if not need.keys() <= inventory.keys():
            continue  # no compute node: a sharing or nested provider
        fit = []
        for name, amount in need.items():
            own = inventory[name]
            free = int((own["total"] - own["reserved"]) * own["allocation_ratio"]) - usage.get(name, 0)
            fit.append((max(0, free) // amount if amount <= own["max_unit"] else 0, NAMES[name]))
        nodes.append(min(fit))
    return Room(flavor, sum(servers for servers, _ in nodes), min(nodes)[1] if nodes else "")


def _call(url: str, token: str = "", body: object = None) -> tuple[Any, str]:
    """Return the JSON of an answer and its X-Subject-Token; OSError if there is no good answer."""
    headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Auth-Token": token}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {name: value for name, value in headers.items() if value})  # noqa: S310 - http only
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - http only
        return json.load(answer), answer.headers.get("X-Subject-Token", "")


def read_room(cloud: Cloud) -> Room:
    """Ask Nova for the flavor ``small`` and Placement for its nodes; OSError if they do not answer."""
    values = cloud.parameters()
    host = f"http://{values['ip']}"
    user = {"name": "admin", "domain": {"id": "default"}, "password": values["admin_password"]}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    _, token = _call(f"{host}:5000/v3/auth/tokens", body={"auth": {"identity": identity, "scope": scope}})
    known = {one["name"]: one for one in _call(f"{host}:8774/v2.1/flavors/detail", token)[0]["flavors"]}
    small = known.get(SMALL.name)
    flavor = Flavor(SMALL.name, small["vcpus"], small["ram"], small["disk"]) if small else SMALL
    nodes = _call(f"{host}:8778/resource_providers", token)[0]["resource_providers"]
    providers = []
    for node in nodes:
        base = f"{host}:8778/resource_providers/{node['uuid']}"
        inventory = _call(f"{base}/inventories", token)[0]["inventories"]
        providers.append(Provider(inventory, _call(f"{base}/usages", token)[0]["usages"]))
    return fitting(providers, flavor)
