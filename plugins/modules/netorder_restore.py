#!/usr/bin/python
"""Documentation of the action netorder_restore, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_restore
short_description: put a snapshot onto a host's disk
description:
  - Has Nova rebuild the host's server from one of its snapshots. Its ports, addresses, floating IP, flavor and rules
    stay, and no other host is touched. What its disk held since is lost.
  - Waits until the host key is known and the host answers SSH, if it ran before.
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
  snapshot:
    description: Its name; left out, the newest of the host.
    type: str
  allow:
    description: C(replace) is needed, as the disk is replaced.
    type: list
    elements: str
    choices: [delete, replace, zero-disk]
    default: []
  ssh_key:
    description: The private key, where it is not C(id_ed25519) under I(files).
    type: path
  hostkey_timeout:
    description: Seconds to wait for the host key; 0 does not fetch it.
    type: float
    default: 600
  ssh_timeout:
    description: Seconds to wait for SSH at most.
    type: float
    default: 180
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows what it would do.}
author: netorder
"""

EXAMPLES = r"""
- name: As it was
  netorder_restore:
    topology: topologies/calculator.yml
    files: .netorder
    host: sum
    allow: [replace]
"""

RETURN = r"""
changes: {description: What was changed, as of netorder_provision, returned: success, type: list, elements: dict}
hint: {description: What to do next, returned: success, type: str}
"""
