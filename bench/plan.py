"""Time and memory of planning, beside what a user would pick instead. `make bench-plan` runs it.

Each size is planned in a process of its own (`plan_ways`), several times; the table shows medians. The rivals read the
same file with the YAML library's own loader and derive the routes of all hosts and routers by shortest paths, in the
two ways that come to mind: networkx, and a breadth-first search from each router. They check nothing, merge nothing,
and give every host every route.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

SIZES = (10, 100, 1000)
ROOT = Path(__file__).parents[1]
TARGETS = (
    "targets: `netorder plan --format json` of 1,000 hosts, 200 networks, 200 routers in at most 2 s and 500 MB; "
    "check in at most 1 s; reach in 3 s; ansible-inventory --list in 3 s and 300 MB, output linear in hosts"
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


# What is timed as a user runs it, on each size.
COMMANDS = {
    "netorder check": ["netorder", "check", "FILE"],
    "netorder plan": ["netorder", "plan", "FILE", "--format", "json"],
    "netorder reach": ["netorder", "reach", "FILE"],
    "ansible-inventory --list": ["ansible-inventory", "-i", "inventory/10-plan.yml", "--list"],
}

# The programs of plan_ways, by what the table calls them.
WAYS = {"netorder": "netorder_plan.py", "networkx": "shortest_paths.py", "search": "search.py"}


def measured(way: str, path: Path, runs: int) -> dict[str, float]:
    """Return the medians of several runs."""
    rows = []
    for _ in range(runs):
        command = [sys.executable, ROOT / "bench/plan_ways" / WAYS[way], path]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def program(command: list[str | Path], runs: int, **environment: str) -> dict[str, float]:
    """Return the medians of a program as a user runs it, its start included, and the size of its output."""
    rows = []
    for _ in range(runs):
        with tempfile.TemporaryFile() as output:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, cwd=ROOT,
                                       env=os.environ | environment)  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, process.args)
            wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
            size = output.seek(0, os.SEEK_END)
        rows.append({"wall": wall, "cpu": cpu, "memory": usage.ru_maxrss / 1024, "output": size / 1e3})
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median is taken (default 5)")
    options = parser.parse_args()
    print(TARGETS)
    with tempfile.TemporaryDirectory() as directory:
        paths = {size: Path(directory, f"{size}.yml") for size in SIZES}
        for size, path in paths.items():
            path.write_text(example(size), encoding="utf-8")
        results = {(way, size): measured(way, path, options.runs) for size, path in paths.items() for way in WAYS}
        compare(results)
        growth(results)
        print("\nas a user runs it, start included           wall s   CPU s      MB   output kB   output a host")
        for name, command in COMMANDS.items():
            for size, path in paths.items():
                words = [str(path) if word == "FILE" else word for word in command]
                program_path = Path(sys.executable).with_name(words[0])
                took = program([program_path, *words[1:]], options.runs, NETORDER_TOPOLOGY=str(path))
                print(f"{name:26} {size:5,} hosts {took['wall']:14.2f} {took['cpu']:7.2f} {took['memory']:7.0f}"
                      f" {took['output']:11,.0f} {took['output'] / size:15.2f}")  # fmt: skip


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
