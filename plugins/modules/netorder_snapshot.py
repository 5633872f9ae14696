#!/usr/bin/python
"""Documentation of the action netorder_snapshot, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_snapshot
short_description: make an image of a host
description:
  - Has a running host write what it holds in memory, over SSH, then has Nova make an image of its disk, and waits until
    it is uploaded. Its properties mark it as the topology's, and say host and time.
  - An upload that fails leaves nothing.
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
  host:
    description: The host's name in the topology.
    type: str
    required: true
  versions:
    description: The versions of its applications, by name, for the image's properties.
    type: dict
    default: {}
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows what it would do.}
author: netorder
"""

EXAMPLES = r"""
- name: As it is now
  netorder_snapshot:
    topology: topologies/calculator.yml
    files: .netorder
    host: sum
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
snapshot: {description: Its name, id, size and all that is known of it, returned: success, type: dict}
"""
