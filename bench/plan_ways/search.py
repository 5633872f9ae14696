"""A rival: derives every route by a breadth-first search from each host and router."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import measure
import yaml


def work(path: str) -> int:
    document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    networks_of = {router: its["networks"] for router, its in document["routers"].items()}
    routers_on: dict[str, list[str]] = {network: [] for network in document["networks"]}
    for router, its in networks_of.items():
        for network in its:
            routers_on[network].append(router)
    routes = 0
    for start in [*([host["network"]] for host in document["hosts"].values()), *networks_of.values()]:
        first: dict[str, str | None] = dict.fromkeys(start)
        queue = deque(start)
        while queue:
            network = queue.popleft()
            for router in routers_on[network]:
                for other in networks_of[router]:
                    if other not in first:
                        first[other] = first[network] or router
                        queue.append(other)
        routes += len(first) - len(start)
    return routes


if __name__ == "__main__":
    measure.main(work)
