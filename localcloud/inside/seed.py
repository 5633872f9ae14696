"""Fills the fresh cloud: accounts and catalog, then what a user needs first. Each part is idempotent.

Runs inside the cloud's root file system, where Debian's openstacksdk is; each part is a step of ``services``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openstack

from localcloud.inside.flavors import FLAVORS, SMALL
from localcloud.inside.system import SHARED, parameters, run

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = parameters()

SERVICES = {
    "placement": ("placement", 8778, ""),
    "nova": ("compute", 8774, "/v2.1"),
    "neutron": ("network", 9696, ""),
    "glance": ("image", 9292, ""),
    "heat": ("orchestration", 8004, "/v1/%(project_id)s"),
}
QUOTA = 100_000  # the only limits are the machine's


def connect() -> Any:
    """Return a session of the administrator."""
    return openstack.connect(
        auth_url=f"http://{VALUES['ip']}:5000/v3", username="admin", password=VALUES["admin_password"],
        project_name="admin", user_domain_id="default", project_domain_id="default", region_name="RegionOne",
        api_timeout=60,
    )  # fmt: skip


def catalog(cloud: Any, *names: str) -> None:
    """Create the service project, the accounts of these services with their roles, and their endpoints."""
    identity = cloud.identity
    roles = {role.name: role for role in identity.roles()}
    for name in ("service", "member", "admin"):
        roles[name] = roles.get(name) or identity.create_role(name=name)
    project = identity.find_project("service") or identity.create_project(name="service", domain_id="default")

    def add(name: str) -> None:
        kind, port, path = SERVICES[name]
        user = identity.find_user(name) or identity.create_user(
            name=name, password=VALUES["secret"], domain_id="default", default_project_id=project.id
        )
        for role in ("service", "admin"):
            identity.assign_project_role_to_user(project, user, roles[role])
        service = identity.find_service(name) or identity.create_service(name=name, type=kind)
        if not any(identity.endpoints(service_id=service.id)):
            identity.create_endpoint(
                service_id=service.id, interface="public", region_id="RegionOne",
                url=f"http://{VALUES['ip']}:{port}{path}",
            )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, names))


def project(cloud: Any) -> None:
    """Create an ordinary project and user and the flavors."""
    identity = cloud.identity
    mine = identity.find_project(VALUES["project"]) or identity.create_project(
        name=VALUES["project"], domain_id="default"
    )
    user = identity.find_user(VALUES["user"])
    if user is None:
        user = identity.create_user(
            name=VALUES["user"], password=VALUES["user_password"], domain_id="default", default_project_id=mine.id
        )
    identity.assign_project_role_to_user(mine, user, identity.find_role("member"))
    present = {one.name for one in cloud.compute.flavors()}
    for flavor in FLAVORS:
        if flavor.name not in present:
            cloud.compute.create_flavor(**flavor._asdict())
    compute = dict.fromkeys(("instances", "cores", "ram", "key_pairs", "server_groups", "metadata_items"), QUOTA)
    cloud.compute.put(f"/os-quota-sets/{mine.id}", json={"quota_set": compute}).raise_for_status()
    names = "network subnet port router floatingip security_group security_group_rule".split()
    cloud.network.put(f"/quotas/{mine.id}", json={"quota": dict.fromkeys(names, QUOTA)}).raise_for_status()


def external(cloud: Any) -> None:
    """Create the external network with its pool of floating IPs, or move that of a copied state to its prefix."""
    public = cloud.network.find_network("public") or cloud.network.create_network(
        name="public", is_router_external=True, provider_network_type="flat", provider_physical_network="public"
    )
    prefix = VALUES["gateway"].rsplit(".", 1)[0]
    for subnet in cloud.network.subnets(network_id=public.id):
        if subnet.cidr == f"{prefix}.0/24":
            return
        cloud.network.delete_subnet(subnet)
    cloud.network.create_subnet(
        name="public", network_id=public.id, ip_version=4, cidr=f"{prefix}.0/24", gateway_ip=f"{prefix}.1",
        enable_dhcp=False, allocation_pools=[{"start": f"{prefix}.100", "end": f"{prefix}.200"}],
    )  # fmt: skip


def upload(cloud: Any, name: str, file: Path, kind: str, container: str, **properties: Any) -> str:
    """Create a public image of the disk format ``kind``; return its id."""
    made = cloud.image.create_image(
        name, filename=str(file), disk_format=kind, container_format=container, visibility="public", wait=True,
        use_import=False, validate_checksum=False, **properties,
    )  # fmt: skip
    return str(made.id)


def import_image(cloud: Any, name: str, file: str) -> None:
    """Upload a disk image, its format detected by qemu-img; one with a backing file is refused."""
    known = json.loads(run(["qemu-img", "info", "--output=json", file]))
    if "backing-filename" in known:
        raise SystemExit(
            f"{name}: the image has a backing file ({known['backing-filename']});"
            " fix: make one file of both with `qemu-img convert`"
        )
    made = upload(cloud, name, Path(file), known["format"], "bare")
    print(f"image {name}: {known['format']}, {known['virtual-size'] / 2**30:.1f} GiB, id {made}")


def image(cloud: Any) -> None:
    """Upload the guest image, with kernel, initrd and command line, in place of one of that name with other content."""
    directory = SHARED / "guest"
    guest = json.loads((directory / "guest.json").read_text())
    present: dict[str, Any] = {image.name: image for image in cloud.image.images() if image.status == "active"}
    known = present.get("debian-13")
    # netorder refuses to resize such guests
    kinds = {"img_hv_type": "lxc"} if VALUES["guests"] == "container" else {}
    if known and known.properties.get("localcloud_digest") == guest["digest"]:
        if kinds:  # made by an earlier version
            cloud.image.update_image(known, **kinds)
        if guest.get("cmdline"):  # only the clock in it may have changed
            cloud.image.update_image(known, os_command_line=guest["cmdline"])
        return

    properties = {"localcloud_digest": guest["digest"], **guest["properties"], **kinds}
    if guest.get("kernel"):
        properties["kernel_id"] = upload(cloud, "debian-13-kernel", directory / guest["kernel"], "aki", "aki")
        properties["ramdisk_id"] = upload(cloud, "debian-13-initrd", directory / guest["initrd"], "ari", "ari")
        properties["os_command_line"] = guest["cmdline"]
    for old in (known, present.get("debian-13-kernel"), present.get("debian-13-initrd")):
        if old:
            cloud.image.delete_image(old)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        disk, kind, min_disk = directory / guest["disk"], "raw", guest["min_disk"]
        if VALUES["guests"] == "container":
            disk, kind, min_disk = container_disk(disk, Path(scratch)), "qcow2", SMALL.disk
        upload(cloud, "debian-13", disk, kind, "bare", min_disk=min_disk, min_ram=guest["min_ram"], **properties)


def container_disk(disk: Path, scratch: Path) -> Path:
    """Make the smallest flavor's disk of a guest's: Nova copies it whole for each container, one after the other.

    With that size already Nova has nothing to check and to grow; and of qcow2 it makes a file with holes, of which less
    is copied.
    """
    grown, result = scratch / "disk.raw", scratch / "disk.qcow2"
    run(["cp", "--sparse=always", str(disk), str(grown)])
    with grown.open("r+b") as file:
        file.truncate(SMALL.disk << 30)
    run(["resize2fs", str(grown)])
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(grown), str(result)])
    grown.unlink()
    return result


def enable_compute(cloud: Any) -> None:
    """Enable every compute service."""
    for service in cloud.compute.services(binary="nova-compute"):
        cloud.compute.enable_service(service, service.host, service.binary)


def start_guest(cloud: Any, server: str) -> None:
    """Start a server once Nova has noticed that it stopped (15 s later), unless its user already has."""
    limit = time.monotonic() + 60
    while cloud.compute.get_server(server).status == "ACTIVE" and time.monotonic() < limit:
        time.sleep(1)
    if cloud.compute.get_server(server).status == "SHUTOFF":
        cloud.compute.start_server(server)
        cloud.compute.wait_for_server(cloud.compute.get_server(server), wait=120)


if __name__ == "__main__":
    parts: dict[str, Callable[..., None]] = {
        "catalog": catalog, "project": project, "external": external, "image": image, "import": import_image,
        "enable-compute": enable_compute, "start-guest": start_guest,
    }  # fmt: skip
    parts[sys.argv[1]](connect(), *sys.argv[2:])
