"""The services beside equivalents of the Node.js originals, in one run: ``make bench-services``.

sum: 16 clients, the server on one core, the load generator on another. calculator: 4 clients, its four services behind
it, all on whatever cores there are. Rounds alternate; a figure is the median of its rounds. Both sides write a line of
log for each request to a file. Every answer of the reference is compared before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import wrk

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench-services"
CALCULATOR = ROOT / "applications" / "calculator"
REFERENCE = CALCULATOR / "tests" / "reference"
SYNC_REQUEST = "6.1.0"
OPERATIONS = ("sum", "sub", "mul", "div")
EXPRESSIONS = ("(5+3)*2", "2+3", "(1+2)*(3+4)", "12*3-4/2", "8/4+1.5")


class Round(NamedTuple):
    """What one run of the load generator gave. ``cpu``: microseconds of the server's processor time for a request."""

    rate: float
    p99_ms: float
    cpu: float


def port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], at: int, cores: str | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until it is no longer needed; its log goes to a file."""
    pinned = ["taskset", "-c", cores] if cores else []
    environment = os.environ | {"NODE_PATH": str(BUILD / "node_modules")}
    with (BUILD / f"{at}.log").open("wb") as log:
        # A session of its own: sync-request leaves a process behind, which has to end with it.
        running = subprocess.Popen(
            [*pinned, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        try:
            give_up = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", at), timeout=1).close()
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > give_up or running.poll() is not None:
                        raise
                    time.sleep(0.05)
            yield running
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait()
    (BUILD / f"{at}.log").unlink()


def server(side: str, name: str, at: int, peers: dict[str, int]) -> list[str]:
    """Return the command of one service."""
    if side == "node":
        script = "calculator.js" if peers else "operation.js"
        arguments = [str(at), *map(str, peers.values())] if peers else [name, str(at)]
        return ["node", str(HERE / "originals" / script), *arguments]
    options = [part for peer, where in peers.items() for part in (f"--{peer}", f"http://127.0.0.1:{where}")]
    return [sys.executable, "-I", str(BUILD / "calculator.pyz"), name, "--port", str(at), *options]


@contextmanager
def serving(side: str, name: str, cores: str | None) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a service, and those that it needs."""
    with ExitStack() as stack:
        peers = {}
        if name == "calculator":
            for peer in OPERATIONS:
                peers[peer] = port()
                stack.enter_context(process(server(side, peer, peers[peer], {}), peers[peer], cores))
        at = port()
        yield at, stack.enter_context(process(server(side, name, at, peers), at, cores))


def ask(at: int, body: str) -> str:
    """Return the answer to one request, white space at its end stripped."""
    with urllib.request.urlopen(f"http://127.0.0.1:{at}", body.encode(), timeout=20) as response:
        return response.read().decode().rstrip()


def check(side: str, name: str, at: int) -> None:
    """Stop when an answer is not the reference's."""
    kind = "calculator" if name == "calculator" else "operations"
    cases = [json.loads(line) for line in (REFERENCE / f"{kind}.jsonl").read_text().splitlines()]
    cases = [case for case in cases if case.get("operation", "calculator") == name]
    if side == "node" and name == "calculator":
        cases = cases[:10]  # it takes a tenth of a second for each operation
    wrong = [case for case in cases if ask(at, case["request"]) != case["response"]]
    if wrong or not cases:
        sys.exit(f"{side} {name}: {len(wrong)} of {len(cases)} answers differ from the reference: {wrong[:3]}")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(at: int, pid: int, clients: int, seconds: int, bodies: Path, cores: str | None) -> Round:
    """Run the load generator once."""
    before = cpu_seconds(pid)
    try:
        its = wrk.load(f"http://127.0.0.1:{at}/", clients, seconds, bodies, ("taskset", "-c", cores) if cores else ())
    except wrk.LoadError as error:
        sys.exit(str(error))
    return Round(its.rate, its.p99_ms, (cpu_seconds(pid) - before) / its.count * 1e6)


def compare(
    name: str, clients: int, rounds: int, seconds: int, bodies: list[str], cores: tuple[str, str] | None
) -> None:
    """Measure both sides in turn and print their medians and ratios."""
    file = BUILD / f"{name}.txt"
    file.write_text("".join(f"{body}\n" for body in bodies))
    ours, others = cores or (None, None)
    measured: dict[str, list[Round]] = {"node": [], "netorder": []}
    with ExitStack() as stack:
        sides = {side: stack.enter_context(serving(side, name, ours)) for side in measured}
        for side, (at, running) in sides.items():
            check(side, name, at)
            load(at, running.pid, clients, 1, file, others)  # warm
        for _ in range(rounds):
            for side, (at, running) in sides.items():
                measured[side].append(load(at, running.pid, clients, seconds, file, others))
    middle = {side: Round(*map(statistics.median, zip(*runs, strict=True))) for side, runs in measured.items()}
    print(f"\n{name}, {clients} clients, {rounds} rounds of {seconds} s each:")
    for side, runs in measured.items():
        rates = ", ".join(f"{one.rate:.0f}" for one in runs)
        print(f"  {side:9} {middle[side].rate:9.1f} requests/s (rounds: {rates})  p99 {middle[side].p99_ms:8.2f} ms  "
              f"{middle[side].cpu:9.1f} us of processor time a request in the front process")  # fmt: skip
    print(f"  netorder / node: {middle['netorder'].rate / middle['node'].rate:.2f} x the requests, "
          f"{middle['netorder'].p99_ms / middle['node'].p99_ms:.3f} x the p99")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (BUILD / "node_modules" / "sync-request").exists():
        npm = ["npm", "install", "--no-save", "--no-package-lock", "--silent", "--prefix", str(BUILD)]
        subprocess.run([*npm, f"sync-request@{SYNC_REQUEST}"], check=True)
    artefact = [sys.executable, "-m", "calculator.build", str(BUILD / "calculator.pyz")]
    subprocess.run(artefact, check=True, env=os.environ | {"PYTHONPATH": str(CALCULATOR / "src")})

    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    way = "through nc" if shutil.which("nc") else "through a node process for each call (there is no nc)"
    print(f"Node.js {node}, sync-request {SYNC_REQUEST} {way}; Python {platform.python_version()}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    pairs = [f"{left} {right}" for left in (2, 17, 0.5, 1e-3, 123456.75) for right in (3, 40, 0.25, 9.5)]
    cores = sorted(os.sched_getaffinity(0))
    apart = (str(cores[0]), str(cores[-1])) if len(cores) > 1 else None
    compare("sum", 16, options.rounds, options.seconds, pairs, apart)
    compare("calculator", 4, options.rounds, options.seconds, list(EXPRESSIONS), None)


if __name__ == "__main__":
    main()
