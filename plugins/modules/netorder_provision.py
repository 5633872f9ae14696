#!/usr/bin/python
"""Documentation of the action netorder_provision, which runs on the controller (plugins/action/)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: netorder_provision
short_description: make the cloud match a topology
description:
  - Lists what carries the topology's marker, compares it with the plan, and creates, changes and deletes what differs
    over one session, in bulk and in threads. Waits until every host runs and its SSH host key is known.
  - Then writes C(known_hosts) and C(ssh_config) into the topology's directory under I(files).
  - Check mode reads everything and changes nothing; diff mode shows each difference.
  - A run killed anywhere converges when run again.
options:
  target:
    description: Who made the hosts, C(openstack), C(containers) or C(machine); without it, what the topology says.
    type: str
  topology:
    description: The topology file.
    type: path
    required: true
  files:
    description: The directory for the SSH key and each topology's files.
    type: path
    required: true
  ssh_key:
    description: A private key to use; left out, C(id_ed25519) under I(files), made on first use.
    type: path
  allow:
    description:
      - Which destructive changes are permitted, C(delete) and C(replace). A run that needs one which is not permitted
        stops before its first change.
      - C(zero-disk) says that the cloud's policy lets its users start servers of a flavor without a disk from an image.
      - C(fixed-address) says that it lets them choose addresses on networks of other projects.
    type: list
    elements: str
    choices: [delete, replace, zero-disk, fixed-address]
    default: []
  format:
    description: How the times of what was changed are shown at the end.
    type: str
    choices: [text, json]
    default: text
  hostkey_timeout:
    description: Seconds to wait for the host keys once the hosts are active; 0 does not fetch them.
    type: float
    default: 600
  golden:
    description: >-
      Whether new hosts with applications must be made of golden images, also where the topology says what to begin
      with. Where one is missing nothing is changed.
    type: bool
    default: false
  fail:
    description: >-
      Whether check mode fails when a run could not make these changes. If false, it returns the reasons in I(problems),
      with the changes. Without check mode it always fails.
    type: bool
    default: true
attributes:
  check_mode: {support: full, description: Changes nothing.}
  diff_mode: {support: full, description: Shows each difference.}
author: netorder
"""

EXAMPLES = r"""
- name: Make the cloud match the plan
  netorder_provision:
    topology: topologies/calculator.yml
    files: .netorder
"""

RETURN = r"""
changes:
  description: What differed, in order, each with kind, name, action, reason, before and after.
  type: list
  elements: dict
  returned: success; with I(problems) only if they are known
problems:
  description: Why the changes cannot be made, each with its remedy.
  type: list
  elements: str
  returned: in check mode, when I(fail) is false and there are any
unchanged:
  description: By kind, how many resources match the plan.
  type: dict
  returned: success
needs_allow:
  description: What I(allow) must name for these changes.
  type: list
  elements: str
  returned: success
hosts:
  description: By host name the server's id, address, floating_ip, hostkey and others (more floating IPs); null if not
    there yet (check mode).
  type: dict
  returned: success
timings:
  description:
    - By resource when its request, or the bulk request it was part of, began (seconds from the login) and took.
    - For servers also the seconds of waiting until they were active, and until the host key was known.
  type: list
  elements: dict
  returned: success
requests:
  description: HTTP requests made, by phase and in total.
  type: dict
  returned: success
api_seconds:
  description: Time inside the cloud's APIs, summed over all requests.
  type: float
  returned: success
seconds:
  description: Time of the whole comparison and change.
  type: float
  returned: success
golden:
  description: That hosts were made of golden images alone.
  type: bool
  returned: with I(golden)
written:
  description: Files written on the controller.
  type: list
  elements: str
  returned: success
"""
