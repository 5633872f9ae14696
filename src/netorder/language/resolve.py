"""Names: which networks, routers and hosts there are, and whether what they say of each other is possible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from netorder.ip import IPV4, SLAAC
from netorder.language import schema
from netorder.language.applications import Applications, hosted, read_applications
from netorder.language.further import check_further, check_links, parent_of
from netorder.text import count, did_you_mean
from netorder.topology import GROUPS, group_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netorder.ip import Address
    from netorder.language.document import Reader
    from netorder.language.yaml_source import Path
    from netorder.topology import ApplicationSpec

__all__ = ["Attached", "HostEntry", "Names", "NetworkEntry", "RouterEntry", "existing", "resolve"]

LONGEST_NAME = 63  # of a DNS label (RFC 1123)
RESERVED = GROUPS | {
    "all": "Ansible's group of all hosts",
    "anywhere": "the word for everybody in `allow`",
    "external": "the word for the cloud's external network",
    "localhost": "every host's name for itself",
    "outside": "the word for everybody outside the topology",
    "ungrouped": "Ansible's group of the hosts without one",
}
OUTSIDE = frozenset({"external", "ext", "ext-net", "external-network", "internet", "outside", "provider", "public"})
Attached = dict[str, "Path | None"]  # network -> where the addresses on it are declared, if anywhere


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """A network's settings; ``routes`` is where the static routes of its hosts live.

    ``existing`` is what it is called in the cloud, by name or id, if it is one that is there. With ``slaac`` hosts make
    up their IPv6 addresses. ``subnet_of`` is the network whose further subnet it is.
    """

    dns_nameservers: tuple[Address, ...]
    routes: str
    existing: str | None
    slaac: bool
    subnet_of: str | None


@dataclass(frozen=True, slots=True)
class RouterEntry:
    """A router, and the networks that it joins; ``existing`` as of a network."""

    external: bool
    networks: Attached
    existing: str | None


@dataclass(frozen=True, slots=True)
class HostEntry:
    """What an entry of ``hosts`` declares: ``names`` are the hosts that it stands for."""

    names: tuple[str, ...]
    networks: Attached
    forward: bool
    applications: Applications


@dataclass(frozen=True)
class Names:
    """What the names of the file stand for; a name is known even when what it names is wrong.

    So one mistake gives one error. ``groups`` gives the hosts in each. ``applications`` are those that can be read.
    """

    networks: Mapping[str, NetworkEntry]
    routers: Mapping[str, RouterEntry]
    hosts: Mapping[str, HostEntry]
    groups: Mapping[str, tuple[str, ...]]
    applications: Mapping[str, ApplicationSpec]

    @cached_property
    def entry_of(self) -> dict[str, HostEntry]:
        """The entry that each host comes from."""
        return {name: entry for entry in self.hosts.values() for name in entry.names}

    @property
    def joints(self) -> list[Attached]:
        """The networks of each router and of each host that forwards."""
        return [
            *(router.networks for router in self.routers.values()),
            *(entry.networks for entry in self.hosts.values() if entry.forward),
        ]


def resolve(reader: Reader) -> Names:
    """Return the networks, routers, hosts and groups that the file names; report names that cannot be."""
    families = {entry: _family(reader, entry) for entry in reader.mapping("hosts")}
    _check_names(reader, families)
    # a host of two entries, which is reported, is the one's that has its name: two would want the same address
    families = {
        entry: tuple(name for name in names if name == entry or name not in families) or (entry,)
        for entry, names in families.items()
    }
    applications = read_applications(reader)
    hosts = {entry: _host(reader, entry, names, applications) for entry, names in families.items()}
    networks = _networks(reader)
    parents = {name: its.subnet_of for name, its in networks.items()}
    for entry, host in hosts.items():
        check_links(reader, entry, host.networks, parents)
    return Names(networks, _routers(reader), hosts, _groups(reader, hosts), applications)


# Names


def _family(reader: Reader, entry: str) -> tuple[str, ...]:
    """Return the hosts that an entry of ``hosts`` stands for."""
    how_many = reader.get("hosts", entry, "count")
    if not isinstance(how_many, int):
        return (entry,)
    return tuple(f"{entry}-{number}" for number in range(1, how_many + 1))


def _check_names(reader: Reader, families: Mapping[str, tuple[str, ...]]) -> None:
    kinds: dict[str, str] = {}
    for section in ("networks", "routers", "hosts"):
        kind = section[:-1]
        for entry in reader.mapping(section):
            names = (entry, *families[entry]) if section == "hosts" else (entry,)
            message = None
            for name in dict.fromkeys(names):
                message = message or _wrong_name(reader, section, name, kinds)
                kinds.setdefault(name, kind)
            if message:
                reader.error((section, entry), f"{kind} {message}", of_key=True)


def _wrong_name(reader: Reader, section: str, name: str, kinds: Mapping[str, str]) -> str | None:
    topology = reader.text("topology")
    full = f"{topology}-{name}"
    if name in RESERVED:
        return f"`{name}`: the name is taken, it is {RESERVED[name]}; choose another"
    if name in kinds:
        return f"`{name}`: a {kinds[name]} has the same name; one name, one thing: rename one"
    if section == "networks" and name == reader.text("external_network") and not existing(reader, section, name):
        return f"`{name}`: the cloud's external network has this name; rename this one"
    if topology and len(full) > LONGEST_NAME and not reader.refused(section, name):
        return (
            f"`{name}`: its name in the cloud, `{full}`, has {len(full)} characters, and {LONGEST_NAME} are "
            "allowed; shorten it or the topology's name"
        )
    return None


def _is_network(reader: Reader, path: Path, name: str, user: str) -> bool:
    """Tell whether ``name`` is a declared network; report at ``path`` if it is not."""
    networks = reader.mapping("networks")
    if name in networks:
        return True
    if not isinstance(reader.get("networks"), dict):
        return False  # none are known, which is reported as such
    if name not in OUTSIDE and name != reader.text("external_network"):
        fix = did_you_mean(name, [*networks, *reader.several]) or "; declare it under `networks:`"
        message = f"{user}: there is no network `{name}`{fix}"
    elif path[0] == "hosts":
        message = (
            f"{user} is on the external network `{name}`, and only networks under `networks:` are for hosts; put it on "
            "one that an external router joins, and add `floating_ip: true`; or, where the cloud lets hosts on it, "
            f"declare it: `{name}: {{existing: true, cidr: ..., gateway: ...}}`"
        )
    else:
        message = f"{user} joins the external network by `external: true`, not by `{name}` among its networks"
    reader.error(path, message)
    return False


def _attached(reader: Reader, path: Path, user: str, verb: str) -> Attached:
    """Return the networks that the list or mapping at ``path`` names."""
    found: Attached = {}
    networks = reader.get(*path)
    for index, network in enumerate(networks if isinstance(networks, dict | list) else ()):
        place = (*path, network if isinstance(networks, dict) else index)
        if not isinstance(network, str):
            continue
        if network in found:
            reader.error(place, f"{user} {verb} network `{network}` twice; remove one")
        elif _is_network(reader, place, network, user):
            found[network] = place if isinstance(networks, dict) else None
            if isinstance(networks, dict) and isinstance(networks[network], dict):
                found[network] = (*place, "address")
    return found


# Networks


def _networks(reader: Reader) -> dict[str, NetworkEntry]:
    default_servers = _name_servers(reader, "defaults") or ()
    default_routes = reader.text("defaults", "routes") or str(schema.default("where"))
    found = {}
    for name in reader.mapping("networks"):
        servers = _name_servers(reader, "networks", name)
        routes = reader.text("networks", name, "routes") or default_routes
        check_further(reader, name)
        there = existing(reader, "networks", name)
        if there:
            _check_existing_network(reader, name)
            servers, routes = (), "host" if routes == "subnet" else routes
        elif reader.get("networks", name, "subnet_pool") is not None and "cidr" not in reader.mapping("networks", name):
            message = (
                f"network `{name}` has no `cidr` of its subnet pool, which the plan must know: add a free prefix of "
            )
            message += "those that `openstack subnet pool show` lists"
            reader.error(("networks", name, "subnet_pool"), message)
        elif reader.true("networks", name, "reachable"):
            message = (
                f"network `{name}` is the topology's own, where nothing outside reaches hosts at their own addresses"
            )
            reader.error(("networks", name, "reachable"), f"{message}; remove this, or say `existing:`", of_key=True)
        if not there:
            _check_pools(reader, name)
        slaac = reader.text("networks", name, "ipv6_address_mode") in SLAAC
        servers = default_servers if servers is None else servers
        found[name] = NetworkEntry(servers, routes, there, slaac, parent_of(reader, name))
    _check_twice(reader, "networks", {name: its.existing for name, its in found.items() if not its.subnet_of})
    return found


def _check_pools(reader: Reader, name: str) -> None:
    """Report subnet pools of which there is no prefix: a network has one of each of its prefixes at most."""
    path = ("networks", name, "subnet_pool")
    found: set[str] = set()
    prefixes = len([*reader.items("networks", name, "cidr")])
    for place, pool in reader.items(*path):
        if isinstance(pool, str) and pool in found:
            reader.error(place, f"subnet pool `{pool}` is there twice; remove one")
        elif isinstance(pool, str):
            found.add(pool)
    if 0 < prefixes < len(found) and not reader.refused(*path):
        message = f"network `{name}` has {len(found)} subnet pools and {count(prefixes, 'prefix', 'prefixes')}"
        reader.error(path, f"{message}, each of which is of one; remove a pool, or add the other prefix to its `cidr`")


def existing(reader: Reader, section: str, name: str) -> str | None:
    """Return what a network or router that exists is called in the cloud, by name or id; None if it is an own one.

    A further subnet is of its network.
    """
    name = (parent_of(reader, name) if section == "networks" else None) or name
    its = reader.get(section, name, "existing")
    return name if its is True else reader.named(section, name, "existing")


def _check_twice(reader: Reader, section: str, called: Mapping[str, str | None]) -> None:
    """Report what exists and has two names here."""
    known: dict[str, str] = {}
    for name, its in called.items():
        if its and (first := known.setdefault(its, name)) != name:
            kind = section[:-1]
            message = f"{kind} `{name}` is `{its}` in the cloud, and so is {kind} `{first}`; one thing, one name"
            reader.error((section, name, "existing"), f"{message}: remove one")


def _check_existing_network(reader: Reader, name: str) -> None:
    """Report what is said of an existing network that only its owner could change."""
    path: Path = ("networks", name)
    for key, fix in {
        "dns_nameservers": "hosts get those that it has",
        "mtu": "hosts get the one that it has",
        "prefix_length": "write its prefix, `cidr:`",
        "subnet_pool": "its subnets are of those that they are of",
    }.items():
        if reader.get(*path, key) is not None:
            reader.error(
                (*path, key), f"network `{name}` exists, and is left as it is; {fix}: remove this", of_key=True
            )
    if reader.text(*path, "routes") == "subnet":
        message = f"network `{name}` exists, and what its DHCP hands out is left as it is"
        reader.error((*path, "routes"), f"{message}; use `routes: host`")
    if "cidr" not in reader.mapping(*path):
        message = f"network `{name}` exists, and its prefix is not known here; add `cidr:` with the one that it has"
        reader.error(path, f"{message} (`openstack subnet list --network NAME`)", of_key=True)


def _name_servers(reader: Reader, *path: str) -> tuple[Address, ...] | None:
    path = (*path, "dns_nameservers")
    if reader.get(*path) is None:
        return None
    found: dict[Address, Path] = {}
    for place, server in reader.addresses(*path):
        if server in found:
            reader.error(place, f"name server `{server}` is there twice; remove one")
        elif server.is_loopback:
            message = f"name server `{server}` is every host's own loopback, and means another one to each"
            reader.error(place, f"{message}; name one that hosts reach")
        elif server.is_multicast or (server.version == IPV4 and server.is_reserved):
            reader.error(place, f"`{server}` is no machine's address; name one that hosts reach")
        found.setdefault(server, place)
    for none, place in found.items():
        # alone it is Neutron's word for that hosts are told of no name server
        if none.is_unspecified and any(one.version == none.version for one in found if one != none):
            message = f"`{none}` tells hosts that there is no name server, and others are named beside it"
            reader.error(place, f"{message}; remove one of the two")
    return tuple(found)


# Routers


def _routers(reader: Reader) -> dict[str, RouterEntry]:
    """Return the routers whose networks can be read."""
    found: dict[str, RouterEntry] = {}
    for name in reader.mapping("routers"):
        path = ("routers", name, "networks")
        networks = reader.get(*path)
        if not isinstance(networks, dict | list):
            continue
        external = bool(reader.get("routers", name, "external")) or reader.refused("routers", name, "external")
        attached = _attached(reader, path, f"router `{name}`", "joins")
        found[name] = router = RouterEntry(external, attached, existing(reader, "routers", name))
        if not networks:
            reader.error(path, f"router `{name}` joins nothing; name its networks, or remove it")
        elif len(networks) == 1 and router.networks and not external:
            only = next(iter(router.networks))
            message = f"router `{name}` joins `{only}` to nothing; add a network or `external: true`"
            reader.warning(("routers", name), message, of_key=True)
    _check_twice(reader, "routers", {name: its.existing for name, its in found.items()})
    return found


# Hosts


def _host(reader: Reader, entry: str, names: tuple[str, ...], known: Mapping[str, ApplicationSpec]) -> HostEntry:
    path = ("hosts", entry)
    networks = _host_networks(reader, entry)
    forward = reader.true(*path, "forward")
    if forward:
        _check_forward(reader, entry, len(networks))
    return HostEntry(names, networks, forward, hosted(reader, known, entry))


def _host_networks(reader: Reader, entry: str) -> Attached:
    path, user = ("hosts", entry), f"host `{entry}`"
    host = reader.mapping(*path)
    if "networks" in host:
        for key in ("network", "address", "mac_address"):
            if key in host:
                message = f"{user} has `networks`, which says it all; put what `{key}` says there"
                reader.error((*path, key), message, of_key=True)
        return _attached(reader, (*path, "networks"), user, "is on")
    if "network" in host:
        network = reader.text(*path, "network")
        known = network is not None and _is_network(reader, (*path, "network"), network, user)
        return {network: (*path, "address")} if known and network else {}
    reported = reader.refused(*path) and host.keys() <= schema.host_keys()
    misspelt = did_you_mean("network", host.keys() - schema.host_keys())
    if not reported and not misspelt and isinstance(reader.get(*path), dict):
        reader.error(path, f"{user} has no `network`; add `network:` with the name of a network", of_key=True)
    return {}


def _check_forward(reader: Reader, entry: str, known: int) -> None:
    declared = reader.get("hosts", entry, "networks")
    several = known > 1 or (isinstance(declared, dict | list) and len(declared) > 1)
    sections = (reader.mapping(section) for section in ("routers", "hosts"))
    if any(isinstance(one, dict) and "routes" in one for section in sections for one in section.values()):
        return  # it may be the next hop of one, which is known once addresses are
    if not several and not reader.refused("hosts", entry):
        message = f"host `{entry}` has one interface and nothing to route between; give it `networks:`, two or more"
        reader.error(("hosts", entry, "forward"), message)


# Groups


def _groups_of_applications(hosts: Mapping[str, HostEntry]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {"applications": []}
    for entry in hosts.values():
        if entry.applications:
            groups["applications"] += entry.names
        for application in entry.applications:
            groups.setdefault(group_of(application.name), []).extend(entry.names)
    return groups


def _groups(reader: Reader, hosts: Mapping[str, HostEntry]) -> dict[str, tuple[str, ...]]:
    groups = _groups_of_applications(hosts)
    others = {name for section in ("networks", "routers", "hosts") for name in reader.mapping(section)}
    others |= {*reader.several}
    others |= {name for entry in hosts.values() for name in entry.names}
    for key, entry in hosts.items():
        for path, group in reader.items("hosts", key, "groups"):
            if not isinstance(group, str):
                continue
            message = None
            if group in RESERVED or group.startswith("application_"):
                reason = RESERVED.get(group, "the group of the hosts with that application")
                message = f"group `{group}`: the name is taken, it is {reason}; choose another"
            elif group in others:
                message = f"group `{group}`: something else has the same name; one name, one thing: rename one"
            elif entry.names[0] in groups.get(group, ()):
                message = f"host `{key}` is in group `{group}` twice; remove one"
            if message:
                reader.error(path, message)
            else:
                groups.setdefault(group, []).extend(entry.names)
    return {group: tuple(names) for group, names in groups.items()}
