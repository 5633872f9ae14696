"""What the file says of how Nova starts servers: zone, server group, user data, config drive, metadata, tags, users."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import yaml

from netorder import cloud_init
from netorder.language import schema
from netorder.topology import OPENSTACK, Server, ServerGroupSpec, User

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netorder.language.document import Reader
    from netorder.language.resolve import Names
    from netorder.language.yaml_source import Path

__all__ = ["Servers", "encoded_key", "read_servers"]

OWN = "netorder_"  # how netorder's own metadata begins
MARK = "netorder:"  # how its tags do
NOTED = 255  # characters of an item of metadata, which notes the keys, or the tags, that the file gives
MOST_USER_DATA = 49149  # bytes: 65535 in base64, Nova's limit
KEPT = 4096  # of these, for what netorder adds itself
_KEY = re.compile(
    r"(?:^|\s)(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r"\s+(\S+)"
)


@dataclass(frozen=True, slots=True)
class Servers:
    """The server groups, and what there is to say of servers, by the entry of ``hosts``."""

    groups: tuple[ServerGroupSpec, ...]
    of: Mapping[str, Server]


def read_servers(reader: Reader, names: Names, target: str) -> Servers:
    """Return what the file says of servers; report what cannot be."""
    return _Servers(reader, names, target).read()


class _Servers:
    def __init__(self, reader: Reader, names: Names, target: str) -> None:
        self._reader = reader
        self._names = names
        self._target = target
        self._groups: dict[str, tuple[str, Path]] = {}  # policy, and where it is said
        self._texts: dict[Path, str | None] = {}  # user data, by where it is named
        self._users: dict[Path, tuple[User, ...]] = {}

    def read(self) -> Servers:
        found = {}
        for entry in self._names.hosts:
            server = self._server(entry)
            if server != Server():
                found[entry] = server
        if self._target == OPENSTACK:  # others have none, which is reported as such
            self._check_groups(found)
        groups = tuple(ServerGroupSpec(name, policy) for name, (policy, _) in self._groups.items())
        return Servers(groups, found)

    def _path(self, entry: str, key: str) -> Path:
        """Return where a key of a host is: with the host, or in ``defaults``."""
        own: Path = ("hosts", entry, key)
        return own if self._reader.get(*own) is not None else ("defaults", key)

    def _server(self, entry: str) -> Server:
        reader = self._reader
        server = Server(
            availability_zone=self._zone(self._path(entry, "availability_zone")),
            server_group=self._server_group(entry),
            user_data=self._user_data(self._path(entry, "user_data")),
            config_drive=reader.true(*self._path(entry, "config_drive")),
            metadata=self._metadata(self._path(entry, "metadata")),
            tags=self._tags(self._path(entry, "tags")),
            users=self._accounts(self._path(entry, "users")),
        )
        self._check_users(entry, server)
        return replace(server, users=tuple(user for user in server.users if user.ssh_authorized_keys))

    def _zone(self, path: Path) -> str | None:
        zone = self._reader.text(*path)
        if zone and ":" in zone:
            message = (
                f"`{zone}` names a compute host too, which Nova lets administrators do only; write the zone alone, "
            )
            self._reader.error(path, f"{message}`{zone.partition(':')[0]}`")
        return zone

    # Server groups

    def _server_group(self, entry: str) -> str | None:
        path: Path = ("hosts", entry, "server_group")
        name, policy = self._reader.text(*path, "name"), self._reader.text(*path, "policy")
        if isinstance(self._reader.get(*path), str):
            name, policy = entry, self._reader.text(*path)
        if name is None or policy is None:
            return None
        first, place = self._groups.setdefault(name, (policy, path))
        if first != policy:
            there = self._reader.document.values[place]
            message = f"server group `{name}` is `{policy}` here and `{first}` in {there.file}:{there.line}; "
            self._reader.error(path, f"{message}a group has one policy: write the same, or another name")
        return name

    def _check_groups(self, found: Mapping[str, Server]) -> None:
        """Report groups of one host, and groups that shall be on one compute host but in several zones."""
        members: Counter[str] = Counter()
        zones: dict[str, set[str]] = {}
        for entry, server in found.items():
            if server.server_group:
                members[server.server_group] += len(self._names.hosts[entry].names)
                if server.availability_zone:
                    zones.setdefault(server.server_group, set()).add(server.availability_zone)
        for name, (policy, path) in self._groups.items():
            if members[name] == 1:
                message = f"server group `{name}` has one host, which a policy means nothing to; give the entry a "
                self._reader.warning(path, f"{message}`count:`, or name the group (`name:`) with other hosts too")
            if policy == "affinity" and len(its := sorted(zones.get(name, ()))) > 1:
                message = f"server group `{name}` is to be on one compute host, and its hosts in the zones "
                message += f"{', '.join(f'`{zone}`' for zone in its)}, which share none; use `soft-affinity`, or one "
                self._reader.error(path, f"{message}zone")

    # Metadata and tags

    def _metadata(self, path: Path) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for key, value in self._reader.mapping(*path).items():
            place = (*path, key)
            if key.startswith(OWN):
                self._reader.error(place, f"`{key}`: keys that begin with `{OWN}` are netorder's own", of_key=True)
            elif self._reader.refused(*place) or value is None:
                continue
            else:
                found[key] = _text(value)
        self._check_noted(path, "keys", found)
        return tuple(sorted(found.items()))

    def _tags(self, path: Path) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for place, value in self._reader.items(*path):
            tag = _text(value) if isinstance(value, str | int) else ""
            if tag in found:
                self._reader.error(place, f"tag `{tag}` is there twice; remove one")
            elif tag.startswith(MARK):
                self._reader.error(place, f"`{tag}`: tags that begin with `{MARK}` are netorder's own")
            elif tag:
                found[tag] = None
        self._check_noted(path, "tags", found)
        return tuple(found)

    def _check_noted(self, path: Path, what: str, words: Mapping[str, object]) -> None:
        length = len(",".join(words))
        if length > NOTED:
            message = f"its {what} together have {length} characters with commas between, and {NOTED} are allowed: "
            self._reader.error(path, f"{message}an item of metadata notes which are the file's; shorten or remove some")

    # User data

    def _user_data(self, path: Path) -> str | None:
        if path not in self._texts:
            self._texts[path] = self._read_user_data(path)
        return self._texts[path]

    def _read_user_data(self, path: Path) -> str | None:
        said = self._reader.text(*path)
        if said is None:
            return None
        inline = "\n" in said or said.startswith("#")
        text = said if inline else self._file(path, said)
        if text is None:
            return None
        called = "the text" if inline else f"`{said}`"
        message = _wrong_user_data(text)
        if message:
            self._reader.error(path, f"{called} {message}")
        return text

    def _file(self, path: Path, name: str) -> str | None:
        """Return what is in a file that is named at ``path``, relative to the file that names it."""
        target = FilePath(self._reader.document.values[path].file).parent / name
        try:
            with target.open("rb") as file:
                content = file.read(MOST_USER_DATA + 1)
            if len(content) <= MOST_USER_DATA:
                return content.decode("utf-8-sig")
            problem = (
                f"has more than the {MOST_USER_DATA} bytes that Nova takes; let the server fetch it (`#include URL`)"
            )
        except UnicodeDecodeError:
            problem = "is not UTF-8 text; save it as such"
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            problem = f"cannot be read: {reason}; check the path, which is relative to the file that names it"
        self._reader.error(path, f"`{name}` {problem}")
        return None

    # Users

    def _accounts(self, path: Path) -> tuple[User, ...]:
        if path not in self._users:
            self._users[path] = tuple(self._read_users(path))
        return self._users[path]

    def _read_users(self, path: Path) -> Iterator[User]:
        seen: set[str] = set()
        for place, _ in self._reader.items(*path):
            name = self._reader.text(*place, "name")
            if name in seen:
                self._reader.error((*place, "name"), f"user `{name}` is there twice; remove one")
            elif name == "root":
                message = "`root` is in every image; give a user `sudo: true` in its place"
                self._reader.error((*place, "name"), message)
            elif name is not None:
                seen.add(name)
                keys = tuple(dict.fromkeys(self._keys((*place, "ssh_authorized_keys"))))
                yield User(name, keys, self._reader.true(*place, "sudo"))

    def _keys(self, path: Path) -> Iterator[str]:
        for place, value in self._reader.items(*path):
            if not isinstance(value, str):
                continue
            if " " in value.strip():
                lines, where = [value.strip()], "this"
            else:
                text = self._file(place, value)
                if text is None:
                    continue
                if "PRIVATE KEY-----" in text:
                    message = f"`{value}` holds a private key, which never leaves its owner's machine; name the public "
                    self._reader.error(place, f"{message}one, whose name ends in `.pub`")
                    continue
                lines = [line.strip() for line in text.splitlines()]
                lines = [line for line in lines if line and not line.startswith("#")]
                where = f"`{value}`"
                if not lines:
                    self._reader.error(place, f"`{value}` holds no public SSH key; put one on a line of its own")
            for line in lines:
                if encoded_key(line):
                    yield line
                else:
                    message = f"{where} is not a public SSH key, as `ssh-keygen` writes into files whose names end in "
                    self._reader.error(place, f"{message}`.pub`: `ssh-ed25519 AAAA... comment`")

    def _check_users(self, entry: str, server: Server) -> None:
        """Report users whose names are taken, and user data that is too much, or that nothing can be added to."""
        reader = self._reader
        image_user = reader.text(*self._path(entry, "user")) or schema.default("user")
        path = self._path(entry, "users")
        places = ((*place, "name") for place, _ in reader.items(*path))
        if wrong := next((place for place in places if reader.text(*place) == image_user), None):
            message = f"`{image_user}` is the image's own user (`user:`), with the topology's key; choose another name"
            reader.error(wrong, message)
        if server.user_data is None and not server.users:
            return
        place = self._path(entry, "user_data") if server.user_data is not None else path
        if server.users and server.user_data is not None and cloud_init.kind(server.user_data) is None:
            message = "the user data is of no kind that cloud-init knows, so `users` cannot be added to it; make the "
            reader.error(place, f"{message}users there, and remove `users`")
            return
        length = len((cloud_init.merged(server.user_data_parts) or "").encode())
        if length > MOST_USER_DATA - KEPT:
            message = f"user data and users are {length} bytes, and {MOST_USER_DATA - KEPT} are allowed (Nova takes "
            message += (
                f"{MOST_USER_DATA}, and netorder may add its own); let the server fetch the rest (`#include URL`)"
            )
            reader.error(place, message)


def _text(value: Any) -> str:  # noqa: ANN401 - a text, number or boolean
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrong_user_data(text: str) -> str | None:
    """Return what is wrong with user data; None where nothing is, or it is not for cloud-init."""
    if not text.strip():
        return "is empty; remove `user_data`, or say what is to be done"
    kind = cloud_init.kind(text)
    if kind == cloud_init.CLOUD_CONFIG:
        return _wrong_cloud_config(text)
    if kind is None and text.lstrip()[:1] not in "{<":  # Ignition's JSON, cloudbase-init's `<powershell>`
        with suppress(yaml.YAMLError):
            if isinstance(yaml.safe_load(text), dict):
                return "has no first line that says what it is, so cloud-init leaves it; begin it with `#cloud-config`"
    return None


def _wrong_cloud_config(text: str) -> str | None:
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return f"is not YAML from its line {line} on ({error.problem}); check indentation, brackets and quotes"
    except yaml.YAMLError as error:
        return f"is not YAML ({' '.join(str(error).split())}); save it as plain text"
    if not isinstance(data, dict) and data is not None:
        return "is no mapping, which a `#cloud-config` is: `packages: [nginx]`"
    return None


def encoded_key(line: str) -> str | None:
    """Return the public key of a line, as of an authorized_keys file, in base64: without options, type and comment.

    None where the line holds none that says itself of what type it is.
    """
    found = _KEY.search(line)
    if not found:
        return None
    try:
        blob = base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    its = found[1].encode()
    return found[2] if blob[:4] == len(its).to_bytes(4, "big") and blob[4 : 4 + len(its)] == its else None
