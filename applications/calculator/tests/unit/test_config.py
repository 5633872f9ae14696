"""The configuration: where a value comes from, and all that is wrong at once."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from calculator import config
from calculator.cli import main

ROOT = Path(__file__).parents[2]
OPERATIONS = ("sum", "sub", "mul", "div")
URLS = [part for name in OPERATIONS for part in (f"--{name}", "http://127.0.0.1:1")]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ([], ["the following arguments are required: SERVICE"]),
        (["sum", "--port", "1", "--sum", "x"], ["unrecognized arguments: --sum x"]),
        (["sum"], ["--port is required (or CALC_PORT, or port in a configuration file)"]),
        (["sum", "--port", "70000"], ["argument --port: '70000' is not a whole number from 0 to 65535"]),
        (["sum", "--port", "http"], ["argument --port: 'http' is not a whole number from 0 to 65535"]),
        (["sum", "--port", "1", "--host", ""], ["argument --host: it is empty"]),
        (["sum", "--port", "1", "--log", "xml"], ["argument --log: 'xml' is not one of auto, journal, json, text"]),
        (["sum", "--port", "1", "--config", "/no/such.toml"],
         ["configuration file /no/such.toml: No such file or directory"]),
        (["calculator", "--port", "x", *URLS[2:]],
         ["argument --port: 'x' is not a whole number from 0 to 65535",
          "--sum is required (or CALC_SUM, or sum in a configuration file)"]),
        (["calculator", "--port", "1", *URLS, "--sum", "127.0.0.1:50001", "--sub", "https://a:1"],
         ["argument --sum: '127.0.0.1:50001' is not a URL such as http://192.168.2.20:50001",
          "argument --sub: 'https://a:1' is not a URL such as http://192.168.2.20:50001"]),
        (["calculator", "--port", "1", *URLS, "--div", "http://a:99999"],
         ["argument --div: 'http://a:99999': the port is not a number from 1 to 65535"]),
        (["calculator", "--port", "1", *URLS, "--mul", "http://a:1/?x"],
         ["argument --mul: 'http://a:1/?x': only a host, a port and a path may stand after http://"]),
        (["calculator", "--port", "1", *URLS, "--mul", "http://[::1"],
         ["argument --mul: 'http://[::1' is not a URL such as http://192.168.2.20:50001"]),
        (["calculator", "--port", "1", *URLS, "--mul", "http://a:1, http://b:1,http://a:1"],
         ["argument --mul: 'http://a:1' is there twice: each copy has a URL of its own"]),
    ],
)  # fmt: skip
def test_wrong(arguments, lines, capsys):
    """A line for each mistake and status 2, before anything listens."""
    try:
        status = main(arguments)
    except SystemExit as end:  # as argparse does
        status = end.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert captured.err == "".join(f"calculator: {line} (see --help)\n" for line in lines)


def test_sources(tmp_path):
    """The command line goes before the environment, that before the file, that before the default."""
    file = tmp_path / "sum.toml"
    file.write_text('port = 1\nmax-body = 10\nhost = "127.0.0.7"\n')
    environment = {"CALC_CONFIG": str(file), "CALC_PORT": "2", "CALC_MAX_BODY": "20", "HOME": "/"}
    configuration, check = config.read(["sum", "--port", "3"], environment)
    assert (configuration.port, configuration.limits.body, configuration.host) == (3, 20, "127.0.0.7")
    assert (configuration.limits.connections, configuration.log, check) == (8192, "auto", False)


def test_wrong_environment_and_file(tmp_path):
    """Each mistake is named with the place where it was made."""
    file = tmp_path / "sum.toml"
    file.write_text("port = true\nmax-bdoy = 10\n")
    environment = {"CALC_MAX_BODY": "lots", "CALC_DEADLINE": "1"}
    with pytest.raises(config.ConfigurationError) as error:
        config.read(["sum", "--config", str(file)], environment)
    assert list(error.value.args) == [
        "environment variable CALC_DEADLINE: sum has no such option",
        f"{file}: max-bdoy: sum has no such option",
        f"{file}: port: it must be a text or a number",
        "environment variable CALC_MAX_BODY: 'lots' is not a whole number from 1 to 1073741824",
    ]


def test_broken_file(tmp_path):
    """A file that is no TOML is named, with the place in it."""
    file = tmp_path / "sum.toml"
    file.write_text("port = \n")
    with pytest.raises(config.ConfigurationError, match=r"sum.toml: Invalid value \(at line 1, column 8\)"):
        config.read(["sum", "--config", str(file), "--port", "1"], {})


def test_copies():
    """Several URLs, with commas between them, are the copies of one service."""
    configuration, _ = config.read(["calculator", "--port", "1", *URLS, "--sum", "http://a:1, http://b:2/x"], {})
    copies = [(copy.host, copy.port, copy.path) for copy in configuration.peers["sum"]]
    assert copies == [("a", 1, "/"), ("b", 2, "/x")]


def test_check(capsys):
    """--check says whether the configuration is correct, and nothing listens."""
    assert main(["sum", "--port", "1", "--check"]) == 0
    assert capsys.readouterr().out == "the configuration is correct\n"
    assert main(["sum", "--port", "-1", "--check"]) == 2


def test_version():
    """--version names the version and what it runs from."""
    command = [sys.executable, "-m", "calculator", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert done.stdout == f"calculator {version} (artefact source)\n"


def test_help():
    """The help shows how to start all five and how to send a request."""
    done = subprocess.run([sys.executable, "-m", "calculator", "--help"], capture_output=True, text=True, check=True)
    for word in (*OPERATIONS, "calculator calculator --port 50000 --sum http://127.0.0.1:50001", "curl -d"):
        assert word in done.stdout
