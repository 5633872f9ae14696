"""Is the data shaped as the JSON Schema says? Its findings, in plain sentences."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

from netorder.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema import ValidationError

    from netorder.language.yaml_source import Path

__all__ = ["Violation", "default", "host_keys", "text", "violations"]


class Violation(NamedTuple):
    """What is wrong at ``path``: with the key itself when ``of_key``, otherwise with its value."""

    path: Path
    of_key: bool
    message: str


def text() -> str:
    """Return the JSON Schema of topology files."""
    # beside this file in a wheel too; importlib.resources takes longer to import than all of this
    return FilePath(__file__).with_name("topology.schema.json").read_text(encoding="utf-8")


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(text())
    return schema


def default(name: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return what the schema states as the default of ``image``, ``flavor``, ``user``, ``where`` and their like."""
    return _schema()["$defs"][name]["default"]


def host_keys() -> frozenset[str]:
    """Return the keys of a host."""
    return frozenset(_schema()["$defs"]["host"]["properties"])


def violations(data: Any) -> Iterator[Violation]:  # noqa: ANN401 - whatever the file holds
    """Yield each place where ``data`` is not shaped as a topology."""
    if _fits(_schema())(data):
        return
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import, needed here only

    seen: set[tuple[Path, str]] = set()
    for error in Draft202012Validator(_schema()).iter_errors(data):
        for violation in _translate(error, "something else"):
            # jsonschema reports each missing key apart; we name them together
            if (violation.path, violation.message) not in seen:
                seen.add((violation.path, violation.message))
                yield violation


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda data: isinstance(data, dict),
    "array": lambda data: isinstance(data, list),
    "string": lambda data: isinstance(data, str),
    "boolean": lambda data: isinstance(data, bool),
    "integer": lambda data: isinstance(data, int) and not isinstance(data, bool),
    "null": lambda data: data is None,
}
_NOTES = {"$schema", "$id", "$defs", "title", "description", "default"}


def _fits(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """Return a test of the part of JSON Schema that ours uses; KeyError for a keyword that it does not know.

    It is what makes `check` quick: jsonschema takes 0.1 s to import and a millisecond for each host, and is asked only
    about files that do not fit, to say why.
    """
    tests: list[Callable[[Any], bool]] = []
    if "$ref" in schema:
        tests.append(_fits_definition(schema["$ref"].rpartition("/")[2]))
    if "type" in schema:
        tests.append(_TYPES[schema["type"]])
    for keyword, value in schema.items():
        if keyword not in _NOTES | {"$ref", "type", "additionalProperties"}:
            tests.append(_KEYWORDS[keyword](value))
    known = schema.get("properties", {}).keys()
    others = schema.get("additionalProperties", True)
    if isinstance(others, dict):
        other = _fits(others)
        tests.append(lambda data: all(name in known or other(its) for name, its in data.items()))
    elif not others:
        tests.append(lambda data: data.keys() <= known)
    return lambda data: all(test(data) for test in tests)


@cache
def _fits_definition(name: str) -> Callable[[Any], bool]:
    return _fits(_schema()["$defs"][name])


def _fits_properties(properties: dict[str, Any]) -> Callable[[Any], bool]:
    tests = {name: _fits(its) for name, its in properties.items()}
    return lambda data: all(name not in tests or tests[name](value) for name, value in data.items())


def _fits_all(schema: dict[str, Any]) -> Callable[[Any], bool]:
    test = _fits(schema)
    return lambda data: all(test(item) for item in data)


def _fits_any(schemas: list[dict[str, Any]]) -> Callable[[Any], bool]:
    tests = [_fits(schema) for schema in schemas]
    return lambda data: any(test(data) for test in tests)


def _fits_pattern(pattern: str) -> Callable[[Any], bool]:
    search = re.compile(pattern).search
    return lambda data: search(data) is not None


# Every keyword stands beside the `type` it needs.
_KEYWORDS: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "properties": _fits_properties,
    "propertyNames": _fits_all,
    "items": _fits_all,
    "anyOf": _fits_any,
    "pattern": _fits_pattern,
    "enum": lambda value: lambda data: data in value,
    "const": lambda value: lambda data: data is value,
    "required": lambda value: lambda data: all(name in data for name in value),
    "minimum": lambda value: lambda data: data >= value,
    "maximum": lambda value: lambda data: data <= value,
    "minLength": lambda value: lambda data: len(data) >= value,
    "minItems": lambda value: lambda data: len(data) >= value,
    "minProperties": lambda value: lambda data: len(data) >= value,
    "maxProperties": lambda value: lambda data: len(data) <= value,
}


def _translate(error: ValidationError, expected: str) -> Iterator[Violation]:
    """Yield our sentences for one of jsonschema's errors; ``expected`` is what the schema around it asks for."""
    schema: Any = error.schema
    instance: Any = error.instance
    expected = schema.get("title", expected)
    path: Path = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield Violation((*path, instance), True, f"`{instance}` is not {expected}")
    elif error.validator == "anyOf":
        yield from _translate_any_of(error, path, expected)
    elif error.validator == "additionalProperties" and schema.get("additionalProperties") is False:
        known = schema["properties"]
        for key in instance:
            if key not in known:
                mend = did_you_mean(key, known) or f"; known here: {', '.join(known)}"
                yield Violation((*path, key), True, f"unknown key `{key}` in {_what(path)}{mend}")
    elif error.validator == "required":
        for key in schema["required"]:
            if key in instance or did_you_mean(key, instance.keys() - schema["properties"].keys()):
                continue  # there, or there but misspelt, which is reported as such
            mend = f"add `{key}:` with {_title(schema['properties'][key])}"
            yield Violation(path, True, f"{_what(path)} has no `{key}`; {mend}")
    elif error.validator in ("minProperties", "minItems"):
        yield Violation(path, False, f"`{path[-1]}` is empty; it must be {expected}")
    else:
        yield Violation(path, False, _not_that(path, instance, expected, schema.get("enum", ())))


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
    if len(of_its_type) == 1:
        for inner in of_its_type[0]:
            yield from _translate(inner, expected)
    else:
        yield Violation(path, False, _not_that(path, error.instance, expected, ()))


def _not_that(path: Path, value: object, expected: str, known: tuple[str, ...]) -> str:
    name = next((part for part in reversed(path) if isinstance(part, str)), None)
    subject = f"`{name}` is" if name else "the file holds"
    mend = did_you_mean(value, known) if isinstance(value, str) else ""
    if value is None:
        return f"{subject} empty; it must be {expected}" if name else f"the file is empty; it must hold {expected}"
    return f"{subject} {shown(value)}, not {expected}{mend}"


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
    """Return what ``schema`` asks for, through its ``$ref``."""
    if "title" in schema:
        return str(schema["title"])
    return _title(_schema()["$defs"][schema["$ref"].rpartition("/")[2]])


def _what(path: Path) -> str:
    """Return the thing at ``path`` as people call it: ``host `sum```, ``a rule``, ``the topology``."""
    match path:
        case ():
            return "the topology"
        case ("networks" | "routers" | "hosts" as section, name):
            return f"{section[:-1]} `{name}`"
        case ("hosts", host, "service"):
            return f"the service of host `{host}`"
        case ("hosts" | "routers" as section, name, "routes", _):
            return f"a route of {section[:-1]} `{name}`"
        case ("allow", _):
            return "this rule"
        case _:
            return f"`{path[-1]}`"
