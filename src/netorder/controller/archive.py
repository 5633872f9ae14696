"""One file with all that another controller needs of a topology: written by ``save``, unpacked by ``load``.

In it are the topology file with what it names beside it, its plan, what the cloud has of it, and what this controller
alone has: SSH key, host keys, passwords that were made up. So nobody else may read it.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from netorder import __version__
from netorder.controller import records, state, timings
from netorder.controller import ssh as access
from netorder.controller.ssh import KEY
from netorder.errors import AccessError, UsageError
from netorder.language.load import load as load_topology
from netorder.language.yaml_source import read_file
from netorder.plan.build import build_plan
from netorder.plan.serialize import to_json
from netorder.text import few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Loaded", "load", "named_files", "save"]

FORMAT = 1
MIB = 1024**2
MOST = 64 * MIB  # bytes: of text files; a role with more is no role
MANIFEST, PLAN, CLOUD, TOPOLOGY, FILES = "manifest.json", "plan.json", "cloud.json", "topology", "files"
# Written by every run, from what the cloud answers.
_WRITTEN = {"known_hosts", "ssh_config", timings.FILE, records.NOW}
_BESIDE = re.compile(r"\{\{ *(netorder_topology_dir|application\.directory) *\}\}/([\w./-]+)")


@dataclass(frozen=True, slots=True)
class _Known:
    """What SSH settings are written from, as ``cloud.reconcile.HostFacts``."""

    id: str | None
    address: str
    floating_ip: str | None
    hostkey: str | None
    others: tuple[str, ...] = ()
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was unpacked: the ``topology`` file, which files were written, the key if it has no usual place."""

    name: str
    topology: Path
    written: tuple[Path, ...]
    key: Path | None
    saved: str
    warnings: tuple[str, ...]


# Saving


def named_files(topology: Path) -> tuple[set[Path], list[str]]:
    """Return the topology file and all that it names beside it, and what it names by absolute paths.

    Those are included files, user data, public keys, directories of roles, and what variables name by
    ``netorder_topology_dir`` or ``application.directory``. Symbolic links are as any file: under the path by which they
    are named, which is absolute.
    """
    document = read_file(str(topology))
    found = {topology.absolute()}
    found |= {Path(place.file).absolute() for place in document.values.values() if Path(place.file).is_file()}
    absolute: set[str] = set()
    for path, text in _texts(document.data, ()):
        place = document.values.get(path) or document.values[()]
        names = [Path(place.file).parent / text] if _may_be_path(text) else []
        for word, one in _BESIDE.findall(text):
            names.append((topology if word == "netorder_topology_dir" else Path(place.file)).parent / one)
        for name in names:
            if (
                name.is_file()
                or (name.is_dir() and (name / "tasks").is_dir())
                or (name.is_dir() and _BESIDE.search(text))
            ):
                found |= {one.absolute() for one in _within(name)}
                absolute |= {text} if Path(text).is_absolute() else set()
    return found, sorted(absolute)


def _texts(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:  # noqa: ANN401 - what YAML holds
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, its in value.items():
            yield from _texts(its, (*path, key))
    elif isinstance(value, list):
        for index, its in enumerate(value):
            yield from _texts(its, (*path, index))


def _may_be_path(text: str) -> bool:
    return 0 < len(text) < 256 and "\n" not in text and "\0" not in text and text not in {".", ".."}  # noqa: PLR2004


def _within(path: Path) -> Iterator[Path]:
    """Return a file, or all that a directory holds, also by links to directories but those that it is in itself."""
    if path.is_file():
        yield path
    for name, below, names in os.walk(path, followlinks=True):
        directory = Path(name)
        around = {one.resolve() for one in (directory, *directory.parents)}
        below[:] = [
            one
            for one in below
            if one not in {"__pycache__", ".git"}
            and not ((directory / one).is_symlink() and (directory / one).resolve() in around)
        ]
        yield from (directory / one for one in names if (directory / one).is_file())


def save(topology: Path, target: Path, *, files: Path, cloud: Mapping[str, Any], with_key: bool = True) -> list[str]:
    """Write the archive, whole or not at all, readable by its owner alone; return warnings.

    ``cloud`` is what the cloud has of the topology (:mod:`netorder.controller.found`).
    """
    read = load_topology(topology)
    named, absolute = named_files(topology)
    # without `..`, as an archive has it; what is read is the path as named, which a link may lead elsewhere
    places = {one: Path(os.path.normpath(one)) for one in sorted(named)}
    root = Path(os.path.commonpath([one.parent for one in places.values()]))
    sources = {
        f"{TOPOLOGY}/{place.relative_to(root)}": (one, one.stat().st_mode & 0o755) for one, place in places.items()
    }
    own = state.directory(files, read.cloud, read.name)
    for one in sorted(_within(own)) if own.is_dir() else ():
        if one.name not in _WRITTEN and not one.name.startswith(".") and not one.name.startswith("application-"):
            sources[f"{FILES}/{read.name}/{one.relative_to(own)}"] = (one, 0o600)
    if with_key:
        for name in (KEY, f"{KEY}.pub"):
            if (files / name).is_file():
                sources[f"{FILES}/{name}"] = (files / name, 0o600)
    manifest = {
        "format": FORMAT,
        "netorder": __version__,
        "topology": read.name,
        "cloud": read.cloud,
        "file": str(places[topology.absolute()].relative_to(root)),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    texts = {
        MANIFEST: json.dumps(manifest, indent=1),
        PLAN: to_json(build_plan(read)),
        CLOUD: json.dumps(cloud, indent=1),
    }
    entries = {name: (text.encode(), 0o600) for name, text in texts.items()}
    _check_size(sum(len(content) for content, _ in entries.values()), [one for one, _ in sources.values()])
    entries |= {name: (one.read_bytes(), mode) for name, (one, mode) in sources.items()}
    _write_archive(target, entries)
    warnings = [
        f"{one} is named by an absolute path, which another controller may not have: name it relative to its file"
        for one in absolute
    ]
    if with_key and f"{FILES}/{KEY}" not in entries:
        warnings.append(f"{files / KEY} is not there, so the archive has no SSH key: keep yours beside it")
    return warnings


def _check_size(texts: int, files: Iterable[Path]) -> None:
    """Raise UsageError for more than ``load`` unpacks."""
    sizes = [(one.stat().st_size, one) for one in files]
    if (whole := texts + sum(size for size, _ in sizes)) > MOST:
        size, largest = max(sizes)
        raise UsageError(
            f"the archive would hold {whole / MIB:.0f} MiB, and `netorder load` unpacks {MOST // MIB}: the largest "
            f"of its files is {largest} ({size / MIB:.0f} MiB). Keep what is so large elsewhere, as where a role "
            "fetches it from"
        )


def _write_archive(target: Path, entries: Mapping[str, tuple[bytes, int]]) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, (content, mode) in entries.items():
                one = tarfile.TarInfo(name)
                one.size, one.mode, one.mtime = len(content), mode, int(time.time())
                archive.addfile(one, io.BytesIO(content))
        part.replace(target)
    except OSError as error:
        raise AccessError(f"{target} cannot be written: {error.strerror}; name another file.") from None
    finally:
        part.unlink(missing_ok=True)


# Loading


def load(archive: Path, *, into: Path, files: Path, force: bool = False, check: bool = False) -> Loaded:
    """Unpack an archive: the topology ``into`` a directory, the rest into ``files``; no cloud is asked.

    A file that is there and differs is an error unless ``force``; so what a killed one left is no hindrance.
    """
    entries = _read_archive(archive)
    try:
        manifest = json.loads(entries[MANIFEST][0])
        name, named, version = str(manifest["topology"]), str(manifest["file"]), manifest["format"]
        known = json.loads(entries[CLOUD][0])["hosts"]
        own = state.directory(files, manifest["cloud"], name)
        plan = entries[PLAN][0].decode()
    except (KeyError, ValueError, TypeError):
        raise UsageError(f"{archive} is not what `netorder save` wrote: it has no {MANIFEST} and the like.") from None
    if version != FORMAT:
        raise UsageError(
            f"{archive} has format {version}, and this netorder ({__version__}) knows {FORMAT}: update it."
        )
    targets, key = _targets(entries, own, into, files)
    differing = [str(path) for path, (content, _) in targets.items() if path.exists() and path.read_bytes() != content]
    if differing and not force:
        raise UsageError(
            f"nothing was written: {few(differing)} would be overwritten with another content. Name another place "
            "(--into, --files), or --force"
        )
    new = [path for path, (content, _) in targets.items() if not path.exists() or path.read_bytes() != content]
    topology = into / named
    if check:
        return Loaded(name, topology, tuple(new), key, str(manifest["saved"]), ())
    for path in new:
        _put(path, *targets[path], secret=files in path.parents)
    planned = build_plan(load_topology(topology))
    warnings = []
    if to_json(planned) != plan:
        warnings.append(
            f"netorder {__version__} plans this topology otherwise than {manifest['netorder']}, which saved it: see "
            "`netorder preview` before `netorder up`"
        )
    empty: dict[str, Any] = {}
    facts = {
        host.name: _Known(
            one.get("id"),
            host.ports[0].addresses[0],
            one.get("floating_ip"),
            one.get("hostkey"),
            (*one.get("others", ()),),
        )
        for host in planned.hosts
        for one in [known.get(host.name, empty)]
    }
    settings = access.write(planned, cast("Any", facts), directory=own, key=key or (files / KEY).absolute())
    return Loaded(name, topology, (*new, *settings), key, str(manifest["saved"]), tuple(warnings))


def _targets(
    entries: Mapping[str, tuple[bytes, int]], own: Path, into: Path, files: Path
) -> tuple[dict[Path, tuple[bytes, int]], Path | None]:
    """Return where each file goes, and where the SSH key does if another one has its place already."""
    pair = {one: entries[f"{FILES}/{one}"] for one in (KEY, f"{KEY}.pub") if f"{FILES}/{one}" in entries}
    usual = files / KEY
    taken = KEY in pair and usual.exists() and usual.read_bytes() != pair[KEY][0]
    place = own if taken else files
    found = {place / one: its for one, its in pair.items()}
    for entry, its in entries.items():
        top, _, rest = entry.partition("/")
        if top == TOPOLOGY:
            found[into / rest] = its
        elif top == FILES and rest not in {KEY, f"{KEY}.pub"}:
            found[own / rest.partition("/")[2]] = its
    return found, (place / KEY).absolute() if taken else None


def _read_archive(archive: Path) -> dict[str, tuple[bytes, int]]:
    """Return the archive's files, none of which leads out of where it is unpacked."""
    found: dict[str, tuple[bytes, int]] = {}
    size = 0
    try:
        with tarfile.open(archive, mode="r:gz") as opened:
            for one in opened:
                path = PurePosixPath(one.name)
                if not one.isfile() or path.is_absolute() or ".." in path.parts:
                    raise UsageError(
                        f"{archive} holds {one.name}, which no archive of `netorder save` does: not unpacked."
                    )
                size += one.size
                if size > MOST:
                    raise UsageError(f"{archive} holds more than {MOST // MIB} MiB: not unpacked.")
                content = cast("io.BufferedReader", opened.extractfile(one)).read()
                found[str(path)] = (content, one.mode & 0o755)
    except (OSError, EOFError, tarfile.TarError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or "it is cut off"
        raise UsageError(f"{archive} cannot be read: {reason}; is it what `netorder save` wrote?") from None
    return found


def _put(path: Path, content: bytes, mode: int, *, secret: bool) -> None:
    """Write a file in one step, never readable by others where it is secret."""
    try:
        path.parent.mkdir(mode=0o700 if secret else 0o777, parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        part.chmod(0o600 if secret else mode | 0o600)
        part.replace(path)
    except OSError as error:
        raise AccessError(f"{path} cannot be written: {error.strerror}.") from None
