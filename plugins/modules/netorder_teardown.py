#!/usr/bin/python
"""Documentation of the action netorder_teardown, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_teardown
short_description: delete a topology from the cloud
description:
  - Deletes all that carries the marker of the topology called I(name), in dependency order, then lists again and fails,
    naming what remains. The topology file is not needed.
  - Removes the topology's files under I(files); the SSH key stays.
options:
  target:
    description: Who made the hosts.
    type: str
    default: openstack
  name:
    description: The topology's name.
    type: str
    required: true
  files:
    description: The directory of each topology's files.
    type: path
    required: true
  cloud:
    description: An entry of clouds.yaml; left out, what OS_CLOUD or the OS_* variables name.
    type: str
  snapshots:
    description: Whether the topology's snapshots are deleted too. Kept ones are named.
    type: str
    choices: [keep, delete]
    default: keep
  floating_ips:
    description: Whether the topology's kept floating addresses are deleted too. Kept ones are named.
    type: str
    choices: [keep, delete]
    default: keep
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows each deletion.}
author: netorder
"""

EXAMPLES = r"""
- name: Delete the calculator
  netorder_teardown:
    name: calculator
    files: .netorder
"""

RETURN = r"""
changes:
  description: What was deleted, each with kind, name, action, reason, before and after.
  type: list
  elements: dict
  returned: success
removed:
  description: Files removed on the controller.
  type: list
  elements: str
  returned: success
requests:
  description: HTTP requests made, by phase and in total.
  type: dict
  returned: success
seconds:
  description: Time of the whole teardown.
  type: float
  returned: success
"""
