"""Time and memory of planning, beside what a user would pick instead. `make bench-plan` runs it.

Each size is planned in a process of its own, several times; the table shows medians. The rivals read the same file with
the YAML library's own loader and derive the routes of all hosts and routers by shortest paths, in the two ways
that come to mind: networkx, and a breadth-first search from each router. They check nothing, merge nothing, and give
every host every route.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

SIZES = (10, 100, 1000)
Way = Callable[[str], int]  # a topology file's path in, the number of routes out
ROOT = Path(__file__).parents[1]
TARGETS = (
    "targets: 1,000 hosts, 200 networks, 200 routers in at most 5 s and 500 MB; check in at most 1 s with start-up"
)


def example(hosts: int) -> str:
    """Return a topology of ``hosts`` hosts and a fifth as many networks and routers: a tree with some short cuts."""
    count = hosts // 5
    groups = min(10, hosts - 1)
    networks = {f"net{index}": {"cidr": f"10.{index // 256}.{index % 256}.0/24"} for index in range(count)}
    # the first router leads outside; each other joins its network to its parent in a tree, every fifth to another
    routers: dict[str, Any] = {"rt0": {"external": True, "networks": ["net0"]}}
    for index in range(1, count):
        joined = [f"net{index}", f"net{(index - 1) // 3}"]
        if index % 5 == 0:
            joined.append(f"net{index - 2}")
        routers[f"rt{index}"] = {"networks": joined}
    entries: dict[str, Any] = {"door": {"network": "net0", "floating_ip": True}}
    for index in range(1, hosts):
        entries[f"host{index}"] = {"network": f"net{index % count}", "groups": [f"group{index % groups}"]}
    rules: list[dict[str, Any]] = [{"to": "door", "tcp": 22}]
    rules += [{"from": f"group{index}", "to": f"group{index + 1}", "tcp": 8000 + index} for index in range(3)]
    rules += [{"from": f"net{index}", "to": f"host{index + 1}", "tcp": [80, 443]} for index in range(count)]
    document = {"topology": "bench", "networks": networks, "routers": routers, "hosts": entries, "allow": rules}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=200)


# --- what is measured, each in a process of its own: imports first, then the work


def netorder() -> Way:
    """Plan the file, check and all."""
    from netorder.language.load import load  # noqa: PLC0415 - as above
    from netorder.plan.build import build_plan, to_dict  # noqa: PLC0415 - only this way needs it

    def work(path: str) -> int:
        planned = to_dict(build_plan(load(path)))
        shared = sum(len(subnet["host_routes"]) for network in planned["networks"] for subnet in network["subnets"])
        return shared + sum(len(node["routes"]) for node in (*planned["hosts"], *planned["routers"]))

    return work


def rival_networkx() -> Way:
    """Derive every route from networkx's shortest paths between all networks and routers."""
    import networkx as nx  # noqa: PLC0415 - as above

    def work(path: str) -> int:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        graph = nx.Graph()
        graph.add_nodes_from(document["networks"])
        for router, its in document["routers"].items():
            graph.add_edges_from((router, network) for network in its["networks"])
        paths = dict(nx.all_pairs_shortest_path(graph))
        starts = [(host["network"], [host["network"]]) for host in document["hosts"].values()]
        starts += [(router, its["networks"]) for router, its in document["routers"].items()]
        networks = document["networks"].keys()
        return sum(len(networks & paths[start].keys() - set(joined)) for start, joined in starts)

    return work


def rival_search() -> Way:
    """Derive every route by a breadth-first search from each host and router."""

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

    return work


WAYS = {"netorder": netorder, "networkx": rival_networkx, "search": rival_search}


def once(way: str, path: str) -> None:
    """Do it once in this process; print what it took."""
    work = WAYS[way]()
    wall, cpu = time.perf_counter(), time.process_time()
    routes = work(path)
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "routes": routes}
    # in KiB on Linux
    print(json.dumps(took | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


# --- the measuring


def measured(way: str, path: Path, runs: int) -> dict[str, float]:
    """Return the medians of several runs."""
    rows = []
    for _ in range(runs):
        command = [sys.executable, __file__, "--once", way, str(path)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def checked(path: Path, runs: int) -> dict[str, float]:
    """Return the medians of `netorder check` as a user runs it, its start included."""
    walls, cpus = [], []
    for _ in range(runs):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "netorder", "check", str(path)], check=True, capture_output=True)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall": statistics.median(walls), "cpu": statistics.median(cpus)}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median is taken (default 5)")
    parser.add_argument("--once", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(*options.once)
        return
    print(TARGETS)
    with tempfile.TemporaryDirectory() as directory:
        paths = {size: Path(directory, f"{size}.yml") for size in SIZES}
        for size, path in paths.items():
            path.write_text(example(size), encoding="utf-8")
        results = {(way, size): measured(way, path, options.runs) for size, path in paths.items() for way in WAYS}
        compare(results)
        growth(results)
        print("\ncheck                                wall s   CPU s")
        largest = max(ROOT.glob("topologies/*.yml"), key=lambda path: path.stat().st_size)
        for name, path in ((f"topologies/{largest.name}", largest), ("the 1,000 hosts above", paths[SIZES[-1]])):
            took = checked(path, options.runs)
            print(f"{name:35} {took['wall']:7.2f} {took['cpu']:7.2f}")


def compare(results: dict[tuple[str, int], dict[str, float]]) -> None:
    """Print each way at each size, and how many times as much as netorder it takes."""
    print(
        "\nplan, file to routes             wall s   CPU s      MB    routes   CPU to netorder's   routes to netorder's"
    )
    for (way, size), took in results.items():
        ours = results["netorder", size]
        ratios = f"{took['cpu'] / ours['cpu']:17.2f} {took['routes'] / (ours['routes'] or math.nan):7.1f}"
        numbers = f"{took['wall']:9.3f} {took['cpu']:7.3f} {took['memory']:7.0f} {took['routes']:9,.0f}"
        print(f"{size:5,} hosts  {way:16} {numbers}   {ratios}")


def growth(results: dict[tuple[str, int], dict[str, float]]) -> None:
    """Print the exponents of growth from each size to the next: 1 is linear; n log n is a little more."""
    print("\ngrowth exponent, size to size            CPU   routes   CPU of n log n   CPU to routes")
    for way in WAYS:
        for size, larger in pairwise(SIZES):
            few, many = results[way, size], results[way, larger]
            times = math.log(larger / size)
            exponents = {key: math.log(many[key] / few[key]) / times for key in ("cpu", "routes")}
            limit = math.log(larger * math.log(larger) / (size * math.log(size))) / times
            print(
                f"{way:10} {size:5,} to {larger:5,}          {exponents['cpu']:8.2f} {exponents['routes']:8.2f}"
                f" {limit:16.2f} {exponents['cpu'] - exponents['routes']:15.2f}"
            )


if __name__ == "__main__":
    main()
