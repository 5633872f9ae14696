"""What the cloud is made of: every step of a start, in the order that what they need decides."""

from __future__ import annotations

import json
import os
import shutil
import socket
import string
import subprocess
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.supervisor import SHARED, Step, Supervisor

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

CODE = Path("/localcloud/localcloud")
SERVICE_USERS = ("nova", "neutron", "glance", "placement")
NEUTRON_FILES = "--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini"
DATABASES = {
    "keystone": ["keystone-manage db_sync"],
    "glance": ["glance-manage db_sync"],
    "placement": ["placement-manage db sync"],
    "neutron": [f"neutron-db-manage {NEUTRON_FILES} upgrade heads"],
    "nova_api": ["nova-manage api_db sync"],
    "nova": ["nova-manage db sync --local_cell"],
}
# The order of a stop: nova-compute first, so that it does not take the end of the guests for the user's wish.
STOP_ORDER = ["nova-compute"]


def parameters() -> dict[str, str]:
    """Return what ``host`` decided about this cloud: addresses, secrets, kind of guests."""
    values: dict[str, str] = json.loads((SHARED / "parameters.json").read_text())
    return values


def run(command: str | list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; its failure carries its last lines."""
    words = command.split() if isinstance(command, str) else command
    done: subprocess.CompletedProcess[str] = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise RuntimeError(f"{' '.join(words)[:120]}: status {done.returncode}\n{tail}")
    return done.stdout


def mariadb(statements: str) -> str:
    """Run SQL as root over the local socket."""
    return run(["mariadb", "-N", "-u", "root", "-e", statements])


def listens(port: int, address: str = "127.0.0.1") -> Callable[[], bool]:
    """Make a check that a TCP port accepts."""

    def check() -> bool:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            return False
        return True

    return check


def unix_listens(path: str) -> Callable[[], bool]:
    """Make a check that a unix socket accepts."""

    def check() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                return False
        return True

    return check


def answers(port: int) -> Callable[[], bool]:
    """Make a check that HTTP gives any answer below 500 on the API address."""
    url = f"http://{parameters()['ip']}:{port}/"

    def check() -> bool:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code < HTTPStatus.INTERNAL_SERVER_ERROR
        except OSError:
            return False
        return True

    return check


# --- tasks -----------------------------------------------------------------------------------------------------------


def configure() -> None:
    """Write every configuration file from its template under ``config/``."""
    values = parameters()
    for user in SERVICE_USERS:
        values[f"auth_{user}"] = (
            f"www_authenticate_uri=http://{values['ip']}:5000\nauth_url=http://{values['ip']}:5000\n"
            "auth_type=password\nproject_domain_id=default\nuser_domain_id=default\nproject_name=service\n"
            f"username={user}\npassword={values['secret']}\nregion_name=RegionOne"
        )
    values["token_check"] = (
        "memcached_servers=127.0.0.1:11211\nservice_token_roles_required=true\nservice_token_roles=service"  # noqa: S105 - settings, no secret
    )
    values["db"] = f"mysql+pymysql://os:{values['secret']}@localhost"
    for template in sorted((CODE / "config").rglob("*")):
        if template.is_file():
            target = Path("/", template.relative_to(CODE / "config"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(string.Template(template.read_text()).substitute(values))
            target.chmod(0o600 if values["secret"] in target.read_text() else 0o644)
    for hook in Path("/etc/libvirt/hooks").glob("*"):
        hook.chmod(0o755)
    shutil.chown("/etc/keystone/keystone.conf", "keystone")
    for directory in ("mysqld", "openvswitch", "ovn", "libvirt", "rabbitmq", "uwsgi", "memcached", "lock"):
        Path("/run", directory).mkdir(exist_ok=True)
    for directory in "nova/instances nova/tmp neutron/tmp glance/images glance/staging glance/tasks".split():
        Path("/var/lib", directory).mkdir(parents=True, exist_ok=True)
    shutil.chown("/run/mysqld", "mysql")
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{values['ip']} {values['hostname']}\n")


def wait_for_interface(name: str, patience: float = 20) -> None:
    """Wait until a network interface exists."""
    limit = time.monotonic() + patience
    while not Path("/sys/class/net", name).exists():
        if time.monotonic() > limit:
            raise RuntimeError(f"there is no interface {name} after {patience:.0f} s")
        time.sleep(0.02)


def network() -> None:
    """Bring up loopback and the veth that the host put here; forward between it and the external network."""
    values = parameters()
    socket.sethostname(values["hostname"])
    run("ip link set lo up")
    wait_for_interface("api0")
    run(f"ip addr replace {values['ip']}/30 dev api0")
    run("ip link set api0 up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def ovs_database() -> None:
    """Make the switch's database once."""
    if not Path("/var/lib/openvswitch/conf.db").exists():
        Path("/var/lib/openvswitch").mkdir(exist_ok=True)
        run("ovsdb-tool create /var/lib/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema")


def ovs_settings() -> None:
    """Set what ovs-vswitchd and ovn-controller read when they start; TSO counts only before the first start."""
    values = parameters()
    run(["ovs-vsctl", "--no-wait", "--", "init", "--", "set", "Open_vSwitch", ".",
         "other_config:userspace-tso-enable=true",
         f"external_ids:system-id={values['hostname']}",
         f"external_ids:hostname={values['hostname']}",
         "external_ids:ovn-remote=unix:/run/ovn/ovnsb_db.sock",
         "external_ids:ovn-encap-type=geneve",
         f"external_ids:ovn-encap-ip={values['ip']}",
         "external_ids:ovn-bridge-mappings=public:br-ex",
         "external_ids:ovn-bridge-datapath-type=netdev",
         "external_ids:ovn-cms-options=enable-chassis-as-gw"])  # fmt: skip


def bridge() -> None:
    """Make br-ex, the external network's bridge, and give it the network's gateway address."""
    values = parameters()
    run("ovs-vsctl --may-exist add-br br-ex -- set bridge br-ex datapath_type=netdev")
    wait_for_interface("br-ex")  # of an earlier start: the switch makes it when it comes to it
    run(f"ip addr replace {values['gateway']}/24 dev br-ex")
    run("ip link set br-ex up")


def ovn_database(which: str) -> Callable[[], None]:
    """Make the task that makes OVN's ``nb`` or ``sb`` database once."""

    def make() -> None:
        Path("/var/lib/ovn").mkdir(exist_ok=True)
        if not Path(f"/var/lib/ovn/{which}.db").exists():
            run(f"ovsdb-tool create /var/lib/ovn/{which}.db /usr/share/ovn/ovn-{which}.ovsschema")

    return make


def mysql_directory() -> None:
    """Make MariaDB's own tables once; a half-made directory of an interrupted first start is made again."""
    done = Path("/var/lib/mysql/localcloud-installed")
    if done.exists():
        return
    shutil.rmtree("/var/lib/mysql", ignore_errors=True)
    options = "--user=mysql --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=socket"
    run(f"mariadb-install-db {options}")
    done.touch()


def accounts() -> None:
    """Make the account that the services use."""
    secret = parameters()["secret"]
    mariadb(
        f"CREATE USER IF NOT EXISTS os@localhost IDENTIFIED BY '{secret}';"
        + "".join(f"GRANT ALL ON {name}.* TO os@localhost;" for name in [*DATABASES, "nova_cell0"])
    )


def empty_database(name: str) -> None:
    """Make a database, or make it again: MariaDB takes no part of an interrupted migration back."""
    mariadb(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name};")


def once(name: str, work: Callable[[], None]) -> Callable[[], None]:
    """Make a task that is done once in the life of the state (a stamp says so), and again if it was interrupted."""

    def task() -> None:
        stamp = Path("/var/lib/localcloud", name)
        if stamp.exists():
            return
        work()
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()

    return task


def migrate(database: str) -> Callable[[], None]:
    """Make the task that brings the tables of one database to the version of the packages."""

    def work() -> None:
        empty_database(database)
        for command in DATABASES[database]:
            run(command)

    return once(f"migrated-{database}", work)


def cells() -> None:
    """Tell nova's API database of its two cells."""
    values = parameters()
    base = f"mysql+pymysql://os:{values['secret']}@localhost"
    options = "unix_socket=/run/mysqld/mysqld.sock&charset=utf8"
    run(["nova-manage", "cell_v2", "map_cell0", "--database_connection", f"{base}/nova_cell0?{options}"])
    if "cell1" not in run("nova-manage cell_v2 list_cells"):
        run("nova-manage cell_v2 create_cell --name cell1")
    empty_database("nova_cell0")
    run("nova-manage db sync")


def bootstrap() -> None:
    """Make keystone's keys, the administrator and the identity endpoint."""
    values = parameters()
    run("keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone")
    run("keystone-manage credential_setup --keystone-user keystone --keystone-group keystone")
    url = f"http://{values['ip']}:5000/v3"
    run(["keystone-manage", "bootstrap", "--bootstrap-region-id", "RegionOne",
         "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-admin-url", url],
        environment={**os.environ, "OS_BOOTSTRAP_PASSWORD": values["admin_password"]})  # fmt: skip


def discover() -> None:
    """Map the compute host to its cell; nova-compute has registered itself by now."""
    run("nova-manage cell_v2 discover_hosts")


def compute_registered() -> bool:
    """Tell whether nova-compute has registered its node."""
    return mariadb("SELECT COUNT(*) FROM nova.compute_nodes WHERE deleted=0").strip() != "0"


def seed(part: str) -> Callable[[], None]:
    """Make the task that runs one part of ``seed`` (it needs the SDK, so it has a process of its own)."""
    return lambda: print(run(["python3", "-B", "-m", "localcloud.seed", part]))


# --- the table -------------------------------------------------------------------------------------------------------


# nova and neutron patch themselves with eventlet, whose greenlets break under a second thread: processes for them.
GREEN = {"processes": "2", "threads": "1"}


def uwsgi(name: str, port: int, application: str, **options: str) -> tuple[str, ...]:
    """Write the settings of one API under uwsgi (connections closed after each answer); return its command."""
    settings = {
        "plugins": "python3", "http-socket": f"{parameters()['ip']}:{port}", "processes": "1", "threads": "4",
        "enable-threads": "true", "lazy-apps": "true", "need-app": "true", "buffer-size": "65535",
        "http-keepalive": "false", "add-header": "Connection: close", "die-on-term": "true", "no-orphans": "true",
        "listen": "100", "start-time": "%t", "disable-logging": "true", "procname": f"uwsgi-{name}", **options,
    }  # fmt: skip
    where = "wsgi-file" if application.startswith("/") else "module"
    ini = Path("/run/uwsgi", f"{name}.ini")  # a file, since the command line knows no option of a plugin
    ini.parent.mkdir(exist_ok=True)
    ini.write_text(
        "\n".join(["[uwsgi]", *(f"{key}={value}" for key, value in {**settings, where: application}.items())])
    )
    return ("uwsgi", "--ini", str(ini))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a service's ``main`` under its usual name."""
    program = module.rsplit(".", 1)[-1]
    code = f"import sys; sys.argv[0] = 'nova-{program}'; from {module} import main; main()"
    return ("python3", "-c", code, *arguments)


def rabbit() -> Step:
    """Return the message broker: one scheduler thread, no busy waiting, loopback only."""
    return Step(
        "rabbitmq", after=("network",), argv=("/usr/lib/rabbitmq/bin/rabbitmq-server",), user="rabbitmq",
        prepare=lambda: shutil.chown("/run/rabbitmq", "rabbitmq"),
        env={
            "HOME": "/var/lib/rabbitmq", "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_PID_FILE": "/run/rabbitmq/pid",
        },
        ready=listens(5672),
    )  # fmt: skip


def ovn_server(which: str) -> Step:
    """Return OVN's ``nb`` or ``sb`` database server."""
    socket_path = f"/run/ovn/ovn{which}_db.sock"
    return Step(
        f"ovn-{which}", after=("network",), prepare=ovn_database(which),
        argv=("ovsdb-server", f"/var/lib/ovn/{which}.db", f"--remote=punix:{socket_path}",
              f"--unixctl=/run/ovn/ovn{which}_db.ctl"),
        ready=unix_listens(socket_path),
    )  # fmt: skip


def steps() -> list[Step]:
    """Return every step of a start."""
    values = parameters()
    nb, sb = "unix:/run/ovn/ovnnb_db.sock", "unix:/run/ovn/ovnsb_db.sock"
    table = [
        Step("configuration", run=configure),
        Step("network", after=("configuration",), run=network),
        # the data stores and the message broker
        Step("mariadb", after=("network",), prepare=mysql_directory, argv=("mariadbd", "--user=mysql"),
             ready=unix_listens("/run/mysqld/mysqld.sock")),
        Step("accounts", after=("mariadb",), run=accounts),
        Step("memcached", after=("network",), argv=("memcached", "-u", "memcache", "-l", "127.0.0.1", "-m", "64"),
             ready=listens(11211)),
        rabbit(),
        # the switch and the virtual network
        Step("ovsdb", after=("network",), prepare=ovs_database,
             argv=("ovsdb-server", "/var/lib/openvswitch/conf.db", "--remote=punix:/run/openvswitch/db.sock",
                   "--unixctl=/run/openvswitch/ovsdb-server.ctl"),
             ready=unix_listens("/run/openvswitch/db.sock")),
        Step("ovs-settings", after=("ovsdb",), run=ovs_settings),
        Step("ovs-vswitchd", after=("ovs-settings",),
             argv=("ovs-vswitchd", "unix:/run/openvswitch/db.sock", "--unixctl=/run/openvswitch/ovs-vswitchd.ctl"),
             ready=unix_listens("/run/openvswitch/ovs-vswitchd.ctl"), on_respawn=bridge),
        Step("bridge", after=("ovs-vswitchd",), run=bridge),
        ovn_server("nb"),
        ovn_server("sb"),
        Step("ovn-northd", after=("ovn-nb", "ovn-sb"),
             argv=("ovn-northd", f"--ovnnb-db={nb}", f"--ovnsb-db={sb}", "--unixctl=/run/ovn/ovn-northd.ctl"),
             ready=unix_listens("/run/ovn/ovn-northd.ctl")),
        Step("ovn-controller", after=("ovn-northd", "bridge"),
             argv=("ovn-controller", "unix:/run/openvswitch/db.sock", "--unixctl=/run/ovn/ovn-controller.ctl"),
             ready=unix_listens("/run/ovn/ovn-controller.ctl")),
        Step("virtlogd", after=("configuration",), argv=("virtlogd",),
             ready=unix_listens("/run/libvirt/virtlogd-sock")),
        Step("libvirtd", after=("virtlogd", "network"), argv=("libvirtd",),
             ready=unix_listens("/run/libvirt/libvirt-sock"), on_respawn=enable_compute),
        # tables
        *(Step(f"migrate-{name}", after=("accounts",), run=migrate(name)) for name in DATABASES),
        Step("cells", after=("migrate-nova", "migrate-nova_api"), run=once("cells", cells)),
        # identity, and what everyone must find in its catalog
        Step("bootstrap", after=("migrate-keystone",), run=once("bootstrap", bootstrap)),
        Step("keystone", after=("bootstrap", "memcached"),
             argv=uwsgi("keystone", 5000, "keystone.wsgi.api:application"), user="keystone", ready=answers(5000)),
        Step("catalog", after=("keystone",), run=once("catalog", seed("catalog"))),
        # the services
        Step("placement", after=("catalog", "migrate-placement"),
             argv=uwsgi("placement", 8778, "placement.wsgi.api:application"), ready=answers(8778)),
        Step("glance", after=("catalog", "migrate-glance"),
             argv=uwsgi("glance", 9292, "/usr/bin/glance-wsgi-api",
                        **{"socket-timeout": "300", "chunked-input-timeout": "300",
                           "chunked-input-limit": "67108864"}), ready=answers(9292)),
        Step("neutron", after=("catalog", "migrate-neutron", "rabbitmq", "ovn-northd"),
             argv=uwsgi("neutron", 9696, "neutron.wsgi.api:application", **GREEN), ready=answers(9696),
             env={"OS_NEUTRON_CONFIG_DIR": "/etc/neutron",
                  "OS_NEUTRON_CONFIG_FILES": "neutron.conf;plugins/ml2/ml2_conf.ini"}),
        Step("neutron-maintenance", after=("neutron",),
             argv=("neutron-ovn-maintenance-worker", *NEUTRON_FILES.split())),
        Step("nova-api", after=("catalog", "cells", "rabbitmq"),
             argv=uwsgi("nova", 8774, "nova.wsgi.osapi_compute:application", **GREEN), ready=answers(8774)),
        Step("nova-conductor", after=("catalog", "cells", "rabbitmq"), argv=python("nova.cmd.conductor")),
        Step("nova-scheduler", after=("catalog", "cells", "rabbitmq", "placement"), argv=python("nova.cmd.scheduler")),
        Step("nova-compute", after=("nova-conductor", "libvirtd", "placement", "ovn-controller", "keystone"),
             argv=python("nova.cmd.compute"), ready=compute_registered),
        Step("discover", after=("nova-compute",), run=once("discover", discover)),
        # what a user needs to begin: project, flavors, external network, image
        Step("project", after=("catalog", "nova-api", "neutron"), run=seed("project")),
        Step("image", after=("catalog", "glance"), run=seed("image")),
    ]  # fmt: skip
    if values["metadata"] == "true":
        table += [
            Step("nova-metadata", after=("catalog", "cells", "rabbitmq"),
                 argv=uwsgi("nova-metadata", 8775, "nova.wsgi.metadata:application", **GREEN), ready=answers(8775)),
            Step("neutron-metadata-agent", after=("neutron", "ovn-controller"),
                 argv=("neutron-ovn-metadata-agent", "--config-file", "/etc/neutron/neutron.conf",
                       "--config-file", "/etc/neutron/neutron_ovn_metadata_agent.ini")),
        ]  # fmt: skip
    return table


# --- while it runs ---------------------------------------------------------------------------------------------------


def enable_compute() -> None:
    """Enable the compute service again: nova disables it when libvirtd goes away and does not take that back."""
    seed("enable-compute")()


def watch_taps(stopping: threading.Event) -> None:
    """Bring up each guest's tap that is down, and say so.

    The switch may open a tap before libvirt has made it and set it down afterwards: the guest then has no network and
    nothing reports it. The libvirt hook mends most; this sees what the hook's moment missed.
    """
    with (SHARED / "log" / "taps.log").open("a") as log:
        while not stopping.wait(1):
            for flags in Path("/sys/class/net").glob("tap*/flags"):
                try:
                    if int(flags.read_text(), 16) & 1:
                        continue
                    run(["ip", "link", "set", flags.parent.name, "up"])
                    log.write(f"{time.strftime('%F %T')} {flags.parent.name} was down: brought up\n")
                    log.flush()
                except (OSError, RuntimeError):
                    continue  # the guest ended in this moment


def stop_guests(supervisor: Supervisor, patience: float = 15) -> None:
    """Shut the guests down as their power button would, nova-compute out of the way; cut off who does not obey."""
    compute = supervisor.processes.get("nova-compute")
    if compute and compute.poll() is None:
        compute.terminate()
        try:
            compute.wait(5)
        except subprocess.TimeoutExpired:
            compute.kill()
    virsh = ["virsh", "-c", parameters()["libvirt_uri"]]
    try:
        names = run([*virsh, "list", "--name"]).split()
        for name in names:
            run([*virsh, "shutdown", name])
        limit = time.monotonic() + patience
        while run([*virsh, "list", "--name"]).split() and time.monotonic() < limit:
            time.sleep(0.2)
    except (RuntimeError, OSError):
        return  # libvirtd is not there: the end of PID 1 ends the guests
