"""One archive for another controller: what is in it, who may read it, what it overwrites, what is no archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from netorder.cli.main import main
from netorder.controller import archive, process
from netorder.errors import UsageError

ROOT = Path(__file__).parents[2]
HOSTKEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1nHeOHx2eB4lRZb0d5Gmf3tZ7yXl1M8mR5yZrGQxTn"
CLOUD: dict[str, Any] = {"hosts": {"web": {"id": "s1", "floating_ip": "203.0.113.9", "hostkey": HOSTKEY}}}
TOPOLOGY = """\
topology: lab
include: ../shared/shop.yml
networks:
  front: {cidr: 10.0.0.0/24}
routers:
  edge: {external: true, networks: [front]}
hosts:
  web: {network: front, floating_ip: true, applications: [shop], user_data: boot.sh}
allow:
  - {from: anywhere, to: web, tcp: 22}
"""
SHOP = """\
applications:
  shop:
    role: ./roles/shop
    vars: {page: "{{ netorder_topology_dir }}/pages/index.html", source: "{{ application.directory }}/source"}
"""


@pytest.fixture(autouse=True)
def _one_cloud(monkeypatch):
    monkeypatch.setenv("OS_CLOUD", "c")


@pytest.fixture
def site(tmp_path):
    """Return a directory of one user: a topology with all that it can name, and a controller's files."""
    there = {
        "labs/lab.yml": TOPOLOGY,
        "labs/boot.sh": "#!/bin/sh\ntrue\n",
        "labs/pages/index.html": "hello",
        "labs/other.yml": "not named",
        "shared/shop.yml": SHOP,
        "shared/source/app/main.py": "pass",
        "shared/roles/shop/tasks/main.yml": "---\n",
        "shared/roles/shop/templates/a.j2": "a",
        ".netorder/id_ed25519": "private",
        ".netorder/id_ed25519.pub": "public",
        ".netorder/c/lab/shop.password": "secret",
        ".netorder/c/lab/ssh_config": "paths of this controller",
        ".netorder/c/lab/now.json": "a run on this controller",
    }
    for name, text in there.items():
        path = tmp_path / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "one"


def saved(site: Path, **options: Any) -> Path:
    target = site.parent / "lab.tar.gz"
    assert archive.save(site / "labs/lab.yml", target, files=site / ".netorder", cloud=CLOUD, **options) == []
    return target


def unpacked(target: Path, **options: Any) -> archive.Loaded:
    two = target.parent / "two"
    return archive.load(target, **{"into": two, "files": two / ".netorder", **options})


def names(target: Path) -> set[str]:
    with tarfile.open(target) as opened:
        return set(opened.getnames())


def test_an_archive_has_what_the_topology_names_and_only_its_owner_reads_it(site):
    target = saved(site)
    assert target.stat().st_mode & 0o777 == 0o600
    assert names(target) == {
        "manifest.json", "plan.json", "cloud.json", "topology/labs/lab.yml", "topology/labs/boot.sh",
        "topology/labs/pages/index.html", "topology/shared/source/app/main.py",
        "topology/shared/shop.yml", "topology/shared/roles/shop/tasks/main.yml",
        "topology/shared/roles/shop/templates/a.j2", "files/id_ed25519", "files/id_ed25519.pub",
        "files/lab/shop.password",
    }  # fmt: skip
    assert not any("id_ed25519" in one for one in names(saved(site, with_key=False)))


def test_another_controller_has_the_same_plan_and_reaches_the_hosts(site):
    """Included files and roles are where the topology names them; SSH settings are written for this place."""
    loaded = unpacked(saved(site))
    two = site.parent / "two"
    assert (loaded.name, loaded.topology, loaded.warnings, loaded.key) == ("lab", two / "labs/lab.yml", (), None)
    assert (two / ".netorder/id_ed25519").read_text() == "private"
    assert (two / ".netorder/id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (two / ".netorder").stat().st_mode & 0o777 == 0o700
    assert (two / ".netorder/c/lab/shop.password").read_text() == "secret"
    assert not (two / ".netorder/c/lab/now.json").exists()
    settings = (two / ".netorder/c/lab/ssh_config").read_text()
    assert "HostName 203.0.113.9" in settings
    assert str(two / ".netorder/id_ed25519") in settings
    assert (two / ".netorder/c/lab/known_hosts").read_text() == f"web.lab {HOSTKEY}\n"
    assert unpacked(saved(site)).written == (), "as after one that was killed: what is there already stays"


def test_nothing_is_overwritten_without_force(site):
    target, two = saved(site), site.parent / "two"
    (two / "labs").mkdir(parents=True)
    (two / "labs/lab.yml").write_text("mine")
    with pytest.raises(UsageError, match=r"nothing was written: \S+/labs/lab.yml would be overwritten"):
        unpacked(target)
    assert [one.name for one in two.rglob("*") if one.is_file()] == ["lab.yml"]
    assert two / "labs/lab.yml" in unpacked(target, force=True, check=True).written
    assert (two / "labs/lab.yml").read_text() == "mine", "only shown"
    unpacked(target, force=True)
    assert (two / "labs/lab.yml").read_text() == TOPOLOGY


def test_another_key_keeps_its_place(site):
    target, two = saved(site), site.parent / "two"
    (two / ".netorder").mkdir(parents=True)
    (two / ".netorder/id_ed25519").write_text("of other topologies")
    loaded = unpacked(target)
    assert loaded.key == two / ".netorder/c/lab/id_ed25519"
    assert loaded.key.read_text() == "private"
    assert str(loaded.key) in (two / ".netorder/c/lab/ssh_config").read_text()
    assert (two / ".netorder/id_ed25519").read_text() == "of other topologies"


def test_what_cannot_come_along_is_said(site):
    boot = site / "labs/boot.sh"
    (site / "labs/lab.yml").write_text(TOPOLOGY.replace("boot.sh", str(boot)))
    target = site.parent / "lab.tar.gz"
    (said,) = archive.save(site / "labs/lab.yml", target, files=site / ".netorder", cloud=CLOUD)
    assert said.startswith(f"{boot} is named by an absolute path")
    (site / ".netorder/id_ed25519").unlink()
    assert "no SSH key" in archive.save(site / "labs/lab.yml", target, files=site / ".netorder", cloud=CLOUD)[-1]


def test_a_symbolic_link_is_under_its_own_name(site):
    """As the topology names it, whatever the file is called to which it leads; a link to a directory as one."""
    store, labs, role = site / "store", site / "labs", site / "shared/roles/shop"
    store.mkdir()
    for link, its in ((labs / "boot.sh", "boot-7.sh"), (labs / "lab.yml", "lab-7.yml")):
        link.rename(store / its)
        link.symlink_to(store / its)
    (role / "templates").rename(store / "common")
    (role / "templates").symlink_to(store / "common")
    (role / "templates/again").symlink_to(role)
    (role / "gone").symlink_to(store / "nowhere")
    target = saved(site)
    assert {one for one in names(target) if one.startswith("topology/")} == {
        "topology/labs/lab.yml", "topology/labs/boot.sh", "topology/labs/pages/index.html",
        "topology/shared/shop.yml", "topology/shared/source/app/main.py",
        "topology/shared/roles/shop/tasks/main.yml", "topology/shared/roles/shop/templates/a.j2",
    }  # fmt: skip
    loaded = unpacked(target)
    assert (loaded.topology.read_text(), loaded.warnings) == (TOPOLOGY, ())
    assert not loaded.topology.is_symlink()
    assert (site.parent / "two/labs/boot.sh").read_text() == "#!/bin/sh\ntrue\n"


def test_a_directory_by_a_link_is_where_the_topology_names_it(site):
    """Beside it, `..` leads to where the link does."""
    (site / "real").mkdir()
    for one in ("labs", "shared"):
        (site / one).rename(site / "real" / one)
    (site / "labs").symlink_to(site / "real/labs")
    target = saved(site)
    assert {"topology/labs/lab.yml", "topology/shared/shop.yml"} <= names(target)
    assert unpacked(target).warnings == ()


def test_what_load_would_refuse_is_not_saved(site, monkeypatch):
    """The file is named, and no archive is written."""
    target = saved(site)
    with tarfile.open(target) as opened:
        size = sum(one.size for one in opened)
    target.unlink()
    monkeypatch.setattr(archive, "MOST", size)
    assert unpacked(saved(site)).warnings == ()
    large = site / "shared/roles/shop/templates/large.iso"
    large.write_bytes(b"x" * size)
    target.unlink()
    with pytest.raises(UsageError, match=r"the largest of its files is \S+/templates/large.iso \(0 MiB\). Keep"):
        saved(site)
    assert not target.exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "topology/../../evil", "link"])
def test_an_archive_that_leads_out_is_not_unpacked(tmp_path, name):
    target = tmp_path / "x.tar.gz"
    with tarfile.open(target, "w:gz") as opened:
        one = tarfile.TarInfo(name)
        if name == "link":
            one.type, one.linkname = tarfile.SYMTYPE, "/etc"
        opened.addfile(one, io.BytesIO(b""))
    with pytest.raises(UsageError, match="not unpacked"):
        unpacked(target)
    assert [*tmp_path.iterdir()] == [target]


def test_what_is_no_archive_is_said(tmp_path, site, capsys):
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert main(["load", str(plain)]) == 2
    assert "is it what `netorder save` wrote?" in capsys.readouterr().err
    assert main(["load", str(tmp_path / "absent")]) == 2
    half = tmp_path / "half"
    half.write_bytes(saved(site).read_bytes()[:-200])
    assert main(["load", str(half)]) == 2
    empty = tmp_path / "empty.tar.gz"
    tarfile.open(empty, "w:gz").close()
    assert main(["load", str(empty)]) == 2
    assert "it has no manifest.json" in capsys.readouterr().err


def test_load_says_how_to_go_on(site, capsys):
    two = site.parent / "two"
    assert main(["load", str(saved(site)), "--into", str(two), "--files", str(two / ".netorder")]) == 0
    assert capsys.readouterr().out.endswith(f"go on with: netorder up {two}/labs/lab.yml\n")


def test_load_goes_on_with_up(site, monkeypatch):
    """In the project's directory, with the key that has another place there."""
    here = site / "here"
    for name in ("ansible.cfg", "site.yml", "inventory/10-plan.yml", "playbooks/a.yml", ".netorder/id_ed25519"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("another")
    archived = saved(site)
    monkeypatch.chdir(here)
    became = []
    monkeypatch.setattr(process, "become", became.append)
    assert main(["load", str(archived), "--up", "--golden", "--check"]) == 0
    assert became == [], "only shown"
    main(["load", str(archived), "--up", "--golden"])
    line = " ".join(became[0].arguments)
    assert line.startswith("ansible-playbook site.yml -e topology=labs/lab.yml -e netorder_ssh_key=")
    assert line.endswith("/.netorder/c/lab/id_ed25519 -e golden=true")
