"""Action netorder_golden_images: lists a topology's golden images, and removes some."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from netorder.ansible.operations import Operation
from netorder.controller.operations.golden import golden_images


class ActionModule(Operation, ActionBase):
    """Options and results are documented in plugins/modules/netorder_golden_images.py."""

    do = staticmethod(golden_images)
    options = {  # noqa: RUF012 - as Operation has it
        "remove": {"type": "list", "elements": "str", "default": []},
        "keep": {"type": "int"},
    }
