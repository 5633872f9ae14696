#!/usr/bin/python
"""Several of netorder's modules in check mode, at the same time, in one exchange with the host."""

# Sent to the host as it is, with its arguments in the last lines, and read by Python from standard input (Ansible's
# module style "new" of the kind jsonargs): the standard library alone, nothing newer than Python 3.8 but annotations.

from __future__ import annotations

import json
import sys
import threading
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCUMENTATION = r"""
module: netorder_compare
short_description: compare a host with the plan, in one exchange
description:
  - Runs netorder's own modules (C(netorder_observe), C(netorder_host_network), C(netorder_service)) on the host in
    check mode, so it never changes anything. Each exchange costs a slow host a second.
  - Fails if one of them fails.
options:
  modules:
    description: By module its arguments; one that is null is left out.
    type: dict
    required: true
  services:
    description: For each service the arguments of C(netorder_service).
    type: list
    elements: dict
    default: []
  outside:
    description:
      - Arguments of C(netorder_observe), which runs on the controller meanwhile. What must not answer is waited for as
        long there as on the host.
    type: dict
author: netorder
"""

EXAMPLES = r"""
- name: Compare routes and what is observed
  netorder_compare:
    modules:
      netorder_observe: {units: [netorder-sum.service]}
      netorder_host_network: {routes: []}
"""

RETURN = r"""
answers:
  description:
    - By module its result; that of a service by C(netorder_service), a space and its unit; that of I(outside) by
      C(outside).
  type: dict
  returned: success
clock:
  description:
    - Seconds that the host's clock is ahead of the controller's (C(ahead), negative behind), and by how much that may
      be wrong (C(give)), as the exchange took a time that is not known to be the same in both directions.
  type: dict
  returned: success
"""


def answer(name: str, source: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run one module's text with its arguments, and return its result."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(source, name, "exec", dont_inherit=True), names)  # noqa: S102 - netorder's own modules
    found: dict[str, Any] = names["result"](arguments)
    return found


def answers(sources: dict[str, str], arguments: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Run all at the same time: one of them mostly waits."""
    results: dict[str, dict[str, Any]] = {}

    def one(name: str) -> None:
        try:
            results[name] = answer(name, sources[name], arguments[name])
        except BaseException as error:  # noqa: BLE001 - a thread that died would answer nothing
            said = f"{type(error).__name__}: {error}"
            results[name] = {"failed": True, "msg": said, "exception": traceback.format_exc()}

    threads = [threading.Thread(target=one, args=(name,)) for name in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {name: results[name] for name in sources}


def main(arguments: str) -> int:
    """Run with Ansible's arguments as JSON, print the result as JSON, and return the exit status."""
    given = json.loads(arguments)
    begin = time.time()
    mode = {"_ansible_check_mode": True, "_ansible_diff": True}
    results = answers(given["sources"], {name: {**one, **mode} for name, one in given["modules"].items()})
    failed = {name: one for name, one in results.items() if one.get("failed")}
    result: dict[str, Any] = {"changed": False, "answers": results, "clock": [begin, time.time()]}
    if failed:
        result = {
            "failed": True,
            "msg": "; ".join(f"{name}: {one['msg']}" for name, one in failed.items()),
            "exception": "\n".join(one.get("exception", "") for one in failed.values()).strip(),
        }
    print(json.dumps({**result, "invocation": {"module_args": {"modules": given["modules"]}}}))
    return 1 if failed else 0


# JSON has no three quotes in a row and nothing that ends with a backslash
ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""

if __name__ == "__main__":
    sys.exit(main(ARGUMENTS))
