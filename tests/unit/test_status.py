"""`netorder status`, on the SDK's own objects: what is there, what is missing, what is too much."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from openstack.compute.v2.server import Server
from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router

from netorder.cli.main import main
from netorder.cloud.observe import Observed
from netorder.controller import status as module
from netorder.controller.status import render, status, to_json
from netorder.errors import CloudError
from netorder.language.load import load
from netorder.plan.build import build_plan

ROOT = Path(__file__).parents[2]
CALCULATOR = str(ROOT / "topologies/calculator.yml")
PLAN = build_plan(load(CALCULATOR))


def everything(**changed) -> Observed:
    """Return what the cloud has after a run; ``changed`` replaces some of it."""
    ports = tuple(
        Port(
            id=f"port-{host.name}",
            name=host.ports[0].cloud_name,
            network_id="n",
            device_id=f"id-{host.name}",
            fixed_ips=[{"ip_address": address, "subnet_id": "s"} for address in host.addresses],
        )
        for host in PLAN.hosts
    )
    found = {
        "networks": tuple(Network(id=one.name, name=one.cloud_name) for one in PLAN.networks),
        "routers": tuple(Router(id=one.name, name=one.cloud_name) for one in PLAN.routers),
        "ports": ports,
        "floating_ips": (FloatingIP(id="f", floating_ip_address="203.0.113.9", port_id="port-calculator"),),
        "servers": tuple(Server(id=f"id-{one.name}", name=one.cloud_name, status="ACTIVE") for one in PLAN.hosts),
    }
    return Observed(**(found | changed))


def without(kind: str, name: str) -> Observed:
    """Return everything but one resource."""
    return everything(**{kind: tuple(one for one in getattr(everything(), kind) if one.name != name)})


def test_after_a_run_everything_is_there():
    found = status(PLAN, everything())
    assert found.is_complete
    assert render(found).splitlines() == [
        "host        state   addresses      floating",
        *(
            f"{host.name:10}  ACTIVE  {host.addresses[0]:13}  {'203.0.113.9' if host.floating_ip else '-'}"
            for host in PLAN.hosts
        ),
        "",
        "calculator: 2 of 2 networks, 2 of 2 routers, 5 of 5 servers, 1 of 1 floating IP in the cloud; hosts: 5 ACTIVE",
    ]


def test_before_a_run_nothing_is_there():
    found = status(PLAN, Observed())
    assert not found.is_complete
    assert {host.state for host in found.hosts} == {"absent"}
    assert {host.note for host in found.hosts} == {""}
    assert "0 of 5 servers" in render(found)


@pytest.mark.parametrize(
    ("observed", "host", "note"),
    [
        (without("ports", "calculator-sum"), "sum", f"lacks {PLAN.hosts[1].addresses[0]}"),
        (everything(floating_ips=()), "calculator", "no floating address"),
    ],
    ids=["a port", "a floating IP"],
)
def test_what_a_host_lacks_is_noted(observed, host, note):
    found = status(PLAN, observed)
    assert {one.name: one.note for one in found.hosts if one.note} == {host: note}
    assert not found.is_complete


@pytest.mark.parametrize("kind", ["networks", "routers"])
def test_a_missing_resource_is_counted(kind):
    """Though every host runs."""
    name = getattr(PLAN, kind)[0].cloud_name
    found = status(PLAN, without(kind, name))
    assert f"1 of 2 {kind}" in render(found)
    assert not found.is_complete


def test_a_server_in_error_says_why():
    broken = Server(id="x", name="calculator-sum", status="ERROR", fault={"message": "No valid host was found."})
    found = status(PLAN, everything(servers=(broken,)))
    assert {one.state: one.note for one in found.hosts}["ERROR"] == "No valid host was found."


def test_a_stray_is_shown_and_keeps_the_answer_from_being_complete():
    """A server with the marker that the file does not have."""
    old = Server(id="old", name="calculator-old", status="SHUTOFF")
    found = status(PLAN, everything(servers=(*everything().servers, old)))
    assert found.hosts[-1].name == "calculator-old"
    assert (found.hosts[-1].note, found.is_complete) == ("stray", False)


def test_as_json():
    """Every field, and what counts as well."""
    answer = json.loads(to_json(status(PLAN, everything())))
    assert answer["complete"]
    assert answer["resources"]["server"] == {"planned": 5, "there": 5}
    assert answer["hosts"][0] == {
        "name": "calculator",
        "state": "ACTIVE",
        "addresses": list(PLAN.hosts[0].addresses),
        "floating_ip": "203.0.113.9",
        "note": "",
        "id": "id-calculator",
        "planned": True,
        "well": True,
    }


@pytest.mark.parametrize(("observed", "code"), [(everything(), 0), (Observed(), 2)], ids=["all", "nothing"])
def test_the_command(observed, code, monkeypatch, capsys):
    """By its exit status only with --exit-code; it asks once, and nothing else."""
    cloud = SimpleNamespace()
    monkeypatch.setattr(module, "connect", lambda _progress, _name: cloud)
    monkeypatch.setattr(
        module, "observe", lambda asked, name: observed if (asked, name) == (cloud, "calculator") else 1
    )
    assert main(["status", CALCULATOR]) == 0
    table = capsys.readouterr().out
    assert main(["status", CALCULATOR, "--exit-code"]) == code
    assert capsys.readouterr().out == table
    assert "\x1b" not in table
    assert main(["status", CALCULATOR, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] == (code == 0)


def test_a_cloud_that_does_not_answer(monkeypatch, capsys):
    def refuse(_progress, _name):
        raise CloudError("Nothing answers: no route. Is the cloud up?")

    monkeypatch.setattr(module, "connect", refuse)
    assert main(["status", CALCULATOR]) == 3
    assert capsys.readouterr() == ("", "netorder status: error: Nothing answers: no route. Is the cloud up?\n")
