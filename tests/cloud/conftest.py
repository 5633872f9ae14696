"""The reconciler against real APIs: a local cloud whose guests are only in Nova's books. Needs root."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openstack
import pytest
import yaml
from running import BASE, Running

from netorder.cloud.change import marker
from netorder.cloud.observe import is_neutrons_own
from netorder.cloud.session import connect
from netorder.controller.provision import provision, teardown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLLOWS = {"updated_at", "revision_number", "status", "subnet_ids"}  # subnets are listed themselves
KINDS = "network subnet router port security_group ip"


def pytest_addoption(parser):
    """Say how many topologies are drawn."""
    parser.addoption("--drawn", type=int, default=2, help="how many topologies of each shape")


@pytest.fixture(scope="session")
def cloud():
    """Name a cloud with fake guests in OS_CLOUD."""
    with Running("orders", "fake").lent() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLOUD", running.cloud.entry)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(BASE / "clouds.yaml"))
        patch.setattr("netorder.controller.clouds.connect", connected)
        yield openstack.connect()


def connected(*arguments, **options):
    """Log in; each run here ends before the next begins, so nothing of it is still under way."""
    session = connect(*arguments, **options)
    session.in_flight = 0
    return session


@dataclass
class Site:
    """One user's directory: a topology file, and the files that netorder writes."""

    directory: Path
    connection: Any
    name: str = "lab"

    def run(self, topology: dict[str, Any] | str, **options: Any) -> dict[str, Any]:
        """Provision ``topology``; return the result of the run."""
        text = topology if isinstance(topology, str) else yaml.safe_dump({"topology": self.name, **topology})
        file = self.directory / "topology.yml"
        file.write_text(text)
        return provision(file, files=self.directory, progress=print, **{"hostkey_timeout": 0, **options})

    def gone(self) -> dict[str, Any]:
        """Tear it down."""
        return teardown(self.name, files=self.directory, progress=print)

    def listing(self) -> dict[str, tuple[str, str, Any]]:
        """Return everything in the project that is not the cloud's own: {id: (kind, name, what it is like)}."""
        network, compute = self.connection.network, self.connection.compute
        found = {}
        for kind in KINDS.split():
            for one in getattr(network, f"{kind}s")(project_id=self.connection.current_project_id):
                if kind == "port" and is_neutrons_own(one):
                    continue
                like = {k: v for k, v in one.to_dict().items() if k not in FOLLOWS}
                if kind == "security_group":  # Neutron lists rules as its database finds them, now so, now so
                    like["security_group_rules"] = sorted(like["security_group_rules"], key=lambda rule: rule["id"])
                found[one.id] = (kind, one.name, like)
        for server in compute.servers():
            taps = sorted(port.id for port in network.ports(device_id=server.id))
            like = {"status": server.status, "flavor": server.flavor.original_name, "ports": taps}
            like |= {"tags": sorted(server.tags), "metadata": server.metadata}
            found[server.id] = ("server", server.name, like)
        for group in compute.server_groups():
            name = group.name.removesuffix(f" ({marker(self.name)})")
            found[group.id] = ("server group", name, {"policy": group.policy})
        for pair in compute.keypairs():
            found[f"keypair {pair.name}"] = ("keypair", pair.name, {"key": pair.public_key})
        return found

    def marked(self) -> list[str]:
        """Return the names of what carries this topology's marker."""
        mark = marker(self.name)
        return [
            f"{kind} {name}"
            for kind, name, like in self.listing().values()
            if like.get("description") == mark or name.startswith(f"{self.name}-")
        ]


@pytest.fixture
def site(cloud, tmp_path):
    """Return a user's directory whose topology is torn down at the end, to nothing left."""
    yield from used(Site(tmp_path, cloud))


@pytest.fixture(scope="module")
def lasting(cloud, tmp_path_factory):
    """Return a user's directory whose topology stays from test to test, which saves half a minute for each."""
    yield from used(Site(tmp_path_factory.mktemp("lasting"), cloud))


def used(one: Site) -> Iterator[Site]:
    one.gone()  # what an interrupted test run left
    yield one
    one.gone()
    assert one.marked() == []


@contextlib.contextmanager
def campus(network: Any) -> Iterator[str]:
    """Make a network with its router, a security group and a floating address that no topology owns."""
    with contextlib.ExitStack() as stack:
        outside = next(network.networks(is_router_external=True)).id
        net = network.create_network(name="campus")
        stack.callback(network.delete_network, net)
        subnet = network.create_subnet(network_id=net.id, ip_version=4, cidr="10.77.0.0/24", gateway_ip="10.77.0.1")
        router = network.create_router(name="campus-rt", external_gateway_info={"network_id": outside})
        stack.callback(network.delete_router, router)
        network.add_interface_to_router(router, subnet_id=subnet.id)
        stack.callback(network.remove_interface_from_router, router, subnet_id=subnet.id)
        group = network.create_security_group(name="monitoring")
        stack.callback(network.delete_security_group, group)
        address = network.create_ip(floating_network_id=outside, description="mine")
        stack.callback(network.delete_ip, address)
        yield str(address.floating_ip_address)
