"""User data as cloud-init reads it: what a text is, accounts as cloud-config, several parts as one MIME message."""

from __future__ import annotations

import json
from email import message_from_string
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from email.message import Message

__all__ = ["CLOUD_CONFIG", "MIME", "SCRIPT", "accounts", "digest", "kind", "merged"]

CLOUD_CONFIG = "text/cloud-config"
SCRIPT = "text/x-shellscript"
MIME = "multipart/mixed"
# By how a text begins, the longer beginnings first (cloudinit/handlers/__init__.py, INCLUSION_TYPES_MAP)
_KINDS = {
    "#cloud-config-archive": "text/cloud-config-archive",
    "#cloud-config-jsonp": "text/cloud-config-jsonp",
    "## template: jinja": "text/jinja2",
    "#cloud-boothook": "text/cloud-boothook",
    "#include-once": "text/x-include-once-url",
    "#cloud-config": CLOUD_CONFIG,
    "#part-handler": "text/part-handler",
    "#include": "text/x-include-url",
    "#!": SCRIPT,
}
_HEAD = 4096  # where cloud-init looks for the headers of a MIME message
# Lists of several cloud-configs are joined and mappings merged; else the first one's `users` would be all.
_MERGE_HOW = [{"name": "list", "settings": ["append"]}, {"name": "dict", "settings": ["no_replace", "recurse_list"]}]


def kind(text: str) -> str | None:
    """Return the MIME type of user data as cloud-init tells it by the beginning; None for what it does not know."""
    if "mime-version:" in text[:_HEAD].lower():
        return MIME
    start = text.lstrip()
    return next((its for beginning, its in _KINDS.items() if start.startswith(beginning)), None)


def accounts(users: Iterable[tuple[str, Sequence[str], bool]]) -> str:
    """Return a cloud-config that adds ``users`` (name, public SSH keys, whether they may use sudo) to the image's own.

    They log in by key alone.
    """
    sudo = {"sudo": "ALL=(ALL) NOPASSWD:ALL"}
    added = [
        {"name": name, "shell": "/bin/bash", "lock_passwd": True, "ssh_authorized_keys": list(keys)}
        | (sudo if rights else {})
        for name, keys, rights in users
    ]
    whole = {"merge_how": _MERGE_HOW, "users": ["default", *added]}
    return f"#cloud-config\n{json.dumps(whole, indent=1)}\n"  # JSON is YAML


def merged(parts: Sequence[tuple[str, str]]) -> str | None:
    """Return user data of these parts, (file name, text): one as it is, of several a message; None without any.

    cloud-init runs scripts in the order of their file names; those without one are called ``part-001`` and so on. Each
    part is of a kind that it knows.
    """
    if len(parts) <= 1:
        return parts[0][1] if parts else None
    # the same parts give the same bytes
    whole = MIMEMultipart(boundary=f"=={digest(''.join(text for _, text in parts))}==")
    for name, text in parts:
        part = _part(text)
        if name:
            part.add_header("Content-Disposition", "attachment", filename=name)
        whole.attach(part)
    return whole.as_string()


def _part(text: str) -> Message:
    its = kind(text)
    if its == MIME:
        return message_from_string(text)
    return MIMEText(text, str(its).removeprefix("text/"), "us-ascii" if text.isascii() else "utf-8")


def digest(text: str) -> str:
    """Return what tells a text from others, short enough to be shown."""
    return sha256(text.encode()).hexdigest()[:16]
