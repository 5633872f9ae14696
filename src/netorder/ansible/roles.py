"""Whether Ansible finds the roles that a topology names, asked before anything is touched.

It looks in ``roles_path`` for a name, at last in this directory; for one of a collection in ``collections_path``, and
in Python's packages (ansible-core: "Using collections", "Storing and finding roles"; lib/ansible/playbook/role). A
directory was looked for when the file was read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from netorder.ansible.plans import matrix_of
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorder.plan.model import Application, Plan

__all__ = ["main", "missing"]

_IN_COLLECTION = 3  # words of namespace.collection.role


def missing(plan: Plan, roles: Sequence[Path], collections: Sequence[Path]) -> list[str]:
    """Return an error for each role that is in none of these directories, with the place of who names it."""
    found: dict[str, str] = {}
    reached = (host for host in plan.hosts if host.ssh_path is not None)  # none is run on the others
    for one in (application for host in reached for application in host.applications):
        if "/" not in one.role and one.role not in found:
            found[one.role] = _why_missing(one, roles, collections)
    return [message for message in found.values() if message]


def _why_missing(application: Application, roles: Sequence[Path], collections: Sequence[Path]) -> str:
    role = application.role
    places = [directory / role for directory in (*roles, Path())]
    words = role.split(".")
    looked, fix = roles, f"`ansible-galaxy role install {role}`, or name a directory beside the file: ./roles/{role}"
    if len(words) >= _IN_COLLECTION:
        namespace, collection, *rest = words
        its = [_root(directory) / namespace / collection for directory in (*collections, *map(Path, sys.path))]
        places += [directory.joinpath("roles", *rest) for directory in its]
        if any(directory.is_dir() for directory in its):
            looked, fix = [directory for directory in its if directory.is_dir()], "the collection has no such role"
        else:
            looked, fix = collections, f"`ansible-galaxy collection install {namespace}.{collection}`"
    if any(place.is_dir() for place in places):
        return ""
    where = f"{application.place}: " if application.place else ""
    return f"{where}application `{application.name}`: role `{role}` is not in {few([*map(str, looked)])}; {fix}"


def _root(directory: Path) -> Path:
    return directory if directory.name == "ansible_collections" else directory / "ansible_collections"


def _paths(text: str) -> list[Path]:
    return [Path(one).expanduser() for one in text.split(":") if one]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print an error for each role that is missing."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("topology", type=Path)
    parser.add_argument("--roles", type=_paths, default=[], help="directories, with : between")
    parser.add_argument("--collections", type=_paths, default=[], help="directories, with : between")
    given = parser.parse_args(arguments)
    for message in missing(matrix_of(given.topology).plan, given.roles, given.collections):
        print(message)


if __name__ == "__main__":
    main()
