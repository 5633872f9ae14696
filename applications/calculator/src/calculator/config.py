"""The configuration of one service: command line, else environment, else file, else default; all of it checked.

An option ``max-body`` is ``--max-body`` on the command line, ``CALC_MAX_BODY`` in the environment, and
``max-body`` in the TOML file that ``--config`` or ``CALC_CONFIG`` names.
"""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from calculator.client import Address
from calculator.errors import shown
from calculator.log import FORMATS
from calculator.operations import OPERATIONS
from calculator.server import Limits
from calculator.version import ARTEFACT, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Configuration", "ConfigurationError", "read"]

_EPILOG: Final = """\
Every option but --check may also be given in the environment (CALC_MAX_BODY=65536), or in the TOML file that
--config or CALC_CONFIG names (max-body = 65536). The command line goes before the environment, that before the
file. A service that runs in several copies is given all their URLs, with commas between them.

examples:
  calculator sum --port 50001
  calculator calculator --port 50000 --sum http://127.0.0.1:50001 --sub http://127.0.0.1:50002 \\
                        --mul http://127.0.0.1:50003 --div http://127.0.0.1:50004
  curl -d '5 3' http://127.0.0.1:50001           8
  curl -d '(5+3)*2' http://127.0.0.1:50000       result = 16
  curl http://127.0.0.1:50000/readyz             ready
"""
_DESCRIPTIONS: Final = {
    "sum": "add two numbers",
    "sub": "subtract the second number from the first",
    "mul": "multiply two numbers",
    "div": "divide the first number by the second",
    "calculator": "compute an expression by asking the four other services",
}
# Not CALCULATOR_: Kubernetes gives each pod CALCULATOR_PORT when a Service is called calculator.
_PREFIX: Final = "CALC_"


class ConfigurationError(Exception):
    """What is wrong: a line each in ``args``, with where it was given."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How one service runs. ``peers``: the copies of each service that it calls; only the calculator calls any."""

    service: str
    host: str
    port: int
    log: str
    limits: Limits
    timeout: float
    deadline: float
    peers: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Option:
    convert: Callable[[str], Any]
    metavar: str
    help: str
    default: str | None = None  # None: it must be given
    only: str = ""  # the service that has it


def _number(kind: type[int | float], least: float, most: float) -> Callable[[str], float]:
    """Return a converter to a number in a range, whose error says the range."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not least <= value <= most:
            noun = "whole number" if kind is int else "number"
            raise ValueError(f"{shown(text)} is not a {noun} from {least:.10g} to {most:.10g}")
        return value

    return convert


def _format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError(f"{shown(text)} is not one of {', '.join(FORMATS)}")
    return text


def _some(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return text


def _copies(text: str) -> tuple[Address, ...]:
    addresses = tuple(Address.of(url.strip()) for url in text.split(","))
    twice = [address.url for at, address in enumerate(addresses) if address in addresses[:at]]
    if twice:
        raise ValueError(f"{shown(twice[0])} is there twice: each copy has a URL of its own")
    return addresses


_LIMITS: Final = Limits()
_SECONDS: Final = _number(float, 0.01, 3600)
_OPTIONS: Final[dict[str, _Option]] = {
    "host": _Option(_some, "ADDRESS", "address to listen on", "127.0.0.1"),
    "port": _Option(_number(int, 0, 65535), "PORT", "TCP port to listen on; 0 lets the system choose"),
    "max-body": _Option(
        _number(int, 1, 2**30), "BYTES", "longest request body that is accepted", str(_LIMITS.body)
    ),
    "max-connections": _Option(
        _number(int, 1, 2**20), "COUNT", "connections at once; beyond them the longest idle makes room",
        str(_LIMITS.connections),
    ),
    "client-timeout": _Option(
        _SECONDS, "SECONDS", "time a client may take to send a request", f"{_LIMITS.request_seconds:g}"
    ),
    "idle-timeout": _Option(
        _SECONDS, "SECONDS", "time a client may keep a connection without a request", f"{_LIMITS.idle_seconds:g}"
    ),
    "stop-timeout": _Option(
        _SECONDS, "SECONDS", "time that requests under way have when the service stops", f"{_LIMITS.stop_seconds:g}"
    ),
    "log": _Option(_format, "FORMAT", f"{', '.join(FORMATS)}; auto is journal under systemd, else text", "auto"),
    **{name: _Option(_copies, "URL[,URL]", f"where the service {name} is", only="calculator") for name in OPERATIONS},
    "timeout": _Option(_SECONDS, "SECONDS", "time a service may take to answer", "5", "calculator"),
    "deadline": _Option(_SECONDS, "SECONDS", "time for all calls of one expression", "60", "calculator"),
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _parser() -> _Parser:
    parser = _Parser(prog="calculator", description="The calculator's five HTTP services.", epilog=_EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)  # fmt: skip
    parser.add_argument("--version", action="version", version=f"calculator {VERSION} (artefact {ARTEFACT})")
    services = parser.add_subparsers(dest="service", required=True, metavar="SERVICE")
    for service, description in _DESCRIPTIONS.items():
        sub = services.add_parser(service, help=description, description=f"Service {service}: {description}.",
                                  allow_abbrev=False)  # fmt: skip
        sub.add_argument("--config", metavar="FILE", help="a TOML file with options")
        sub.add_argument("--check", action="store_true", help="only check the configuration")
        for name, option in _of(service).items():
            default = f" (default: {option.default})" if option.default else ""
            sub.add_argument(f"--{name}", metavar=option.metavar, help=option.help + default)
    return parser


def _of(service: str) -> dict[str, _Option]:
    return {name: option for name, option in _OPTIONS.items() if option.only in ("", service)}


def read(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> tuple[Configuration, bool]:
    """Return the configuration, and whether only it was to be checked; ConfigurationError with all that is wrong.

    SystemExit after --help and --version (0), and for a command line that is none (2).
    """
    given = vars(_parser().parse_args(arguments))
    service, check, file = str(given.pop("service")), bool(given.pop("check")), given.pop("config")
    options = _of(service)
    variables = {name: value for name, value in environment.items() if name.startswith(_PREFIX)}
    file = file or variables.pop(f"{_PREFIX}CONFIG", None)
    written, problems = _written(file)
    known = {_variable(name) for name in options}
    problems += [
        f"environment variable {name}: {service} has no such option" for name in sorted(set(variables) - known)
    ]
    problems += [f"{file}: {name}: {service} has no such option" for name in sorted(set(written) - set(options))]

    values: dict[str, Any] = {}
    for name, option in options.items():
        flag, variable = given[name.replace("-", "_")], _variable(name)
        sources = (
            (f"argument --{name}", flag),
            (f"environment variable {variable}", variables.get(variable)),
            (f"{file}: {name}", written.get(name)),
            ("", option.default),
        )
        place, value = next(((place, value) for place, value in sources if value is not None), ("", None))
        try:
            values[name] = None if value is None else option.convert(_text(value))
        except ValueError as error:
            problems.append(f"{place}: {error}")
        if value is None:
            problems.append(f"--{name} is required (or {variable}, or {name} in a configuration file)")
    if problems:
        raise ConfigurationError(*problems)
    limits = Limits(values["max-body"], values["client-timeout"], values["idle-timeout"], values["stop-timeout"],
                    values["max-connections"])  # fmt: skip
    peers = {name: values[name] for name in OPERATIONS if name in values}
    return Configuration(service, values["host"], values["port"], values["log"], limits,
                         values.get("timeout", 0.0), values.get("deadline", 0.0), peers), check  # fmt: skip


def _variable(option: str) -> str:
    return _PREFIX + option.replace("-", "_").upper()


def _written(file: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return what stands in a configuration file, and what is wrong with it."""
    if not file:
        return {}, []
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8")), []
    except (OSError, ValueError) as error:
        return {}, [f"configuration file {file}: {error.strerror if isinstance(error, OSError) else error}"]


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("it must be a text or a number")  # noqa: TRY004  a user's mistake, not a programmer's
    return str(value)
