"""Action netorder_power: stops, starts or shelves hosts, and shows its progress while it works."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import HOSTS, Operation
from netorder.controller.operations.power import power


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_power.py."""

    do = staticmethod(power)
    options = {  # noqa: RUF012 - as Operation has it
        "state": {"type": "str", "required": True, "choices": ["stopped", "started", "shelved"]},
        "hosts": HOSTS,
    }
