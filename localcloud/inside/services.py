"""What the cloud is made of: the table of all steps, ordered by what each needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from localcloud.inside import tasks, watch
from localcloud.inside.step import Step
from localcloud.inside.system import parameters

__all__ = ["steps"]

# services with an account and an endpoint in every cloud
BASIC = ("placement", "nova", "neutron", "glance")
# Nova's fake driver gives its node a new id at each start; Nova refuses a node that returns under another id. And at
# each claim nova-compute reads every allocation on its node from placement, one by one, to find PCI devices, of which
# there are none: with hundreds of hosts on one node, which only this driver has, that grows with their square.
FAKE_DRIVER = (
    "from oslo_utils.fixture import uuidsentinel as ids;"
    " ids.node_localcloud = open('/var/lib/nova/compute_id').read().strip();"
    " from nova.scheduler.client.report import SchedulerReportClient as client;"
    " client.get_allocations_for_provider_tree = lambda *_: {}; "
)


def uwsgi(
    name: str, port: int, application: str, options: dict[str, str] | None = None, *, green: str = ""
) -> tuple[str, ...]:
    """Write the settings of one API under uwsgi (connections closed after each answer); return its command.

    ``green`` is the code of nova or neutron: they patch themselves with eventlet, whose greenlets break under a second
    thread, so they have processes instead, which share what they import.
    """
    values = parameters()
    settings = {
        "plugins": "python3", "http-socket": f"{values['ip']}:{port}",
        "processes": values["workers"] if green else str(-(-int(values["workers"]) // 2)),
        "threads": "1" if green else "4",
        "master": "true", "enable-threads": "true", "lazy-apps": "true", "need-app": "true", "buffer-size": "65535",
        "http-keepalive": "false", "add-header": "Connection: close", "die-on-term": "true", "no-orphans": "true",
        "worker-reload-mercy": "1", "listen": "100", "start-time": "%t", "disable-logging": "true",
        "procname": f"uwsgi-{name}", **(options or {}),
        **({"shared-import": f"localcloud.inside.wsgi.{green}_modules"} if green else {}),
    }  # fmt: skip
    where = "wsgi-file" if application.startswith("/") else "module"
    ini = Path("/run/uwsgi", f"{name}.ini")  # a file, since the command line knows no option of a plugin
    ini.parent.mkdir(exist_ok=True)
    ini.write_text(
        "\n".join(["[uwsgi]", *(f"{key}={value}" for key, value in {**settings, where: application}.items())])
    )
    return ("uwsgi", "--ini", str(ini))


def python(module: str, *arguments: str, first: str = "") -> tuple[str, ...]:
    """Return the command line of a service's ``main`` under its usual name, after the statement ``first``."""
    service, program = module.split(".cmd.")
    code = f"import sys; sys.argv[0] = '{service}-{program}'; {first}from {module} import main; main()"
    return ("python3", "-c", code, *arguments)


def rabbit() -> Step:
    """Return the message broker: one scheduler thread, no busy waiting, loopback only."""
    return Step(
        "rabbitmq", after=("epmd",), argv=("/usr/lib/rabbitmq/bin/rabbitmq-server",), user="rabbitmq",
        prepare=lambda: shutil.chown("/run/rabbitmq", "rabbitmq"),
        env={
            "HOME": "/var/lib/rabbitmq", "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_PID_FILE": "/run/rabbitmq/pid",
        },
        ready=tasks.listens(5672),
    )  # fmt: skip


def ovn_server(which: str) -> Step:
    """Return OVN's ``nb`` or ``sb`` database server."""
    socket_path = f"/run/ovn/ovn{which}_db.sock"
    return Step(
        f"ovn-{which}", after=("network",), prepare=tasks.ovn_database(which),
        argv=("ovsdb-server", f"/var/lib/ovn/{which}.db", f"--remote=punix:{socket_path}",
              f"--unixctl=/run/ovn/ovn{which}_db.ctl"),
        ready=tasks.unix_listens(socket_path),
    )  # fmt: skip


def steps() -> list[Step]:
    """Return every step of a start."""
    values = parameters()
    fake, heat = values["guests"] == "fake", values["heat"] == "true"
    nb, sb = "unix:/run/ovn/ovnnb_db.sock", "unix:/run/ovn/ovnsb_db.sock"
    table = [
        Step("configuration", run=tasks.configure),
        Step("network", after=("configuration",), run=tasks.network),
        # the data stores and the message broker
        Step("mariadb", after=("network",), prepare=tasks.mysql_directory, argv=("mariadbd", "--user=mysql"),
             ready=tasks.unix_listens("/run/mysqld/mysqld.sock")),
        Step("accounts", after=("mariadb",), run=tasks.accounts),
        Step("memcached", after=("network",), argv=("memcached", "-u", "memcache", "-l", "127.0.0.1", "-m", "64"),
             ready=tasks.listens(11211)),
        Step("epmd", after=("network",), argv=("epmd", "-address", "127.0.0.1"), ready=tasks.listens(4369)),
        rabbit(),
        # the switch and the virtual network
        Step("ovsdb", after=("network",), prepare=tasks.ovs_database,
             argv=("ovsdb-server", "/var/lib/openvswitch/conf.db", "--remote=punix:/run/openvswitch/db.sock",
                   "--unixctl=/run/openvswitch/ovsdb-server.ctl"),
             ready=tasks.unix_listens("/run/openvswitch/db.sock")),
        Step("ovs-settings", after=("ovsdb",), run=tasks.ovs_settings),
        Step("ovs-vswitchd", after=("ovs-settings",),
             argv=("ovs-vswitchd", "unix:/run/openvswitch/db.sock", "--unixctl=/run/openvswitch/ovs-vswitchd.ctl"),
             ready=tasks.unix_listens("/run/openvswitch/ovs-vswitchd.ctl"), on_respawn=tasks.bridge),
        Step("bridge", after=("ovs-vswitchd",), run=tasks.bridge),
        ovn_server("nb"),
        ovn_server("sb"),
        Step("ovn-northd", after=("ovn-nb", "ovn-sb"),
             argv=("ovn-northd", f"--ovnnb-db={nb}", f"--ovnsb-db={sb}", "--unixctl=/run/ovn/ovn-northd.ctl"),
             ready=tasks.unix_listens("/run/ovn/ovn-northd.ctl")),
        Step("ovn-controller", after=("ovn-northd", "bridge"),
             argv=("ovn-controller", "unix:/run/openvswitch/db.sock", "--unixctl=/run/ovn/ovn-controller.ctl"),
             ready=tasks.unix_listens("/run/ovn/ovn-controller.ctl")),
        # tables
        *(Step(f"migrate-{name}", after=("accounts",), run=tasks.migrate(name))
          for name in tasks.DATABASES if name != "heat" or heat),
        Step("cells", after=("migrate-nova", "migrate-nova_api"), run=tasks.once("cells", tasks.cells)),
        # identity and its catalog
        Step("bootstrap", after=("migrate-keystone",), run=tasks.once("bootstrap", tasks.bootstrap)),
        Step("identity", after=("bootstrap",), run=tasks.once("identity", tasks.identity, tasks.identity_version)),
        Step("keystone", after=("identity", "memcached"),
             argv=uwsgi("keystone", 5000, "keystone.wsgi.api:application"), user="keystone", ready=tasks.answers(5000)),
        Step("catalog", after=("keystone",), run=tasks.once("catalog", tasks.seed("catalog", *BASIC))),
        # the services
        Step("placement", after=("catalog", "migrate-placement"),
             argv=uwsgi("placement", 8778, "placement.wsgi.api:application"), ready=tasks.answers(8778)),
        Step("glance", after=("catalog", "migrate-glance"),
             argv=uwsgi("glance", 9292, "/usr/bin/glance-wsgi-api",
                        {"socket-timeout": "300", "chunked-input-timeout": "300",
                           "chunked-input-limit": "67108864"}), ready=tasks.answers(9292)),
        Step("neutron", after=("catalog", "migrate-neutron", "rabbitmq", "ovn-northd"),
             argv=uwsgi("neutron", 9696, "localcloud.inside.wsgi.neutron:application", green="neutron"),
             ready=tasks.answers(9696),
             env={"OS_NEUTRON_CONFIG_DIR": "/etc/neutron",
                  "OS_NEUTRON_CONFIG_FILES": "neutron.conf;plugins/ml2/ml2_conf.ini"}),
        Step("neutron-maintenance", after=("neutron",),
             argv=("neutron-ovn-maintenance-worker", *tasks.NEUTRON_FILES.split())),
        Step("nova-api", after=("catalog", "cells", "rabbitmq"),
             argv=uwsgi("nova", 8774, "localcloud.inside.wsgi.nova:application", green="nova"),
             ready=tasks.answers(8774)),
        Step("nova-conductor", after=("catalog", "cells", "rabbitmq"), argv=python("nova.cmd.conductor"),
             ready=tasks.consumed("conductor")),
        Step("nova-scheduler", after=("catalog", "cells", "rabbitmq", "placement"), argv=python("nova.cmd.scheduler"),
             ready=tasks.consumed("scheduler")),
        Step("nova-compute", after=("nova-conductor", *(() if fake else ("libvirtd",)), "placement", "ovn-controller"),
             prepare=tasks.compute_settings, argv=python("nova.cmd.compute", "--config-file", "/etc/nova/nova.conf",
                         "--config-file", str(tasks.COMPUTE_SETTINGS), first=FAKE_DRIVER if fake else ""),
             ready=tasks.compute_ready),
        Step("discover", after=("nova-compute",), run=tasks.once("discover", tasks.discover)),
        # what a user needs first: project, flavors, external network, image
        Step("project", after=("catalog", "nova-api", "neutron"), run=tasks.once("project", tasks.seed("project"))),
        Step("external", after=("catalog", "neutron"),
             run=tasks.once("external", tasks.seed("external"), lambda: values["gateway"])),
    ]  # fmt: skip
    if not fake:
        table += [
            Step("virtlogd", after=("configuration",), argv=("virtlogd",),
                 ready=tasks.unix_listens("/run/libvirt/virtlogd-sock")),
            Step("libvirtd", after=("virtlogd", "network"), argv=("libvirtd",),
                 ready=tasks.unix_listens("/run/libvirt/libvirt-sock"), on_respawn=watch.enable_compute),
        ]  # fmt: skip
    if values["image"] == "true":
        table += [
            Step("guest", after=("nova-compute",), run=tasks.guest, restarts="nova-compute"),
            Step("image", after=("catalog", "glance", "guest"),
                 run=tasks.once("image", tasks.seed("image"), tasks.image_version)),
        ]  # fmt: skip
    if heat:
        table += [
            Step("catalog-heat", after=("catalog",), run=tasks.once("catalog-heat", tasks.seed("catalog", "heat"))),
            # a request that no engine takes from its queue hangs for a minute
            Step("heat-engine", after=("catalog-heat", "migrate-heat", "rabbitmq"), argv=python("heat.cmd.engine"),
                 ready=tasks.consumed("engine")),
            Step("heat-api", after=("heat-engine",), argv=uwsgi("heat", 8004, "heat.wsgi.api:application"),
                 ready=tasks.answers(8004)),
        ]  # fmt: skip
    return table
