#!/usr/bin/python
"""Documentation of the action netorder_golden, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_golden
short_description: make golden images of configured hosts
description:
  - Makes an image of a copy of a host, cleaned of what was that host's alone, for each set of applications, and
    boots it once.
  - The host runs on, untouched. The copy has no network.
options:
  topology:
    description: The topology file.
    type: path
    required: true
  files:
    description: The directory for the SSH key and each topology's files.
    type: path
    required: true
  target:
    description: Who made the hosts, C(openstack) or C(containers); without it, what the topology says.
    type: str
  hosts:
    description: Of these hosts; none - of one host for each set of applications.
    type: list
    elements: str
    default: []
  versions:
    description: The versions of the applications, by host and application, for the image's properties.
    type: dict
    default: {}
  ssh_key:
    description: A private key, whose public one does not stay in the image; left out, the one in O(files).
    type: path
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows what it would do.}
author: netorder
"""

EXAMPLES = r"""
- name: One for each application
  netorder_golden:
    topology: topologies/calculator.yml
    files: .netorder
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
golden: {description: Those that were made, returned: success, type: list, elements: dict}
"""
