"""What a user would write in place of netorder, for the topology of a plan: a shell script, a play, a Heat template.

Each takes the plan as ``netorder plan FILE --format json`` prints it, and makes the same networks, routers, groups,
rules, ports, servers and floating IPs, under the same names. Each is written to its own advantage: the script and the
play ask for all servers before they wait for any, and groups get their rules in one task where a module can. The play
is also written as the modules' documentation shows it, where each server is waited for.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Plan = dict[str, Any]


def key_name(plan: Plan) -> str:
    """Return the name of the topology's key pair."""
    return f"{plan['topology']}-key"


def _subnets(plan: Plan) -> list[tuple[Plan, Plan]]:
    return [(network, subnet) for network in plan["networks"] for subnet in network["subnets"]]


def _router_ports(plan: Plan) -> list[tuple[Plan, Plan, Plan, Plan]]:
    """Return router, interface, network and subnet of each router's port."""
    networks = {network["name"]: network for network in plan["networks"]}
    return [
        (router, interface, networks[interface["network"]], networks[interface["network"]]["subnets"][0])
        for router in plan["routers"]
        for interface in router["interfaces"]
    ]


def _host_ports(plan: Plan) -> list[tuple[Plan, Plan, Plan, list[str]]]:
    """Return port, network, subnet and the groups' names of each host's port."""
    networks = {network["name"]: network for network in plan["networks"]}
    groups = {group["name"]: group["cloud_name"] for group in plan["security_groups"]}
    return [
        (
            port,
            networks[port["network"]],
            networks[port["network"]]["subnets"][0],
            [groups.get(g, g) for g in port["security_groups"]],
        )
        for host in plan["hosts"]
        for port in host["ports"]
    ]


def _ingress(group: Plan) -> list[Plan]:
    """Return the rules that Neutron does not make by itself."""
    return [rule for rule in group["rules"] if rule["direction"] == "ingress"]


# --- a shell script of `openstack` calls ---

Words = tuple[str, ...]


def script(plan: Plan, public_key: str, external: str) -> tuple[str, str]:
    """Return the shell scripts that create and delete."""
    create = [("keypair", "create", "--public-key", public_key, key_name(plan))]
    create += [*_network_calls(plan, external), *_group_calls(plan), *_host_calls(plan, external)]
    pattern = shlex.quote(f"^{plan['topology']}-")
    wait = [
        f"until states=$(openstack server list --name {pattern} -f value -c Status) &&",
        f'      [ "$(echo "$states" | grep -c ACTIVE)" = {len(plan["hosts"])} ]; do',
        "  case $states in *ERROR*) exit 1 ;; esac",
        "  sleep 1",
        "done",
    ]
    ports = [shlex.quote(host["ports"][0]["cloud_name"]) for host in plan["hosts"] if host["floating_ip"]]
    listed = [f"$(openstack floating ip list --port {port} -f value -c ID)" for port in ports]
    gone = [f"openstack floating ip delete {' '.join(listed)}"]
    return _shell(create, after=wait), _shell(_deletions(plan), before=gone)


def _shell(calls: list[Words], *, before: Sequence[str] = (), after: Sequence[str] = ()) -> str:
    lines = ["openstack " + shlex.join(words) + " >/dev/null" for words in calls]
    return "\n".join(["set -eu", *before, *lines, *after]) + "\n"


def _network_calls(plan: Plan, external: str) -> Iterator[Words]:
    for network, subnet in _subnets(plan):
        first, last = subnet["allocation_pool"]
        yield ("network", "create", network["cloud_name"])
        yield ("subnet", "create", "--network", network["cloud_name"], "--subnet-range", subnet["cidr"],
               "--gateway", subnet["gateway_ip"], "--allocation-pool", f"start={first},end={last}",
               subnet["cloud_name"])  # fmt: skip
    for router in plan["routers"]:
        way = ("--external-gateway", external) if router["external"] else ()
        yield ("router", "create", *way, router["cloud_name"])
    for router, interface, network, subnet in _router_ports(plan):
        yield ("port", "create", "--network", network["cloud_name"], "--no-security-group", "--fixed-ip",
               f"subnet={subnet['cloud_name']},ip-address={interface['addresses'][0]}",
               interface["port_name"])  # fmt: skip
        yield ("router", "add", "port", router["cloud_name"], interface["port_name"])


def _group_calls(plan: Plan) -> Iterator[Words]:
    for group in plan["security_groups"]:
        yield ("security", "group", "create", group["cloud_name"])
        for rule in _ingress(group):
            remote = ("--remote-ip", rule["remote_cidr"]) if rule["remote_cidr"] else ()
            protocol = ("--protocol", rule["protocol"]) if rule["protocol"] else ()
            ports = ("--dst-port", f"{rule['port_min']}:{rule['port_max']}") if rule["port_min"] else ()
            yield ("security", "group", "rule", "create", "--ingress", "--ethertype", rule["ethertype"], *protocol,
                   *ports, *remote, group["cloud_name"])  # fmt: skip


def _host_calls(plan: Plan, external: str) -> Iterator[Words]:
    for port, network, subnet, groups in _host_ports(plan):
        yield ("port", "create", "--network", network["cloud_name"], "--fixed-ip",
               f"subnet={subnet['cloud_name']},ip-address={port['addresses'][0]}",
               *(word for group in groups for word in ("--security-group", group)), port["cloud_name"])  # fmt: skip
    for host in plan["hosts"]:
        yield ("server", "create", "--image", host["image"], "--flavor", host["flavor"], "--key-name",
               key_name(plan), *(word for port in host["ports"] for word in ("--port", port["cloud_name"])),
               host["cloud_name"])  # fmt: skip
    for host in plan["hosts"]:
        if host["floating_ip"]:
            yield ("floating", "ip", "create", "--port", host["ports"][0]["cloud_name"], external)


def _deletions(plan: Plan) -> list[Words]:
    detached = [
        ("router", "remove", "port", router["cloud_name"], interface["port_name"])
        for router, interface, _, _ in _router_ports(plan)
    ]
    return [
        ("server", "delete", "--wait", *(host["cloud_name"] for host in plan["hosts"])),
        *detached,
        ("port", "delete", *(port["cloud_name"] for port, *_ in _host_ports(plan))),
        ("router", "delete", *(router["cloud_name"] for router in plan["routers"])),
        ("network", "delete", *(network["cloud_name"] for network in plan["networks"])),
        ("security", "group", "delete", *(group["cloud_name"] for group in plan["security_groups"])),
        ("keypair", "delete", key_name(plan)),
    ]


# --- a play of openstack.cloud modules ---


def play(plan: Plan, public_key: str, external: str, *, wait: bool = False) -> tuple[str, str]:
    """Return the plays that create and delete; with ``wait`` (the module's default) one server after the other."""
    count = len(plan["hosts"])

    def task(name: str, module: str, arguments: Plan, items: list[Any]) -> Plan:
        return {"name": name, f"openstack.cloud.{module}": arguments, "loop": items,
                "loop_control": {"label": "{{ item.name }}"}}  # fmt: skip

    subnets = [
        {"name": s["cloud_name"], "network": n["cloud_name"], "cidr": s["cidr"], "gateway": s["gateway_ip"],
         "first": s["allocation_pool"][0], "last": s["allocation_pool"][1]}
        for n, s in _subnets(plan)
    ]  # fmt: skip
    groups = [
        {"name": group["cloud_name"],
         "rules": [{key: value for key, value in {
             "direction": rule["direction"], "ether_type": rule["ethertype"], "protocol": rule["protocol"],
             "port_range_min": rule["port_min"], "port_range_max": rule["port_max"],
             "remote_ip_prefix": rule["remote_cidr"]}.items() if value is not None} for rule in group["rules"]]}
        for group in plan["security_groups"]
    ]  # fmt: skip
    routers = [
        {"name": router["cloud_name"], "network": external if router["external"] else None,
         "interfaces": [{"net": n["cloud_name"], "subnet": s["cloud_name"], "portip": i["addresses"][0]}
                        for owner, i, n, s in _router_ports(plan) if owner is router]}
        for router in plan["routers"]
    ]  # fmt: skip
    ports = [
        {"name": port["cloud_name"], "network": network["cloud_name"], "address": port["addresses"][0],
         "groups": names}
        for port, network, _, names in _host_ports(plan)
    ]  # fmt: skip
    servers = [
        {"name": host["cloud_name"], "image": host["image"], "flavor": host["flavor"],
         "nics": [{"port-name": port["cloud_name"]} for port in host["ports"]]}
        for host in plan["hosts"]
    ]  # fmt: skip
    floating = [
        {"name": host["cloud_name"], "address": host["ports"][0]["addresses"][0]}
        for host in plan["hosts"] if host["floating_ip"]
    ]  # fmt: skip
    named = "{{ item.name }}"
    listed = {"name": f"{plan['topology']}-*"}

    def present(name: str, module: str, items: list[Any], **arguments: object) -> Plan:
        return task(name, module, {"name": named, "state": "present", **arguments}, items)

    def absent(name: str, module: str, items: list[Any], **arguments: object) -> Plan:
        return task(name, module, {"name": named, "state": "absent", **arguments},
                    [{"name": item["name"]} for item in items])  # fmt: skip

    create = [
        {"name": "Key pair", "openstack.cloud.keypair": {"name": key_name(plan), "public_key_file": public_key}},
        present("Networks", "network", [{"name": network["cloud_name"]} for network in plan["networks"]]),
        present("Subnets", "subnet", subnets, network="{{ item.network }}", cidr="{{ item.cidr }}",
                gateway_ip="{{ item.gateway }}", allocation_pool_start="{{ item.first }}",
                allocation_pool_end="{{ item.last }}"),
        present("Routers", "router", routers, network="{{ item.network or omit }}", interfaces="{{ item.interfaces }}"),
        present("Groups", "security_group", groups, security_group_rules="{{ item.rules }}"),
        present("Ports", "port", ports, network="{{ item.network }}", fixed_ips=[{"ip_address": "{{ item.address }}"}],
                security_groups="{{ item.groups }}"),
        present("Servers", "server", servers, image="{{ item.image }}", flavor="{{ item.flavor }}",
                key_name=key_name(plan), nics="{{ item.nics }}", auto_ip=False, wait=wait),
        {"name": "All active", "openstack.cloud.server_info": listed, "register": "found", "delay": 1, "retries": 900,
         "until": f"found.servers | selectattr('status', 'eq', 'ACTIVE') | length == {count}"},
        task("Floating IPs", "floating_ip", {"server": named, "network": external, "fixed_address":
             "{{ item.address }}", "state": "present"}, floating),
    ]  # fmt: skip
    delete = [
        absent("Servers", "server", servers, delete_ips=True, wait=wait),
        {"name": "None left", "openstack.cloud.server_info": listed, "register": "found", "delay": 1, "retries": 900,
         "until": "found.servers | length == 0"},
        absent("Ports", "port", ports),
        absent("Routers", "router", routers),
        absent("Networks", "network", [{"name": network["cloud_name"]} for network in plan["networks"]]),
        absent("Groups", "security_group", groups),
        {"name": "Key pair", "openstack.cloud.keypair": {"name": key_name(plan), "state": "absent"}},
    ]  # fmt: skip

    def text(tasks: list[Any]) -> str:
        document = [{"name": plan["topology"], "hosts": "localhost", "gather_facts": False, "tasks": tasks}]
        return yaml.safe_dump(document, sort_keys=False, width=200)

    return text(create), text(delete)


# --- a Heat template ---


def template(plan: Plan, public_key: str, external: str) -> str:
    """Return the template (JSON, which is YAML) whose stack is the topology; ``public_key`` is the key's text."""
    resources: dict[str, Plan] = {}

    def add(name: str, kind: str, properties: Plan, after: list[str] | None = None) -> Plan:
        resources[name] = {"type": f"OS::{kind}", "properties": properties, **({"depends_on": after} if after else {})}
        return {"get_resource": name}

    key = add("key", "Nova::KeyPair", {"name": key_name(plan), "public_key": public_key})
    network_of, subnet_of, group_of, router_of, attached = {}, {}, {}, {}, []
    for network, subnet in _subnets(plan):
        name = network["cloud_name"]
        first, last = subnet["allocation_pool"]
        network_of[name] = add(f"network {name}", "Neutron::Net", {"name": name})
        subnet_of[name] = add(f"subnet {name}", "Neutron::Subnet", {
            "name": subnet["cloud_name"], "network": network_of[name], "cidr": subnet["cidr"],
            "gateway_ip": subnet["gateway_ip"], "allocation_pools": [{"start": first, "end": last}],
        })  # fmt: skip
    for group in plan["security_groups"]:
        rules = [
            {key: value for key, value in {
                "direction": rule["direction"], "ethertype": rule["ethertype"], "protocol": rule["protocol"],
                "port_range_min": rule["port_min"], "port_range_max": rule["port_max"],
                "remote_ip_prefix": rule["remote_cidr"]}.items() if value is not None}
            for rule in _ingress(group)
        ]  # fmt: skip
        name = group["cloud_name"]
        group_of[name] = add(f"group {name}", "Neutron::SecurityGroup", {"name": name, "rules": rules})
    for router in plan["routers"]:
        gateway = {"external_gateway_info": {"network": external}} if router["external"] else {}
        name = router["cloud_name"]
        router_of[name] = add(f"router {name}", "Neutron::Router", {"name": name, **gateway})
    for router, interface, network, _ in _router_ports(plan):
        name = interface["port_name"]
        port = add(f"port {name}", "Neutron::Port", {
            "name": name, "network": network_of[network["cloud_name"]], "security_groups": [],
            "fixed_ips": [{"subnet": subnet_of[network["cloud_name"]], "ip_address": interface["addresses"][0]}],
        })  # fmt: skip
        add(f"interface {name}", "Neutron::RouterInterface", {"router": router_of[router["cloud_name"]], "port": port})
        attached.append(f"interface {name}")
    port_of = {}
    for port, network, _, groups in _host_ports(plan):
        name = port["cloud_name"]
        port_of[name] = add(f"port {name}", "Neutron::Port", {
            "name": name, "network": network_of[network["cloud_name"]],
            "fixed_ips": [{"subnet": subnet_of[network["cloud_name"]], "ip_address": port["addresses"][0]}],
            "security_groups": [group_of.get(group, group) for group in groups],
        })  # fmt: skip
    for host in plan["hosts"]:
        add(f"server {host['cloud_name']}", "Nova::Server", {
            "name": host["cloud_name"], "image": host["image"], "flavor": host["flavor"], "key_name": key,
            "networks": [{"port": port_of[port["cloud_name"]]} for port in host["ports"]], "user_data_format": "RAW",
        })  # fmt: skip
        if host["floating_ip"]:
            add(f"floating {host['cloud_name']}", "Neutron::FloatingIP", {
                "floating_network": external, "port_id": port_of[host["ports"][0]["cloud_name"]],
            }, attached)  # fmt: skip
    return json.dumps({"heat_template_version": "2018-08-31", "resources": resources})
