"""netorder: plans the file, check and JSON and all."""

from __future__ import annotations

import measure

from netorder.language.load import load
from netorder.plan.build import build_plan
from netorder.plan.serialize import to_json


def work(path: str) -> int:
    plan = build_plan(load(path))
    to_json(plan)
    from_dhcp = sum(len(subnet.host_routes) for network in plan.networks for subnet in network.subnets)
    return from_dhcp + sum(len(node.routes) for node in (*plan.hosts, *plan.routers))


if __name__ == "__main__":
    measure.main(work)
