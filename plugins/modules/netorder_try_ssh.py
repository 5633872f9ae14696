#!/usr/bin/python
"""Documentation of the action netorder_try_ssh, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_try_ssh
short_description: log in to a host once
description:
  - Runs C(true) on the host by the C(ssh) of the controller, over the connection that Ansible itself will use. Never
    fails; the outcome is in RV(rc).
options:
  config:
    description: The SSH configuration file.
    type: path
    required: true
  target:
    description: User and host, for instance V(debian@192.0.2.7).
    type: str
    required: true
  connect_timeout:
    description: Seconds for the TCP connection.
    type: int
    default: 10
attributes:
  check_mode: {support: full, description: Changes nothing.}
author: netorder
"""

EXAMPLES = r"""
- name: Wait for SSH
  netorder_try_ssh:
    config: .netorder/calculator/ssh_config
    target: debian@192.0.2.7
  register: tried
  until: tried.rc == 0
"""

RETURN = r"""
rc:
  description: The exit status of C(ssh), 0 when the login worked.
  type: int
  returned: always
stderr:
  description: What C(ssh) said.
  type: str
  returned: always
"""
