"""Drift: what differs from the plan, in the cloud and inside the hosts, as one list, shown as a table or as JSON.

Pure. What the cloud has is compared by provisioning itself, and what is on a host by the roles, both in check mode:
what they would change is the drift. Here it is put together, and causes are distinguished from consequences.
"""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from netorder.analysis.reach import OUTSIDE
from netorder.cloud.preview import unchanged_text
from netorder.text import count, few, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Difference = dict[str, str]

__all__ = ["as_json", "as_table", "drift", "findings", "off_reason", "out_of_reach"]

_CLOUD = "cloud"
_NOTHING = "-"
CLOCK = 2.0  # s
NOT_RUN = "its roles were not run in check mode"
# What the SSH path to a host is made of in the cloud, beside its own ports and the rules for it.
_SHARED = frozenset({"network", "subnet", "router", "router interface"})


def off_reason(off: Iterable[str], host: str, ssh_path: Sequence[str] | None) -> str:
    """Return why ``host`` is left alone: it, or one that it is reached through, is ``off`` on purpose; else nothing."""
    off = set(off)
    if host in off:
        return "stopped on purpose (playbooks/power.yml)"
    before = [one for one in ssh_path or () if one in off]
    return f"it is reached through {before[0]}, which is stopped on purpose (playbooks/power.yml)" if before else ""


def out_of_reach(hosts: Mapping[str, Mapping[str, Any]], host: str, changes: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return why ``host`` is unreachable until a run has repaired what it would repair; nothing if no cause is known.

    ``hosts`` are Ansible's variables of all hosts, ``changes`` what provisioning would do. What may or may not be on
    the SSH path, or close it, is a reason only for one that did not answer (``netorder_unanswered``).
    """
    ssh_path = hosts[host].get("netorder_ssh_path")
    if ssh_path is None:
        return "the plan has no SSH path to it"
    floating = {change["name"] for change in changes if change["kind"] == "floating IP"}
    for one in (*ssh_path, host):
        server = hosts[one].get("openstack")
        prefix = "" if one == host else f"it is reached through {one}: "
        if not server:
            return f"{prefix}not in the cloud"
        if server["status"] != "ACTIVE":
            return f"{prefix}its server is {server['status']}"
        if one in floating:
            return f"{prefix}its floating IP differs from the plan"
    return _no_answer(hosts, host, changes) if hosts[host].get("netorder_unanswered") else ""


def _no_answer(hosts: Mapping[str, Mapping[str, Any]], host: str, changes: Iterable[Mapping[str, Any]]) -> str:
    """Return what may be why ``host`` does not answer, and would be repaired; nothing if that is not known."""
    ssh_path = hosts[host]["netorder_ssh_path"]
    for one in ssh_path:
        if hosts[one].get("__host_network", {}).get("changed"):
            return f"no answer: it is reached through {one}, whose routes differ from the plan"
    ports = {f"{hosts[one]['netorder_topology']}-{one}" for one in (*ssh_path, host)}
    for change in changes:
        kind, name = change["kind"], change["name"]
        own = kind == "port" and name.partition(".")[0] in ports
        if kind in _SHARED or own or {*ssh_path, host}.intersection(_hosts_of(change)):
            return f"no answer, and {kind} {name} differs from the plan"
    return ""


def _hosts_of(change: Mapping[str, Any]) -> list[str]:
    """Return the hosts that a security group's change is about."""
    if change["kind"] != "security group":
        return []
    return [host for host in str((change["after"] or {}).get("hosts", "")).split(", ") if host]


def _nobody(_address: str) -> None:
    return None


def findings(
    results: Mapping[str, Mapping[str, Any]],
    services: Iterable[Mapping[str, Any]] = (),
    clock: Mapping[str, float] | None = None,
    node_of: Callable[[str], str | None] = _nobody,
) -> list[dict[str, Any]]:
    """Return what was found inside a host, from the results of its modules in check mode, and from outside.

    ``services`` are what the files of its services must be like, where they were compared; ``clock`` says by how many
    seconds the host's is ``ahead`` of the controller's, ``give`` or take; ``node_of`` tells whose an address is.
    """
    differences = results["netorder_host_network"]["differences"]
    checks = results["netorder_observe"]["checks"]
    if any(one["what"].startswith(("name in ", "names in ")) for one in differences):
        # that they lead elsewhere follows from the file
        checks = [one for one in checks if one["ok"] or one["what"] != "names of hosts"]
    kept = [one | {"ok": False} for one in differences] or [
        _finding("routes, addresses and forwarding", "no difference", "no difference") | {"ok": True}
    ]
    tried = [_of_sizes(one, node_of) for one in checks]
    found = [*tried, *kept, *([_of_clock(**clock)] if clock else [])]
    for service in services:
        answer = results[f"netorder_service {service['unit']}"]
        if answer["file_differs"]:
            found.append(_finding(f"file {service['file']}", "as built from the source", "missing or altered"))
        found += _of_unit(f"/etc/systemd/system/{service['unit']}", answer["unit_before"], service["text"])
        if answer["unit_differs"] and answer["unit_before"] == service["text"]:
            found.append(_finding(f"file /etc/systemd/system/{service['unit']}", "root's, mode 0644", "another"))
    outside = results.get("outside", {}).get("checks", [])
    return found + [_of_sizes(one, node_of) | {"from": OUTSIDE} for one in outside]


def _of_sizes(check: Mapping[str, Any], node_of: Callable[[str], str | None]) -> dict[str, Any]:
    """Return a finding with what is lost on its way by its size as a warning: what was planned works, in part."""
    lost = check.get("lost")
    if not lost:
        return dict(check)

    def named(address: str) -> str:
        name = node_of(address)
        return f"{name} ({address})" if name else address

    where = ""
    if before := lost.get("before"):
        after = lost.get("after")
        where = f" between {named(after)} and {named(before)}" if after else f" before {named(before)}"
        if before == check["address"]:
            where += ", or their answers on the way back,"
    segment = lost.get("segment")
    fits = segment is not None and segment <= lost["passes"]
    said = f"packets of {lost['bytes']} bytes are lost{where} and nobody says so, of {lost['passes']} they pass: "
    said += "TCP sends no larger ones here" if fits else "connections hang as soon as they send that much at once"
    return {**check, "warning": f"{said}; `mtu: {lost['passes']}` of the network is what fits"}


def _of_clock(ahead: float, give: float) -> dict[str, Any]:
    """Return the finding about a host's clock: a warning where it is surely off, as the network is right without it."""
    expected = f"within {CLOCK:g} s of the controller's"
    if abs(ahead) - give <= CLOCK:
        return _finding("clock", expected, expected) | {"ok": True}
    found = f"{abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    said = f"the clock is {found}: certificates, logs and logins go by it (timedatectl says whether it is set by NTP)"
    return _finding("clock", expected, found) | {"ok": True, "warning": said}


def _of_unit(path: str, before: str, after: str) -> list[dict[str, Any]]:
    """Compare a unit's text with the planned one: one finding for each run of lines that differ."""
    if not before:
        return [_finding(f"file {path}", "there", "missing")]
    found, planned = before.splitlines(), after.splitlines()
    matcher = SequenceMatcher(None, planned, found, autojunk=False)
    return [
        _finding(f"file {path}, line {low + 1}", _joined(planned[start:end]), _joined(found[low:high]))
        for tag, start, end, low, high in matcher.get_opcodes()
        if tag != "equal"
    ]


def _finding(what: str, expected: str, found: str) -> dict[str, Any]:
    return {"what": what, "expected": expected, "found": found, "ok": False}


def _joined(lines: Sequence[str]) -> str:
    return " / ".join(line for line in lines if line) or _NOTHING


def drift(
    topology: str, preview: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> dict[str, Any]:
    """Put together what differs.

    ``preview`` is what provisioning returned in check mode (``changes``; ``problems`` when it would refuse). ``hosts``
    are Ansible's variables of all hosts, of which ``names`` are the plan's: ``netorder_findings`` is what was found
    inside one, ``netorder_unanswered`` what SSH said where nobody answered. Where roles were run in check mode,
    ``netorder_role_changes`` are the tasks that would change something, ``netorder_role_failed`` the task that failed.

    The answer has ``drift``, ``differences`` (each with where, what, expected, actual; in the cloud also kind, name,
    action, reason; of a role's task its name), ``refused`` (problems), ``not_checked`` (host to reason), ``checked``,
    ``unchanged`` (kind to count) and ``needs_allow``. A host that should have been checked and was not is drift.
    ``roles_not_checked`` (host to reason) are those whose roles without the entry point ``compare`` were not run, or
    not to their end: no drift, since not every role can be run in check mode. ``roles_checked`` are the others of them.
    """
    changes = preview.get("changes", [])
    differences = [row for change in changes for row in _of_change(change)]
    refused = list(preview.get("problems", []))
    not_checked: dict[str, str] = {}
    unchecked = False
    differing: set[str] = set()
    for name in sorted(names, key=lambda one: len(hosts[one].get("netorder_ssh_path") or ())):
        own, reason = _of_host(name, hosts, changes, differing)
        differences += own
        if own:
            differing.add(name)
        if reason:
            not_checked[name] = reason
            path = hosts[name].get("netorder_ssh_path")
            on_purpose = off_reason(hosts[name].get("netorder_off", ()), name, path)
            unchecked = unchecked or (path is not None and not on_purpose)
    differences = _causes(differences, hosts)
    checked = [name for name in names if name not in not_checked]
    roles = {name: _roles_unchecked(hosts[name]) for name in checked if _compared_by_nobody(hosts[name])}
    return {
        "topology": topology,
        "drift": bool(differences or refused) or unchecked,
        "differences": differences,
        "refused": refused,
        "not_checked": {name: not_checked[name] for name in names if name in not_checked},
        "checked": checked,
        "roles_checked": [name for name, reason in roles.items() if not reason],
        "roles_not_checked": {name: reason for name, reason in roles.items() if reason},
        "unchanged": dict(preview.get("unchanged", {})),
        "needs_allow": list(preview.get("needs_allow", [])),
    }


def _compared_by_nobody(variables: Mapping[str, Any]) -> bool:
    """Return whether a host has an application whose role does not say what its files must be like."""
    return any("compare" not in one["entry_points"] for one in variables.get("netorder_applications", ()))


def _roles_unchecked(variables: Mapping[str, Any]) -> str:
    """Return why what the roles of a host would change is not known, or not all of it; nothing where it is."""
    if failed := variables.get("netorder_role_failed"):
        return f"in check mode it fails, and what comes after that is not known: {' '.join(str(failed).split())}"
    if not variables.get("netorder_roles_ran"):
        return NOT_RUN
    return "" if "netorder_role_changes" in variables else "the callback netorder_role_changes is not enabled"


def _causes(differences: list[Difference], hosts: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Leave out that an application does not serve where that may follow of something else that differs.

    That is what differs in the cloud, on its own host, or on a host of what it calls.
    """
    needs = {
        (host, one["check"]["what"]): {
            _CLOUD,
            host,
            *(copy["host"] for copies in one["calls"].values() for copy in copies),
        }
        for host, variables in hosts.items()
        for one in variables.get("netorder_applications", ())
        if one["calls"] and one["check"]
    }

    def follows(difference: Difference) -> bool:
        which = difference["where"], difference["what"]
        return any(one is not difference and one["where"] in needs.get(which, ()) for one in differences)

    causes = [one for one in differences if not follows(one)]
    return causes or differences


def _of_host(
    name: str, hosts: Mapping[str, Mapping[str, Any]], changes: Iterable[Mapping[str, Any]], differing: set[str]
) -> tuple[list[Difference], str]:
    """Return what differs inside a host, or why that is not known."""
    variables = hosts[name]
    if reason := off_reason(variables.get("netorder_off", ()), name, variables.get("netorder_ssh_path")):
        return [], reason
    if reason := out_of_reach(hosts, name, changes):
        return [], reason
    if said := variables.get("netorder_unanswered"):
        before = [one for one in variables["netorder_ssh_path"] if one in differing]
        if before:
            return [], f"no answer; it is reached through {before[-1]}, which differs from the plan"
        return [_difference(name, "SSH", "answers", " ".join(str(said).split()))], "no answer"
    findings = variables.get("netorder_findings")
    if findings is None:
        return [], "checking it failed: see the failed task above"
    rows = [_difference(name, one["what"], one["expected"], one["found"]) for one in findings if not one["ok"]]
    for one in variables.get("netorder_role_changes", ()):
        what = f"would change {one['what']}" if one["what"] else "would change something"
        rows.append(_difference(name, f"role {one['task']}", "no change", what) | {"task": one["task"]})
    return rows, ""


def _difference(where: str, what: str, expected: str, actual: str) -> Difference:
    return {"where": where, "what": what, "expected": expected, "actual": actual}


def _of_change(change: Mapping[str, Any]) -> list[Difference]:
    """Write a change that provisioning would make as expected and actual values, a row for each."""
    what = f"{change['kind']} {change['name']}"
    if len(hosts := _hosts_of(change)) > 1:
        what += f" ({few(hosts)})"
    more = {key: str(change[key]) for key in ("kind", "name", "action", "reason")}
    if change["action"] == "create":
        rows = [(what, "there", "missing")]
    elif change["action"] == "delete":
        rows = [(what, "none", change["reason"])]
    else:
        rows = [
            (f"{what}: {key}", expected, actual)
            for key, old, new in _fields(change)
            for expected, actual in _values(old, new)
        ]
        if change["action"] == "replace":
            rows.insert(0, (what, "matches the plan", change["reason"]))
    return [_difference(_CLOUD, *row) | more for row in rows]


def _fields(change: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    before, after = change["before"] or {}, change["after"] or {}
    both = [(key, before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])]
    return [field for field in both if field[1] != field[2]]


def _values(old: object, new: object) -> list[tuple[str, str]]:
    """Pair expected and actual values; of lists, those that only one of them has."""
    if isinstance(old, list) and isinstance(new, list):
        lacking = [(_plain(value), _NOTHING) for value in new if value not in old]
        return lacking + [(_NOTHING, _plain(value)) for value in old if value not in new]
    return [(_plain(new), _plain(old))]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "-".join(str(part) for part in value.values())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return {None: "none", True: "yes", False: "no"}.get(value, str(value))  # type: ignore[call-overload,no-any-return]


def as_json(found: Mapping[str, Any]) -> str:
    """Return the answer of :func:`drift` as JSON."""
    return json.dumps(found, indent=2, ensure_ascii=False)


def as_table(found: Mapping[str, Any]) -> str:
    """Return the answer of :func:`drift` for people: a row for each difference, then what was not checked."""
    differences: list[Difference] = found["differences"]
    lines = []
    if differences:
        rows = [["where", "what", "expected", "actual"]]
        rows += [[one["where"], one["what"], one["expected"], one["actual"]] for one in differences]
        lines += [*table(rows), ""]
    lines += [f"refused: {problem}" for problem in found["refused"]]
    lines += [f"{name}: not checked: {reason}" for name, reason in found["not_checked"].items()]
    lines += _about_roles(found)
    if found["unchanged"]:
        lines.append(f"matches the plan in the cloud: {unchanged_text(found['unchanged'])}")
    if found["drift"]:
        places = {one["where"] for one in differences}
        hosts = len(places - {_CLOUD})
        in_cloud = sum(one["where"] == _CLOUD for one in differences)
        lines.append(
            f"{found['topology']}: {count(len(differences), 'difference')}, {in_cloud} in the cloud, "
            f"{len(differences) - in_cloud} inside {count(hosts, 'host')}"
        )
        fix = "First fix what is refused; then" if found["refused"] else "To fix this"
        lines.append(f"{fix}: ansible-playbook site.yml{_allow(found['needs_allow'])}")
    else:
        lines.append(f"{found['topology']}: no drift, in the cloud and inside {count(len(found['checked']), 'host')}")
    return "\n".join(lines)


def _about_roles(found: Mapping[str, Any]) -> list[str]:
    """Return what is to be known about applications whose roles compare nothing."""
    reasons: dict[str, str] = found["roles_not_checked"]
    lines = [f"{name}: its roles: {reason}" for name, reason in reasons.items() if reason != NOT_RUN]
    if not_run := [name for name, reason in reasons.items() if reason == NOT_RUN]:
        lines.append(f"not compared: what roles installed on {few(not_run)}; --check runs them in check mode")
    if any("task" in one for one in found["differences"]):
        lines.append(
            "`role ...` is what a task says in check mode. If it says so right after a run too, it is no drift: "
            "the task says `changed` always, as commands without `changed_when` do"
        )
    return lines


def _allow(words: Sequence[str]) -> str:
    return f" -e allow={','.join(words)}" if words else ""
