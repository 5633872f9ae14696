"""Before the first change: does the cloud have what the changes need? All problems at once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from openstack import exceptions as sdk
from openstack.image.v2.image import Image

from netorder.cloud import golden
from netorder.cloud.change import ZERO_DISK
from netorder.cloud.errors import translate_errors
from netorder.cloud.facts import Facts
from netorder.cloud.jobs import gather
from netorder.cloud.locked import locked_problems
from netorder.cloud.observe import external_networks, is_neutrons_own
from netorder.cloud.resize import VERIFY
from netorder.cloud.resources import server_group
from netorder.cloud.resources.server import ServerChange, items_of_metadata
from netorder.cloud.snapshots import find, snapshots
from netorder.errors import CloudError
from netorder.text import few, is_id
from netorder.topology import GOLDEN, NEWEST, SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from openstack.compute.v2.flavor import Flavor
    from openstack.compute.v2.limits import AbsoluteLimits
    from openstack.network.v2.network import Network as CloudNetwork

    from netorder.cloud.change import Change
    from netorder.cloud.observe import Observed
    from netorder.cloud.session import Cloud
    from netorder.plan.model import Plan

__all__ = ["preflight", "quota_problems"]

GIB = 1024**3
# Neutron's quota names for the kinds of change.
NEUTRON_QUOTAS = {
    "network": "network",
    "subnet": "subnet",
    "router": "router",
    "port": "port",
    "router interface": "port",
    "security group": "security_group",
    "floating IP": "floatingip",
}
# Tokens, certificates and what "a moment ago" means go by the clock; Kerberos allows as much (RFC 4120, 8.2).
CLOCK = 300.0
# Kinds of guests (an image's img_hv_type) of which libvirt keeps no copy of the disk when they are resized.
CONTAINERS = frozenset({"lxc"})


def preflight(
    cloud: Cloud,
    plan: Plan,
    observed: Observed,
    changes: Sequence[Change],
    allow: Collection[str] = (),
    *,
    golden_only: bool = False,
) -> tuple[Facts, list[str]]:
    """Request only what ``changes`` need; return the facts and every problem. ``allow`` as in the run.

    ``golden_only``: new hosts with applications are made of golden images, never of what these may begin with.
    """
    questions = _Questions(cloud, plan, observed, changes, allow, golden_only=golden_only)
    with translate_errors():
        gather(cloud, questions.needed())
    return questions.facts, questions.judge()


class _Questions:
    """The questions to the cloud, asked in threads, and what its answers mean."""

    def __init__(
        self,
        cloud: Cloud,
        plan: Plan,
        observed: Observed,
        changes: Sequence[Change],
        allow: Collection[str],
        *,
        golden_only: bool,
    ) -> None:
        self.cloud = cloud
        self._allow = allow
        self._golden_only = golden_only
        self.plan = plan
        self.observed = observed
        self.facts = Facts(key_pair=plan.key_pair)
        self._changes = changes
        servers = [change for change in changes if isinstance(change, ServerChange)]
        self._booted = [change for change in servers if change.action in {"create", "replace"}]
        self._hosts = [change.host for change in self._booted]
        self._resized = [c for c in servers if c.action == "update" and "flavor" in (c.after or {})]
        resized = {change.id for change in self._resized}
        self._made_from = {
            s.id: str(s.image.id) for s in observed.servers if s.id in resized and s.image and s.image.id
        }
        self._containers: dict[str, str] = {}
        self._needed = Counter(
            NEUTRON_QUOTAS[c.kind] for c in changes if c.kind in NEUTRON_QUOTAS and c.action == "create"
        )
        self._needed["security_group_rule"] = sum(
            len(
                set(cast("list[str]", (c.after or {})["rules"]))
                - set(cast("list[str]", (c.before or {}).get("rules", ())))
            )
            for c in changes
            if c.kind == "security group" and "rules" in (c.after or {})
        )
        self._going = {
            c.id: c.name for c in changes if c.kind in {"network", "subnet"} and c.action in {"delete", "replace"}
        }
        self._foreign_ports: list[Any] = []
        self._extensions: set[str] | None = None
        self._externals: list[CloudNetwork] = []
        self._images: dict[str, list[Image]] = {}
        self._no_snapshot: dict[str, str] = {}
        self._flavors: dict[str, Flavor] = {}
        self._limits: AbsoluteLimits | None = None
        self._zones: dict[str, bool] | None = None  # whether each is available
        self._quota: dict[str, dict[str, Any]] = {}

    def needed(self) -> list[Callable[[], None]]:
        """Return the questions that the changes raise."""
        calls: list[Callable[[], None]] = []
        if self._hosts:
            _ = self.cloud.conn.image  # its version discovery is not for several threads at once
            calls += [partial(self._ask_image, name) for name in sorted({host.image for host in self._hosts})]
        if self._hosts or self._resized:
            calls += [self._ask_flavors, self._ask_limits]
        if any(host.server and host.server.availability_zone for host in self._hosts):
            calls.append(self._ask_zones)
        if self._resized:
            _ = self.cloud.conn.image
            calls += [partial(self._ask_guests, image) for image in sorted(set(self._made_from.values()))]
        if self._leaves():
            calls.append(self._ask_externals)
        if self._needed.total():
            calls += [self._ask_quota, self._ask_extensions]
        if self._going:
            calls.append(self._ask_foreign_ports)
        return calls

    def _leaves(self) -> bool:
        """Return whether a change needs the external network."""
        routing = {c.kind for c in self._changes if c.action != "delete"}
        external = any(router.external for router in self.plan.routers)
        return bool(routing & {"router", "floating IP"}) and external

    def _ask_image(self, named: str) -> None:
        self._images[named] = []
        if named.startswith(SNAPSHOT):
            self._ask_snapshot(named)
        elif named.startswith(GOLDEN):
            self._ask_golden(named)
        elif named.startswith(NEWEST):
            self._images[named] = self._newest(self._found_images(named.removeprefix(NEWEST)))
        else:
            self._images[named] = self._found_images(named)

    def _newest(self, found: list[Image]) -> list[Image]:
        """Return the newest that can be started, if any can: not what others shared with the project by that name."""
        able = [
            one
            for one in found
            if one.status == "active" and (one.visibility == "public" or one.owner_id == self.cloud.project)
        ]
        return _newest_first(able)[:1] or [one for one in found if one.status != "active"]

    def _found_images(self, named: str) -> list[Image]:
        glance = self.cloud.conn.image
        if is_id(named):  # a shared one that is not accepted, a hidden or community one is in no list
            with suppress(sdk.NotFoundException):
                return cast("list[Image]", [glance.get_image(named)])
            return []
        return cast("list[Image]", list(glance.images(name=named)))

    def _ask_snapshot(self, named: str) -> None:
        try:
            found = find(snapshots(self.cloud), self.plan.topology, named.removeprefix(SNAPSHOT))
            self._images[named] = [cast("Image", self.cloud.conn.image.get_image(found.id))]
        except CloudError as error:
            self._no_snapshot[named] = "; ".join(error.problems)

    def _ask_golden(self, named: str) -> None:
        kind, _, base = named.removeprefix(GOLDEN).partition(":")
        known = golden.goldens(self.cloud)
        if found := golden.find(known, self.plan.topology, kind):
            self._images[named] = [cast("Image", self.cloud.conn.image.get_image(found.id))]
        elif base and not self._golden_only:
            self._images[named] = self._found_images(base)
        else:
            self._no_snapshot[named] = golden.missing(known, self.plan.topology, kind, base=bool(base))

    def _ask_guests(self, image: str) -> None:
        """Note an image whose servers are containers; one that is deleted says nothing."""
        with suppress(sdk.NotFoundException):
            found = cast("Image", self.cloud.conn.image.get_image(image))
            kind = str(found.hypervisor_type or (found.properties or {}).get("img_hv_type") or "").lower()
            if kind in CONTAINERS:
                self._containers[image] = kind

    def _ask_flavors(self) -> None:
        for flavor in self.cloud.conn.compute.flavors():
            self._flavors[flavor.name] = flavor

    def _ask_limits(self) -> None:
        self._limits = self.cloud.conn.compute.get_limits().absolute

    def _ask_zones(self) -> None:
        with suppress(sdk.ForbiddenException, sdk.NotFoundException):  # then Nova refuses the create itself
            zones = self.cloud.conn.compute.availability_zones()
            self._zones = {zone.name: (zone.state or {}).get("available") is not False for zone in zones}

    def _ask_externals(self) -> None:
        self._externals += external_networks(self.cloud)

    def _ask_quota(self) -> None:
        answer = self.cloud.conn.network.get(f"/quotas/{self.cloud.project}/details.json")
        if answer.status_code in {403, 404}:
            return  # quota_details is an optional extension; without it Neutron refuses the create itself
        sdk.raise_from_response(answer)
        self._quota = answer.json()["quota"]

    def _ask_extensions(self) -> None:
        self._extensions = {extension.alias for extension in self.cloud.conn.network.extensions()}

    def _ask_foreign_ports(self) -> None:
        """List what others have on the subnets and networks that go; Neutron's own ports go with these."""
        networks = {s.network_id for s in self.observed.subnets if s.id in self._going}
        networks |= {n.id for n in self.observed.networks if n.id in self._going}
        ours = {port.id for port in self.observed.ports}
        for port in self.cloud.conn.network.ports(network_id=sorted(networks)):
            held = {port.network_id, *(fixed.get("subnet_id") for fixed in port.fixed_ips or ())}
            if port.id not in ours and not is_neutrons_own(port) and not held.isdisjoint(self._going):
                self._foreign_ports.append(port)

    def judge(self) -> list[str]:
        """Fill in the facts; return every problem."""
        problems = self._clock_problems() + self._extension_problems() + self._foreign_port_problems()
        problems += locked_problems(self.cloud, self.observed.servers, self._changes)
        problems += self._external_problems() if self._leaves() else []
        problems += self._image_problems() + (self._plain_problems() if self._golden_only else [])
        problems += self._flavor_problems()
        problems += self._zone_problems()
        problems += self._resize_problems()
        if self._limits and all(c.host.flavor in self._flavors for c in [*self._booted, *self._resized]):
            problems += self._compute_quota(self._limits)
        if self._limits:
            problems += self._server_limits(self._limits)
        problems += quota_problems(
            {
                f"{name.replace('_', ' ')}s": (count, int(has["limit"]), int(has["used"]) + int(has["reserved"]))
                for name, count in self._needed.items()
                if (has := self._quota.get(name))
            }
        )
        return problems

    def _clock_problems(self) -> list[str]:
        ahead = self.cloud.clock_ahead
        if abs(ahead) <= CLOCK:
            return []
        where = "ahead of" if ahead > 0 else "behind"
        return [f"The clock here is {abs(ahead):.0f} s {where} the cloud's: set the one that is wrong (timedatectl)."]

    def _extension_problems(self) -> list[str]:
        """Return what the plan needs and this cloud's Neutron has not; descriptions are how we know what is ours."""
        if self._extensions is None:
            return []
        routers, ports = self.plan.routers, [port for host in self.plan.hosts for port in host.ports]
        needed = {
            "standard-attr-description": True,
            "security-group": bool(self.plan.security_groups),
            "router": bool(routers),
            "external-net": any(router.external for router in routers),
            "extraroute": any(router.routes for router in routers),
            "allowed-address-pairs": any(port.allowed_address_pairs for port in ports),
            "port-security": any(not port.port_security for port in ports),
            "ext-gw-mode": not all(router.snat for router in routers),
            "net-mtu-writable": any(network.mtu for network in self.plan.networks),
        }
        missing = [name for name, wanted in needed.items() if wanted and name not in self._extensions]
        return [
            f"This cloud's Neutron has no extension {name}, which the topology needs. Ask the cloud's operator."
            for name in missing
        ]

    def _foreign_port_problems(self) -> list[str]:
        names = {n.id: n.name for n in self.observed.networks}
        return [
            f"Port {port.name or port.id} ({port.device_owner or 'not in use'}) on network {names[port.network_id]} is "
            "not this topology's, and the network cannot lose its subnet while it is there. Remove it first."
            for port in self._foreign_ports
        ]

    def _resize_problems(self) -> list[str]:
        """Return why a server cannot have its new flavor: a container, no such flavor, a disk that is too small."""
        problems = []
        disks = {server.id: server.flavor.disk or 0 for server in self.observed.servers if server.flavor}
        for change in self._resized:
            host = change.host
            flavor = self._flavors.get(host.flavor)
            if not flavor:
                problems.append(f"Host {host.name}: {self._no_flavor(host.flavor)}")
                continue
            if kind := self._containers.get(self._made_from.get(change.id, "")):
                problems.append(
                    f"Host {host.name}: its image is for containers ({kind}), and Nova loses the disk of a container "
                    f"that it resizes. Keep its flavor, or have it made anew: write the other one into the topology, "
                    f"delete server {change.name} and run site.yml."
                )
                continue
            self.facts.flavors[host.flavor] = flavor.id
            has = disks.get(change.id, 0)
            if flavor.disk < has:
                pending = (
                    f" Or undo its last resize, which is not confirmed: `openstack server resize revert {change.name}` "
                    "gives it the flavor and the disk of before; what was written since is lost."
                )
                problems.append(
                    f"Host {host.name}: flavor {host.flavor} has a disk of {flavor.disk} GiB, the host's has {has}: "
                    f"a disk does not shrink. Take a larger flavor.{pending if change.status == VERIFY else ''}"
                )
        return problems

    def _described(self, one: Image | CloudNetwork) -> str:
        """Name something of the cloud by all that tells it from another of the same name."""
        owner = one.owner_id if isinstance(one, Image) else one.project_id
        whose = "this project's" if owner == self.cloud.project else f"project {owner}'s"
        return f"{one.name} ({one.id}, made {str(one.created_at)[:10]}, {whose})"

    def _image_problems(self) -> list[str]:
        problems = []
        for named, found in sorted(self._images.items()):
            hosts = ", ".join(host.name for host in self._hosts if host.image == named)
            who = f"Image {named.removeprefix(NEWEST)} (hosts: {hosts})"
            active = [image for image in found if image.status == "active"]
            if named in self._no_snapshot:
                problems.append(f"The image of {hosts}: {self._no_snapshot[named]}")
            elif len(active) == 1:
                self.facts.images[named] = (active[0].id, self._called(named, active[0]))
            elif not found:
                problems.append(f"{who} does not exist in this cloud. `openstack image list` shows what does.")
            elif not active:
                problems.append(f"{who} is {found[0].status}, not active: upload it again or activate it.")
            else:
                choices = "; ".join(self._described(image) for image in _newest_first(active))
                problems.append(
                    f"{who}: {len(active)} images have this name, and which is meant is not guessed. Put the id of one "
                    f"in the place of the name (`image: {_newest_first(active)[0].id}`), or `{{newest: {named}}}`. The "
                    f"choices: {choices}."
                )
        return problems

    def _plain_problems(self) -> list[str]:
        """Return the hosts with applications that the topology makes of images that are not golden."""
        plain: dict[str, list[str]] = {}
        for host in self._hosts:
            if host.applications and not host.image.startswith((GOLDEN, SNAPSHOT)):
                plain.setdefault(host.image.removeprefix(NEWEST), []).append(host.name)
        return [
            f"The topology makes {few(names)} of {image}, which is no golden image. Write `image: {{golden: true, "
            f"base: {image}}}` there, or leave --golden out (golden=true): the roles install what is missing."
            for image, names in sorted(plain.items())
        ]

    def _called(self, named: str, image: Image) -> str:
        """Return what a server notes that it is made of: a snapshot, or a golden image, by what the topology calls it.

        That there is a newer one is no difference.
        """
        if named.startswith(SNAPSHOT):
            return named
        if named.startswith(GOLDEN) and golden.of_image(image, self.cloud.project):
            return GOLDEN + named.removeprefix(GOLDEN).partition(":")[0]
        return image.name or image.id

    def _no_flavor(self, named: str) -> str:
        called = next((flavor.name for flavor in self._flavors.values() if flavor.id == named), None)
        if called:
            return f"flavor {named} is called {called} here: write that, no two flavors have the same name."
        choices = ", ".join(sorted(self._flavors)) or "none"
        return f"flavor {named} does not exist in this cloud. The choices: {choices}."

    def _flavor_problems(self) -> list[str]:
        problems = []
        for name, image_name in sorted({(host.flavor, host.image) for host in self._hosts}):
            flavor = self._flavors.get(name)
            if not flavor:
                problems.append(_capital(self._no_flavor(name)))
                continue
            self.facts.flavors[name] = flavor.id
            if not flavor.disk:
                problems += self._zero_disk_problems(name)
            called = image_name.removeprefix(NEWEST)
            for image in [one for one in self._images[image_name] if one.status == "active"][:1]:
                size = max(image.size or 0, image.virtual_size or 0)
                need = max(image.min_disk or 0, -(-size // GIB))
                if flavor.disk and flavor.disk < need:
                    problems.append(
                        f"Flavor {name} has a disk of {flavor.disk} GiB, image {called} needs {need}. Take a larger."
                    )
                if flavor.ram < (image.min_ram or 0):
                    problems.append(
                        f"Flavor {name} has {flavor.ram} MiB, image {called} needs {image.min_ram}. Take a larger."
                    )
        return list(dict.fromkeys(problems))

    def _zero_disk_problems(self, name: str) -> list[str]:
        """Return why a new server cannot have a flavor without a disk, unless it is known that it can.

        Nova's policy (create:zero_disk_flavor) lets administrators do that; others must start from a volume. No API
        tells what a cloud's policy is, but what the topology already has, it was allowed to make.
        """
        made = any(server.flavor and server.flavor.original_name == name for server in self.observed.servers)
        if made or ZERO_DISK in self._allow or "admin" in self.cloud.roles:
            return []
        choices = ", ".join(sorted(flavor.name for flavor in self._flavors.values() if flavor.disk)) or "none"
        return [
            (
                f"Flavor {name} has a disk of 0 GiB: unless its operator decides otherwise, Nova starts such a server "
                "from a volume only, and netorder makes no volumes. Take a flavor with a disk, or, where you know that "
                f"this cloud's policy (create:zero_disk_flavor) lets you: -e allow={ZERO_DISK}. With a disk: {choices}."
            )
        ]

    def _external_problems(self) -> list[str]:
        if not self._externals:
            return [
                "This project sees no external network, so no router can leave the cloud. Ask the cloud's operator."
            ]
        names = {
            router.external_network or self.plan.external_network for router in self.plan.routers if router.external
        }
        problems = []
        choices = "; ".join(sorted(self._described(network) for network in self._externals))
        for named in sorted(names, key=str):
            matching = [network for network in self._externals if named in {None, network.name, network.id}]
            if len(matching) == 1:
                self.facts.externals[named] = matching[0].id
            elif not matching:
                problems.append(f"External network {named} does not exist here. The choices: {choices}.")
            else:
                problems.append(
                    "More than one external network fits: name one in the topology (`external_network`), or its id "
                    f"where names are the same. The choices: {choices}."
                )
        return problems

    def _compute_quota(self, limits: AbsoluteLimits) -> list[str]:
        """Compare with what is free; a replaced server gives back what it takes, so only the new ones count."""
        new = [self._flavors[c.host.flavor] for c in self._booted if c.action == "create"]
        grown = [self._flavors[c.host.flavor] for c in self._resized]
        had = {server.id: server.flavor for server in self.observed.servers}
        shed = [had[c.id] for c in self._resized]
        cores = sum(f.vcpus for f in [*new, *grown]) - sum(f.vcpus or 0 for f in shed)
        ram = sum(f.ram for f in [*new, *grown]) - sum(f.ram or 0 for f in shed)
        return quota_problems(
            {
                "instances": (len(new), limits.instances, limits.instances_used),
                "cores": (cores, limits.total_cores, limits.total_cores_used),
                "MiB of RAM": (ram, limits.total_ram, limits.total_ram_used),
            }
        )

    def _zone_problems(self) -> list[str]:
        """Return the zones of new servers that the cloud has not, or that are out of service."""
        if self._zones is None:
            return []
        hosts: dict[str, list[str]] = {}
        for host in self._hosts:
            if host.server and host.server.availability_zone:
                hosts.setdefault(host.server.availability_zone, []).append(host.name)
        choices = ", ".join(sorted(zone for zone, available in self._zones.items() if available)) or "none"
        return [
            f"Availability zone {zone} (hosts: {few(names)}) {why} The choices: {choices}."
            for zone, names in sorted(hosts.items())
            if (
                why := {None: "does not exist in this cloud.", False: "is not available now."}.get(
                    self._zones.get(zone)
                )
            )
        ]

    def _server_limits(self, limits: AbsoluteLimits) -> list[str]:
        """Return what Nova's limits refuse of server groups and of items of metadata; -1 or nothing is no limit."""
        problems = []
        if new := [c for c in self._changes if c.kind == server_group.KIND and c.action == "create"]:
            needed = (len(new), limits.server_groups, limits.server_groups_used)
            problems += quota_problems({"server groups": needed} if None not in needed else {})
        members = Counter(host.server.server_group for host in self.plan.hosts if host.server)
        for group in sorted({host.server.server_group or "" for host in self._hosts if host.server} - {""}):
            if (most := limits.server_group_members) is not None and 0 <= most < members[group]:
                problems.append(
                    f"Server group {group} is for {members[group]} servers, and this cloud allows {most} in one: "
                    "take fewer, or several groups."
                )
        for host in self._hosts:
            if host.server and (most := limits.server_meta) is not None and 0 <= most < items_of_metadata(host):
                problems.append(
                    f"Host {host.name} has {items_of_metadata(host)} items of metadata with netorder's own, and this "
                    f"cloud allows {most}: remove some."
                )
        return problems


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _newest_first(images: Iterable[Image]) -> list[Image]:
    return sorted(images, key=lambda image: str(image.created_at), reverse=True)


def quota_problems(needs: dict[str, tuple[int, int, int]]) -> list[str]:
    """Return a problem for each of ``needs`` (needed, limit, used) that does not fit; limit -1 is none."""
    return [
        f"Quota: {needed} {what} needed, {max(limit - used, 0)} free ({used} of {limit} used). "
        "Free some, or ask the cloud's operator for more."
        for what, (needed, limit, used) in needs.items()
        if limit >= 0 and needed > limit - used
    ]
