#!/usr/bin/python
"""Documentation of the action netorder_wait_ssh, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_wait_ssh
short_description: wait until a host answers SSH, or say why it does not
description:
  - Tries the connection that Ansible will use, with the C(ssh_config) that netorder_provision wrote, until it works or
    I(timeout) is over. It stops earlier where waiting cannot help, such as a refused key, a stopped server or a rule
    that is missing.
  - A host that does not answer fails with the likely cause, and with what the cloud says of its server, ports,
    floating IP, rules and console.
  - Check mode tries once and does not fail; I(answered) tells.
options:
  target:
    description: Who made the hosts.
    type: str
    default: openstack
  topology:
    description: Name of the topology.
    type: str
    required: true
  directory:
    description: The topology's directory, with its C(ssh_config).
    type: path
    required: true
  host:
    description: The host's name in the topology.
    type: str
    required: true
  user:
    description: The user to log in as.
    type: str
    required: true
  address:
    description: The address to connect to.
    type: str
    required: true
  before:
    description: The addresses of the last host that the connection goes through; none where it is direct.
    type: list
    elements: str
    default: []
  blocked:
    description: Why this machine may be blocked, if that is known.
    type: str
    default: ""
  timeout:
    description: Seconds to wait at most, for all hosts of the task together.
    type: float
    default: 180
attributes:
  check_mode: {support: full, description: Tries once.}
author: netorder
"""

EXAMPLES = r"""
- name: Wait for SSH
  netorder_wait_ssh:
    topology: calculator
    directory: .netorder/calculator
    host: sum
    user: debian
    address: 10.1.0.5
    before: [10.1.0.7]
"""

RETURN = r"""
answered: {description: Whether it answered, returned: unless it failed, type: bool}
stderr: {description: What ssh said last, returned: unless it failed, type: str}
seconds: {description: How long it took, returned: unless it failed, type: float}
msg: {description: The likely cause and the signs, returned: when it failed, type: str}
"""
