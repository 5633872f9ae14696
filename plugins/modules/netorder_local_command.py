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
    description: The command; with O(module) its arguments alone.
    type: list
    elements: str
    required: true
  environment:
    description: Variables to add to its environment. Not with O(module).
    type: dict
    default: {}
  module:
    description:
      - A Python module whose C(main) is called with the arguments, in Ansible's own process. That has loaded most of
        what netorder's modules need, which a new process takes half a second for.
    type: str
attributes:
  check_mode: {support: full, description: Runs the command.}
author: netorder
"""

EXAMPLES = r"""
- name: Check the topology file
  netorder_local_command:
    argv: [netorder, check, topologies/calculator.yml]
  register: checked
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
