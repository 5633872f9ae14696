"""Action netorder_resize: gives a host another flavor and shows its progress while it works."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import Operation
from netorder.controller.operations.resize import resize
from netorder.controller.operations.site import SSH_TIMEOUT


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_resize.py."""

    do = staticmethod(resize)
    options = {  # noqa: RUF012 - as Operation has it
        "host": {"type": "str", "required": True},
        "flavor": {"type": "str", "required": True},
        "ssh_timeout": {"type": "float", "default": SSH_TIMEOUT},
    }
