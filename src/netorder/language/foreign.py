"""Files of other tools, which get one error that says what they are."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["foreign_data", "foreign_text"]

_FIX = "a topology is a mapping that begins with `topology: NAME` (docs/topology.md)"
_TERRAFORM = re.compile(
    r'^(resource|provider|terraform|variable|data|output|module|locals)([ \t]+"[^"\n]*")*[ \t]*\{', re.MULTILINE
)
_SIGNS: tuple[tuple[frozenset[str], str], ...] = (  # keys that a file of the tool has at its top
    (frozenset({"heat_template_version"}), "a Heat template"),
    (frozenset({"AWSTemplateFormatVersion"}), "a CloudFormation template"),
    (frozenset({"apiVersion", "kind"}), "a Kubernetes manifest"),
    (frozenset({"tosca_definitions_version"}), "a TOSCA template"),
    (frozenset({"nodes", "links"}), "a netlab topology"),
    (frozenset({"nodes", "provider"}), "a netlab topology"),
    (frozenset({"nodes", "module"}), "a netlab topology"),
    (frozenset({"resource", "provider"}), "a Terraform configuration"),
    (frozenset({"resource", "terraform"}), "a Terraform configuration"),
)


def foreign_data(data: Any) -> str | None:  # noqa: ANN401 - whatever the file holds
    """Return what the data of a file of another tool is, as an error; None for what may be a topology."""
    what = None
    if isinstance(data, list) and any(isinstance(one, dict) and {"hosts", "tasks"} <= one.keys() for one in data):
        what = "an Ansible playbook"
    elif isinstance(data, dict):
        what = next((what for keys, what in _SIGNS if keys <= data.keys()), None)
        services = data.get("services")
        if isinstance(data.get("topology"), dict) and "nodes" in data["topology"]:
            what = "a containerlab topology"
        elif isinstance(services, dict) and "topology" not in data:
            what = "a Compose file"
        elif isinstance(data.get("all"), dict) and data["all"].keys() & {"hosts", "children", "vars"}:
            what = "an Ansible inventory"
    return f"this is {what}, not a topology; {_FIX}" if what else None


def foreign_text(text: str) -> str | None:
    """Return what a text that is no YAML mapping is, as an error; None where that is not known."""
    return f"this is a Terraform configuration, not a topology; {_FIX}" if _TERRAFORM.search(text) else None
