"""The playbooks as command lines: `ansible-playbook PLAYBOOK -e …`, with the settings of the project."""

from __future__ import annotations

import configparser
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from netorder.controller.process import Program
from netorder.errors import UsageError
from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DEFAULT_TOPOLOGY", "RESULT", "check_tags", "clone", "command", "files", "project"]

DEFAULT_TOPOLOGY = "topologies/calculator.yml"  # as in inventory/10-plan.yml
RESULT = "NETORDER_RESULT"  # the environment variable that names the file for the result of a run
# Ansible's settings, and what it finds through them: plugins, roles and inventory
PROJECT = ("ansible.cfg", "site.yml", "playbooks", "inventory/10-plan.yml")
CLONE = Path(__file__).parents[3]  # where this package is in src/ of it
FILES = ".netorder"
INSTALL = "`make setup` installs it into .venv, or `pip install '.[ansible,cloud]'`"
# Ansible's own places, which its variables of the environment replace (ansible-core, "Ansible Configuration Settings")
_ROLES = "~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles"
_COLLECTIONS = "~/.ansible/collections:/usr/share/ansible/collections"
_PLAIN = re.compile(r"[\w./,:@%+~-]+")  # what `-e NAME=VALUE` takes as one word
_SPECIAL_TAGS = {"all", "always", "never", "tagged", "untagged"}


def project() -> Path:
    """Return the directory of the project: this one, else the clone that this package is of. Raises UsageError."""
    for directory in (Path(), CLONE):
        if not _missing(directory):
            return directory
    raise UsageError(
        f"the playbooks are not in {Path.cwd()} (no {', '.join(_missing(Path()))}): run this in a clone of the "
        "project's repository, or after `source .venv/bin/activate` there; an installed wheel has no playbooks"
    )


def files() -> Path:
    """Return where runs keep their files: `.netorder` of the project; here, where there is none."""
    its = clone()
    return Path(FILES) if its is None or not _missing(Path()) else its / FILES


def clone() -> Path | None:
    """Return the clone that this package is of; None of one that was installed from a wheel."""
    return None if _missing(CLONE) else CLONE


def _missing(directory: Path) -> list[str]:
    return [name for name in PROJECT if not (directory / name).exists()]


def command(
    playbook: str,
    variables: Mapping[str, object],
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Return the command line of a playbook; ``variables`` that are None are left to the playbook.

    In the project's directory it is as one types it; elsewhere it names the project's files. Raises UsageError.
    """
    directory = project()
    settings = {} if directory == Path() else {"ANSIBLE_CONFIG": str(directory / "ansible.cfg")}
    config = Path(settings.get("ANSIBLE_CONFIG") or os.environ.get("ANSIBLE_CONFIG") or "ansible.cfg")
    topology = Path(str(variables.get("topology") or directory / DEFAULT_TOPOLOGY))
    settings |= _searched(directory, topology.parent, config)
    extra = [word for name, value in variables.items() if value is not None for word in ("-e", _variable(name, value))]
    line = ("ansible-playbook", str(directory / playbook), *extra, *arguments)
    return Program(line, tuple({**settings, **(environment or {})}.items()), INSTALL)


def _searched(project: Path, beside: Path, config: Path) -> dict[str, str]:
    """Return where Ansible looks for roles and collections, where ``config`` (ansible.cfg) does not say all of it.

    Also beside the topology file, as it does beside a playbook; and in the project's, whatever the environment names.
    """
    said = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    with suppress(configparser.Error, UnicodeDecodeError):  # of which Ansible complains
        said.read(config, encoding="utf-8")
    found = {}
    for name, key, mine, more, usual in (
        ("ANSIBLE_ROLES_PATH", "roles_path", [project / "roles"], beside / "roles", _ROLES),
        ("ANSIBLE_COLLECTIONS_PATH", "collections_path", [], beside / "collections", _COLLECTIONS),
    ):
        is_more = more.is_dir() and more.absolute() not in [one.absolute() for one in mine]
        if is_more or (mine and name in os.environ):
            configured = said.get("defaults", key, fallback="") or usual
            others = os.environ.get(name) or ":".join(_from(config, one) for one in configured.split(":"))
            paths = [str(one.absolute()) for one in (*mine, *([more] if is_more else []))]
            found[name] = ":".join(dict.fromkeys([*paths, *others.split(":")]))
    return found


def _from(config: Path, path: str) -> str:
    """Return a path of ansible.cfg, where relative ones begin at it."""
    return path if path[:1] in {"/", "~"} else str(config.absolute().parent / path)


def _variable(name: str, value: object) -> str:
    """Write a variable for `-e`; as JSON where a word would be taken for several."""
    text = str(value)
    return f"{name}={text}" if _PLAIN.fullmatch(text) else json.dumps({name: text}, ensure_ascii=False)


def check_tags(words: str) -> None:
    """Raise UsageError for a tag that no task has: Ansible would do nothing, and call it success."""
    directory = project()
    files = [directory / "site.yml", *(directory / "playbooks").rglob("*.yml")]
    known = {tag for file in files for tag in _tags(yaml.safe_load(file.read_text(encoding="utf-8")))}
    for word in words.split(","):
        if word not in known | _SPECIAL_TAGS:
            shown = ", ".join(sorted(known - _SPECIAL_TAGS))
            raise UsageError(f"--tags: no task has the tag `{word}`{did_you_mean(word, known)} (there are {shown})")


def _tags(tree: Any) -> Iterator[str]:  # noqa: ANN401 - whatever YAML holds
    if isinstance(tree, list):
        for one in tree:
            yield from _tags(one)
    elif isinstance(tree, dict):
        tags = tree.get("tags", [])
        yield from tags.split(",") if isinstance(tags, str) else tags
        for one in tree.values():
            yield from _tags(one)
