"""Create, update or delete a Heat stack and wait for it: ``heat.py up|down NAME [TEMPLATE]``."""

from __future__ import annotations

import sys
import time
from http import HTTPStatus
from pathlib import Path

import openstack

POLL = 1.0  # s


def main(action: str, name: str, template: str = "") -> int:
    """Do it; 0 when the stack is as wanted."""
    heat = openstack.connect().orchestration
    there = heat.find_stack(name)
    body = {"stack_name": name, "timeout_mins": 60}
    if action == "down":
        if there is None:
            return 0
        heat.delete(f"/stacks/{name}/{there.id}").raise_for_status()
        goal = "DELETE_COMPLETE"
    else:
        body["template"] = Path(template).read_text(encoding="utf-8")
        url = f"/stacks/{name}/{there.id}" if there else "/stacks"
        answer = heat.put(url, json=body) if there else heat.post(url, json=body)
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            sys.exit(f"Heat refuses the stack: {answer.text}")
        goal = "UPDATE_COMPLETE" if there else "CREATE_COMPLETE"
    while True:
        answer = heat.get(f"/stacks/{name}/{there.id}" if there else f"/stacks/{name}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return 0 if action == "down" else 1
        stack = answer.json()["stack"]
        status = stack["stack_status"]
        if status == goal:
            return 0
        if status.endswith("_FAILED"):
            sys.exit(f"{status}: {stack['stack_status_reason']}")
        time.sleep(POLL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
