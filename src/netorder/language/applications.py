"""Applications: what ``applications`` declares, and which of them run on a host."""

from __future__ import annotations

import json
import os.path
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from netorder.text import did_you_mean
from netorder.topology import LAST_PORT, NOBODY, TEMPLATE, ApplicationSpec, Check, Container, Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netorder.language.document import Reader
    from netorder.language.yaml_source import Path

__all__ = ["Applications", "hosted", "read_applications"]

Applications = tuple[ApplicationSpec, ...]
GIVEN = frozenset({"application", "entry_point", "step"})  # variables of the tasks around a role


def read_applications(reader: Reader) -> dict[str, ApplicationSpec]:
    """Return the applications that can be read; report what they say that cannot be."""
    names = reader.mapping("applications")
    return {name: _application(reader, name, names) for name in names if isinstance(reader.text(*_role(name)), str)}


def _role(name: str) -> Path:
    return ("applications", name, "role")


def _application(reader: Reader, name: str, names: Iterable[str]) -> ApplicationSpec:
    path: Path = ("applications", name)
    calls = []
    for place, called in reader.items(*path, "calls"):
        if not isinstance(called, str):
            continue
        if called not in names:
            fix = did_you_mean(called, names) or "; declare it under `applications:`"
            reader.error(place, f"application `{name}` calls `{called}`, and there is no such application{fix}")
        elif called in calls:
            reader.error(place, f"application `{name}` calls `{called}` twice; remove one")
        else:
            calls.append(called)
    ports = _ports(reader, (*path, "ports"))
    return ApplicationSpec(
        name=name,
        role=_resolved_role(reader, name),
        ports=ports,
        calls=tuple(calls),
        variables=_variables(reader, (*path, "vars")),
        check=_check(reader, (*path, "check"), ports),
        ready=reader.text(*path, "ready") or "check",
        units=tuple(str(unit) for _, unit in reader.items(*path, "units")),
        become=reader.get(*path, "become") is not False,
        gather_facts=reader.get(*path, "gather_facts") is not False,
        packages=reader.true(*path, "packages"),
        entry_points=tuple(str(one) for _, one in reader.items(*path, "entry_points")),
        directory=_directory(reader, name),
        container=_container(reader, name, calls, has_port=any(one.protocol == "tcp" for one in ports)),
        place=":".join(map(str, reader.place(path))),
    )


def _container(reader: Reader, name: str, calls: Sequence[str], *, has_port: bool) -> Container | None:
    """Return how an application runs as a container of its own; report a directory or a template that is none."""
    path: Path = ("applications", name, "container")
    its = reader.mapping(*path)
    image, build = reader.text(*path, "image"), reader.text(*path, "build")
    if not its:
        return None
    if image is None and build is None:
        if not reader.refused(*path):
            reader.error(path, f"`container` of application `{name}` has neither `image:` nor `build:`; write one")
        return None
    if build is not None:
        build = _resolved_build(reader, name, build)
    texts = {key: list(reader.items(*path, key)) for key in ("command", "health")}
    texts["environment"] = [
        ((*path, "environment", one), value) for one, value in reader.mapping(*path, "environment").items()
    ]
    for place, value in (one for found in texts.values() for one in found):
        if isinstance(value, str):
            _check_templates(reader, place, value, calls, has_port=has_port)
    return Container(
        image=image,
        build=build,
        command=tuple(str(value) for _, value in texts["command"]),
        environment=tuple(sorted((str(place[-1]), str(value)) for place, value in texts["environment"])),
        health=tuple(str(value) for _, value in texts["health"]),
        user=reader.text(*path, "user") or NOBODY,
    )


def _check_templates(reader: Reader, place: Path, text: str, calls: Sequence[str], *, has_port: bool) -> None:
    known = ("name", "address", *(("port", "url") if has_port else ()), *(f"urls.{one}" for one in calls))
    rest = text
    for found in TEMPLATE.finditer(text):
        word = ".".join(filter(None, found.groups()))
        rest = rest.replace(found[0], "")
        if word not in known:
            fix = did_you_mean(word, known) or f"; known here: {', '.join(known)}"
            reader.error(place, f"`{found[0]}` stands for nothing of this application{fix}")
    if "{{" in rest or "{%" in rest:
        message = f"`{text}` is a template that only Ansible knows"
        reader.error(place, f"{message}; in `container` there are `{{{{ application.port }}}}` and its like alone")


def _resolved_build(reader: Reader, name: str, build: str) -> str:
    """Return a directory with a Containerfile, relative to that of the topology file."""
    whole, file = _files(reader, name)
    directory = file.parent / build
    if not any((directory / one).is_file() for one in ("Containerfile", "Dockerfile")):
        message = f"`{build}` has no Containerfile: there is no `{directory / 'Containerfile'}`"
        reader.error(("applications", name, "container", "build"), f"{message}; it is relative to `{file.name}`")
    return os.path.relpath(directory, whole.parent)


def _resolved_role(reader: Reader, name: str) -> str:
    """Return the role; a directory, which is relative to the file that names it, relative to the topology file's."""
    role = str(reader.text(*_role(name)))
    if not role.startswith("."):
        return role
    whole, file = _files(reader, name)
    directory = file.parent / role
    if not (directory / "tasks").is_dir():
        message = f"`{role}` is not the directory of a role: there is no `{directory / 'tasks'}`"
        reader.error(_role(name), f"{message}; it is relative to `{file.name}`")
    relative = os.path.relpath(directory, whole.parent)
    return relative if os.sep in relative else f".{os.sep}{relative}"  # without one it would be a name


def _directory(reader: Reader, name: str) -> str | None:
    """Return where the file is that declares an application, relative to the topology file's; None if it is there."""
    whole, file = _files(reader, name)
    directory = os.path.relpath(file.parent, whole.parent)
    return None if directory == os.path.curdir else directory


def _files(reader: Reader, name: str) -> tuple[FilePath, FilePath]:
    """Return the topology file and the one that declares an application."""
    whole, _, _ = reader.document.values[()]
    file, _, _ = reader.document.values[_role(name)]
    return FilePath(whole), FilePath(file)


def _variables(reader: Reader, path: Path) -> tuple[tuple[str, str], ...]:
    """Return the variables at ``path``, each with its value as JSON; report those that netorder gives itself."""
    declared = reader.mapping(*path)
    for name in sorted(GIVEN & declared.keys()):
        reader.error(
            (*path, name), f"`{name}` is a variable that netorder gives every role; name it otherwise", of_key=True
        )
    return tuple((name, json.dumps(declared[name], sort_keys=True)) for name in sorted(declared))


def _ports(reader: Reader, path: Path) -> tuple[Match, ...]:
    found: dict[Match, None] = {}
    for place, entry in reader.items(*path):
        if isinstance(entry, bool) or not isinstance(entry, int | str):
            continue
        number, _, protocol = str(entry).partition("/")
        port = Match(protocol or "tcp", int(number), int(number))
        if not 1 <= port.first <= LAST_PORT:
            reader.error(place, f"`{entry}` is not a port; ports are 1 to {LAST_PORT}")
        elif port in found:
            reader.error(place, f"`{entry}` is there twice; remove one")
        else:
            found[port] = None
    return tuple(found)


def _check(reader: Reader, path: Path, ports: tuple[Match, ...]) -> Check | None:
    check = reader.mapping(*path)
    if not check:
        return None
    http, tcp, port = reader.text(*path, "http"), reader.get(*path, "tcp"), reader.get(*path, "port")
    first = next((one.first for one in ports if one.protocol == "tcp"), None)
    wrong = None
    if ("http" in check) == ("tcp" in check):
        wrong = path, "a check is one of `http:` with a path and `tcp:` with a port; write one of the two"
    elif "tcp" in check and len(check) > 1:
        other = next(key for key in check if key != "tcp")
        wrong = (*path, other), f"`{other}` is about an answer by HTTP; write `http: /` in place of `tcp`, or remove it"
    elif "http" in check and port is None and first is None:
        wrong = path, "there is no port to ask; give the application `ports:`, or the check a `port:`"
    if wrong:
        if not reader.refused(*path):
            reader.error(*wrong)
        return None
    asked = tcp if isinstance(tcp, int) else port if isinstance(port, int) else first
    if asked is None:
        return None
    status = reader.get(*path, "status")
    return Check(
        port=asked,
        path=http,
        body=reader.text(*path, "body"),
        status=status if isinstance(status, int) else 200,
        answer=reader.text(*path, "answer"),
        contains=reader.text(*path, "contains"),
    )


# On hosts


def hosted(reader: Reader, known: Mapping[str, ApplicationSpec], host: str) -> Applications:
    """Return the applications of an entry of ``hosts``, each as it is there."""
    found: dict[str, ApplicationSpec] = {}
    listening: dict[Match, str] = {}
    declared = reader.mapping("applications")
    for place, entry in reader.items("hosts", host, "applications"):
        path = (*place, "name") if isinstance(entry, dict) else place
        name = reader.text(*path)
        if name is None:
            continue
        if name not in declared:
            fix = did_you_mean(name, declared)
            fix = fix or "; declare it under `applications:`, or `include` the file that does"
            reader.error(path, f"host `{host}`: there is no application `{name}`{fix}")
        elif name in found:
            reader.error(path, f"host `{host}` has application `{name}` twice; remove one")
        elif name in known:
            found[name] = its = _as_hosted(reader, place, known[name])
            for port in its.ports:
                if port in listening:
                    shown = f"{port.first}/{port.protocol}"
                    message = f"applications `{listening[port]}` and `{name}` both listen on {shown} of host `{host}`; "
                    reader.error(path, f"{message}give one other `ports`: `{{name: {name}, ports: [...]}}`")
                listening.setdefault(port, name)
    return tuple(found.values())


def _as_hosted(reader: Reader, place: Path, application: ApplicationSpec) -> ApplicationSpec:
    """Return the application as the entry at ``place`` of a host has it."""
    entry = reader.mapping(*place)
    if not entry:
        return application
    variables = dict(application.variables) | dict(_variables(reader, (*place, "vars")))
    ports = _ports(reader, (*place, "ports")) if "ports" in entry else application.ports
    if len(ports) != len(application.ports):
        had = ", ".join(f"{one.first}/{one.protocol}" for one in application.ports) or "none"
        if not reader.refused(*place, "ports"):
            message = f"application `{application.name}` has ports {had}; write as many, in this order"
            reader.error((*place, "ports"), message)
        return application
    check = application.check
    if check:
        moved = {old.first: new.first for old, new in zip(application.ports, ports, strict=True)}
        check = replace(check, port=moved.get(check.port, check.port))
    return replace(application, ports=ports, variables=tuple(sorted(variables.items())), check=check)
