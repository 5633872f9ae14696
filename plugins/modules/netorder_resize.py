#!/usr/bin/python
"""Documentation of the action netorder_resize, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_resize
short_description: give a host another flavor
description:
  - Has Nova resize the host's server, running or stopped. A running one must answer SSH before. It is asked again with
    the new flavor, and gets the old one back when it does not answer.
  - Refused before anything is changed are containers, flavors that do not exist, a smaller disk, and what the quota
    does not allow.
options:
  target:
    description: Who made the hosts, C(openstack) or C(containers); without it, what the topology says.
    type: str
  topology:
    description: The topology file. It is not changed; what to write there is said.
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
  flavor:
    description: The name of the flavor in the cloud.
    type: str
    required: true
  ssh_timeout:
    description: Seconds to wait for SSH at most.
    type: float
    default: 180
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows the old and the new flavor.}
author: netorder
"""

EXAMPLES = r"""
- name: A larger host
  netorder_resize:
    topology: topologies/calculator.yml
    files: .netorder
    host: sum
    flavor: small2
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
hint: {description: Which line of the topology file says another flavor, returned: success, type: str}
"""
