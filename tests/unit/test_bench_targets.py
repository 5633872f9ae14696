"""bench/targets: statistics, tables, the page, what a probe means, what wrk says, the topologies; the probe itself."""

from __future__ import annotations

import argparse
import contextlib
import importlib.machinery
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from bench.services import wrk
from bench.targets_ways import commands, figures, meter, topology
from bench.targets_ways import probe as probe_module
from bench.targets_ways import ways as ways_module
from bench.targets_ways.commands import FailedError
from netorder.language.load import load
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
HERE = {
    "cores": 2, "model": "a processor", "memory": 8 << 30, "kernel": "6.1", "boot": "this-boot", "kvm": None,
    "load": 0.1, "processes": 150, "programs": {"Python": "3.11.2", "podman": ""},
}  # fmt: skip
ALL, PODMANS = "000001ffffffffff", "00000000a80435fb"
ROOTS = {"uid": 0, "eff": ALL, "bnd": ALL, "seccomp": 0, "no_new_privs": 0}
NOBODYS = {"uid": 65534, "eff": "0", "bnd": "0", "seccomp": 2, "no_new_privs": 1}
TRIES = dict.fromkeys(("mount", "user namespace", "become root", "sysrq", "kcore", "kernel log", "disk"), "EPERM")


def probe(**its):
    return {
        "kernel": "6.1", "boot": "this-boot", "python": "3.13.5", "processes": 12, "devices": 15, "blocks": 0,
        "memory": 8 << 30, "limits": {"memory": None, "pids": 2048}, "self": {**ROOTS, "eff": PODMANS, "seccomp": 2},
        "service": NOBODYS, "tries": TRIES, **its,
    }  # fmt: skip


def way(title, *runs, **its):
    return {"title": title, "date": "2026-11-29", "machine": HERE, "runs": [*runs], **its}


@pytest.fixture(autouse=True)
def ending_as_ever():
    """Have SIGINT end what runs, also where these tests were begun in the background, whose programs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ways():
    guest = probe(
        boot="another", kernel="6.12", memory=256 << 20, limits={"memory": None, "pids": None}, self=ROOTS,
        tries=TRIES | {"disk": "yes", "mount": "yes"},
    )  # fmt: skip
    slow = {"answer": 200.0, "start": 10.0, "memory": 1300.0, "others": 1500.0}
    return {
        "vm": way("virtual machines", slow, slow | {"answer": 100.0}, slow | {"answer": 130.0}, probe=guest,
                  machine=HERE | {"kvm": False}),
        "podman": way("containers", {"answer": 13.0, "start": 1.0, "memory": 130.0}, probe=probe(),
                      bomb={"started": 2030, "alive": 2030, "stopped": "EAGAIN", "seconds": 1.0, "most": 2200},
                      felt={"before": {"spawn": 1.0, "processes": 150, "available": 4e9},
                            "during": {"spawn": 2.0, "processes": 2180, "available": 3.5e9}}),
        "bare": way("processes", {"answer": 0.4, "start": None, "memory": 0.0}),
    }  # fmt: skip


# Figures


def test_medians_are_of_the_runs_that_have_the_figure():
    assert figures.medians([{"a": 1.0, "b": None}, {"a": 9.0}, {"a": 2.0, "c": 4.0}]) == {"a": 2.0, "c": 4.0}
    assert figures.medians([]) == {}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (math.nan, "-"), (0, "0"), (0.004, "<0.01"), (0.05, "0.05"), (1.234, "1.23"), (12.34, "12.3"),
     (123.4, "123"), (12345.6, "12,346"), (99.96, "100.0")],
)  # fmt: skip
def test_a_figure_has_the_digits_that_say_something(value, shown):
    assert figures.number(value) == shown


@pytest.mark.parametrize(
    ("value", "reference", "shown"),
    [(20.0, 2.0, "x10"), (3.0, 2.0, "x1.5"), (2.0, 2.0, "x1.0"), (0.1, 2.0, "x0.05"), (1.0, 0.0, ""), (1.0, None, ""),
     (None, 1.0, ""), (0.0, 1.0, "x0")],
)  # fmt: skip
def test_a_ratio(value, reference, shown):
    assert figures.ratio(value, reference) == shown


def test_the_table_has_medians_and_ratios_to_podman_and_no_row_without_figures(ways):
    rows = figures.numbers(ways).splitlines()
    assert rows[0] == "|  | virtual machines | containers | processes |"
    assert "| from nothing to the answer (s) | 130 (x10) | 13.0 | 0.40 (x0.031) |" in rows
    assert "| start of one host, until its service answers (s) | 10.0 (x10) | 1.00 | - |" in rows
    assert "| memory of the five, resident (MB) | 1,300 (x10) | 130 | 0 (x0) |" in rows
    assert rows[-1] == "| runs | 3 | 1 | 1 |"
    assert not any("snapshot" in row for row in rows)
    assert {row.count("|") for row in rows} == {5}


def test_without_podman_the_first_way_is_what_others_are_compared_with(ways):
    del ways["podman"]
    assert "| from nothing to the answer (s) | 130 | 0.40 (x0.0031) |" in figures.numbers(ways)
    assert figures.reference_of(["bare"]) == "bare"


def test_the_chart_has_a_bar_for_each_way_that_has_the_figure(ways):
    panels = {panel["title"]: panel["bars"] for panel in figures.bars(ways)}
    start = panels["start of one host, until its service answers (s)"]
    assert [(bar["title"], bar["text"]) for bar in start] == [("virtual machines", "10.0"), ("containers", "1.00")]
    assert json.loads(json.dumps(panels)) == panels


def test_each_criterion_of_both_comparisons_is_answered(ways):
    text = figures.answers(ways)
    assert "| start time, all from nothing | 130 s | 13.0 s | x10 |" in text
    assert "| response time, p50 | - | - | - |" in text
    assert "| a kernel of its own; root inside has 41 capabilities of it |" in text
    assert "| this machine's kernel; root inside has 15 capabilities on it |" in text
    for word in ("start time", "memory", "processor", "image size", "response time", "isolation"):
        assert f"| {word}" in text
    for criterion in figures.CRITERIA:
        assert criterion[1] in figures.BY_KEY


def test_nothing_is_answered_of_containers_alone(ways):
    del ways["vm"]
    assert figures.answers(ways) == ""
    assert figures.pair_of(["machine", "bare", "nova-container"]) == ("machine", "nova-container")


# What a probe means


@pytest.mark.parametrize(
    ("mask", "number"), [("0000000000000000", 0), (PODMANS, 15), (ALL, 41), ("000003ffffffffff", 42)]
)
def test_capabilities_of_a_mask(mask, number):
    names = figures.capabilities(mask)
    assert len(names) == number
    assert ("SYS_ADMIN" in names) == (number > 40)
    assert ("unknown-0" in names) == (number == 42)


def test_capabilities_are_those_of_the_kernel():
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert figures.capabilities(f"{1 << last:x}") == [figures.CAPABILITIES[last] if last < 41 else "unknown-0"]


def test_a_bomb_is_tried_where_a_limit_or_a_kernel_holds_it(ways):
    unlimited = probe(limits={"memory": None, "pids": None})
    huge = probe(limits={"memory": None, "pids": 96365})
    assert figures.bomb_problem("podman", probe(), HERE) == ""
    assert figures.bomb_problem("vm", ways["vm"]["probe"], HERE) == ""
    assert figures.bomb_problem("nova-container", unlimited, HERE) == "not tried: no limit"
    assert figures.bomb_problem("nova-container", huge, HERE) == "not tried: no limit"
    assert figures.bomb_problem("bare", probe(), HERE).startswith("not tried")  # whatever limit there is


def test_yes_means_this_machine_only_where_the_kernel_is_shared():
    assert figures.attempt("yes", own=True) == "yes, its own"
    assert figures.attempt("yes", own=False) == "**yes, this machine's**"
    assert figures.attempt("EROFS", own=False) == "no (EROFS)"
    words = {"empty": "no (empty)", "killed": "no (killed)", "ENOENT": "there is none", "is root": "is root"}
    assert {word: figures.attempt(word, own=False) for word in words} == words


def test_rights_and_limits_in_words():
    assert figures.rights(NOBODYS) == "user 65534, 0 capabilities; seccomp filter, no_new_privs yes"
    assert figures.rights(ROOTS).startswith("root, 41 capabilities: SYS_MODULE, SYS_RAWIO")
    assert figures.rights(None) == "not seen"


def test_limits_in_words():
    none = {"memory": None, "pids": None}
    assert figures.limits(probe(), HERE) == "no limit: 8,590 MB; 2,048 processes"
    assert figures.limits(probe(limits={"memory": 256 << 20, "pids": None}), HERE) == "268 MB; no limit of processes"
    assert figures.limits(probe(limits={"memory": 1 << 50, "pids": 9}), HERE).startswith("no limit: 8,590 MB")
    # what /proc/meminfo of libvirt's containers shows
    assert figures.limits(probe(limits=none, memory=256 << 20), HERE).startswith("268 MB; no limit")
    # a guest's own memory
    assert figures.limits(probe(limits=none, boot="another"), HERE).startswith("8,590 MB; no limit")


def test_what_became_of_the_bomb_and_what_was_felt(ways):
    assert figures.bombed(ways["podman"]) == "2,030 of 2,200 (EAGAIN)"
    short = {"bomb": {"started": 2200, "alive": 900, "stopped": "", "most": 2200}}
    assert figures.bombed(short) == "2,200 of 2,200, 900 alive after some seconds"
    assert figures.bombed({"bomb_problem": "not tried: no limit"}) == "not tried: no limit"
    assert figures.felt(ways["podman"]).startswith("+2,030 processes here, 500 MB; a process starts in 2.00 ms")


def test_the_table_of_isolation(ways):
    text = figures.isolation(ways)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert "its own: 6.12 | this machine's: 6.1" in rows["kernel"]
    assert rows["reads this machine's disk"].endswith("| yes, its own | no (EPERM) |")
    assert rows["mounts"].endswith("| yes | no (EPERM) |")
    assert "12, its own | 12 of 150" in rows["processes that it sees"]
    assert {line.count("|") for line in text.splitlines()} == {4}  # the way without a probe has no column
    assert figures.isolation({"bare": ways["bare"]}) == ""


# The page


def test_a_page_has_what_is_between_its_marks_written_anew(ways):
    text = f"# Title\n\n{figures.BEGIN}\nas it was\n{figures.END}\n\nrest\n"
    page = figures.page(text, ways, "targets.svg")
    assert page.startswith(f"# Title\n\n{figures.BEGIN}\n")
    assert page.endswith(f"{figures.END}\n\nrest\n")
    assert "as it was" not in page
    assert "(targets.svg)\n" in page
    assert "virtual machines were without KVM, so emulated." in " ".join(page.split())
    assert figures.page(page, ways, "targets.svg") == page
    assert [line for line in page.splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("text", ["nothing", figures.BEGIN, f"{figures.END}\n{figures.BEGIN}\n"])
def test_a_page_without_marks_is_refused(ways, text):
    with pytest.raises(ValueError, match="there is no"):
        figures.page(text, ways, "")


def test_the_page_of_the_documentation_has_its_marks_and_each_way():
    text = (ROOT / "docs/targets.md").read_text(encoding="utf-8")
    assert text.index(figures.BEGIN) < text.index(figures.END)
    for key in ("vm", "nova-container", "podman", "compose", "machine", "bare"):
        assert f"| `{key}` |" in text


@pytest.mark.parametrize("text", ["", "[]", "{", '{"vm": 1}', '{"vm": {"runs": []}}'])
def test_what_is_kept_is_of_this_benchmark(ways, text):
    assert figures.read(json.dumps(ways)) == ways
    with pytest.raises(ValueError, match=r"benchmark|Expecting"):
        figures.read(text)


# What is measured with


SAID = """Running 5s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Latency Distribution
     50%    1.90ms
     75%    2.20ms
     90%    2.90ms
     99%  {}
  37961 requests in 5.00s, 5.50MB read
{}Requests/sec:   7591.21
"""


@pytest.mark.parametrize(
    ("word", "milliseconds"), [("512.00us", 0.512), ("5.75ms", 5.75), ("1.31s", 1310), ("1.00m", 60000)]
)
def test_what_wrk_says(word, milliseconds):
    load = wrk.parse(SAID.format(word, ""))
    assert (load.count, load.rate, load.p50_ms) == (37961, 7591.21, 1.9)
    assert load.p99_ms == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    "said",
    [SAID.format("1ms", "  Non-2xx or 3xx responses: 3\n"),
     SAID.format("1ms", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"),
     SAID.format("1ms", "").replace("37961 requests", "0 requests"), SAID.format("1 week", ""), ""],
)  # fmt: skip
def test_requests_that_fail_are_no_figures(said):
    with pytest.raises(wrk.LoadError):
        wrk.parse(said)


def test_the_disk_of_files_counts_each_once(tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "one", tmp_path / "other")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(50_000_000)
    assert 100_000 <= meter.allocated(tmp_path, tmp_path / "one") < 400_000
    assert meter.allocated(tmp_path / "none") == 0


def test_memory_and_processor_of_a_process_and_of_one_that_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "import time; sum(range(3_000_000)); time.sleep(60)"])
    try:
        assert child.pid in meter.tree(os.getpid())
        while meter.cpu([child.pid]) == 0:
            assert child.poll() is None
        assert meter.memory([child.pid]) > 1_000_000
    finally:
        child.kill()
        child.wait()
    assert meter.memory([child.pid]) == 0
    assert meter.cpu([child.pid]) == 0


# The topologies


@pytest.fixture(scope="module")
def shipped():
    return yaml.safe_load((ROOT / "applications/calculator.yml").read_text(encoding="utf-8"))["applications"]


@pytest.mark.parametrize("target", ["openstack", "containers"])
def test_the_topology_of_targets_with_networks(shipped, tmp_path, target):
    file = tmp_path / "t.yml"
    file.write_text(topology.networked("b", topology.applications(shipped, ROOT / "applications/calculator/src")))
    plan = build_plan(load(file, target))
    assert [host.name for host in plan.hosts if host.floating] == ["calculator", "sum"]
    assert {one.name: one.tcp_ports for host in plan.hosts for one in host.applications} == {
        name: (port,) for name, port in topology.PORTS.items()
    }
    assert shipped["sum"]["ports"] == [50001]  # as they are shipped: not changed


def test_the_topology_of_machines_calls_by_forwarded_ports(shipped, tmp_path):
    ports = {name: 40000 + number for number, name in enumerate(topology.PORTS)}
    peers = {name: f"http://10.0.2.2:{ports[name]}" for name in topology.OPERATIONS}
    file = tmp_path / "t.yml"
    its = topology.applications(shipped, ROOT / "applications/calculator/src", peers)
    file.write_text(topology.machines("b", its, ports))
    plan = build_plan(load(file))
    assert {host.name: [one.host for one in host.forwards] for host in plan.hosts} == {
        name: [port] for name, port in ports.items()
    }
    (calculator,) = next(host for host in plan.hosts if host.name == "calculator").applications
    assert json.loads(dict(calculator.variables)["calculator_peers"]) == peers


# The command and the probe


@pytest.fixture(scope="module")
def command():
    loader = importlib.machinery.SourceFileLoader("bench_targets", str(ROOT / "bench/targets"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def bench(command, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "WORK", tmp_path / "work")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["bench/targets", *words])
        try:
            status = command.main()
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        return status, said.out + said.err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def test_help_names_each_way(bench, command):
    status, said = bench("--help")
    assert status == 0
    assert [key for key in command.WAYS if f"  {key} " not in said] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ways", "vmware"], "vmware: there are vm, nova-container"),
        (["--ways", "vm,,bare"], ": there are vm, nova-container"),
        (["--runs", "0"], "0 is not a whole number"),
        (["--runs", "3.5"], "3.5 is not a whole number"),
        (["--forks", "1000000"], "--forks: 0 to"),
        (["--ways", "none", "--page", "README.md"], "has no line <!-- figures"),
        (["--ways", "none", "--page", "nowhere.md"], "nowhere.md"),
        (["--ways", "none", "--json", "README.md"], "README.md: no results of this benchmark"),
    ],
)
def test_what_is_wrong_with_a_command_line(bench, words, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    status, said = bench(*words)
    assert (status, message in said) == (2, True), said


def test_without_the_load_generator_it_says_how_to_get_it(bench, monkeypatch):
    monkeypatch.setenv("PATH", "")
    status, said = bench("--ways", "bare")
    assert (status, "apt-get install wrk" in said) == (2, True)


def test_tables_are_made_of_what_is_kept(bench, ways, tmp_path):
    kept, written = tmp_path / "results.json", tmp_path / "tables.md"
    kept.write_text(json.dumps(ways))
    assert bench("--ways", "none", "--json", str(kept), "--markdown", str(written))[0] == 0
    assert written.read_text() == figures.body(ways, "")
    assert json.loads(kept.read_text()) == ways


def test_without_results_there_is_nothing_to_write(bench, tmp_path):
    assert bench("--ways", "none", "--json", str(tmp_path / "none.json"))[0] == 1


class Fake:
    """A way that is there at once."""

    key, title, takes_snapshots, needs_root = "bare", "a fake", False, True

    def __init__(self, fails=None):
        self.did, self.fails = [], fails

    @contextlib.contextmanager
    def prepared(self):
        yield

    def others(self):
        return []

    def up(self):
        self.did.append("up")
        if self.fails:
            raise self.fails

    def url(self, _service):
        return None

    def down(self):
        self.did.append("down")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), FailedError("no")])
def test_what_was_made_is_taken_away_however_it_ends(command, error):
    way = Fake(error)
    options = argparse.Namespace(runs=2, seconds=1, idle=1, forks=0)
    with pytest.raises(type(error)):
        command.ready(way, options)
    assert way.did == ["up", "down"]


def test_a_way_that_fails_is_named_and_the_others_are_measured(command, bench, monkeypatch, tmp_path):
    class Broken(Fake):
        key = "podman"

        def __init__(self, _work):
            super().__init__(FailedError("no such thing"))

        def problem(self):
            return ""

    class Forbidden(Broken):
        key = "vm"

        def problem(self):
            return "it needs root"

    class Fine(Broken):
        key = "bare"

    kept = {"title": "fine", "date": "2026-11-29", "machine": HERE, "runs": [{"answer": 1.0}]}
    real = command.ready
    monkeypatch.setattr(command, "ready", lambda way, options: kept if way.key == "bare" else real(way, options))
    monkeypatch.setattr(command, "WAYS", {one.key: one for one in (Forbidden, Broken, Fine)})
    monkeypatch.setattr(command.shutil, "which", lambda name: name)
    monkeypatch.setattr(command.meter, "this_machine", lambda: HERE)  # it asks programs that may not be installed
    file = tmp_path / "results.json"
    status, said = bench("--json", str(file))
    assert status == 1
    assert "vm: not measured: it needs root" in said
    assert "podman: not measured: no such thing" in said
    assert json.loads(file.read_text()) == {"bare": kept}


def test_a_command_is_ended_with_all_that_it_started(tmp_path):
    script = f"sleep 300 & echo $! >{tmp_path / 'pid'}; wait"

    def interrupt():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        commands.run(["sh", "-c", script], tmp_path / "log")
    thread.join()
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():  # a zombie has none
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_signal_is_deferred_and_not_lost():
    reached = []
    with pytest.raises(KeyboardInterrupt), commands.deferred():  # noqa: PT012 - two parts of one
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("the end of the block")
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_that_fails_shows_its_end(tmp_path):
    with pytest.raises(FailedError, match=r"(?s)ended with status 3; .* ends:\nwhat went wrong"):
        commands.run(["sh", "-c", "echo what went wrong; exit 3"], tmp_path / "log")
    assert commands.run(["sh", "-c", "cat"], tmp_path / "log", text="given") == "given"


def test_nobody_disturbs_what_is_taken_away():
    with commands.undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_root_the_others_say_so(command, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    problems = {key: one(tmp_path / key).problem() for key, one in command.WAYS.items()}
    assert {key for key, problem in problems.items() if "needs root" in problem} == {
        key for key, one in command.WAYS.items() if one.needs_root
    }
    assert {key for key, one in command.WAYS.items() if not one.needs_root} == {"machine", "bare"}
    assert problems["bare"] == ""


def test_kvm_is_what_qemu_was_started_with(tmp_path, monkeypatch):
    lines = {1: "qemu\0-accel\0kvm\0", 2: "qemu\0-machine\0pc,accel=kvm\0", 3: "qemu\0-accel\0tcg,tb-size=96\0"}
    for pid, line in lines.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text(line)
    monkeypatch.setattr(meter, "PROC", tmp_path)
    assert [ways_module.on_kvm(pids) for pids in ([1, 2], [1, 3], [3], [])] == [True, False, False, False]


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"pids.max": "2048"}, 2048),  # a control group namespace of version 2
        ("0::/user.slice/one.scope", {"user.slice/pids.max": "500", "user.slice/one.scope/pids.max": "max"}, 500),
        ("4:pids:/libpod-1\n1:name=systemd:/x", {"pids/pids.max": "2048"}, 2048),  # a container of version 1
        ("4:cpu,pids:/a\n0::/", {"cpu,pids/a/pids.max": "77"}, 77),
        ("0::/", {"pids.max": "max"}, None),
        ("4:memory:/\n0::/", {}, None),
    ],
)
def test_the_limit_of_processes_is_that_of_the_control_groups(tmp_path, monkeypatch, groups, files, limit):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"{groups}\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{text}\n")
    monkeypatch.setattr(probe_module, "PROC", tmp_path)
    monkeypatch.setattr(probe_module, "CGROUP", tmp_path / "fs")
    assert probe_module.limit("pids", ("pids.max",)) == limit


def run_probe(*words):
    text = (ROOT / "bench/targets_ways/probe.py").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-", *words], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_probe_here_sees_this_machine():
    (found,) = run_probe()
    here = meter.this_machine()
    assert not figures.has_own_kernel(found, here)
    assert found["kernel"] == os.uname().release
    assert found["self"]["uid"] == os.getuid()
    assert found["tries"]["disk"] == "not tried"
    assert set(found["tries"]) == set(TRIES)
    assert found["tries"]["become root"] == ("is root" if os.getuid() == 0 else "EPERM")
    assert found["processes"] > 1


def test_a_bomb_ends_with_all_its_processes():
    holding, bomb = run_probe("--bomb", "5", "--hold", "0.1")
    assert holding == {"holding": 5}
    assert (bomb["started"], bomb["alive"], bomb["stopped"]) == (5, 5, "")
