"""``netorder compose``: write a compose file that makes the same network on one machine."""

from __future__ import annotations

import os.path
import sys
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.cli.command import TOPOLOGY, add, load_all, topology_file, write
from netorder.containers import kernel
from netorder.containers.compose import compose, outside_prefix
from netorder.errors import CloudError, NetorderError, UsageError
from netorder.ip import overlap
from netorder.plan.build import build_plan
from netorder.topology import CONTAINERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from netorder.cli.command import Commands
    from netorder.plan.model import Plan

__all__ = ["add_parser", "run"]

ROOM = 24  # the longest prefix of the outside; its first address is the engine's, those after it the routers'


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add(
        commands,
        "compose",
        help="write a compose file of it, for podman-compose and docker compose",
        description="Write a compose file with the plan's networks and addresses: routers as containers, so that the "
        "static routes are real, for each host a container that holds its routes and filters, and one for each of its "
        "applications, which has no capability. Published is what `allow` opens from outside, SSH excepted.",
        examples={
            "netorder compose mynet.yml -o compose.yml": "then: podman-compose -f compose.yml up -d",
            "netorder compose mynet.yml --outside 10.99.0.0/24": "where the drawn prefix is somebody else's",
        },
        notes="Applications say in `container` which image runs them; their roles are not asked. The file is yours to "
        "keep and to change; netorder does not read it again.",
        statuses={"0": "written", "1": "the topology has errors, or the file cannot be written"},
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=TOPOLOGY)
    parser.add_argument("-o", "--output", metavar="FILE", help="write to this file, not to standard output")
    parser.add_argument("--outside", metavar="PREFIX", help="of the network before the routers (a drawn 172.29.x.0/24)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write; return the exit status. Raises NetorderError."""
    name = topology_file(options.file)
    (topology,) = load_all(name, target=CONTAINERS)
    plan = build_plan(topology)
    outside = _outside(plan, options.outside)
    file, output = Path(name), Path(options.output or "compose.yml")
    # compose reads directories relative to its file's
    directory = os.path.relpath(file.resolve().parent, output.resolve().parent)
    text = compose(plan, outside, directory, file.name)
    write(text, options.output, name)
    for warning in _clashes(plan, outside):
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _clashes(plan: Plan, outside: IPv4Network) -> Iterator[str]:
    """Yield which routes of this machine the bridges of the file's networks would cover, were it run here."""
    networks = [(f"network `{one.name}`", IPv4Network(one.subnets[0].cidr), "`cidr`") for one in plan.networks]
    if any(router.external for router in plan.routers):
        networks.append(("network `outside`", outside, "--outside"))
    try:
        routes = kernel.routes()
    except CloudError:  # no `ip`: not a machine to run it
        return
    for name, prefix, other in networks:
        for way in routes:
            # the bridge of an earlier `up` of this file is no clash
            earlier = prefix == way.prefix and Path(f"/sys/class/net/{way.device}/bridge").exists()
            if overlap(prefix, way.prefix) and not earlier:
                yield (
                    f"{name} ({prefix}) overlaps {way.prefix}, to which this machine has a route ({way.device}): run "
                    f"here, its bridge takes those addresses from this machine; give it another {other}"
                )


def _outside(plan: Plan, named: str | None) -> IPv4Network:
    if named is None:
        found = outside_prefix(plan)
        if found is None:
            raise NetorderError("no /24 of 172.29.0.0/16 is free in this topology: name one with --outside PREFIX")
        return found
    try:
        found = IPv4Network(named)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise UsageError(f"--outside: `{named}` is not an IPv4 prefix such as 10.99.0.0/24") from None
    if found.prefixlen > ROOM:
        raise UsageError(f"--outside: `{named}` is too small: /{ROOM} or shorter")
    for network in plan.networks:
        if overlap(found, ip_network(network.subnets[0].cidr)):
            raise UsageError(f"--outside: `{named}` overlaps network `{network.name}` ({network.subnets[0].cidr})")
    return found
