"""The guests: real virtual machines, the local cloud's default, and, where the kind matters, containers. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from ipaddress import ip_network

import ordinary
import pytest
from conftest import Order, until
from running import Running

GIB = 2**30
USER_DATA = """#!/bin/sh
echo "once more" >>/var/lib/ordered
hostname >>/var/lib/ordered
"""
CLOUD_CONFIG = """#cloud-config
write_files:
  - {path: /var/lib/ordered, content: "by cloud-init"}
"""


@pytest.fixture(scope="module")
def cloud():
    """Return the running default cloud."""
    running = Running(os.environ.get("LOCALCLOUD_NAME") or "default", os.environ.get("LOCALCLOUD_GUESTS") or "vm")
    running.up()
    return running


class Networks(Order):
    """An order with more networks, whose servers have several interfaces and are reached through one of them."""

    def make(self):
        """Create all but the servers and the other networks."""
        super().make()
        self.networks, self.router = {}, next(self.cloud.network.routers(name=self.name))
        for protocol, port in (("ipv6-icmp", None), ("tcp", 22)):
            self.cloud.network.create_security_group_rule(
                security_group_id=self.group.id, direction="ingress", ether_type="IPv6", protocol=protocol,
                port_range_min=port, port_range_max=port,
            )  # fmt: skip

    def connect(self, name, *prefixes, routed=False):
        """Create a network with these prefixes, behind the router or without one."""
        network = self.cloud.network
        self.networks[name] = network.create_network(name=f"{self.name}-{name}")
        for prefix in prefixes:
            version = 6 if ":" in prefix else 4
            stateful = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
            subnet = network.create_subnet(
                network_id=self.networks[name].id, ip_version=version, cidr=prefix,
                gateway_ip=str(ip_network(prefix)[1]) if routed else None, **(stateful if version == 6 else {}),
            )  # fmt: skip
            if routed:
                network.add_interface_to_router(self.router, subnet_id=subnet.id)

    def plug(self, server, network):
        """Create a port of a server without floating IP."""
        return self.cloud.network.create_port(
            name=f"{self.name}-{server}", network_id=network.id, security_groups=[self.group.id]
        )

    def between(self, name, *ports):
        """Request a server with these ports."""
        find = self.cloud.compute.find_flavor, self.cloud.image.find_image
        self.servers[name] = self.cloud.compute.create_server(
            name=name, flavor_id=self.named(find[0], "small"), image_id=self.named(find[1], "debian-13"),
            networks=[{"port": port.id} for port in ports], key_name=self.name,
        )  # fmt: skip

    def addresses(self, name):
        """Return the addresses that the cloud gave to a server."""
        interfaces = self.cloud.compute.server_interfaces(self.servers[name])
        return {fixed["ip_address"] for interface in interfaces for fixed in interface.fixed_ips}

    def through(self, address, to, command):
        """Run a command on a server that is behind another; None while SSH refuses."""
        options = f"-i {self.key} -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=accept-new"
        proxy = f"ssh {options} -o UserKnownHostsFile={self.known(address)} -W [%h]:%p debian@{address}"
        done = subprocess.run(
            ["ssh", *options.split(), "-o", f"UserKnownHostsFile={self.known(to)}", "-o", f"ProxyCommand={proxy}",
             f"debian@{to}", command],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else None

    def remove(self):
        """Delete what is on the other networks too."""
        for server in self.servers.values():
            self.cloud.compute.delete_server(server, ignore_missing=True)
        for server in self.servers.values():
            self.cloud.compute.wait_for_delete(server, wait=120)
        network = self.cloud.network
        for one in self.networks.values():
            for port in network.ports(network_id=one.id):
                if port.device_owner == "network:router_interface":
                    network.remove_interface_from_router(self.router, port_id=port.id)
                elif not port.device_owner:
                    network.delete_port(port)
            network.delete_network(one)
        super().remove()


def listed(output):
    """Return the addresses in the output of `ip -json address`."""
    return {address["local"] for link in json.loads(output or "[]") for address in link["addr_info"]}


@pytest.fixture(scope="module")
def placed(cloud, order):
    with order(cloud, "guests") as made:
        yield made


@pytest.fixture
def guests(placed):
    """Return an order whose guests end with the test: an idle one slows down the next test's guests."""
    yield placed
    for server in placed.servers.values():
        placed.cloud.compute.delete_server(server, ignore_missing=True)


def test_a_guest_is_its_own(guests):
    """Two of one image: each has its own name, identity, keys, disk size and user data, which runs once."""
    one = guests.server("one", flavor="small", user_data=USER_DATA)
    two = guests.server("two", flavor="small2")
    guests.reached(one)
    guests.reached(two)

    def ordered():
        return guests.ssh(one, "cat /var/lib/ordered") == "once more\none\n"

    until(ordered)
    assert guests.ssh(two, "test -e /var/lib/ordered || echo none") == "none\n"
    assert guests.ssh(two, "hostname") == "two\n"
    for command in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert guests.ssh(one, command) != guests.ssh(two, command)

    def grown(address, size):
        return size * 0.9 < int(guests.ssh(address, "df --output=size -B1 / | tail -1")) <= size

    until(lambda: grown(one, 2 * GIB))
    until(lambda: grown(two, 4 * GIB))
    boot = guests.ssh(one, "cat /proc/sys/kernel/random/boot_id")
    guests.cloud.compute.reboot_server(guests.servers["one"], "SOFT")

    def rebooted():
        return guests.ssh(one, "cat /proc/sys/kernel/random/boot_id", patience=5) not in (None, boot)

    until(rebooted, 180)
    assert guests.ssh(one, "cat /var/lib/ordered") == "once more\none\n"


def test_its_kernel_is_debians_with_its_modules(guests):
    """What routers, firewalls, tunnels and container engines load is loaded by name; devices load their own modules."""
    address = guests.server("modules")
    guests.reached(address)
    assert re.fullmatch(r"[0-9.]+\+deb13-cloud-amd64\n", guests.ssh(address, "uname -r"))
    names = "vxlan wireguard nf_tables nft_masq nft_ct br_netfilter overlay 8021q bonding dummy veth vrf sch_netem"
    refused = f"for name in {names}; do sudo modprobe $name || echo $name; done 2>&1"
    assert guests.ssh(address, refused) == ""
    assert guests.ssh(address, "lsmod | grep -c '^tun '") is None
    assert (
        guests.ssh(address, "sudo ip tuntap add tap7 mode tap && ip link show tap7 >/dev/null && echo there")
        == "there\n"
    )
    assert guests.ssh(address, "sudo losetup --find") == "/dev/loop0\n"
    assert guests.ssh(address, "cat /proc/sys/kernel/tainted; systemctl list-units --failed --quiet") == "0\n"


@pytest.mark.full
def test_a_guest_is_rescued(guests):
    """It boots the image on a disk of its own, with its old disk as the second, and its old disk after that."""
    address = guests.server("rescued")
    guests.reached(address)
    key = guests.ssh(address, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert guests.ssh(address, "echo kept | sudo tee /var/lib/kept && sync") == "kept\n"
    server = guests.servers["rescued"]
    guests.known(address).unlink()
    guests.cloud.compute.rescue_server(server)
    guests.cloud.compute.wait_for_server(server, status="RESCUE", wait=120)
    guests.reached(address)
    there = "sudo mount /dev/vdb /mnt && cat /mnt/var/lib/kept; test -e /var/lib/kept || echo fresh"
    assert guests.ssh(address, there) == "kept\nfresh\n"
    guests.known(address).unlink()
    guests.cloud.compute.unrescue_server(server)
    guests.cloud.compute.wait_for_server(server, wait=120)
    guests.reached(address)
    assert guests.ssh(address, "cat /var/lib/kept") == "kept\n"
    assert guests.ssh(address, "cat /etc/ssh/ssh_host_ed25519_key.pub") == key


@pytest.mark.full
@pytest.mark.parametrize("kind", ["container", "vm"])
def test_every_kind_has_all_its_interfaces_and_keys(kind, cloud, key):
    """Three interfaces of which one is routed; IPv6 alone; a host between networks: all at the first start.

    The one with IPv6 alone gains an interface while it runs, with its address.
    """
    same = cloud.environment["LOCALCLOUD_GUESTS"] == kind
    lent = contextlib.nullcontext(cloud) if same else Running(f"guests-{kind}", kind).lent()
    with lent as running:
        made = Networks(running, "kinds", key)
        try:
            made.make()
            made.connect("six", "fd73::/64", routed=True)
            made.connect("storage", "10.78.0.0/24")
            made.connect("data", "10.79.0.0/24", "fd79::/64")
            networks = made.networks
            big, gate = made.port("big"), made.port("gate")
            made.between(
                "big", made.ports["big"], made.plug("big", networks["storage"]), made.plug("big", networks["data"])
            )
            made.between("gate", made.ports["gate"], made.plug("gate", networks["six"]))
            made.between("iot", made.plug("iot", networks["six"]))
            for name in made.servers:
                made.active(name, 300)
            [iot] = made.addresses("iot")
            for name, see in (
                ("big", lambda: made.ssh(big, "ip -json address")),
                ("gate", lambda: made.ssh(gate, "ip -json address")),
                ("iot", lambda: made.through(gate, iot, "ip -json address")),
            ):
                wanted = made.addresses(name)

                def complete(see=see, wanted=wanted):
                    return wanted <= listed(see())

                until(complete, 300, detail=lambda see=see, wanted=wanted: f"{wanted}\n{see()}")

            # as the ordinary user
            assert made.ssh(big, "ping -c1 -W5 10.77.0.1 >/dev/null && echo answers") == "answers\n"
            assert made.through(gate, iot, "ping -c1 -W5 fd73::1 >/dev/null && hostname") == "iot\n"
            made.cloud.compute.create_server_interface(
                made.servers["iot"], port_id=made.plug("iot", networks["storage"]).id
            )
            wanted = made.addresses("iot")
            assert len(wanted) == 2

            def gained():
                return wanted <= listed(made.through(gate, iot, "ip -json address"))

            until(gained, 60, detail=lambda: made.through(gate, iot, "ip address; networkctl list"))
        finally:
            made.remove()


@pytest.mark.full
def test_boots_from_its_own_snapshot(guests):
    """The new one has the files of the first, and nothing that identifies it."""
    first = guests.server("first")
    guests.reached(first)
    assert guests.ssh(first, "echo kept | sudo tee /var/lib/kept && sync") == "kept\n"
    image = guests.cloud.compute.create_server_image(guests.servers["first"], "guests-snapshot", wait=True, timeout=180)
    assert image.status == "active"
    second = guests.server("second", image="guests-snapshot")
    guests.reached(second)
    assert guests.ssh(second, "cat /var/lib/kept; hostname") == "kept\nsecond\n"
    for command in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert guests.ssh(first, command) != guests.ssh(second, command)


def test_a_killed_guest_is_restarted(cloud, guests):
    """The guest's process is killed as soon as it answers; the guest is restarted, with its host key."""
    address = guests.server("killed")
    guests.reached(address)
    boot = guests.ssh(address, "cat /proc/sys/kernel/random/boot_id")
    server = guests.servers["killed"].id
    cloud.inside("pkill", "-9", "-f", f"qemu-system-x86_64 .*-uuid {server}")

    def again():
        return guests.ssh(address, "cat /proc/sys/kernel/random/boot_id", patience=5) not in (None, boot)

    def state():
        there = guests.cloud.compute.get_server(server)
        return there.status, guests.cloud.compute.get_server_console_output(there, length=20)

    until(again, 180, detail=state)
    assert guests.cloud.compute.get_server(server).status == "ACTIVE"


@pytest.mark.full
def test_five_at_once_all_have_their_network(cloud, guests):
    """Requested together; every one answers, and the cloud's services have priority over each of its threads."""
    names = [f"at-once-{number}" for number in range(5)]
    for address in [guests.server(name) for name in names]:
        guests.reached(address, 240)
    for name in names:
        pid = cloud.inside("pgrep", "-f", f"qemu-system-x86_64 .*-uuid {guests.servers[name].id}").strip()
        # where the kernel weighs sessions, the session's weight counts
        niceness = cloud.inside("sh", "-c", f"ps -L -o ni= -p {pid}; cut -d' ' -f3 /proc/{pid}/autogroup || true")
        assert {*niceness.split()} == {"10"}


def test_no_guest_waits_for_the_host_of_a_routers_interface(cloud, guests):
    """Neutron searched that host three times, 4 to 6 s, and reported no port to nova meanwhile; it does not exist."""
    guests.reached(guests.server("behind"))
    interfaces = [port.id for port in guests.cloud.network.ports(device_owner="network:router_interface")]
    log = (cloud.cloud.shared / "log" / "neutron.log").read_text(errors="replace")
    reported = [one for one in interfaces if f"OVN reports status up for port: {one}" in log]
    assert reported
    assert not [one for one in reported if f"No hosting information found for port {one}" in log]


@pytest.mark.full
def test_an_ordinary_cloud_image_is_a_guest(cloud, guests):
    """Imported by one command. It has boot loader, initrd, cloud-init with its user data, partition and disk grown."""
    raw = ordinary.make(cloud.cloud.cache, print)
    scratch = cloud.cloud.shared / "ordinary.raw"
    shutil.copyfile(raw, scratch)
    cloud.inside("qemu-img", "convert", "-O", "qcow2", "/localcloud/shared/ordinary.raw", "/localcloud/shared/o.qcow2")
    scratch.unlink()
    image = cloud.cloud.shared / "o.qcow2"
    imported = cloud.command("image", "guests-ordinary", str(image))
    assert imported.returncode == 0, imported.stderr
    image.unlink()
    try:
        address = guests.server("ordinary", image="guests-ordinary", flavor="medium", user_data=CLOUD_CONFIG)
        guests.active("ordinary", 300)
        guests.reached(address, 600)
        status = json.loads(guests.ssh(address, "sudo cloud-init status --wait --format json", patience=300))
        assert status["status"] == "done", status
        assert status["datasource"] == "configdrive"
        assert guests.ssh(address, "cat /var/lib/ordered; hostname") == "by cloud-initordinary\n"
        size = int(guests.ssh(address, "df --output=size -B1 / | tail -1"))
        assert 8 * GIB * 0.9 < size <= 8 * GIB
    finally:
        guests.cloud.compute.delete_server(guests.servers["ordinary"], ignore_missing=True)
        guests.cloud.compute.wait_for_delete(guests.servers["ordinary"], wait=120)
        assert cloud.command("shell", "openstack", "image", "delete", "guests-ordinary").returncode == 0
