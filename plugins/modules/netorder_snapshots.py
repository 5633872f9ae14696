#!/usr/bin/python
"""Documentation of the action netorder_snapshots, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_snapshots
short_description: list a topology's snapshots, or remove some
description:
  - Lists the images that netorder_snapshot made of the topology's hosts.
  - Those from which a server is made are not removed.
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
  remove:
    description: Names of snapshots to remove.
    type: list
    elements: str
    default: []
  keep:
    description: How many of each host stay, the newest; the others are removed.
    type: int
  hosts:
    description: Only those of these hosts.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows what it would do.}
author: netorder
"""

EXAMPLES = r"""
- name: Three of each host are enough
  netorder_snapshots:
    topology: topologies/calculator.yml
    files: .netorder
    keep: 3
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
snapshots: {description: Those that there are now, the oldest first, returned: success, type: list, elements: dict}
"""
