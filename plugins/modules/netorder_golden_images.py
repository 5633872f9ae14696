#!/usr/bin/python
"""Documentation of the action netorder_golden_images, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_golden_images
short_description: list a topology's golden images, or remove some
description:
  - Lists the images that netorder_golden made of the topology's hosts.
  - Those from which a server is made are not removed.
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
  remove:
    description: Names of golden images to remove.
    type: list
    elements: str
    default: []
  keep:
    description: How many of each set of applications stay, the newest; the others are removed.
    type: int
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows what it would do.}
author: netorder
"""

EXAMPLES = r"""
- name: Two of each are enough
  netorder_golden_images:
    topology: topologies/calculator.yml
    files: .netorder
    keep: 2
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
golden: {description: Those that there are now, the oldest first, returned: success, type: list, elements: dict}
"""
