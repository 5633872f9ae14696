#!/usr/bin/python
"""Documentation of the action netorder_local_command, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_local_command
short_description: run a command on the controller that changes nothing of the topology
description:
  - Runs it from Ansible's own process. C(command) with C(delegate_to) would first start a module's process, for each
    host and each try. Runs in check mode too, and is never C(changed).
options:
  argv:
    description: The command.
    type: list
    elements: str
    required: true
  environment:
    description: Variables to add to its environment.
    type: dict
    default: {}
  accept:
    description: Whether another exit status than 0 is accepted; then RV(rc) is all there is of it.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Runs the command.}
author: netorder
"""

EXAMPLES = r"""
- name: Wait for SSH
  netorder_local_command:
    argv: [ssh, -o, BatchMode=yes, debian@192.0.2.7, "true"]
    accept: true
  register: tried
  until: tried.rc == 0
"""

RETURN = r"""
rc:
  description: The exit status.
  type: int
  returned: when the command could be run
stdout:
  description: What it printed, without the last line's end.
  type: str
  returned: when the command could be run
stderr:
  description: Its errors, without the last line's end.
  type: str
  returned: when the command could be run
"""
