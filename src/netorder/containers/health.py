"""A host's health check: a script in its container, made of what its applications say about how they are checked. Pure.

podman runs it. It also writes to the journal, as of the application's unit, when one stops serving and when it is well.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from netorder.analysis.probes import listens_on

if TYPE_CHECKING:
    from netorder.analysis.reach import Matrix
    from netorder.plan.model import Host

__all__ = ["COMMAND", "FILE", "TIMEOUT", "health"]

FILE = "/etc/netorder-health"
COMMAND = f"exec /usr/bin/python3 -I {FILE}"
TIMEOUT = 10  # seconds of the whole
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, not by us

_SCRIPT = '''\
# Written by netorder, for podman: whether the applications of this host serve, and if not, why.
import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.parse

APPLICATIONS = json.loads(r"""@""")
NOTE = "/run/netorder-health"
SECONDS = 4
LONGEST = 200


def stopped(units):
    for unit in units:
        command = ["systemctl", "is-active", unit]
        state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if state != "active":
            return "unit {} is {}".format(unit, state or "not known")
    return ""


def unanswered(address, port):
    try:
        socket.create_connection((address, port), SECONDS).close()
    except OSError as error:
        return "tcp {} of {}: {}".format(port, address, error)
    return ""


def wrong(address, port, path, body, status, answer, contains):
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    try:
        where = urllib.parse.quote(path, safe="/?&=%#+,;:@!$'()*~[]")
        connection.request("GET" if body is None else "POST", where, body and body.encode())
        found = connection.getresponse()
        said = found.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return "http port {} of {}: {}".format(port, address, error or type(error).__name__)
    finally:
        connection.close()
    if found.status == status and answer in (None, said) and (contains is None or contains in said):
        return ""
    shown = said[:LONGEST] or "nothing"
    return "http port {} of {} answers {} with {}".format(port, address, found.status, shown)


def tell(name, units, problem):
    text = "{} {}".format(name, "does not serve: " + problem if problem else "serves again")
    lines = ["SYSLOG_IDENTIFIER=netorder-health", "PRIORITY={}".format(4 if problem else 6)]
    lines += ["OBJECT_SYSTEMD_UNIT=" + unit for unit in units] + ["MESSAGE=" + " ".join(text.split())]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.sendto("\\n".join(lines + [""]).encode(), "/run/systemd/journal/socket")


def main():
    found = {}
    for one in APPLICATIONS:
        problem = stopped(one["units"])
        if not problem and one["check"]:
            check = dict(one["check"])
            problem = unanswered(**check) if "path" not in check else wrong(**check)
        found[one["name"]] = problem
    try:
        with open(NOTE) as file:
            before = json.load(file)
    except (OSError, ValueError):
        before = {}
    for one in APPLICATIONS:
        problem = found[one["name"]]
        if problem != before.get(one["name"], ""):
            tell(one["name"], one["units"], problem)
    new = "{}.{}".format(NOTE, os.getpid())  # podman and somebody who asks may run this at the same time
    with open(new, "w") as file:
        json.dump(found, file)
    os.replace(new, NOTE)
    problems = ["{}: {}".format(name, problem) for name, problem in found.items() if problem]
    print("; ".join(problems) or "all applications serve")
    return bool(problems)


sys.exit(main())
'''


def health(matrix: Matrix, host: Host) -> str:
    """Return the script that checks the applications of ``host``."""
    address = listens_on(matrix, host)
    asked = _ANY.get(address, address)
    applications: list[dict[str, Any]] = []
    for one in host.applications:
        check: dict[str, Any] | None = None
        if its := one.check:
            check = {"address": asked, "port": its.port}
            if its.path:
                check |= {"path": its.path, "body": its.body, "status": its.status}
                check |= {"answer": its.answer, "contains": its.contains}
        applications.append({"name": one.name, "units": list(one.units), "check": check})
    # JSON has no three quotes in a row, and ends with a bracket
    return _SCRIPT.replace('"""@"""', f'"""{json.dumps(applications)}"""')
