#!/usr/bin/python
"""Documentation of the action netorder_wait_ready, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_wait_ready
short_description: wait until applications serve
description:
  - Asks on the host with M(netorder_observe) until no check differs, or I(timeout) is over.
  - Says for what it waits, since when, how long at most, and how long that took the last time.
options:
  answers:
    description:
      - HTTP requests and the answers that are right, as M(netorder_observe) takes them.
      - They are sent whether or not their unit runs.
    type: list
    elements: dict
    default: []
  connections:
    description: TCP connections, as M(netorder_observe) takes them.
    type: list
    elements: dict
    default: []
  units:
    description: systemd units that must be active and enabled.
    type: list
    elements: str
    default: []
  directory:
    description: The topology's directory on the controller; how long it took is kept beside it.
    type: path
    required: true
  timeout:
    description: Seconds to wait at most.
    type: float
    default: 30
author: netorder
"""

EXAMPLES = r"""
- name: Wait until nginx serves
  netorder_wait_ready:
    answers: [{what: nginx, url: "http://127.0.0.1:80/"}]
    directory: .netorder/calculator
"""

RETURN = r"""
checks: {description: The last checks of M(netorder_observe)., returned: when it answered, type: list, elements: dict}
"""
