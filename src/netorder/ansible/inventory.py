"""The plan as an Ansible inventory: groups and variables. Pure; the plugin ``netorder_plan`` hands it on."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import asdict
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from netorder.analysis.probes import ssh_sources
from netorder.ansible.applications import application_variables, numbers
from netorder.controller import proxy
from netorder.ip import IPV4, IPV6
from netorder.topology import GROUPS, MANAGEABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Host, Subnet

__all__ = ["GROUPS", "groups", "host_vars", "proxy_vars"]


def groups(host: Host) -> tuple[str, ...]:
    """List the groups of ``host``: the plan's, ``sealed`` if nothing outside reaches it, ``proxied`` with a proxy."""
    sealed = ("sealed",) if host.ssh_path is None else ()
    return (*host.groups, *sealed, *(("proxied",) if host.proxy == "controller" else ()))


def host_vars(matrix: Matrix, ssh_config: Path, topology: Path) -> Iterator[tuple[Host, dict[str, Any]]]:
    """Yield each host and its variables, plain values, of what it needs itself: not its row of the matrix.

    ``ansible_host`` is not among them: the cloud reports it.
    """
    subnets = {(network.name, subnet.version): subnet for network in matrix.plan.networks for subnet in network.subnets}
    routers = Counter(interface.network for router in matrix.plan.routers for interface in router.interfaces)
    mtus = {network.name: network.mtu for network in matrix.plan.networks}
    # the hosts of a further subnet hear the router that advertises itself on its network
    beside = {network.name: subnets.get((network.subnet_of or "", IPV6)) for network in matrix.plan.networks}
    heard = {name: its.gateway_ip for name, its in beside.items() if its and its.dhcp and its.gateway_ip}
    steps = numbers(matrix.plan)
    ssh_args = f"-F {shlex.quote(str(ssh_config))}"
    for host in matrix.plan.hosts:
        variables = _variables(matrix, host, ssh_args, subnets, _interfaces(host, subnets, routers, mtus, heard))
        yield host, variables | application_variables(matrix, host, steps, topology)


def _variables(
    matrix: Matrix,
    host: Host,
    ssh_args: str,
    subnets: Mapping[tuple[str, int], Subnet],
    interfaces: list[dict[str, Any]],
) -> dict[str, Any]:
    given = [
        asdict(route)
        for port in host.ports
        for version in (IPV4, IPV6)
        if (subnet := subnets.get((port.network, version)))
        for route in subnet.host_routes
    ]
    return {
        "ansible_user": host.user,
        # not ansible_ssh_common_args: Ansible's own ssh_args share connections by address alone, and private addresses
        # repeat from topology to topology; ssh_config has a socket for each incarnation of each host
        "ansible_ssh_args": ssh_args,
        "netorder_addresses": list(host.addresses),
        "netorder_ipv6_prefixes": [
            subnet.cidr for port in host.ports if (subnet := subnets.get((port.network, IPV6))) is not None
        ],
        "netorder_virtual_addresses": [one for port in host.ports for one in port.virtual_addresses],
        "netorder_loopback_addresses": list(host.loopback_addresses),
        "netorder_entry": host.entry is not None,
        "netorder_ssh_path": None if host.ssh_path is None else list(host.ssh_path),
        "netorder_ssh_sources": list(ssh_sources(matrix, host)),
        "netorder_depth": None if host.ssh_path is None else len(host.ssh_path),
        "netorder_routes": [asdict(route) for route in host.routes],
        "netorder_given_routes": given,
        "netorder_interfaces": interfaces,
        "netorder_default_routes": [
            {"destination": "::/0" if ":" in gateway else "0.0.0.0/0", "next_hop": gateway}
            for gateway in host.gateways
            if (":" in gateway and any(IPV6 in one["unwanted"] for one in interfaces))
            or not any(gateway == subnet.gateway_ip for subnet in subnets.values())  # a host's
        ],
        "netorder_forwarding": host.forwarding,
        "netorder_manage": {word: word in host.manages for word in MANAGEABLE},
    }


def proxy_vars(host: Host, directory: Path, port: int) -> dict[str, Any]:
    """Return the variables by which a run reaches packages from ``host``; none where it does not ask for a proxy."""
    if host.proxy != "controller":
        return {}
    return {
        "netorder_proxy_arguments": proxy.ssh_arguments(host.name, directory, port),
        "netorder_environment": proxy.environment(port, host.addresses),
    }


def _interfaces(
    host: Host,
    subnets: Mapping[tuple[str, int], Subnet],
    routers: Mapping[str, int],
    mtus: Mapping[str, int | None],
    heard: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the settings of the host's interfaces that the cloud's DHCP does not give; none where it gives all.

    ``static`` are IPv6 addresses to configure by hand: without a router on the network there are no advertisements, and
    without those no DHCPv6. ``unwanted`` are the IP versions whose default gateway, as offered on that interface, must
    not be used: the gateway is another interface's, or (IPv6) each of several routers advertises itself as the one.
    ``mtu`` is what the file says of a network without DHCP, which tells nobody. ``routers`` gives the number of each
    network's routers, ``mtus`` the MTU, ``heard`` the IPv6 gateway that a further subnet has not, and hosts on it hear:
    without IPv6 on any interface nothing goes there.
    """
    has_ipv6 = any(":" in address for address in host.addresses)
    found: list[dict[str, Any]] = []
    for port in host.ports:
        served = {v: s for v in (IPV4, IPV6) if (s := subnets.get((port.network, v))) and s.dhcp}
        gateways = {version: subnet.gateway_ip for version, subnet in served.items()}
        alone = IPV6 in served and gateways[IPV6] is None
        offered = [v for v, gateway in gateways.items() if gateway and gateway not in host.gateways]
        if gateways.get(IPV6) in host.gateways and routers[port.network] > 1:
            offered.append(IPV6)
        if has_ipv6 and port.network in heard:
            offered.append(IPV6)
        mtu = {"mtu": mtus[port.network]} if mtus[port.network] and not served else {}
        found.append(
            {
                "address": port.addresses[0],
                "static": [
                    f"{a}/{ip_network(served[IPV6].cidr).prefixlen}" for a in port.addresses if alone and ":" in a
                ],
                "unwanted": offered,
                **mtu,
            }
        )
    # one interface that gets everything by DHCP needs no settings
    return found if len(found) > 1 or any(one["static"] or one["unwanted"] or "mtu" in one for one in found) else []
