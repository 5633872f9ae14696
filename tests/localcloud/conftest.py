"""An order on a local cloud: what a user of the cloud would create, removed after the test."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest


def until(true, patience=60.0, pause=0.2, detail=str):
    """Wait until ``true()`` returns something true and return that; ``detail()`` is the text of a failure."""
    deadline = time.monotonic() + patience
    while not (answer := true()):
        late = time.monotonic() > deadline
        assert not late, f"not after {patience} s: {true.__name__}\n{detail()}"
        time.sleep(pause)
    return answer


class Order:
    """A network behind a router to the external network, open for ping and SSH, and servers with floating IPs."""

    def __init__(self, running, name, key):
        self.cloud, self.name, self.key = running.connection(), name, key
        self.servers, self.ports, self.ids = {}, {}, {}

    def make(self):
        """Create all but the servers."""
        cloud, name = self.cloud, self.name
        external = next(iter(cloud.network.networks(is_router_external=True)))
        self.network = cloud.network.create_network(name=name)
        subnet = cloud.network.create_subnet(name=name, network_id=self.network.id, ip_version=4, cidr="10.77.0.0/24")
        self.external = external.id
        router = cloud.network.create_router(name=name, external_gateway_info={"network_id": external.id})
        cloud.network.add_interface_to_router(router, subnet_id=subnet.id)
        self.group = cloud.network.create_security_group(name=name)
        for protocol, port in (("icmp", None), ("tcp", 22)):
            cloud.network.create_security_group_rule(
                security_group_id=self.group.id, direction="ingress", ether_type="IPv4", protocol=protocol,
                port_range_min=port, port_range_max=port,
            )  # fmt: skip
        cloud.compute.create_keypair(name=name, public_key=self.key.with_suffix(".pub").read_text())

    def named(self, find, name):
        """Return the id of an image or flavor; each is requested once."""
        if (find, name) not in self.ids:  # an image and a flavor may have one name
            self.ids[find, name] = find(name).id
        return self.ids[find, name]

    def port(self, name):
        """Create a server's port with a floating IP; return that address."""
        self.ports[name] = port = self.cloud.network.create_port(
            name=f"{self.name}-{name}", network_id=self.network.id, security_groups=[self.group.id]
        )
        made = self.cloud.network.create_ip(floating_network_id=self.external, port_id=port.id)
        self.known(made.floating_ip_address).unlink(missing_ok=True)  # an earlier server may have had the address
        return made.floating_ip_address

    def boot(self, name, image="debian-13", flavor="small", user_data=None):
        """Request a server at its port, without waiting."""
        cloud = self.cloud
        options = {"user_data": base64.b64encode(user_data.encode()).decode()} if user_data else {}
        self.servers[name] = cloud.compute.create_server(
            name=name, image_id=self.named(cloud.image.find_image, image),
            flavor_id=self.named(cloud.compute.find_flavor, flavor),
            networks=[{"port": self.ports[name].id}], key_name=self.name, **options,
        )  # fmt: skip

    def server(self, name, **options):
        """Request a server with a floating IP; return that address at once, without waiting."""
        address = self.port(name)
        self.boot(name, **options)
        return address

    def active(self, name, patience=120):
        """Wait until the server is ACTIVE; an ERROR raises with Nova's message."""
        return self.cloud.compute.wait_for_server(self.servers[name], wait=patience)

    def known(self, address):
        """Return the file that holds the host key of a server that was reached."""
        return self.key.with_name(f"known_hosts-{address}")

    def ssh(self, address, command, user="debian", patience=30):
        """Run a command on a server; None while SSH refuses."""
        done = subprocess.run(
            ["ssh", "-i", str(self.key), "-o", "BatchMode=yes", "-o", f"ConnectTimeout={patience}",
             "-o", f"UserKnownHostsFile={self.known(address)}",
             "-o", "StrictHostKeyChecking=accept-new", f"{user}@{address}", command],
            capture_output=True, text=True, check=False, timeout=patience + 60,
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else None

    def reached(self, address, patience=180, user="debian"):
        """Wait until a login by SSH succeeds."""

        def listens():  # not by ssh: the kernel repeats a connection's lost first packet only after 1, 3 and 7 s
            with socket.socket() as probe:
                probe.settimeout(0.5)
                return probe.connect_ex((address, 22)) == 0

        def ssh():
            return self.ssh(address, "echo in", user, patience=5)

        until(listens, patience)
        until(ssh, patience)

    def remove(self):
        """Delete everything with the order's name, in a sequence that the cloud accepts."""
        cloud = self.cloud
        for server in self.servers.values():
            cloud.compute.delete_server(server, ignore_missing=True)
        for server in self.servers.values():
            cloud.compute.wait_for_delete(server, wait=120)
        for image in [image for image in cloud.image.images() if image.name.startswith(f"{self.name}-snapshot")]:
            cloud.image.delete_image(image)
        ports = list(cloud.network.ports(network_id=self.network.id))
        for address in [one for one in cloud.network.ips() if one.port_id in {port.id for port in ports}]:
            cloud.network.delete_ip(address)
        for port in [port for port in ports if not port.device_owner]:
            cloud.network.delete_port(port)
        for router in cloud.network.routers(name=self.name):
            for subnet in cloud.network.subnets(network_id=self.network.id):
                cloud.network.remove_interface_from_router(router, subnet_id=subnet.id)
            cloud.network.delete_router(router)
        cloud.network.delete_network(self.network)
        cloud.network.delete_security_group(self.group)
        cloud.compute.delete_keypair(self.name)


def ping(address):
    """Return whether an address answers."""
    return subprocess.run(["ping", "-c1", "-W1", address], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="session")
def order(key):
    """Return a context manager for orders; each is removed at the end of its block."""

    @contextmanager
    def make(running, name):
        one = Order(running, name, key)
        try:
            one.make()
            yield one
        finally:
            one.remove()

    return make
