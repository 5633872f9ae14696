#!/usr/bin/python
"""Documentation of the action netorder_wait_ready, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_wait_ready
short_description: wait until a service answers 200
description:
  - Asks C(url) on the host with M(ansible.builtin.uri) until it answers with status 200, or I(timeout) is over.
  - Says for what it waits, since when, how long at most, and how long that took the last time.
options:
  url:
    description: What to ask, from the host.
    type: str
    required: true
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
- name: Wait until the service is ready
  netorder_wait_ready:
    url: http://127.0.0.1:50001/readyz
    directory: .netorder/calculator
"""

RETURN = r"""
status: {description: The status of the last answer, returned: when there was one, type: int}
content: {description: The body of the last answer, returned: when there was one, type: str}
"""
