#!/usr/bin/python
"""Documentation of the action netorder_power, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_power
short_description: stop, start or shelve hosts
description:
  - Stops, starts or shelves the servers of all hosts, or of some. Starting, forwarding hosts go first, then services
    that are called before those that call them; stopping, the other way round.
  - What was stopped or shelved so is no drift, and no run starts it, until it is started so.
options:
  target:
    description: Who made the hosts, C(openstack) or C(containers); without it, what the topology says.
    type: str
  topology:
    description: The topology file.
    type: path
    required: true
  files:
    description: The directory for the SSH key and each topology's files.
    type: path
    required: true
  state:
    description: What they shall be. A shelved one gives its cores and memory back to the cloud.
    type: str
    required: true
    choices: [stopped, started, shelved]
  hosts:
    description: Only these hosts.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows what it would do.}
author: netorder
"""

EXAMPLES = r"""
- name: Until tomorrow
  netorder_power:
    topology: topologies/calculator.yml
    files: .netorder
    state: stopped
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
"""
