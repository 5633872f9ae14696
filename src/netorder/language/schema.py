"""Is the data shaped as the JSON Schema says? Its findings, in plain sentences."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonschema import Draft202012Validator, validators

from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from jsonschema import ValidationError

    from netorder.language.yaml_source import Path

__all__ = ["Violation", "boolean_word", "default", "host_keys", "is_suffix", "text", "violations", "wrong_name"]


class Violation(NamedTuple):
    """What is wrong at ``path``: with the key itself when ``of_key``, otherwise with its value."""

    path: Path
    of_key: bool
    message: str


def text() -> str:
    """Return the JSON Schema of topology files."""
    return FilePath(__file__).with_name("topology.schema.json").read_text(encoding="utf-8")


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = _without_variables(json.loads(text()))
    return schema


_OR_VARIABLE = "|[$]"  # ends patterns of what may hold a variable of `for_each`, so that editors know it


def _without_variables(schema: Any) -> Any:  # noqa: ANN401 - a part of a JSON Schema
    """Return ``schema`` for what is written out, where no variables are left."""
    if isinstance(schema, list):
        return [_without_variables(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _without_variables(part) for key, part in schema.items()}
    if isinstance(pattern := found.get("pattern"), str):
        found["pattern"] = pattern.removesuffix(_OR_VARIABLE)
    return found


# To JSON Schema 2.0 is an integer, to what reads the document it is none
_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


@cache
def _validator() -> Draft202012Validator:
    found: Draft202012Validator = _Validator(_inlined(_schema()))
    return found


def _inlined(schema: Any) -> Any:  # noqa: ANN401 - a part of a JSON Schema
    """Return ``schema`` with definitions in place of each ``$ref``: jsonschema takes half its time to look these up.

    The definition's title holds, so that errors are worded as with ``$ref``; one beside ``$ref`` becomes ``$comment``.
    """
    if isinstance(schema, list):
        return [_inlined(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" not in schema:
        return {key: _inlined(part) for key, part in schema.items() if key != "$defs"}
    beside = {"$comment": schema["title"]} if "title" in schema else {}
    return _inlined(_schema()["$defs"][schema["$ref"].rpartition("/")[2]]) | beside


def default(name: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return what the schema states as the default of ``image``, ``flavor``, ``user``, ``where`` and their like."""
    return _schema()["$defs"][name]["default"]


def host_keys() -> frozenset[str]:
    """Return the keys of a host."""
    return frozenset(_schema()["$defs"]["host"]["properties"])


def is_suffix(name: str) -> bool:
    """Tell whether ``name`` can end a name: each one's of a block of `for_each`."""
    return re.fullmatch(_schema()["$defs"]["each_name"]["pattern"], name) is not None


def wrong_name(name: str) -> tuple[str, str | None] | None:
    """Return what is wrong with ``name``, and the name to write if there is one near; None where nothing is."""
    its = _schema()["$defs"]["name"]
    if re.fullmatch(its["pattern"], name):
        return None
    fix = _nearest_name(name, its)
    return f"`{name}` is not {its['title']}{fix}", fix.partition("`")[2].removesuffix("`") or None


def violations(data: Any) -> Iterator[Violation]:  # noqa: ANN401 - whatever the file holds
    """Yield each place where ``data`` is not shaped as a topology."""
    seen: set[tuple[Path, str]] = set()
    for error in _validator().iter_errors(data):
        for violation in _translate(error, "something else"):
            # jsonschema reports each missing key apart; we name them together
            if (violation.path, violation.message) not in seen:
                seen.add((violation.path, violation.message))
                yield violation


def _translate(error: ValidationError, expected: str) -> Iterator[Violation]:
    """Yield our sentences for one of jsonschema's errors; ``expected`` is what the schema around it expects."""
    schema: Any = error.schema
    instance: Any = error.instance
    expected = schema.get("title", expected)
    path: Path = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield Violation((*path, instance), True, f"`{instance}` is not {expected}{_nearest_name(instance, schema)}")
    elif error.validator == "anyOf":
        yield from _translate_any_of(error, path, expected)
    elif error.validator == "additionalProperties" and schema.get("additionalProperties") is False:
        yield from _unknown_keys(path, instance, schema["properties"])
    elif error.validator == "required":
        # keys that are needed without another one are required by a schema that has no properties
        whole = _schema()["$defs"]["allow"] if path[:1] == ("allow",) else _schema()
        known = schema.get("properties") or whole["properties"]
        instead = () if "properties" in schema else whole["if"]["not"]["required"]
        for key in schema["required"]:
            unknown = instance.keys() - known.keys()
            if key in instance or did_you_mean(key, unknown):
                continue  # there, or there but misspelt, which is reported as such
            if any(_synonym(path, one, known) in {key, *instead} for one in unknown):
                continue
            fix = f"add `{key}:` with {_title(known[key])}"
            yield Violation(path, True, f"{_what(path)} has no `{key}`; {fix}")
    elif error.validator in ("minProperties", "minItems"):
        yield Violation(path, False, f"`{path[-1]}` is empty; it must be {expected}")
    else:
        yield Violation(path, False, _not_that(path, instance, expected, schema))


def _unknown_keys(path: Path, instance: dict[str, Any], known: dict[str, Any]) -> Iterator[Violation]:
    """Yield the keys of the mapping at ``path`` that there are not, items of a list without brackets together."""
    items = _items_as_keys(instance, known)
    for first, (key, values) in items.items():
        message = f"`{first}` stands beside `{key}`, not in it; a list needs brackets"
        yield Violation((*path, first), True, f"{message}: `{key}: [{', '.join(values)}]`")
    listed = {value for _, values in items.values() for value in values}
    for key in instance:
        if not path and key.startswith("x-"):
            continue
        if key not in known and key not in listed:
            meant = _synonym(path, key, known)
            fix = f"; it is called `{meant}`" if meant else did_you_mean(key, known)
            if len(path) == _ENTRY and (why := _NOT_OFFERED.get(str(path[0]), {}).get(key.lower())):
                fix = f"; {why}"
            if len(path) == _ENTRY and _SYNONYMS[""].get(key.lower(), key) == "for_each":
                fix = f"; it is a section: `for_each: {{one: {{count: 20, {path[0]}: {{{path[1]}: ...}}}}}}`"
                fix = "; a block holds no other: write that beside it" if path[0] == "for_each" else fix
            word, colon, rest = key.partition(":")
            if colon and word in known:
                fix = f"; put a space after the `:`: `{word}: {rest}`"
            fix = fix or f"; known here: {', '.join(known)}"
            yield Violation((*path, key), True, f"unknown key `{key}` in {_what(path)}{fix}")


def _translate_any_of(error: ValidationError, path: Path, expected: str) -> Iterator[Violation]:
    """Of several shapes, speak of the one whose type the value has; where there is none, of all."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    of_its_type = [
        inner
        for inner in branches.values()
        if not any(one.validator in ("type", "maxProperties") and not one.relative_path for one in inner)
    ]
    if len(of_its_type) > 1 and isinstance(error.instance, dict):
        of_its_type = _meant(of_its_type, error.instance)
    if len(of_its_type) == 1 and not _of_another_type(error.instance, error.schema) and not _is_word(error):
        for inner in of_its_type[0]:
            yield from _translate(inner, expected)
    else:
        yield Violation(path, False, _not_that(path, error.instance, expected, error.schema))


def _is_word(error: ValidationError) -> bool:
    """Tell whether a plain word stands where true may, so that nobody knows which of the shapes was meant."""
    return isinstance(error.instance, str) and error.instance.isalpha() and "boolean" in _types(error.schema)


def _meant(branches: list[list[ValidationError]], value: dict[str, Any]) -> list[list[ValidationError]]:
    """Return, of several kinds of mapping, the one whose key is there, else the one that has it misspelt."""

    def lacks(branch: list[ValidationError]) -> list[str]:
        required: list[Any] = [one.validator_value for one in branch if one.validator == "required"]
        return [key for keys in required for key in keys if key not in value]

    there = [one for one in branches if not lacks(one)]
    return there or [one for one in branches if any(did_you_mean(key, value) for key in lacks(one))] or branches


def _not_that(path: Path, value: object, expected: str, schema: Any) -> str:  # noqa: ANN401 - a JSON Schema
    known: list[str] = schema.get("enum", [])
    name = next((part for part in reversed(path) if isinstance(part, str)), None)
    subject = f"`{name}` is" if name else "the file holds"
    fix = _meant_of(str(value), known) or (did_you_mean(value, known) if isinstance(value, str) else "")
    if value is None:
        return f"{subject} empty; it must be {expected}" if name else f"the file is empty; it must hold {expected}"
    hint = fix or _of_another_type(value, schema) or _nearest_name(value, schema) or _without_length(value, expected)
    hint = hint or _other_end(path, value)
    text = "the text " if hint.startswith("; quotes") else ""
    return f"{subject} {text}{shown(value)}, not {expected}{hint}"


def boolean_word(value: object) -> str | None:
    """Return which of true and false a text means to many, as `yes` does."""
    return _BOOLEAN_WORDS.get(value.lower()) if isinstance(value, str) else None


def _meant_of(word: str, known: list[str]) -> str:
    """Return what a word for true or false is where there is one thing or none."""
    meant = _BOOLEAN_WORDS.get(word.lower())
    others = [one for one in known if one != "none"]
    if meant is None or len(others) != 1 or len(known) == len(others):
        return ""
    return f"; write `{others[0] if meant == 'true' else 'none'}`"


_ENTRY = 2  # length of the path of a network, a router, a host

# What other tools call a key, by the section that it is in
_SYNONYMS: dict[str, dict[str, str]] = {
    "": {
        **dict.fromkeys(("instances", "machines", "nodes", "resources", "servers", "vms"), "hosts"),
        **dict.fromkeys(("subnets", "nets", "vlans"), "networks"),
        **dict.fromkeys(("foreach", "loop", "repeat", "with_items", "with_sequence"), "for_each"),
        **dict.fromkeys(("acl", "acls", "firewall", "ingress", "policies", "rules", "security_groups"), "allow"),
        **dict.fromkeys(("deny", "outbound", "outgoing"), "egress"),
        **dict.fromkeys(("apps", "services", "software"), "applications"),
        **dict.fromkeys(("key_name", "keypair", "keypair_name"), "key_pair"),
        **dict.fromkeys(("os_cloud", "provider"), "cloud"),
        "gateways": "routers",
        "name": "topology",
    },
    "for_each": {
        **dict.fromkeys(("each", "in", "items", "keys", "list", "loop", "values"), "names"),
        **dict.fromkeys(("number", "range", "replicas", "times"), "count"),
    },
    "networks": {
        **dict.fromkeys(("copies", "replicas"), "count"),
        **dict.fromkeys(("prefix", "range", "subnet", "ipv4", "ipv6"), "cidr"),
        **dict.fromkeys(("dns", "nameservers", "name_servers"), "dns_nameservers"),
        **dict.fromkeys(("data", "exists", "external", "shared"), "existing"),
        **dict.fromkeys(("allocation_pools", "dhcp_range"), "allocation_pool"),
        **dict.fromkeys(("dhcp_enabled", "enable_dhcp"), "dhcp"),
        **dict.fromkeys(("slaac", "ipv6_ra_mode", "ra_mode", "address_mode", "ipv6_mode"), "ipv6_address_mode"),
        **dict.fromkeys(("subnetpool", "subnet_pool_id", "subnetpool_id", "subnet_pools"), "subnet_pool"),
        **dict.fromkeys(("network", "parent"), "subnet_of"),
        "gateway_ip": "gateway",
        "mtu_size": "mtu",
    },
    "routers": {
        **dict.fromkeys(("copies", "replicas"), "count"),
        **dict.fromkeys(("data", "exists"), "existing"),
        **dict.fromkeys(("interfaces", "links", "subnets"), "networks"),
        **dict.fromkeys(("external_gateway", "external_network", "internet", "public"), "external"),
    },
    "hosts": {
        **dict.fromkeys(("addresses", "fixed_ip", "ip", "ips", "ipv4", "ipv6"), "address"),
        **dict.fromkeys(("floating", "floating_ips", "floatingip", "public", "public_ip"), "floating_ip"),
        **dict.fromkeys(("interfaces", "links", "nets", "nics"), "networks"),
        **dict.fromkeys(("forwarding", "ip_forward", "router"), "forward"),
        **dict.fromkeys(("net", "subnet"), "network"),
        **dict.fromkeys(("size", "type"), "flavor"),
        **dict.fromkeys(("apps", "application", "roles", "service", "services"), "applications"),
        **dict.fromkeys(("az", "availabilityzone", "zone"), "availability_zone"),
        **dict.fromkeys(("affinity", "anti_affinity", "group", "placement", "scheduler_hints"), "server_group"),
        **dict.fromkeys(("cloud_config", "cloud_init", "init", "userdata", "user-data"), "user_data"),
        **dict.fromkeys(("meta", "properties", "property"), "metadata"),
        **dict.fromkeys(("accounts", "logins"), "users"),
        **dict.fromkeys(("sec_groups", "secgroups", "security_group"), "security_groups"),
        **dict.fromkeys(("mac", "mac_addr"), "mac_address"),
        **dict.fromkeys(("vip", "vips", "virtual_address", "virtual_ip", "virtual_ipaddress"), "virtual_addresses"),
        **dict.fromkeys(("dummy", "lo", "loopback", "loopback_address", "loopbacks"), "loopback_addresses"),
        "labels": "tags",
        "os": "image",
        "port_security_enabled": "port_security",
        "replicas": "count",
    },
    "applications": {
        **dict.fromkeys(("depends_on", "links", "needs", "peers", "requires", "uses"), "calls"),
        **dict.fromkeys(("health", "healthcheck", "probe", "test"), "check"),
        **dict.fromkeys(("expose", "listen", "port"), "ports"),
        **dict.fromkeys(("env", "environment", "variables", "with"), "vars"),
        **dict.fromkeys(("service", "services", "unit"), "units"),
    },
    "users": {
        **dict.fromkeys(
            ("authorized_keys", "key", "keys", "ssh-authorized-keys", "ssh_key", "ssh_keys"), "ssh_authorized_keys"
        ),
        **dict.fromkeys(("login", "user", "username"), "name"),
    },
    "allow": {
        **dict.fromkeys(("source", "sources", "src"), "from"),
        **dict.fromkeys(("dest", "destination", "dst", "target", "targets"), "to"),
        **dict.fromkeys(("dport", "port", "ports"), "tcp"),
        **dict.fromkeys(("app", "applications", "service"), "application"),
        **dict.fromkeys(("ping", "icmp_type", "type"), "icmp"),
        **dict.fromkeys(("icmp6", "icmp_v6", "ipv6-icmp"), "icmpv6"),
        **dict.fromkeys(("ip_protocol", "proto", "protocols"), "protocol"),
        **dict.fromkeys(("any", "everything"), "all"),
        **dict.fromkeys(("among", "between", "itself", "self"), "within"),
    },
}


# What others have and this language has not, and what to do
_NOT_OFFERED: dict[str, dict[str, str]] = {
    "networks": {
        "subnets": "a network has one prefix of each IP version, in `cidr`; more of IPv4 are networks with `subnet_of`",
    },
    "hosts": {
        "allowed_address_pairs": "write `virtual_addresses` for addresses, or `forward: true` for what passes the host",
    },
}
_SYNONYMS["egress"] = {key: word for key, word in _SYNONYMS["allow"].items() if word != "within"}


def _synonym(path: Path, key: str, known: Collection[str]) -> str | None:
    """Return what this language calls ``key`` of the mapping at ``path``."""
    depth = {0: "", 2: str(path[0]) if path else ""}
    section = "users" if path[-2:-1] == ("users",) else depth.get(len(path), "-")
    meant = _SYNONYMS.get(section, {}).get(key.lower())
    return meant if meant in known else None


def _items_as_keys(instance: dict[str, Any], known: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """Return the keys that are items of a list without brackets (``{tcp: 80, 443}``), by the first of each list.

    They are unknown and hold nothing, and the key before them may hold a list: that key and all of the list.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    key, first, values = "", "", list[str]()
    for name, value in instance.items():
        if name in known:
            several = "networks" if name == "network" else name
            single = isinstance(value, str | int) and not isinstance(value, bool)
            key = several if single and "array" in _types(known.get(several, {})) else ""
            first, values = "", [str(value)]
        elif value is None and key and not did_you_mean(name, known):
            first = first or name
            values.append(name)
            found[first] = (key, values)
        else:
            key = ""
    return found


def _other_end(path: Path, value: object) -> str:
    """Return which end of a rule the members of a security group can be, where they stand at the other one."""
    if not (isinstance(value, dict) and "security_group" in value and path[:1] in (("allow",), ("egress",))):
        return ""
    end = "from" if path[0] == "allow" else "to"
    return f"; members of a security group of the cloud can only be in `{end}`: name hosts of this file here"


def _without_length(value: object, expected: str) -> str:
    """Return what to write where an address has the length of a prefix that holds nothing else."""
    found = re.fullmatch(r"([0-9A-Fa-f.:]+)/(32|128)", value) if isinstance(value, str) else None
    return f"; write `{found[1]}`" if found and expected.startswith("an address") else ""


def _nearest_name(value: object, schema: Any) -> str:  # noqa: ANN401 - a JSON Schema
    """Return ``; write `web-server``` where ``value`` can be made a name that the schema's pattern allows."""
    pattern = schema.get("pattern")
    if not isinstance(value, str) or pattern is None or "/" in pattern or not re.fullmatch(pattern, "name"):
        return ""  # it is no pattern of names
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode().lower()
    for joint in "-_":
        name = re.sub(r"[^a-z0-9]+", joint, plain).strip(joint)
        if re.fullmatch(pattern, name) and not name.isdecimal():
            return f"; write `{name}`"
    return ""


_BOOLEAN_WORDS = {"true": "true", "yes": "true", "on": "true", "y": "true"}
_BOOLEAN_WORDS |= {"false": "false", "no": "false", "off": "false", "n": "false"}


def _of_another_type(value: object, schema: Any) -> str:  # noqa: ANN401 - a JSON Schema
    """Return what to write where ``value`` has another type than was meant: ``yes``, a quoted number, an own name."""
    types = _types(schema)
    if isinstance(value, str) and "boolean" in types and (meant := _BOOLEAN_WORDS.get(value.lower())):
        if value.lower() in ("true", "false"):
            return f"; quotes make it a text: write `{meant}` without"
        named = ", or name a network that is called so in `external_network`" if _holds_names(schema) else ""
        named = ", or the id of what is called so" if named and "external" not in schema.get("title", "") else named
        return f"; YAML 1.2 has no booleans but true and false: write `{meant}`{named}"
    if isinstance(value, str) and "boolean" in types:
        known = [str(one).lower() for one in (True, False) if _fits(one, schema)]
        if near := did_you_mean(value, known):
            return near
    if "integer" in types and (fix := _as_integer(value, schema)):
        return fix
    free = "pattern" not in schema and not any("enum" in one for one in schema.get("anyOf", ()))
    if isinstance(value, bool | int | float) and types in ({"string"}, {"string", "object"}) and free:
        return f'; if that is its name, put it in quotes: `"{shown(value)[1:-1]}"`'
    return ""


def _as_integer(value: object, schema: Any) -> str:  # noqa: ANN401 - a JSON Schema
    """Return what to write where ``value`` is a number to people, or several: in quotes, with a point, in one text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return f"; quotes make it a text: write `{int(value)}` without"
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\s*[,/ ]\s*[0-9]{1,9})+", value):
        several = [int(one) for one in re.findall("[0-9]+", value)]
        return f"; write `{several}`" if _fits(several, schema) else ""
    if isinstance(value, float):
        quoted = ["a text in quotes"] if _fits(str(value), schema) else []
        whole = [f"`{int(value)}`"] if value.is_integer() and _fits(int(value), schema) else []
        return f"; write {', or '.join((*whole, *quoted))}" if whole or quoted else ""
    return ""


def _fits(value: object, schema: Any) -> bool:  # noqa: ANN401 - a JSON Schema
    return bool(_Validator(schema).is_valid(value))


def _holds_names(schema: Any) -> bool:  # noqa: ANN401 - a JSON Schema
    """Tell whether a schema accepts any text, not only some."""
    return (schema.get("type") == "string" and "pattern" not in schema) or any(
        map(_holds_names, schema.get("anyOf", ()))
    )


def _types(schema: Any) -> set[str]:  # noqa: ANN401 - a JSON Schema
    """Return the types of JSON that a schema accepts."""
    its = schema.get("type", ())
    found = {"boolean"} if schema.get("const") is True else {its} if isinstance(its, str) else {*its}
    return found.union(*map(_types, schema.get("anyOf", ())))


def shown(value: object) -> str:
    """Return ``value`` as a person would name it in a sentence."""
    match value:
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list():
            return "a list" if value else "an empty list"
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


def _title(schema: dict[str, Any]) -> str:
    """Return what the schema of a key expects."""
    return str(schema.get("$comment") or schema["title"])


def _what(path: Path) -> str:  # noqa: C901, PLR0911 - one for each kind of thing
    """Return the thing at ``path`` as people call it: ``host `sum```, ``a rule``, ``the topology``."""
    match path:
        case ():
            return "the topology"
        case ("networks" | "routers" | "hosts" | "applications" as section, name):
            return f"{section[:-1]} `{name}`"
        case ("hosts", host, "applications", _):
            return f"an application of host `{host}`"
        case ("hosts", host, "users", _):
            return f"a user of host `{host}`"
        case ("defaults", "users", _):
            return "a user of `defaults`"
        case ("hosts", host, "forward", _):
            return f"a forwarded port of host `{host}`"
        case ("hosts" | "routers" as section, name, "routes", _):
            return f"a route of {section[:-1]} `{name}`"
        case ("allow" | "egress", _):
            return "this rule"
        case ("allow" | "egress", _, end, *_):
            return f"`{end}`"
        case ("for_each", block):
            return f"`{block}` of `for_each`"
        case _:
            return f"`{path[-1]}`"
