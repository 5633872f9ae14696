"""Provision one topology in several ways on the local cloud, side by side; `make bench-provision` runs it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openstack

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # localcloud is beside netorder, not installed

import rivals  # noqa: E402
from costs import Costs  # noqa: E402
from meter import Meter  # noqa: E402
from topology import topology  # noqa: E402

from localcloud.cloud import Cloud  # noqa: E402
from netorder.controller import ssh as access  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from openstack.connection import Connection

HERE = Path(__file__).resolve().parent
WORK = ROOT / "build" / "bench-provision-work"
CLIENT = ROOT / "build" / "bench-provision"  # where make puts the `openstack` command
CLIENT_WAYS = {"stack", "script"}  # they use that command
HEAT_WAYS = {"heat", "stack"}
PHASES = ("up", "again", "down")
# A netorder run that finds something to do waits while the topology's newest resource is younger than 15 s. So that it
# need not, and all are alike, every way pauses so long (s) before its teardown, which is not timed; and before its
# creation, so that no way pays for what the cloud still tidies up after the one before it.
PAUSE = 16.0
EXTERNAL = "public"
CORES = os.cpu_count() or 1


@dataclass
class Case:
    """One size: the topology's files, its plan, and how each way is run."""

    hosts: int
    home: Path = field(init=False)
    name: str = field(init=False)
    plan: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"bench{self.hosts}"
        self.home = WORK / self.name
        self.home.mkdir(parents=True, exist_ok=True)
        self.file.write_text(topology(self.name, self.hosts), encoding="utf-8")
        command = [sys.executable, "-m", "netorder", "plan", str(self.file), "--format", "json"]
        self.plan = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        public = access.public_key(self.key, make=True)
        if public is None:
            raise SystemExit("no key")
        texts = dict(zip(("up.sh", "down.sh"), rivals.script(self.plan, f"{self.key}.pub", EXTERNAL), strict=True))
        for kind, wait in (("", False), ("-waits", True)):
            plays = rivals.play(self.plan, f"{self.key}.pub", EXTERNAL, wait=wait)
            texts |= dict(zip((f"up{kind}.yml", f"down{kind}.yml"), plays, strict=True))
        texts["stack.json"] = rivals.template(self.plan, public, EXTERNAL)
        texts["ansible.cfg"] = "[defaults]\n[connection]\npipelining = True\n"
        for name, text in texts.items():
            (self.home / name).write_text(text, encoding="utf-8")

    @property
    def file(self) -> Path:
        """The topology file."""
        return self.home / "topology.yml"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.home / "id_ed25519"

    def playbook(self, phase: str) -> list[str]:
        """Return the command for ours as a user runs it, up to ACTIVE like the others: host keys are not waited for."""
        if phase == "down":
            return ["ansible-playbook", "playbooks/teardown.yml", "-e", f"confirm={self.name}"]
        return ["ansible-playbook", "playbooks/provision.yml", "-e", f"netorder_ssh_key={self.key}",
                "-e", "netorder_hostkey_timeout=0"]  # fmt: skip

    def bare(self, phase: str) -> list[str]:
        """Return the command for ours without Ansible."""
        action = "down" if phase == "down" else "up"
        report = self.home / f"report-{phase}.json"
        return [sys.executable, str(HERE / "ours.py"), action, str(self.file), str(self.key), str(report)]

    def heat(self, phase: str) -> list[str]:
        """Return the command for a Heat stack."""
        action = "down" if phase == "down" else "up"
        return [sys.executable, str(HERE / "heat.py"), action, self.name, str(self.home / "stack.json")]

    def stack(self, phase: str) -> list[str]:
        """Return the command for a Heat stack as a user types it, with what the client takes by default."""
        verb = {"up": "create", "again": "update", "down": "delete"}[phase]
        options = ["--yes"] if phase == "down" else ["--template", str(self.home / "stack.json")]
        return ["openstack", "stack", verb, "--wait", *options, self.name]

    def play(self, phase: str, kind: str = "") -> list[str]:
        """Return the command for a play of openstack.cloud modules; "-waits": the kind that waits for each server."""
        return ["ansible-playbook", str(self.home / f"{'down' if phase == 'down' else 'up'}{kind}.yml")]

    def script(self, phase: str) -> list[str] | None:
        """Return the command for the shell script; run again it would make everything twice, so it is not."""
        return None if phase == "again" else ["sh", str(self.home / f"{phase}.sh")]


WAYS: dict[str, tuple[str, Callable[[Case, str], list[str] | None]]] = {
    "ours": ("netorder, its playbook", Case.playbook),
    "bare": ("netorder's reconciler alone", Case.bare),
    "heat": ("Heat stack through its API", Case.heat),
    "stack": ("Heat stack, `openstack stack`", Case.stack),
    "play": ("openstack.cloud play", Case.play),
    "waits": ("openstack.cloud play, each server waited for", lambda case, phase: case.play(phase, "-waits")),
    "script": ("`openstack` script", Case.script),
}
WIDTH = max(len(title) for title, _ in WAYS.values())


def environment(case: Case, way: str) -> dict[str, str]:
    """Return the environment of a way: the CLI has packages of its own, the play Ansible's defaults with pipelining."""
    own = {"NETORDER_TOPOLOGY": str(case.file)}
    if way in CLIENT_WAYS:
        own |= {"PYTHONPATH": str(CLIENT), "PATH": f"{CLIENT / 'bin'}:{os.environ['PATH']}"}
    if way in {"play", "waits"}:
        own |= {"ANSIBLE_CONFIG": str(case.home / "ansible.cfg")}
    return {**os.environ, **own}


def wanted(case: Case) -> dict[str, int]:
    """Return how much of each type the plan has; rules are those that let in."""
    plan = case.plan
    return {
        "active": case.hosts, "servers": case.hosts, "networks": len(plan["networks"]),
        "subnets": sum(len(network["subnets"]) for network in plan["networks"]), "routers": len(plan["routers"]),
        "groups": len(plan["security_groups"]),
        "rules": sum(rule["direction"] == "ingress" for group in plan["security_groups"] for rule in group["rules"]),
        "ports": sum(len(host["ports"]) for host in plan["hosts"]),
        "interfaces": sum(len(router["interfaces"]) for router in plan["routers"]),
        "floating IPs": sum(host["floating_ip"] for host in plan["hosts"]),
    }  # fmt: skip


def found(cloud: Connection, name: str) -> dict[str, int]:
    """Return how much of each type the cloud has under the topology's names."""

    def mine(them: Iterable[Any]) -> list[Any]:
        return [one for one in them if (one.name or "").startswith(f"{name}-")]

    net = cloud.network
    servers, networks, groups = mine(cloud.compute.servers()), mine(net.networks()), mine(net.security_groups())
    ids = {network.id for network in networks}
    ports = [port for port in net.ports() if port.network_id in ids]
    hosts = [port for port in ports if (port.device_owner or "").startswith("compute:")]
    return {
        "active": sum(server.status == "ACTIVE" for server in servers), "servers": len(servers),
        "networks": len(networks), "subnets": sum(subnet.network_id in ids for subnet in net.subnets()),
        "routers": len(mine(net.routers())), "groups": len(groups),
        "rules": sum(rule["direction"] == "ingress" for group in groups for rule in group.security_group_rules),
        "ports": len(hosts), "interfaces": sum(port.device_owner == "network:router_interface" for port in ports),
        "floating IPs": sum(ip.port_id in {port.id for port in hosts} for ip in net.ips() if ip.port_id),
    }  # fmt: skip


def sweep(cloud: Connection, case: Case) -> None:
    """Take away what a way that failed left: nothing but what has the topology's names."""
    own = {**os.environ, "NETORDER_TOPOLOGY": str(case.file)}
    for way in (Case.heat, Case.bare):
        subprocess.run(way(case, "down"), cwd=ROOT, env=own, check=False, capture_output=True)
    name, net = f"{case.name}-", cloud.network
    for server in [server for server in cloud.compute.servers() if server.name.startswith(name)]:
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server)
    networks = [network for network in net.networks() if network.name.startswith(name)]
    ports = [port for port in net.ports() if port.network_id in {network.id for network in networks}]
    for ip in [ip for ip in net.ips() if ip.port_id in {port.id for port in ports}]:
        net.delete_ip(ip)
    for port in ports:
        if port.device_owner == "network:router_interface":
            net.remove_interface_from_router(port.device_id, port=port.id)  # type: ignore[no-untyped-call]
        elif not port.device_owner.startswith("network:"):
            net.delete_port(port)
    for router in [router for router in net.routers() if router.name.startswith(name)]:
        net.delete_router(router)
    for group in [group for group in net.security_groups() if group.name.startswith(name)]:
        net.delete_security_group(group)
    for network in networks:
        net.delete_network(network)
    cloud.compute.delete_keypair(rivals.key_name(case.plan), ignore_missing=True)


@contextmanager
def swept(cloud: Connection, case: Case) -> Iterator[None]:
    """Leave nothing behind, however the block ends."""
    try:
        yield
    except BaseException:
        sweep(cloud, case)
        raise


def measure(case: Case, way: str, phase: str, meter: Meter) -> dict[str, float] | None:
    """Run one phase of one way; return its seconds, requests and the cloud's processor time."""
    command = WAYS[way][1](case, phase)
    if command is None:
        return None
    log = case.home / f"{way}-{phase}.log"
    before, began = meter.read(), time.monotonic()
    with log.open("w") as sink:
        status = subprocess.run(
            command, cwd=ROOT, env=environment(case, way), stdout=sink, stderr=subprocess.STDOUT, check=False
        ).returncode
    took, counted = time.monotonic() - began, meter.read() - before
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise SystemExit(f"{WAYS[way][0]}, {case.hosts} hosts, {phase}: status {status}\n{tail}")
    return {"seconds": took, **asdict(counted), **inside(case, way, phase)}


def inside(case: Case, way: str, phase: str) -> dict[str, Any]:
    """Return what the bare reconciler reports of itself, {} for others."""
    if way != "bare":
        return {}
    report: dict[str, Any] = json.loads((case.home / f"report-{phase}.json").read_text())
    return {name: report[name] for name in ("inside", "phases", "own_cpu")}


def one_run(
    case: Case, way: str, phases: Iterable[str], meter: Meter, cloud: Connection, results: list[dict[str, Any]]
) -> None:
    """Measure a way from nothing to nothing, and check what is there after each phase."""
    with swept(cloud, case):
        for phase in phases:
            if phase in {"up", "down"}:
                time.sleep(PAUSE)
            numbers = measure(case, way, phase, meter)
            if numbers is None:
                continue
            goal = dict.fromkeys(wanted(case), 0) if phase == "down" else wanted(case)
            if (there := found(cloud, case.name)) != goal:
                raise SystemExit(f"{WAYS[way][0]}, {case.hosts} hosts, {phase}: differs from the plan\n{there}\n{goal}")
            results.append({"hosts": case.hosts, "way": way, "phase": phase, **numbers})
            # later on, that of the guests which have ended is in it
            cpu = f"  {numbers['cpu']:7.1f} s of CPU there" if phase == "up" else ""
            print(f"  {case.hosts:4} hosts  {WAYS[way][0]:{WIDTH}} {phase:6} {numbers['seconds']:8.1f} s  "
                  f"{numbers['client']:5.0f} requests{cpu}", flush=True)  # fmt: skip


def median(results: list[dict[str, Any]], hosts: int, way: str, phase: str, what: str) -> float | None:
    """Return the median of a number over the runs, None where there was none (kept results may be an older bench's)."""
    mine = [one for one in results if (one["hosts"], one["way"], one["phase"]) == (hosts, way, phase)]
    values = [one[what] for one in mine if what in one]
    return statistics.median(values) if values else None


def table(results: list[dict[str, Any]], guests: str) -> str:
    """Return the table of medians and ratios, in Markdown.

    ``x`` is ours (the playbook; the reconciler where that was not run) divided by that way. The cloud's CPU a core is
    what the way's requests take on this machine at the least, were its cores never idle.
    """

    def shown(value: float | None, digits: int = 1) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    heads = [
        f"hosts ({guests})", "way", "all ACTIVE (s)", "x", "again (s)", "x", "teardown (s)", "x",
        "requests: create, again, teardown", "between services: create", "CPU in the cloud: create (s)", "x",
        "a core (s)", "of its guests (s)", "runs",
    ]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for hosts in sorted({one["hosts"] for one in results}):
        ours = "ours" if median(results, hosts, "ours", "up", "seconds") else "bare"

        def cell(way: str, phase: str, what: str, hosts: int = hosts, ours: str = ours) -> list[str]:
            mine, its = median(results, hosts, ours, phase, what), median(results, hosts, way, phase, what)
            return [shown(its), shown(mine / its if mine and its else None, 2)]

        for way, (title, _) in WAYS.items():
            times = [text for phase in PHASES for text in cell(way, phase, "seconds")]
            requests = ", ".join(shown(median(results, hosts, way, phase, "client"), 0) for phase in PHASES)
            between = shown(median(results, hosts, way, "up", "services"), 0)
            runs = sum((one["hosts"], one["way"], one["phase"]) == (hosts, way, "up") for one in results)
            booting = shown(median(results, hosts, way, "up", "guests"))
            total = median(results, hosts, way, "up", "cpu")
            each = shown(total and total / CORES)
            cells = [str(hosts), title, *times, requests, between, *cell(way, "up", "cpu"), each, booting, str(runs)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def where(results: list[dict[str, Any]]) -> str:
    """Return where the bare reconciler's time went, run by run: with a request under way, without, and by step."""
    heads = ["hosts", "phase", "s", "of it with a request under way", "s a host", "own CPU (s)", "step: s, requests"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one in sorted(results, key=lambda one: (one["hosts"], PHASES.index(one["phase"]))):
        if one["way"] == "bare":
            steps = [f"{name}: {step['seconds']:.1f}, {step['requests']}" for name, step in one["phases"].items()]
            times = [one["seconds"], one["inside"], one["seconds"] / one["hosts"], one["own_cpu"]]
            cells = [str(one["hosts"]), one["phase"], *(f"{time:.2f}" for time in times), "; ".join(steps)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Return the command line, taken apart."""
    parser = argparse.ArgumentParser(prog="bench-provision", description=__doc__)
    parser.add_argument("--sizes", default="5", help="numbers of hosts, e.g. 10,50,100,200 (default 5)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each way at each size (default 3)")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"some of {','.join(WAYS)} (default all)")
    parser.add_argument("--limit", type=float, default=300,
                        help="a way is left out where one creation would take longer than this (s), as foretold by"
                        " its time at the size before; 0: never (default 300)")  # fmt: skip
    parser.add_argument("--no-again", action="store_true", help="leave out the run with nothing to do")
    parser.add_argument("--add", action="store_true", help="keep the results of earlier calls in the table")
    parser.add_argument("--costs", action="store_true",
                        help="measure first what each request costs the cloud; --runs 0: only that")  # fmt: skip
    options = parser.parse_args()
    options.sizes, options.ways = [int(size) for size in options.sizes.split(",")], options.ways.split(",")
    options.phases = [phase for phase in PHASES if phase != "again" or not options.no_again]
    if unknown := set(options.ways) - WAYS.keys():
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    return options


def the_cloud(ways: list[str]) -> Cloud:
    """Return the local cloud of the environment, when it has what these ways need."""
    base = Path(os.environ.get("LOCALCLOUD_DIR") or ROOT / ".localcloud").resolve()
    local = Cloud(base, os.environ.get("LOCALCLOUD_NAME") or "default")
    if local.pid() is None:
        raise SystemExit(f"{local.entry} is down; fix: make cloud-up")
    if HEAT_WAYS & {*ways} and local.parameters().get("heat") != "true":
        raise SystemExit("the cloud runs without Heat; fix: LOCALCLOUD_HEAT=yes make cloud-up, or --ways without it")
    if CLIENT_WAYS & {*ways} and shutil.which("openstack", path=str(CLIENT / "bin")) is None:
        raise SystemExit(f"{CLIENT} has no openstack command; fix: make build/bench-provision")
    return local


class Series:
    """All measurements of one call, kept in a file after each."""

    def __init__(self, kept: Path, phases: list[str], *, add: bool, limit: float) -> None:
        self._kept, self._phases, self._limit = kept, phases, limit
        self.results: list[dict[str, Any]] = json.loads(kept.read_text()) if add and kept.exists() else []
        self.failures: list[str] = []

    def foretold(self, way: str, hosts: int) -> float:
        """Return how long (s) this way's creation should take at this size, by the nearest smaller size; 0: unknown."""
        sizes = [one["hosts"] for one in self.results if one["way"] == way and one["hosts"] <= hosts]
        if not sizes:
            return 0.0
        seconds = median(self.results, max(sizes), way, "up", "seconds") or 0.0
        return seconds * hosts / max(sizes)

    def one(self, case: Case, way: str, meter: Meter, cloud: Connection) -> None:
        """Measure a way at a size, unless it would take too long; a failure is reported and the next goes on."""
        if self._limit and (guess := self.foretold(way, case.hosts)) > self._limit:
            print(f"  {case.hosts:4} hosts  {WAYS[way][0]:{WIDTH}} left out: about {guess:.0f} s", flush=True)
            return
        try:
            one_run(case, way, self._phases, meter, cloud, self.results)
        except SystemExit as failure:
            print(failure, file=sys.stderr, flush=True)
            self.failures.append(f"{WAYS[way][0]} at {case.hosts}")
        self._kept.write_text(json.dumps(self.results))


def main() -> None:
    """Measure what the command line asks for."""
    options = parse()
    local = the_cloud(options.ways)
    guests = local.parameters()["guests"]
    cloud = openstack.connect()
    WORK.mkdir(parents=True, exist_ok=True)
    series = Series(WORK / f"results-{guests}.json", options.phases, add=options.add, limit=options.limit)
    print(f"{CORES} cores, {platform.system()} {platform.release()}, Python {platform.python_version()},"
          f" guests: {guests}, load before: {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    cases = [Case(hosts) for hosts in options.sizes]
    with Meter(local) as meter:
        if options.costs:
            print("what each request costs the cloud, measured for a few minutes", flush=True)
            host = cases[0].plan["hosts"][0]
            costs = Costs(cloud, meter, host["image"], host["flavor"], EXTERNAL)
            costs.run()
            print(costs.table(), flush=True)
        for case in cases:
            for run in range(options.runs):
                for way in options.ways[:: -1 if run % 2 else 1]:  # no way always comes after the same one
                    series.one(case, way, meter, cloud)
    if series.results:
        print(f"\n{table(series.results, guests)}\n\n{where(series.results)}")
    if series.failures:
        raise SystemExit(f"failed: {', '.join(series.failures)}")


if __name__ == "__main__":
    main()
