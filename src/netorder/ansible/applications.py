"""Applications for Ansible: what each host's roles are given, in which steps the roles run, and how they are checked.

Pure but for ``main``, which writes the steps' files: a task cannot name the variables of a role that only the topology
knows, so each step has a file that does.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from netorder.analysis.probes import listens_on
from netorder.analysis.reach import OUTSIDE
from netorder.ansible.plans import matrix_of
from netorder.ip import near
from netorder.plan.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Application, Host, Plan

__all__ = [
    "Step",
    "answers",
    "application_variables",
    "builds_text",
    "connections",
    "forwarded",
    "forwarded_answers",
    "numbers",
    "order",
    "step_variables",
    "steps",
    "texts",
]

BUILDS = "application-builds.yml"
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what is listened on, not by us


# the variables of a host without applications
NONE: dict[str, Any] = {"netorder_applications": [], "netorder_role_variables": {}, "netorder_units": []}


@dataclass(frozen=True, slots=True)
class Step:
    """One role with the same variables, on all hosts that have an application of it at that stage.

    ``variables`` are their names; with ``gather_facts`` it is given the facts of its host. ``turn`` counts the
    applications of one host that are alike, from 0.
    """

    stage: int
    role: str
    variables: tuple[str, ...]
    become: bool
    gather_facts: bool
    entry_points: tuple[str, ...]
    turn: int


def steps(plan: Plan) -> dict[Step, dict[str, str]]:
    """Return the steps in the order in which they run, each with its hosts and which application of theirs it is."""
    found: dict[Step, dict[str, str]] = {}
    for host in plan.hosts:
        turns: dict[Step, int] = {}
        for one in host.applications:
            names = tuple(name for name, _ in one.variables)
            alike = Step(one.stage, one.role, names, one.become, one.gather_facts, one.entry_points, 0)
            turn = turns[alike] = turns.get(alike, -1) + 1
            step = replace(alike, turn=turn)
            found.setdefault(step, {})[host.name] = one.name
    order = {step: index for index, step in enumerate(found)}
    return {step: found[step] for step in sorted(found, key=lambda step: (step.stage, order[step]))}


def step_variables(plan: Plan, directory: Path) -> dict[str, Any]:
    """Return the variables of all hosts about the steps: each with number, file and entry points; and what to build."""
    its = steps(plan)
    return {
        **NONE,
        "netorder_steps": [
            {
                "number": number,
                "stage": step.stage,
                "file": str(_file(directory, number)),
                "entry_points": list(step.entry_points),
                "applications": list(dict.fromkeys(its[step].values())),
            }
            for number, step in enumerate(its)
        ],
        "netorder_builds": str(directory / BUILDS) if _builds(plan) else "",
    }


def _builds(plan: Plan) -> list[Application]:
    """Return one application of each role with an entry point ``build``, variables and directory."""
    its = (one for host in plan.hosts for one in host.applications if "build" in one.entry_points)
    return list({(one.role, one.directory, one.variables): one for one in its}.values())


def _file(directory: Path, number: int) -> Path:
    return directory / f"application-{number}.yml"


def _role(role: str, topology: Path) -> str:
    """Return a role's name, or its directory as an absolute path."""
    return _absolute(role, topology) if "/" in role else role


def _absolute(directory: str | None, topology: Path) -> str:
    return os.path.normpath(topology.resolve().parent / (directory or ""))


def _facts(names: str, *, become: bool) -> dict[str, Any]:
    """Return the task that gathers facts, once in a run for all roles of a host.

    Whether they are there is not told by a fact: a role may have gathered some, a cache may have those of a former
    host. ``build`` has no host, and ``compare`` asks none.
    """
    return {
        "name": f"Facts for {names}",
        "when": ["netorder_gathered is not defined", "entry_point | default('main') not in ['build', 'compare']"],
        "block": [
            {"name": f"Gather facts for {names}", "become": become, "ansible.builtin.setup": {}},
            {"name": "Note that there are facts", "ansible.builtin.set_fact": {"netorder_gathered": True}},
        ],
    }


# before it is checked, and before those that call it: what a role's handlers do (restart it) belongs to the role
_HANDLERS = {
    "ansible.builtin.meta": "flush_handlers",
    "when": "entry_point | default('main') == 'main'",
}
_WAIT = {
    "name": "",
    "netorder_wait_ready": {
        "answers": "{{ [application] | netorder_answers }}",
        "connections": "{{ [application] | netorder_connections }}",
        "units": "{{ application.units }}",
        "directory": "{{ netorder_dir }}",
        "timeout": "{{ netorder_ready_timeout | default(60) }}",
    },
    "when": "entry_point | default('main') == 'main' and not ansible_check_mode",
}


def _on(plan: Plan, hosts: Mapping[str, str]) -> list[Application]:
    """Return the applications of a step, by host and name."""
    return [one for host in plan.hosts for one in host.applications if hosts.get(host.name) == one.name]


def builds_text(plan: Plan, topology: Path) -> str:
    """Return the tasks that make files on the controller, as YAML. There ``application`` has nothing of a host."""
    tasks = [
        {
            "name": f"Build what role {one.role} sends to its hosts",
            "ansible.builtin.include_role": {
                "name": _role(one.role, topology),
                "tasks_from": "build",
                "apply": {"run_once": True},
            },
            "vars": {
                "application": {"directory": _absolute(one.directory, topology)},
                **{name: json.loads(value) for name, value in one.variables},
            },
        }
        for one in _builds(plan)
    ]
    return f"---\n# Written by netorder from {topology.name}.\n" + yaml.safe_dump(tasks, sort_keys=False, width=120)


def texts(plan: Plan, topology: Path) -> list[str]:
    """Return the tasks of each step, as YAML."""
    head = f"---\n# Written by netorder from {topology.name}: the role of {{}}, with the variables given there.\n"
    found = []
    for step, hosts in steps(plan).items():
        names = ", ".join(dict.fromkeys(hosts.values()))
        task = {
            "name": f"Application {names}",
            "ansible.builtin.include_role": {
                "name": _role(step.role, topology),
                "tasks_from": "{{ entry_point | default('main') }}",
                "apply": {"become": step.become},
            },
            "vars": {name: f"{{{{ netorder_role_variables[application.name].{name} }}}}" for name in step.variables},
        }
        facts = [_facts(names, become=step.become)] if step.gather_facts else []
        tasks = [*facts, task, _HANDLERS | {"name": f"Run the handlers of {names}"}]
        waited = {one.name for one in _on(plan, hosts) if one.check and one.ready == "check"}
        if waited:
            tasks.append(_WAIT | {"name": f"Wait until it serves: {', '.join(sorted(waited))}"})
        found.append(head.format(names) + yaml.safe_dump(tasks, sort_keys=False, width=120))
    return found


# What a host's roles are given


def application_variables(
    matrix: Matrix, host: Host, numbers: Mapping[tuple[str, str], int], topology: Path
) -> dict[str, Any]:
    """Return the variables of ``host`` about its applications; ``numbers`` are those of the steps.

    Those that the file gives the roles, by application, may hold templates. A host without has the NONE of all hosts.
    """
    if not host.applications:
        return {}
    return {
        "netorder_applications": _applications(matrix, host, numbers, topology),
        "netorder_role_variables": {
            one.name: {name: json.loads(value) for name, value in one.variables} for one in host.applications
        },
        "netorder_units": [unit for one in host.applications for unit in one.units],
    }


def _applications(
    matrix: Matrix, host: Host, numbers: Mapping[tuple[str, str], int], topology: Path
) -> list[dict[str, Any]]:
    """Return what the roles of ``host`` are given as ``application``, and what playbooks ask of it.

    ``address`` is the one to listen on, ``url`` where the first port is asked on the host itself.
    """
    address = listens_on(matrix, host)
    asked = next(one for one in host.addresses if (":" in one) == (":" in address)) if address in _ANY else address
    return [
        {
            "name": one.name,
            "step": numbers[host.name, one.name],
            "ports": list(one.tcp_ports),
            "udp_ports": list(one.udp_ports),
            "port": next(iter(one.tcp_ports), None),
            "address": address,
            "url": Endpoint(host.name, asked, next(iter(one.tcp_ports), None)).url,
            "calls": {name: [_call(copy) for copy in copies] for name, copies in one.calls},
            "urls": {name: [copy.url for copy in copies] for name, copies in one.calls},
            "version": "",
            "directory": _absolute(one.directory, topology),
            "units": list(one.units),
            "entry_points": list(one.entry_points),
            "check": _check(host, one, asked),
            "open_outside": [
                port for port in one.tcp_ports if matrix.verdict(OUTSIDE, host.name, "tcp", port) == "open"
            ],
        }
        for one in host.applications
    ]


def order(plan: Plan) -> list[str]:
    """Return the hosts with an application, those whose applications others call first."""
    last = {host: number for (host, _), number in sorted(numbers(plan).items(), key=lambda item: item[1])}
    return sorted((host.name for host in plan.hosts if host.applications), key=last.__getitem__)


def numbers(plan: Plan) -> dict[tuple[str, str], int]:
    """Return the number of the step of each application, by host and name."""
    its = enumerate(steps(plan).values())
    return {(host, name): number for number, hosts in its for host, name in hosts.items()}


def _call(endpoint: Endpoint) -> dict[str, Any]:
    return {"host": endpoint.host, "address": endpoint.address, "port": endpoint.port, "url": endpoint.url}


def _check(host: Host, application: Application, address: str) -> dict[str, Any] | None:
    its = application.check
    if its is None:
        return None
    return {
        "what": f"{application.name} on {host.name}",
        "address": address,
        "port": its.port,
        "path": its.path,
        "body": its.body,
        "status": its.status,
        "answer": its.answer,
        "contains": its.contains,
        "unit": next(iter(application.units), None),
    }


# Checks, as netorder_observe takes them


def answers(applications: Iterable[Mapping[str, Any]], address: str = "") -> list[dict[str, Any]]:
    """Return the HTTP checks of a host's applications, asked on the host itself.

    With its floating ``address``: those whose port is open to everybody, asked from outside there.
    """
    found = []
    for one in applications:
        check = one["check"]
        if check and check["path"] and (not address or check["port"] in one["open_outside"]):
            url = Endpoint("", address or check["address"], check["port"]).url + check["path"]
            kept = {key: check[key] for key in ("what", "body", "status", "answer", "contains")}
            # a unit that does not run is a finding of its own
            found.append({**kept, "url": url, "unit": None if address else check["unit"]})
    return found


def forwarded(forwards: Iterable[Mapping[str, Any]], host: str) -> list[dict[str, Any]]:
    """Return the checks by connecting to the ports of this machine that lead to a ``host`` behind a NAT."""
    return [
        {"name": host, "address": near(one["address"]), "port": one["host"], "open": True, "forwarded": True}
        for one in forwards
        if one["protocol"] == "tcp"
    ]


def forwarded_answers(
    applications: Iterable[Mapping[str, Any]], forwards: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the HTTP checks of applications behind a NAT, asked at the ports of this machine that lead to them."""
    found = []
    for one in forwards:
        for check in (its["check"] for its in applications):
            if check and check["path"] and (one["protocol"], one["guest"]) == ("tcp", check["port"]):
                url = Endpoint("", near(one["address"]), one["host"]).url + check["path"]
                kept = {key: check[key] for key in ("what", "body", "status", "answer", "contains")}
                found.append({**kept, "url": url, "unit": None})
    return found


def connections(applications: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the checks of a host's applications by connecting, on the host itself."""
    return [
        {"name": check["what"], "address": check["address"], "port": check["port"], "open": True}
        for one in applications
        if (check := one["check"]) and not check["path"]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the steps' files of a topology to a directory, those that are not there as they should be."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("topology", type=Path)
    parser.add_argument("directory", type=Path)
    given = parser.parse_args(arguments)
    given.directory.mkdir(parents=True, exist_ok=True)
    plan = matrix_of(given.topology).plan
    wanted = {_file(given.directory, number): text for number, text in enumerate(texts(plan, given.topology))}
    if _builds(plan):
        wanted[given.directory / BUILDS] = builds_text(plan, given.topology)
    for file, text in wanted.items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            part = file.with_name(f"{file.name}.{os.getpid()}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(file)


if __name__ == "__main__":
    main()
