"""Applications: what their roles are given, in which steps these run, how they are checked, and what a user is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from netorder.analysis.probes import from_inside
from netorder.analysis.reach import Matrix
from netorder.ansible.applications import (
    answers,
    application_variables,
    builds_text,
    connections,
    main,
    numbers,
    order,
    step_variables,
    steps,
    texts,
)
from netorder.ansible.roles import missing
from netorder.language.load import load, parse
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
CALCULATOR = ROOT / "topologies/calculator.yml"
SHOP = ROOT / "tests/golden/good/applications.yml"


def variables(file: Path) -> dict[str, dict[str, object]]:
    """Return the variables about applications of each host of a topology."""
    matrix = Matrix(build_plan(load(file)))
    its = numbers(matrix.plan)
    return {host.name: application_variables(matrix, host, its, file) for host in matrix.plan.hosts}


def topology(applications: str, hosts: str, allow: str = "") -> str:
    return (
        "topology: t\nnetworks: {n: {cidr: 10.0.0.0/24}}\nrouters: {r: {external: true, networks: [n]}}\n"
        f"applications: {applications}\nhosts: {hosts}\nallow: [{{from: n, to: n, tcp: 1-65535}}{allow}]\n"
    )


def warnings(text: str) -> list[str]:
    return [one.message for one in parse(text).warnings if "SSH" not in one.message]


def test_those_that_are_called_come_first_and_at_once():
    """Four services with the same role and variables are one step."""
    assert [(step.stage, [*hosts]) for step, hosts in steps(build_plan(load(CALCULATOR))).items()] == [
        (0, ["sum", "sub", "mul", "div"]),
        (1, ["calculator"]),
    ]


def test_a_host_with_the_same_role_twice_has_a_step_for_each():
    plan = build_plan(parse(topology("{a: {role: r}, b: {role: r}, c: {role: r, vars: {x: 1}}}", "{h: {network: n, applications: [a, b, c]}, i: {network: n, applications: b}}")))  # fmt: skip  # noqa: E501
    assert [hosts for hosts in steps(plan).values()] == [{"h": "a", "i": "b"}, {"h": "b"}, {"h": "c"}]  # noqa: C416


def test_those_that_call_each_other_have_an_order():
    """In a circle nobody can be first; it ends all the same."""
    circle = topology(
        "{a: {role: a, calls: b}, b: {role: b, calls: c}, c: {role: c, calls: [a, c]}}",
        "{h: {network: n, applications: [a, b, c]}}",
    )
    assert [[*hosts.values()] for hosts in steps(build_plan(parse(circle))).values()] == [["c"], ["b"], ["a"]]


def test_a_step_names_the_variables_of_its_role():
    """They are looked up by the application's name, since hosts differ in their values."""
    plan = build_plan(load(SHOP))
    every = [task for text in texts(plan, SHOP) for task in yaml.safe_load(text)]
    tasks = {role["name"]: task for task in every if (role := task.get("ansible.builtin.include_role"))}
    assert tasks["nginx_site"]["vars"]["root"] == "{{ netorder_role_variables[application.name].root }}"
    assert tasks["acme.shop.app"]["vars"].keys() == {"workers"}
    own = tasks[str(ROOT / "roles/calculator")]["ansible.builtin.include_role"]
    assert own["apply"] == {"become": False}


def test_an_application_is_waited_for_unless_its_role_does_that():
    """By its check, once its role has run; one without a check cannot be. Handlers belong to the role."""
    after = [yaml.safe_load(text)[2:] for text in texts(build_plan(load(SHOP)), SHOP)]
    assert {tasks[0]["ansible.builtin.meta"] for tasks in after} == {"flush_handlers"}
    waits = [[task["name"] for task in tasks[1:]] for tasks in after]
    assert waits == [[], ["Wait until it serves: db"], ["Wait until it serves: app"], ["Wait until it serves: web"], []]
    assert all(len(yaml.safe_load(text)) == 2 for text in texts(build_plan(load(CALCULATOR)), CALCULATOR))


def test_a_role_is_given_facts_unless_its_application_wants_none():
    """Once a host, with the rights of the first role that wants them; the calculator wants none."""
    for text in texts(build_plan(load(SHOP)), SHOP):
        facts, role, *_ = yaml.safe_load(text)
        gather, note = facts["block"]
        assert gather["ansible.builtin.setup"] == {}
        assert f"{next(iter(note['ansible.builtin.set_fact']))} is not defined" in facts["when"]
        assert gather["become"] == role["ansible.builtin.include_role"]["apply"]["become"]
    assert "ansible.builtin.setup" not in "".join(texts(build_plan(load(CALCULATOR)), CALCULATOR))


def test_roles_that_ansible_would_not_find_are_named_at_once(tmp_path: Path):
    """With the line that names them, where was looked, and how to get them; a directory the parser has looked for."""
    for role in ("roles/here", "roles/geerlingguy.nginx", "ansible_collections/acme/tools/roles/ticker", "t/own/tasks"):
        (tmp_path / role).mkdir(parents=True)
    file = tmp_path / "t/t.yml"
    names = ["here", "geerlingguy.nginx", "acme.tools.ticker", "./own", "gone", "acme.tools.gone", "acme.more.x"]
    its = ", ".join(f"a{number}: {{role: {role}}}" for number, role in enumerate(names))
    host = f"{{network: n, floating_ip: true, applications: [a{', a'.join('0123456')}]}}"
    file.write_text(topology(f"{{{its}}}", f"{{h: {host}}}", ", {from: anywhere, to: h, tcp: 22}"))
    found = missing(build_plan(load(file)), [tmp_path / "roles"], [tmp_path])
    collection = tmp_path / "ansible_collections/acme/tools"
    by_name = "`ansible-galaxy role install gone`, or name a directory beside the file: ./roles/gone"
    assert [message.partition("application ")[2] for message in found] == [
        f"`a4`: role `gone` is not in {tmp_path}/roles; {by_name}",
        f"`a5`: role `acme.tools.gone` is not in {collection}; the collection has no such role",
        f"`a6`: role `acme.more.x` is not in {tmp_path}; `ansible-galaxy collection install acme.more`",
    ]
    assert all(message.startswith(f"{file}:") for message in found)
    sealed = topology("{never: {role: x}}", "{h: {network: n, applications: [never]}}")
    assert missing(build_plan(parse(sealed)), [], []) == [], "nothing reaches that host, so no role is run there"
    done = subprocess.run(
        [sys.executable, "-m", "netorder.ansible.roles", file, f"--roles={tmp_path}/roles"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 4


def test_roles_are_found_where_ansible_finds_them_besides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In this directory; collections among Python's packages, and in a path that ends in ansible_collections."""
    roots = [tmp_path / "packages", tmp_path / "other"]
    for root, name in zip(roots, ("one", "two"), strict=True):
        (root / f"ansible_collections/acme/{name}/roles/x").mkdir(parents=True)
    (tmp_path / "here/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(roots[0]))
    its = "{a: {role: acme.one.x}, b: {role: acme.two.x}, c: {role: mine}}"
    text = topology(its, "{h: {network: n, floating_ip: true, applications: [a, b, c]}}", ", {to: h, tcp: 22}")
    assert missing(build_plan(parse(text)), [], [roots[1] / "ansible_collections"]) == []
    assert len(missing(build_plan(parse(text)), [], [])) == 1


def test_the_files_of_the_steps_are_written_once(tmp_path: Path):
    main([str(CALCULATOR), str(tmp_path / "new")])
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir()}
    main([str(CALCULATOR), str(tmp_path / "new")])
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir()} == written
    listed = step_variables(build_plan(load(CALCULATOR)), tmp_path / "new")
    assert [Path(step["file"]).name for step in listed["netorder_steps"]] == sorted(
        {*written} - {"application-builds.yml"}
    )
    assert listed["netorder_builds"] == str(tmp_path / "new/application-builds.yml")


def test_what_is_built_is_built_once_from_beside_the_file_that_declares_it(tmp_path: Path):
    """Five applications with the same role and variables are one build; none of them is named to it."""
    (task,) = yaml.safe_load(builds_text(build_plan(load(CALCULATOR)), CALCULATOR))
    assert task["ansible.builtin.include_role"] == {
        "name": "calculator",
        "tasks_from": "build",
        "apply": {"run_once": True},
    }
    assert task["vars"]["application"] == {"directory": str(ROOT / "applications")}
    assert task["vars"]["calculator_source"] == "{{ application.directory }}/calculator/src"
    assert variables(CALCULATOR)["sum"]["netorder_applications"][0]["directory"] == str(ROOT / "applications")
    (tmp_path / "roles/own/tasks").mkdir(parents=True)
    file = tmp_path / "t.yml"
    one = "{role: ./roles/own, entry_points: [build], vars: {root: a}}"
    host = "{network: n, count: 2, applications: [one, {name: two, vars: {root: b}}, three]}"
    file.write_text(topology(f"{{one: {one}, two: {one}, three: {{role: r}}}}", f"{{h: {host}}}"))
    tasks = yaml.safe_load(builds_text(build_plan(load(file)), file))
    assert [(task["ansible.builtin.include_role"]["name"], task["vars"]["root"]) for task in tasks] == [
        (str(tmp_path / "roles/own"), "a"),
        (str(tmp_path / "roles/own"), "b"),
    ]
    assert tasks[0]["vars"]["application"] == {"directory": str(tmp_path)}


def test_a_role_right_beside_the_topology_file_is_a_directory(tmp_path: Path):
    """Not a name that Ansible would look for elsewhere."""
    (tmp_path / "page/tasks").mkdir(parents=True)
    file = tmp_path / "t.yml"
    file.write_text(topology("{a: {role: ./page}, b: {role: page}}", "{h: {network: n, applications: [a, b]}}"))
    found = [
        yaml.safe_load(text)[1]["ansible.builtin.include_role"]["name"] for text in texts(build_plan(load(file)), file)
    ]
    assert found == [str(tmp_path / "page"), "page"]


def test_a_role_is_given_its_ports_and_whom_it_calls():
    """With the ports that the callee has on that host, at the address by which the caller reaches it."""
    (web, agent) = variables(SHOP)["web-1"]["netorder_applications"]
    assert (web["ports"], web["port"], web["open_outside"]) == ([80, 443], 80, [80, 443])
    assert web["urls"] == {"app": ["http://10.2.0.37:9090"]}
    assert [call["host"] for call in agent["calls"]["web"]] == ["web-1", "web-2"]
    (app, cache) = variables(SHOP)["app"]["netorder_applications"]
    assert (app["check"]["port"], cache["udp_ports"]) == (9090, [11211])
    assert variables(SHOP)["app"]["netorder_role_variables"]["app"] == {"workers": 4}
    assert variables(SHOP)["web-1"]["netorder_role_variables"]["web"]["tls"] == {"versions": [1.2, "1.3"]}


def test_checks_are_asked_on_the_host_and_outside_where_all_may():
    its = variables(SHOP)
    web = its["web-1"]["netorder_applications"]
    assert [one["url"] for one in answers(web)] == ["http://10.1.0.85:80/"]
    assert [(one["url"], one["unit"]) for one in answers(web, "203.0.113.9")] == [("http://203.0.113.9:80/", None)]
    assert answers(its["app"]["netorder_applications"], "203.0.113.9") == []
    assert [(one["address"], one["port"]) for one in connections(its["db-1"]["netorder_applications"])] == [
        ("10.2.0.155", 5432)
    ]


def test_all_ports_of_applications_are_tried():
    """UDP ports are not: nothing answers there."""
    matrix = Matrix(build_plan(load(SHOP)))
    tried = {(one.name, one.port, one.open) for one in from_inside(matrix, matrix.hosts["web-1"]) if one.port != 22}
    assert {("app", 9090, True), ("app", 11211, False), ("db-1", 5432, False)} <= tried


def test_the_group_of_hosts_with_applications_begins_with_those_that_are_called():
    """A redeploy takes them in this order, one by one, also with --limit."""
    plan = build_plan(load(CALCULATOR))
    assert plan.hosts[0].name == "calculator"
    assert order(plan) == ["sum", "sub", "mul", "div", "calculator"]
    several = topology(
        "{a: {role: r, calls: b}, b: {role: r, calls: c}, c: {role: r}}",
        "{x: {network: n, applications: [c, a]}, y: {network: n, applications: b}, z: {network: n}}",
    )
    assert order(build_plan(parse(several))) == ["y", "x"], "a host's last application counts"
    program = Path(sys.executable).with_name("ansible")
    limited = ["applications:!sealed", "--list-hosts", "--limit", "calculator,mul,sum"]
    done = subprocess.run(
        [program, "-i", ROOT / "inventory/10-plan.yml", *limited], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-3:] == ["sum", "mul", "calculator"]


@pytest.mark.parametrize(("host", "warned"), [("{network: m, applications: a}", 1), ("{network: m, applications: a, proxy: controller}", 0), ("{network: n, applications: a}", 0)])  # fmt: skip  # noqa: E501
def test_packages_without_a_way_to_them_are_a_warning(host: str, warned: int):
    text = topology("{a: {role: r, packages: true}}", f"{{h: {host}, d: {{network: n}}, e: {{network: m}}}}")
    text = text.replace("{n: {cidr: 10.0.0.0/24}}", "{n: {cidr: 10.0.0.0/24}, m: {cidr: 10.0.1.0/24}}")
    text = text.replace("networks: [n]}}", "networks: [n]}, s: {networks: [n, m]}}")
    assert len([one for one in warnings(text) if "installs packages on `h`" in one]) == warned


def test_a_call_that_no_rule_allows_is_a_warning_that_says_which_rule():
    text = topology(
        "{a: {role: r, calls: b}, b: {role: r, ports: 80}}",
        "{h: {network: n, applications: a}, i: {network: n, applications: b}}",
    )
    assert warnings(text) == []
    (said,) = warnings(text.replace("tcp: 1-65535", "tcp: 81"))
    assert "add to `allow:` `- {from: h, to: i, application: b}`" in said


TWICE = """
applications:
  first: {role: ./twice, ports: [1], become: false}
  second: {role: ./twice, ports: [2], become: false, calls: [first]}
hosts:
  both: {network: n, applications: [first, second]}
  one: {network: n, applications: [second]}
"""
PLAY = """
- hosts: applications
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.import_tasks: ROOT/playbooks/tasks/applications.yml
      vars: {application_steps: "{{ netorder_steps }}", application_versions: {}}
"""


def test_what_a_role_notifies_is_done_before_the_next_application(tmp_path: Path):
    """By Ansible itself: each application's handlers have its own variables, also where two have one role."""
    role, out = tmp_path / "twice", f"{tmp_path}/{{{{ inventory_hostname }}}}"
    for part, more in (("tasks", {"notify": "again"}), ("handlers", {"name": "again"})):
        (role / part).mkdir(parents=True)
        task = {"ansible.builtin.shell": f"echo {part} {{{{ application.name }}}} >>{out}", **more}
        (role / part / "main.yml").write_text(yaml.safe_dump([task]))
    file = tmp_path / "t.yml"
    head = "topology: t\nnetworks: {n: {cidr: 10.0.0.0/24}}\nrouters: {r: {external: true, networks: [n]}}\n"
    file.write_text(f"{head}{TWICE}")
    main([str(file), str(tmp_path / "steps")])
    (tmp_path / "play.yml").write_text(PLAY.replace("ROOT", str(ROOT)))
    matrix = Matrix(build_plan(load(file)))
    its = numbers(matrix.plan)
    hosts = {
        host.name: {**application_variables(matrix, host, its, file), "netorder_depth": 0} for host in matrix.plan.hosts
    }
    inventory = {"applications": {"hosts": hosts, "vars": step_variables(matrix.plan, tmp_path / "steps")}}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "inventory.yml", tmp_path / "play.yml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
             "ANSIBLE_INVENTORY_ENABLED": "yaml"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    own = {name: (tmp_path / name).read_text().splitlines() for name in ("both", "one")}
    assert own == {
        "both": ["tasks first", "handlers first", "tasks second", "handlers second"],
        "one": ["tasks second", "handlers second"],
    }
