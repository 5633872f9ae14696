"""Action netorder_golden: makes golden images of configured hosts, and shows its progress while it works."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import HOSTS, Operation
from netorder.controller.operations.golden import golden


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_golden.py."""

    do = staticmethod(golden)
    options = {  # noqa: RUF012 - as Operation has it
        "hosts": HOSTS,
        "versions": {"type": "dict", "default": {}},
        "ssh_key": {"type": "path"},
    }
