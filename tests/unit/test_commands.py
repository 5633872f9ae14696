"""The commands that run playbooks and log in to hosts: the command lines, what they refuse, their exit statuses."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from netorder.ansible import kept as kept_here
from netorder.cli import init
from netorder.cli.main import main
from netorder.controller import playbooks, process, records, state
from netorder.errors import UsageError
from netorder.language.load import load

ROOT = Path(__file__).parents[2]
CALCULATOR = "topologies/calculator.yml"
POOL = "topologies/pool.yml"
WRONG = "tests/golden/bad/addresses.yml"
SITE = "ansible-playbook site.yml"
BOOKS = "ansible-playbook playbooks"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("NETORDER_TOPOLOGY", raising=False)


class EndedError(Exception):
    """The process would have become the program."""


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs the command, and returns the command line that it becomes."""

    def become(program):
        raise EndedError(str(program))

    monkeypatch.setattr(process, "become", become)

    def run(*arguments: str) -> str:
        with pytest.raises(EndedError) as caught:
            main(arguments)
        return str(caught.value)

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up"], f"ansible-playbook site.yml -e topology={CALCULATOR}"),
        (["up", POOL], f"ansible-playbook site.yml -e topology={POOL}"),
        (["up", POOL, "--golden"], f"ansible-playbook site.yml -e topology={POOL} -e golden=true"),
        (
            ["up", POOL, "--allow", "delete,replace", "--probes", "all", "--ssh-timeout", "90"],
            f"{SITE} -e topology={POOL} -e allow=delete,replace -e probes=all -e netorder_ssh_timeout=90",
        ),
        (
            ["up", POOL, "-e", "allow=replace", "--extra-vars", "colour=blue", "--limit", "sum"],
            f"{SITE} -e topology={POOL} --limit sum -e allow=replace -e colour=blue",
        ),
        (
            ["up", "--limit", "sum:!div", "--tags", "applications"],
            f"ansible-playbook site.yml -e topology={CALCULATOR} --limit 'sum:!div' --tags applications",
        ),
        (["up", "-vvv"], f"ansible-playbook site.yml -e topology={CALCULATOR} -vv"),
        (["up", "--", "--forks", "50"], f"ansible-playbook site.yml -e topology={CALCULATOR} --forks 50"),
        (
            ["up", "--ssh-key", "my key"],
            f"ansible-playbook site.yml -e topology={CALCULATOR} -e "
            + shlex.quote(json.dumps({"netorder_ssh_key": str(ROOT / "my key")})),
        ),
        (
            ["preview", POOL],
            f"ANSIBLE_DISPLAY_OK_HOSTS=false {SITE} -e topology={POOL} --check --diff --skip-tags verify",
        ),
        (
            ["verify", "--probes", "all", "--limit", "sum"],
            f"ansible-playbook playbooks/verify.yml -e topology={CALCULATOR} -e probes=all --limit sum",
        ),
        (["drift", POOL], f"ansible-playbook playbooks/drift.yml -e topology={POOL}"),
        (
            ["drift", "--report", "x.txt"],
            f"ansible-playbook playbooks/drift.yml -e topology={CALCULATOR} -e report={ROOT}/x.txt",
        ),
        (
            ["down", CALCULATOR, "--yes"],
            f"ansible-playbook playbooks/teardown.yml -e topology={CALCULATOR} -e confirm=calculator",
        ),
        (["down", "--check"], f"ansible-playbook playbooks/teardown.yml -e topology={CALCULATOR} --check --diff"),
        (["snapshot", "sum"], f"ansible-playbook playbooks/snapshot.yml -e topology={CALCULATOR} -e host=sum"),
        (
            ["snapshots", POOL, "--keep", "0", "--host", "a,b"],
            f"ansible-playbook playbooks/snapshots.yml -e topology={POOL} -e host=a,b -e keep=0",
        ),
        (
            ["restore", "sum", "-t", POOL, "--snapshot", "x", "--allow", "replace", "--check"],
            f"{BOOKS}/restore.yml -e topology={POOL} -e allow=replace -e host=sum -e snapshot=x --check --diff",
        ),
        (
            ["resize", "sum", "medium", "--ssh-timeout", "600", "--", "-v"],
            f"{BOOKS}/resize.yml -e topology={CALCULATOR} -e netorder_ssh_timeout=600 -e host=sum -e flavor=medium -v",
        ),
        (["power", "stop", "all"], f"ansible-playbook playbooks/power.yml -e topology={CALCULATOR} -e state=stopped"),
        (
            ["power", "shelve", "sum", "sub"],
            f"ansible-playbook playbooks/power.yml -e topology={CALCULATOR} -e state=shelved -e host=sum,sub",
        ),
        (["golden", POOL], f"ansible-playbook playbooks/golden.yml -e topology={POOL}"),
        (
            ["golden", "--host", "sum", "--check"],
            f"ansible-playbook playbooks/golden.yml -e topology={CALCULATOR} -e host=sum --check --diff",
        ),
        (["golden", "--list"], f"ansible-playbook playbooks/golden-images.yml -e topology={CALCULATOR}"),
        (
            ["golden", "--keep", "0"],
            f"ansible-playbook playbooks/golden-images.yml -e topology={CALCULATOR} -e keep=0",
        ),
        (
            ["down", "--name", "gone", "--yes"],
            "ansible-playbook playbooks/teardown.yml -e netorder_topology=gone -e confirm=gone -i localhost,",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_command_line_of_a_playbook(line, arguments, expected):
    assert line(*arguments) == expected


def test_a_topology_is_named_by_the_shell(line, monkeypatch):
    """NETORDER_TOPOLOGY names it; a file on the command line is stronger."""
    monkeypatch.setenv("NETORDER_TOPOLOGY", POOL)
    assert line("up").endswith(f"-e topology={POOL}")
    assert line("up", CALCULATOR).endswith(f"-e topology={CALCULATOR}")


def test_the_default_is_that_of_the_playbooks():
    """Without a name both take the same file."""
    inventory = yaml.safe_load((ROOT / "inventory/10-plan.yml").read_text())
    assert inventory["topology"] == playbooks.DEFAULT_TOPOLOGY


def test_a_file_name_with_spaces_stays_one_word(line, tmp_path):
    """Ansible divides `-e a=b c` at the space."""
    file = tmp_path / "my net.yml"
    file.write_text((ROOT / CALCULATOR).read_text().replace("../applications", f"{ROOT}/applications"))
    words = shlex.split(line("up", str(file)))
    assert json.loads(words[words.index("-e") + 1]) == {"topology": str(file)}


def test_verbose_prints_what_is_run(line, capsys):
    """On standard error, as one would type it; without -v nothing is printed."""
    line("up", "--tags", "applications")
    assert capsys.readouterr() == ("", "")
    shown = line("up", "--tags", "applications", "-v")
    assert capsys.readouterr() == ("", f"$ {shown}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--golden", "--limit", "sum"], "--golden makes hosts, and --limit leaves the cloud as it is"),
        (["load", "x.tar.gz", "--golden"], "--golden says what hosts are made of, and without --up none are made"),
        (["load", "x.tar.gz", "--up", "--files", "f"], "--up: runs keep their files in .netorder, not in f"),
        (["up", "--allow", "delte"], "--allow: `delte` is not known; did you mean `delete`?"),
        (["up", "--tags", "application"], "--tags: no task has the tag `application`; did you mean `applications`?"),
        (["down", "--yes"], "--yes deletes without asking: name the FILE, or --name NAME"),
        (["down", CALCULATOR, "--name", "x"], "FILE and --name both say which topology: omit one"),
        (["down", CALCULATOR], "nothing was deleted: to delete calculator without being asked, add --yes"),
        (["exec", "net2"], "no command: write it after --, as in `netorder exec GROUP -- uptime`"),
        (["exec", "net3", "--", "id"], "there is no host, group or network `net3`; did you mean `net2`?"),
        (["ssh", "sum", "ip", "route"], "write -- before the command: netorder ssh sum -- ip route"),
        (["exec", "net2", "uptime"], "write -- before the command: netorder exec net2 -- uptime"),
        (["ssh", "sun"], "calculator has no host `sun`; did you mean `sum`?"),
        (["logs", "mull"], "calculator has no application or host `mull`; did you mean `mul`?"),
        (["init", "x.yml", "--template", "smal"], "there is no template `smal`; did you mean `small`?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused_before_anything_is_run(arguments, said, capsys, monkeypatch):
    """With status 2, nothing on standard output, the cause and the fix."""
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"netorder {arguments[0]}: error: {said}")


@pytest.mark.parametrize("command", ["up", "preview", "verify", "drift", "down"])
def test_a_wrong_topology_is_reported_without_ansible(command, capsys):
    """With the places of its errors, and status 1."""
    assert main([command, WRONG]) == 1
    assert capsys.readouterr().err.count(f"{WRONG}:") == 10


@pytest.mark.parametrize(
    ("arguments", "playbook"),
    [(["up"], "site.yml"), (["verify"], "playbooks/verify.yml"), (["down", "--yes"], "playbooks/teardown.yml")],
)
def test_elsewhere_the_projects_playbooks_are_run(line, arguments, playbook, tmp_path, monkeypatch):
    """With its settings; the topology and this directory stay the user's."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "lab.yml"]) == 0
    found = line(*arguments, "lab.yml")
    assert found.startswith(f"ANSIBLE_CONFIG={ROOT}/ansible.cfg ansible-playbook {ROOT}/{playbook} -e topology=lab.yml")


def test_roles_and_collections_are_found_beside_the_topology(line, tmp_path, monkeypatch):
    """As beside a playbook; the project's own whatever the environment names."""
    monkeypatch.chdir(tmp_path)
    for name in ("ANSIBLE_ROLES_PATH", "ANSIBLE_COLLECTIONS_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert main(["init", "lab.yml"]) == 0
    assert "_PATH=" not in line("up", "lab.yml")
    (tmp_path / "roles").mkdir()
    (tmp_path / "collections").mkdir()
    usual = "~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles"
    words = shlex.split(line("up", "lab.yml"))
    assert f"ANSIBLE_ROLES_PATH={ROOT}/roles:{tmp_path}/roles:{usual}" in words
    assert any(one.startswith(f"ANSIBLE_COLLECTIONS_PATH={tmp_path}/collections:~/") for one in words)
    monkeypatch.setenv("ANSIBLE_ROLES_PATH", "/mine")
    assert f"ANSIBLE_ROLES_PATH={ROOT}/roles:{tmp_path}/roles:/mine" in shlex.split(line("up", "lab.yml"))


def test_files_of_runs_are_the_projects(tmp_path, monkeypatch):
    """Where runs keep them; a package of no clone looks here."""
    assert playbooks.files() == Path(".netorder")
    monkeypatch.chdir(tmp_path)
    assert playbooks.files() == ROOT / ".netorder"
    monkeypatch.setattr(playbooks, "CLONE", tmp_path)
    assert playbooks.files() == Path(".netorder")


@pytest.mark.parametrize("command", ["up", "preview", "verify", "drift", "down"])
def test_a_package_of_no_clone_has_no_playbooks(command, tmp_path, monkeypatch, capsys):
    """The error says where they were looked for, and what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(playbooks, "CLONE", tmp_path)
    assert main([command, str(ROOT / CALCULATOR)]) == 2
    err = capsys.readouterr().err
    assert f"the playbooks are not in {tmp_path} (no ansible.cfg, site.yml," in err
    assert "run this in a clone of the project's repository" in err


def test_without_a_topology_the_error_says_how_to_name_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 2
    assert "no topology: name a file, or set NETORDER_TOPOLOGY" in capsys.readouterr().err


def test_tags_are_those_of_the_tasks():
    """Those of the README, and Ansible's own words."""
    for word in ("applications", "routes", "verify", "routes,applications", "all"):
        playbooks.check_tags(word)
    with pytest.raises(UsageError, match="there are applications, routes, verify"):
        playbooks.check_tags("xyz")


class Terminal:
    """A standard input that somebody types into."""

    def __init__(self, text: str) -> None:
        self.text = text

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.text


def test_down_asks_for_the_name(line, monkeypatch, capsys):
    """The name and nothing else lets it go on."""
    monkeypatch.setattr("sys.stdin", Terminal("calculator\n"))
    assert line("down").endswith("-e confirm=calculator")
    for typed in ("y\n", "\n", ""):
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        assert main(["down"]) == 2
        assert "nothing was deleted: that is not its name" in capsys.readouterr().err


def test_down_of_a_wrong_topology_says_how_to_do_without_it(capsys):
    assert main(["down", WRONG, "--yes"]) == 1
    assert "netorder down --name NAME" in capsys.readouterr().err


@pytest.fixture
def python(tmp_path):
    """Return a function that runs the command with another ansible-playbook beside its Python."""
    programs = tmp_path / "environment/bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    fake = programs / "ansible-playbook"
    fake.write_text(
        '#!/bin/sh\necho "run: $*"\nfor one; do case $one in report=*) echo "{}" >"${one#report=}";; esac; done\n'
        'if [ "$NETORDER_RESULT" ] && [ "$FAKE_STATUS" = 2 ]; then echo "{}" >"$NETORDER_RESULT"; fi\n'
        "exit $FAKE_STATUS\n"
    )
    fake.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *filter(None, sys.path)])}

    def run(*arguments, status=0):
        return subprocess.run(
            [programs / "python", "-m", "netorder", *arguments],
            env=environment | {"FAKE_STATUS": str(status)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("status", [0, 2, 4, 250])
def test_the_exit_status_is_ansibles(python, status):
    """Of the program beside this Python, whose output is not touched."""
    done = python("up", CALCULATOR, status=status)
    assert (done.returncode, done.stdout, done.stderr) == (status, f"run: site.yml -e topology={CALCULATOR}\n", "")


@pytest.mark.parametrize("status", [0, 2])
def test_drift_as_json_is_json_alone(python, status, tmp_path):
    """The run is on standard error; the report goes to a file, too."""
    report = tmp_path / "report.json"
    for _ in range(2):  # a file that is there already is written again
        done = python("drift", CALCULATOR, "--format", "json", "--report", str(report), status=status)
        assert (done.returncode, done.stdout, report.read_text()) == (status, "{}\n", "{}\n")
        assert "run: playbooks/drift.yml" in done.stderr


@pytest.mark.parametrize("command", ["up", "preview", "verify", "down"])
def test_the_result_of_a_run_as_json_is_json_alone(python, command):
    """The run is on standard error; where it wrote none, nothing is on standard output."""
    for status, shown in ((2, "{}\n"), (1, "")):
        done = python(command, CALCULATOR, *["--yes"][: command == "down"], "--format", "json", status=status)
        assert (done.returncode, done.stdout) == (status, shown)
        assert "run: " in done.stderr


def test_a_run_whose_result_is_awaited_ends_with_who_waits(tmp_path):
    """SIGTERM reaches Ansible, which would go on alone and hold the topology."""
    script = tmp_path / "slow-playbook"
    script.write_text("#!/bin/sh\necho $$ >$0.pid\nexec sleep 60\n")
    script.chmod(0o755)
    code = "from netorder.controller.process import Program, run; print(run(Program(('slow-playbook',))))"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as asked_to_end:
        # until it has replaced its shell
        while not (pid := tmp_path / "slow-playbook.pid").exists() or not pid.read_text():
            assert asked_to_end.poll() is None
        asked_to_end.terminate()
        assert asked_to_end.communicate(timeout=30)[0] == f"{-signal.SIGTERM}\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_run_whose_result_is_awaited_goes_on_where_a_hangup_is_ignored(tmp_path):
    """As `nohup` has it: the program inherits that."""
    (tmp_path / "slow-playbook").write_text("#!/bin/sh\nkill -HUP $$\necho went on >&2\n")
    (tmp_path / "slow-playbook").chmod(0o755)
    code = "from netorder.controller.process import Program, run; print(run(Program(('slow-playbook',))))"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP; exec "$0" "$@"', sys.executable, "-c", code],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "went on\n")


def test_a_missing_program_is_named(monkeypatch, capsys, tmp_path):
    """With the way to install it."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["up", CALCULATOR]) == 1
    assert "netorder up: error: ansible-playbook is not installed: `make setup`" in capsys.readouterr().err


# SSH


@pytest.fixture
def files(tmp_path):
    """Return a directory with the SSH settings of the calculator, but for div."""
    directory = state.directory(tmp_path, None, "calculator")
    directory.mkdir(parents=True)
    blocks = [f"Host {name} 10.0.0.1\n  HostName 10.0.0.1\n" for name in ("calculator", "sum", "sub", "mul")]
    (directory / "ssh_config").write_text("\n".join([*blocks, "Host *\n"]))
    return ["--files", str(tmp_path)], f"-F {directory}/ssh_config"


def test_the_command_line_of_ssh(line, files):
    """One word is the shell's, several are kept apart."""
    options, settings = files
    assert line("ssh", *options, "sum") == f"ssh {settings} sum"
    assert line("ssh", *options, "sum", "--", "ip", "route") == f"ssh {settings} sum 'ip route'"
    assert line("ssh", *options, "sum", "--", "ls", "a b") == f"ssh {settings} sum " + shlex.quote("ls 'a b'")
    assert line("ssh", *options, "sum", "--", "id | wc -c") == f"ssh {settings} sum 'id | wc -c'"
    assert line("ssh", *options, "sum", "--", "git", "log", "--", "x") == f"ssh {settings} sum 'git log -- x'"


def test_a_terminal_here_is_one_there(line, files, monkeypatch):
    """For a command as for a shell, which needs no option."""
    options, settings = files
    monkeypatch.setattr("sys.stdin", Terminal(""))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert line("ssh", *options, "sum", "--", "top") == f"ssh {settings} -t sum top"
    assert line("ssh", *options, "sum") == f"ssh {settings} sum"


def test_the_command_line_of_logs(line, files):
    """The unit of the service; of everything with --all."""
    options, settings = files
    unit = "sudo -n journalctl --no-pager --unit netorder-sum.service"
    assert line("logs", *options, "sum") == f"ssh {settings} sum '{unit} --lines 50'"
    assert line("logs", *options, "sum", "-f", "-n", "5") == f"ssh {settings} sum '{unit} --lines 5 --follow'"
    everything = "sudo -n journalctl --no-pager --lines 50"
    assert line("logs", *options, "sum", "--all") == f"ssh {settings} sum '{everything}'"
    assert "--since '\"'\"'1 hour ago'\"'\"''" in line("logs", *options, "sum", "--since", "1 hour ago")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["ssh", "div"], 1, "does not know div yet: run `netorder up topologies/calculator.yml`"),
        (["exec", "net2", "--", "id"], 1, "does not know div yet"),
        (["ssh", "sum", "--files", "/no/where"], 6, "there are no SSH settings in /no/where/default/calculator"),
    ],
)
def test_ssh_says_what_is_missing(files, arguments, status, said, capsys):
    own = [*arguments]
    own[1:1] = files[0]
    assert main(own) == status
    assert said in capsys.readouterr().err


def test_a_host_that_ssh_does_not_reach_is_named(tmp_path, capsys):
    """The plan knows: no rule, no path."""
    file = tmp_path / "t.yml"
    file.write_text("topology: t\nnetworks: {n: {cidr: 10.0.0.0/24}}\nhosts: {h: {network: n}}\n")
    assert main(["ssh", "-t", str(file), "h"]) == 1
    assert "SSH does not reach h: no rule of the topology lets it in" in capsys.readouterr().err


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Have another ssh, which prints its arguments and fails on sub with 3; return what it was called with."""
    directory = tmp_path / "bin"
    directory.mkdir()
    calls = tmp_path / "calls"
    (directory / "ssh").write_text(
        f'#!/bin/sh\nshift 4\necho "$*" >>{calls}\necho "$1 says: $2"\n[ $1 = sub ] && echo bad >&2 && exit 3\nexit 0\n'
    )
    (directory / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return calls


def test_exec_runs_on_each_host(files, ssh, capsys):
    """Host after host, jump hosts first; the highest status is its own, and failures are named."""
    assert main(["exec", *files[0], "sum,mul,sub", "--", "uptime", "-p"]) == 3
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{host} | {host} says: uptime -p" for host in ("sum", "sub", "mul")]
    assert err.splitlines() == ["sub | bad", "exit status other than 0: sub (3)"]
    assert ssh.read_text().splitlines()[0] == "calculator true"


def test_exec_as_json(files, ssh, capsys):
    assert ssh.parent.is_dir()
    assert main(["exec", *files[0], "sum,sub", "--format", "json", "--", "id"]) == 3
    assert json.loads(capsys.readouterr().out) == [
        {"host": "sum", "status": 0, "stdout": "sum says: id\n", "stderr": ""},
        {"host": "sub", "status": 3, "stdout": "sub says: id\n", "stderr": "bad\n"},
    ]


# init


@pytest.mark.parametrize("template", init.TEMPLATES)
def test_a_template_is_a_topology_with_comments(template, tmp_path, capsys):
    """Right as it is, named as the file; and it is not overwritten."""
    file = tmp_path / "My net.yml"
    assert main(["init", str(file), "--template", template]) == 0
    assert load(file).name == "my-net"
    assert file.read_text().count("#") > 5
    capsys.readouterr()
    file.write_text("mine\n")
    assert main(["init", str(file)]) == 1
    assert f"{file} is there already" in capsys.readouterr().err
    assert file.read_text() == "mine\n"


@pytest.mark.parametrize("stem", ["yes", "1", "größe", "a" * 80, "x_y.z", "--"])
def test_any_file_gives_a_name(stem, tmp_path):
    """That YAML takes for a text and the cloud for a name."""
    file = tmp_path / f"{stem}.yml"
    assert main(["init", str(file)]) == 0
    assert load(file).name


def test_every_template_is_offered():
    """Each file has a line in the table, and each line a file."""
    files = {path.stem for path in (ROOT / "src/netorder/cli/templates").glob("*.yml")}
    assert files == set(init.TEMPLATES)


def asked(file: Path, answers: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    return main(["init", str(file), "--ask"])


def test_questions_have_answers_by_default(tmp_path, monkeypatch, capsys):
    """Whoever says nothing gets two tiers; the file has comments, and is right."""
    file = tmp_path / "shop.yml"
    assert asked(file, "", monkeypatch) == 0
    said = capsys.readouterr()
    assert said.err.count("]: ") == 10
    assert "shop.yml: written" in said.out
    topology = load(file)
    assert topology.name == "shop"
    assert [host.name for host in topology.hosts] == ["web", "app-1", "app-2"]
    assert file.read_text().count("#") >= 4
    assert main(["reach", str(file), "--from", "web", "--to", "app", "--port", "8080", "--exit-code"]) == 0
    assert main(["reach", str(file), "--from", "outside", "--to", "web", "--port", "443", "--exit-code"]) == 0


def test_questions_are_answered(tmp_path, monkeypatch):
    """Three networks, the second without a host; several ways in, no port at the end."""
    answers = "dmz transit lab\nproxy ftp\nnone\nbox*3 db\nproxy ftp\n443\n203.0.113.0/24\nnone\n"
    answers += "ubuntu-24.04\nm1.small\nubuntu\n"
    assert asked(tmp_path / "x.yml", answers, monkeypatch) == 0
    topology = load(tmp_path / "x.yml")
    assert topology.warnings == ()
    assert [host.name for host in topology.hosts] == ["proxy", "ftp", "box-1", "box-2", "box-3", "db"]
    assert [host.name for host in topology.hosts if host.floating_ip] == ["proxy", "ftp"]
    assert [router.name for router in topology.routers] == ["edge", "to-transit", "to-lab"]
    assert {(host.image, host.flavor, host.user) for host in topology.hosts} == {("ubuntu-24.04", "m1.small", "ubuntu")}
    ping = ["reach", str(tmp_path / "x.yml"), "--from", "proxy", "--to", "db", "--exit-code"]
    assert main([*ping, "--protocol", "icmp"]) == 0
    assert main([*ping, "--port", "8080"]) == 2


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ("anywhere\n", "`anywhere` is the word for everybody in `allow`: another name"),
        ("\nlocalhost\n", "`localhost` is every host's name for itself: another name"),
        ("Front\n", "`Front` is no name: letters, digits and hyphens, a letter first"),
        ("a a\n", "each name once"),
        ("\nweb*0\n", "`web*0` is neither a name nor a name and a number"),
        ("\nfront\n", "`front` is taken: another name"),
        ("\n\nweb\n", "`web` is taken: another name"),
        ("\n\n\ndb\n", "`db` is none of web"),
        ("\n\n\n\n80 x\n", "`x` is no port (1 to 65535, or `none`)"),
        ("\n\n\n\n\n203.0.113.1/24\n", "`203.0.113.1/24` is no prefix: 203.0.113.1/24 has host bits set"),
        ("a\nnone\n", "there is no host"),
        ("a b\nnone\napp\n", "there is no host on a, the network that the outside reaches"),
        ("front-\n", "`front-` is no name"),
        ("null\n", "`null` is something else to YAML: another name"),
    ],
)
def test_an_answer_that_is_none_is_an_error_where_nobody_is_there(answers, error, tmp_path, monkeypatch, capsys):
    assert asked(tmp_path / "x.yml", answers, monkeypatch) == 2
    assert error in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x.yml").exists()


def test_answers_that_yaml_would_take_for_something_else(tmp_path, monkeypatch):
    """`::/0` ends with a colon, and an image may be called `true`."""
    assert asked(tmp_path / "x.yml", "\n\n\n\n\n::/0\n\ntrue\n1.10\n", monkeypatch) == 0
    host = load(tmp_path / "x.yml").hosts[0]
    assert (host.image, host.flavor) == ("true", "1.10")


def test_the_end_of_a_terminals_input_ends_the_questions(tmp_path, monkeypatch, capsys):
    """Ctrl-D is not Enter."""
    stdin = io.StringIO("front\n")
    stdin.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["init", str(tmp_path / "x.yml"), "--ask"]) == 2
    assert "no answer; nothing is written" in capsys.readouterr().err
    assert not (tmp_path / "x.yml").exists()


def test_where_an_application_is_called_is_kept(tmp_path, monkeypatch, capsys):
    """As scripts/demo asks for it: at the host's floating address, else it is an error."""
    file = ROOT / "topologies/calculator.yml"
    monkeypatch.setattr(playbooks, "files", lambda: tmp_path)
    monkeypatch.setenv("NETORDER_TOPOLOGY", str(file))
    monkeypatch.delenv("NETORDER_TARGET", raising=False)
    monkeypatch.setenv("OS_CLOUD", "north")
    assert kept_here.main(["calculator"]) == 1
    assert "the outside calls no application calculator" in capsys.readouterr().err
    hosts = {"calculator": {"floating_ip": "172.24.4.9"}}
    directory = state.directory(tmp_path, None, "calculator")
    directory.mkdir(parents=True)
    records.keep({"hosts": hosts}, directory)
    assert kept_here.main(["calculator"]) == 0
    assert capsys.readouterr().out == "http://172.24.4.9:50000\n"
    assert kept_here.main(["sum"]) == 1


def test_what_cannot_be_said_at_once(tmp_path, capsys):
    """A template and questions; and nothing is asked for a file that is there."""
    file = tmp_path / "x.yml"
    assert main(["init", str(file), "--ask", "--template", "small"]) == 2
    file.touch()
    assert main(["init", str(file), "--ask"]) == 1
    assert "[" not in capsys.readouterr().err.replace("[--", "")


# check


def test_check_for_programs(tmp_path, capsys):
    """An entry for each file, whatever is wrong with others; nothing on standard error."""
    assert main(["check", POOL, WRONG, str(tmp_path / "none.yml"), "--format", "json"]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    right, wrong, none = json.loads(said.out)
    assert (right["file"], right["ok"], right["hosts"] > 0) == (POOL, True, True)
    assert (wrong["file"], wrong["ok"], "hosts" in wrong) == (WRONG, False, False)
    first = wrong["diagnostics"][0]
    assert first.keys() == {"path", "line", "column", "severity", "message"}
    assert (first["path"], first["line"] > 0) == (WRONG, True)
    assert "cannot be read" in none["diagnostics"][0]["message"] or none["diagnostics"][0]["line"] == 0


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    assert main(["init", str(tmp_path / "no/such/x.yml")]) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


# logs of several copies; Ctrl-C


COPIES = """
topology: copies
include: ROOT/applications/calculator.yml
networks: {n: {cidr: 10.0.0.0/24}}
routers: {r: {external: true, networks: [n]}}
hosts:
  calculator: {network: n, applications: [calculator], floating_ip: true}
  sum: {network: n, applications: [sum], count: 2}
  sub: {network: n, applications: [sub]}
  mul: {network: n, applications: [mul]}
  div: {network: n, applications: [div]}
allow:
  - {from: anywhere, to: calculator, tcp: 22}
  - {from: calculator, to: [sum, sub, mul, div], application: true}
"""


@pytest.fixture
def copies(tmp_path):
    """Return the options for a topology in which a service runs twice."""
    (tmp_path / "copies.yml").write_text(COPIES.replace("ROOT", str(ROOT)))
    directory = state.directory(tmp_path, None, "copies")
    directory.mkdir(parents=True)
    names = ("calculator", "sum-1", "sum-2", "sub", "mul", "div")
    (directory / "ssh_config").write_text("\n".join(f"Host {name} x\n" for name in names))
    return ["-t", str(tmp_path / "copies.yml"), "--files", str(tmp_path)]


def test_logs_of_all_copies_of_a_service(copies, ssh, capsys):
    """Each with its host; one alone is followed."""
    assert ssh.parent.is_dir()
    assert main(["logs", "sum", *copies]) == 0
    command = "sudo -n journalctl --no-pager --unit netorder-sum.service --lines 50"
    assert capsys.readouterr().out.splitlines() == [f"sum-{n} | sum-{n} says: {command}" for n in (1, 2)]
    assert main(["logs", "sum", "-f", *copies]) == 2
    assert "-f shows one host: name one of sum-1, sum-2" in capsys.readouterr().err


def test_a_copy_is_followed_by_its_name(copies, line):
    command = "sudo -n journalctl --no-pager --unit netorder-sum.service --lines 50 --follow"
    assert line("logs", "sum-2", "-f", *copies).endswith(f" sum-2 '{command}'")


def test_exec_takes_a_counted_name_and_leaves_sealed_hosts_out_of_all(copies, ssh, tmp_path, capsys):
    """Sealed is a host that no rule lets SSH in to."""
    assert ssh.parent.is_dir()
    assert main(["exec", *copies, "sum", "--", "id"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["sum-1", "sum-2"]
    sealed = (
        COPIES.replace("ROOT", str(ROOT))
        .replace("allow:", "  far: {network: m}\nallow:")
        .replace("/24}}", "/24}, m: {cidr: 10.1.0.0/24}}")
    )
    (tmp_path / "copies.yml").write_text(sealed)
    assert main(["exec", *copies, "all", "--", "id"]) == 3  # the other ssh fails on sub
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    assert "left out, as SSH does not reach them: far" in err
    assert main(["exec", *copies, "far", "--", "id"]) == 1


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    """And ends as a shell says it."""

    def interrupted(_name):
        raise KeyboardInterrupt

    monkeypatch.setattr("netorder.cli.status.topology_file", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr() == ("", "")


# Packets


def test_the_command_line_of_capture(line, files):
    """The filter is one word for tcpdump, and by default leaves out the session itself; a host without it says so."""
    options, settings = files
    shown = line("capture", *options, "sum")
    assert shown.startswith(f"ssh {settings} sum ")
    there = shlex.split(shown)[-1]
    assert there.endswith("; exec sudo -n tcpdump -i any -nn -l 'not tcp port 22'")
    assert "sum has no tcpdump: `netorder ssh sum -- sudo apt-get install tcpdump`" in there
    there = shlex.split(line("capture", *options, "sum", "-n", "5", "--", "icmp", "or", "udp; id"))[-1]
    assert there.endswith("; exec sudo -n tcpdump -i any -nn -l -c 5 'icmp or udp; id'")


def test_a_host_without_tcpdump_says_so(line, files, tmp_path):
    """The line that is sent is run here, by the shell, with a sudo that only runs."""
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    there = shlex.split(line("capture", *files[0], "sum", "--", "icmp"))[-1]

    def run():
        command = ["/bin/sh", "-c", there]
        done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    (tmp_path / "sh").symlink_to("/bin/sh")
    status, out, err = run()
    assert (status, out) == (127, "")
    assert err.startswith("sum has no tcpdump: ")
    (tmp_path / "tcpdump").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "tcpdump").chmod(0o755)
    assert run() == (0, "-i any -nn -l icmp\n", "")


def test_packets_go_to_a_file(files, tmp_path, monkeypatch, capsys):
    """Where nothing came and tcpdump failed, there is no file."""
    fake, target = tmp_path / "ssh", tmp_path / "sum.pcap"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for text, status, kept in (('echo "$3 $4"', 0, True), ("echo some; exit 3", 3, True), ("exit 255", 255, False)):
        fake.write_text(f"#!/bin/sh\n{text}\n")
        fake.chmod(0o755)
        assert main(["capture", *files[0], "sum", "-o", str(target)]) == status
        assert target.exists() is kept
        if not status:
            assert target.read_text().startswith("sum ")
            assert "tcpdump -i any -nn -U -w -" in target.read_text()
    assert main(["capture", *files[0], "sum", "-o", str(tmp_path / "no/where")]) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["capture", "summ"], "calculator has no host `summ`; did you mean `sum`?"),
        (["capture", "sum", "-n", "0"], "-n 0: at least one packet"),
    ],
)
def test_capture_refuses(files, arguments, said, capsys):
    own = [*arguments]
    own[1:1] = files[0]
    assert main(own) == 2
    assert said in capsys.readouterr().err
