"""Measures one way of planning once, in a process of its own; what it imports is loaded before and not counted."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

Way = Callable[[str], int]  # a topology file's path in, the number of routes out


def main(way: Way) -> None:
    """Plan the file that the command line names; print what it took."""
    (path,) = sys.argv[1:]
    wall, cpu = time.perf_counter(), time.process_time()
    routes = way(path)
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "routes": routes}
    # in KiB on Linux
    print(json.dumps(took | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
