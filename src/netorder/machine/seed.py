"""Config drives: OpenStack's metadata on an ISO 9660 file system labelled config-2, as guests and cloud-init read it.

Written here, without a program: a handful of files in directories of one sector each (ECMA-119).
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field

__all__ = ["config_drive", "fingerprint", "iso"]

LABEL = "config-2"
_SECTOR = 2048
_FIRST = 16  # sector of the volume descriptors
_DIRECTORY = 2  # flag
_DATE = bytes([100, 1, 1, 0, 0, 0, 0])  # the beginning of 2000: the same bytes for the same files


def config_drive(uuid: str, hostname: str, key: str, *, is_clone: bool) -> bytes:
    """Return the image of a host's config drive; ``key`` is the public key that its user lets in.

    cloud-init gives a new instance host keys, but not a machine id: that of a clone would be the other's.
    """
    metadata = {"uuid": uuid, "hostname": hostname, "name": hostname, "public_keys": {"netorder": key}}
    files = {"openstack/latest/meta_data.json": json.dumps(metadata).encode()}
    if is_clone:
        write = f"echo {uuid.replace('-', '')} >/etc/machine-id"
        once = ["cloud-init-per", "instance", "netorder-machine-id", "sh", "-c", write]
        vendor = f"#cloud-config\n{json.dumps({'bootcmd': [once]})}\n"
        files["openstack/latest/vendor_data.json"] = json.dumps({"cloud-init": vendor}).encode()
    return iso(LABEL, files)


def fingerprint(key: str) -> str:
    """Return the fingerprint of a public key, as `ssh-keygen -l` shows it; whatever its comment."""
    words = key.split()
    try:
        blob = base64.b64decode(words[1])
    except (IndexError, ValueError):
        blob = key.encode()  # no key of OpenSSH's: as good to tell it from another
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


@dataclass(slots=True)
class _Directory:
    name: str
    parent: _Directory | None
    sector: int = 0
    directories: dict[str, _Directory] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def below(self, name: str) -> _Directory:
        return self.directories.setdefault(name, _Directory(name, self))


def iso(label: str, files: dict[str, bytes]) -> bytes:
    """Return a file system with these files, by path.

    Names are kept in capitals, which systems show as small letters: letters, digits, `_`, and one dot in a file's.
    """
    root = _Directory("", None)
    for path, data in files.items():
        *above, name = path.split("/")
        where = root
        for part in above:
            where = where.below(part)
        where.files[name] = data
    order = [root]
    for one in order:
        order += one.directories.values()  # by levels, as a path table has them
    next_sector = _FIRST + 4  # two descriptors, two path tables
    for one in order:
        one.sector = next_sector
        next_sector += 1
    places: dict[tuple[int, str], int] = {}
    for one in order:
        for name, data in one.files.items():
            places[one.sector, name] = next_sector
            next_sector += max(1, -(-len(data) // _SECTOR))
    tables = [_path_table(order, big=big) for big in (False, True)]
    parts = [
        bytes(_FIRST * _SECTOR),
        _volume(label, next_sector, len(tables[0]), root),
        _padded(b"\xffCD001\x01"),
        *map(_padded, tables),
        *(_padded(_records(one, places)) for one in order),
        *(_padded(data or b"\0") for one in order for data in one.files.values()),
    ]
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _SECTOR)


def _both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both_short(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _record(name: bytes, sector: int, size: int, flags: int) -> bytes:
    body = b"\0" + _both(sector) + _both(size) + _DATE + bytes([flags, 0, 0]) + _both_short(1)
    body += bytes([len(name)]) + name
    body += bytes((len(body) + 1) % 2)
    return bytes([len(body) + 1]) + body


def _records(one: _Directory, places: dict[tuple[int, str], int]) -> bytes:
    above = one.parent or one
    found = [_record(bytes([index]), its.sector, _SECTOR, _DIRECTORY) for index, its in enumerate((one, above))]
    named = [(name.upper().encode(), its.sector, _SECTOR, _DIRECTORY) for name, its in one.directories.items()]
    named += [
        (f"{name.upper()};1".encode(), places[one.sector, name], len(data), 0) for name, data in one.files.items()
    ]
    return b"".join([*found, *(_record(*its) for its in sorted(named))])


def _path_table(order: list[_Directory], *, big: bool) -> bytes:
    numbers = {id(one): index for index, one in enumerate(order, 1)}
    table = b""
    for one in order:
        name = one.name.upper().encode() or b"\0"
        parent = numbers[id(one.parent or one)]
        table += bytes([len(name), 0]) + struct.pack(">IH" if big else "<IH", one.sector, parent) + name
        table += bytes(len(name) % 2)
    return table


def _volume(label: str, sectors: int, table: int, root: _Directory) -> bytes:
    """Return the primary volume descriptor."""
    spaces, no_date = b" ", b"0" * 16 + b"\0"
    parts = [
        b"\x01CD001\x01\0",
        spaces * 32,
        label.encode().ljust(32),
        bytes(8),
        _both(sectors),
        bytes(32),
        _both_short(1) + _both_short(1) + _both_short(_SECTOR),
        _both(table),
        struct.pack("<II", _FIRST + 2, 0) + struct.pack(">II", _FIRST + 3, 0),
        _record(b"\0", root.sector, _SECTOR, _DIRECTORY),
        spaces * (4 * 128 + 3 * 37),
        no_date * 4,
        b"\x01\0",
    ]
    return _padded(b"".join(parts))
