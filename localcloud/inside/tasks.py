"""What the steps of a start do: each can be done again, and goes on where it was interrupted."""

from __future__ import annotations

import base64
import hashlib
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
from typing import TYPE_CHECKING, Any

from localcloud.inside.supervisor import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = Path("/localcloud/localcloud/inside/config")
COMPUTE_SETTINGS = Path("/etc/nova/nova-compute.conf")
SERVICE_USERS = ("nova", "neutron", "glance", "placement", "heat")
NEUTRON_FILES = "--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini"
DATABASES = {
    "keystone": ["keystone-manage db_sync"],
    "glance": ["glance-manage db_sync"],
    "placement": ["placement-manage db sync"],
    "neutron": [f"neutron-db-manage {NEUTRON_FILES} upgrade heads"],
    "nova_api": ["nova-manage api_db sync"],
    "nova": ["nova-manage db sync --local_cell"],
    "heat": ["heat-manage db_sync"],
}


def parameters() -> dict[str, str]:
    """Return what ``host`` decided about this cloud: addresses, secrets, kind of guests."""
    values: dict[str, str] = json.loads((SHARED / "parameters.json").read_text())
    return values


def run(command: str | list[str], environment: dict[str, str] | None = None, *, may_fail: bool = False) -> str:
    """Run a command and return what it printed; its failure carries its last lines."""
    words = command.split() if isinstance(command, str) else command
    done: subprocess.CompletedProcess[str] = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0 and not may_fail:
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


def write(path: Path, text: str) -> None:
    """Write a configuration file; one that holds the services' secret is never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    mode = 0o600 if parameters()["secret"] in text else 0o644
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode), "w") as file:
        file.write(text)


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
    values["db"] = f"mysql+mysqldb://os:{values['secret']}@localhost"
    # nova and heat are eventlet's: while a driver in C waits, so would all their greenlets
    values["db_green"] = values["db"].replace("mysqldb", "pymysql")
    for template in sorted(CONFIG.rglob("*")):
        if template.is_file():
            write(Path("/", template.relative_to(CONFIG)), string.Template(template.read_text()).substitute(values))
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
    """Bring up loopback and the veth that the host put here; forward between it and the external network.

    The reverse path filter (RFC 3704) drops what comes through the host from beyond it: there is no way back to that.
    """
    values = parameters()
    socket.sethostname(values["hostname"])
    run("ip link set lo up")
    if not values["host_ip"]:
        return  # the cloud whose state is for others to begin with
    wait_for_interface("api0")
    Path("/proc/sys/net/ipv4/conf/api0/rp_filter").write_text("1")
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
    """Make the account that the services use, and give it this cloud's password."""
    secret = parameters()["secret"]
    mariadb(
        f"CREATE USER IF NOT EXISTS os@localhost; ALTER USER os@localhost IDENTIFIED BY '{secret}';"
        + "".join(f"GRANT ALL ON {name}.* TO os@localhost;" for name in [*DATABASES, "nova_cell0"])
    )


def empty_database(name: str) -> None:
    """Make a database, or make it again: MariaDB takes no part of an interrupted migration back."""
    mariadb(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name};")


def once(name: str, work: Callable[[], None], about: Callable[[], str] = str) -> Callable[[], None]:
    """Make a task that is done once in the life of the state, and again if it was interrupted.

    A stamp says so. Where ``about`` is given, the task is done again when that text is another one.
    """

    def task() -> None:
        stamp = Path("/var/lib/localcloud", name)
        wanted = about()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        work()
        stamp.parent.mkdir(mode=0o700, exist_ok=True)
        stamp.write_text(wanted)

    return task


def migrate(database: str) -> Callable[[], None]:
    """Make the task that brings the tables of one database to the version of the packages."""

    def work() -> None:
        empty_database(database)
        for command in DATABASES[database]:
            run(command)

    return once(f"migrated-{database}", work)


def cells() -> None:
    """Tell nova's API database of its two cells, by what their processes have as [database]connection."""
    base = "{scheme}://{username}:{password}@{hostname}"
    run(["nova-manage", "cell_v2", "map_cell0", "--database_connection", f"{base}/nova_cell0?{{query}}"])
    if "cell1" not in run("nova-manage cell_v2 list_cells"):
        run(["nova-manage", "cell_v2", "create_cell", "--name", "cell1",
             "--database_connection", f"{base}/{{path}}?{{query}}"])  # fmt: skip
    empty_database("nova_cell0")
    run("nova-manage db sync")


def bootstrap() -> None:
    """Make the administrator and the identity endpoint."""
    values = parameters()
    keys()
    url = f"http://{values['ip']}:5000/v3"
    run(["keystone-manage", "bootstrap", "--bootstrap-region-id", "RegionOne",
         "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-admin-url", url],
        environment={**os.environ, "OS_BOOTSTRAP_PASSWORD": values["admin_password"]})  # fmt: skip


def keys() -> None:
    """Make new keys for keystone's tokens and credentials, as ``keystone-manage fernet_setup`` does: 0 is the next."""
    for directory in ("/etc/keystone/fernet-keys", "/etc/keystone/credential-keys"):
        shutil.rmtree(directory, ignore_errors=True)
        Path(directory).mkdir(mode=0o700)
        for name in ("0", "1"):
            with os.fdopen(os.open(f"{directory}/{name}", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(base64.urlsafe_b64encode(os.urandom(32)))
            shutil.chown(f"{directory}/{name}", "keystone", "keystone")
        shutil.chown(directory, "keystone", "keystone")


def identity() -> None:
    """Give keystone this cloud's own keys, passwords and address: the state began as a copy of another cloud's."""
    import bcrypt  # noqa: PLC0415 - only the root file system has it: it is what keystone uses

    values = parameters()
    keys()
    passwords = dict.fromkeys(SERVICE_USERS, values["secret"])
    passwords |= {"admin": values["admin_password"], values["user"]: values["user_password"]}
    statements = [f"UPDATE keystone.endpoint SET url = REGEXP_REPLACE(url, '//[^:/]+:', '//{values['ip']}:')"]  # noqa: S608 - ours
    for user, password in passwords.items():
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        statements.append(  # no input of anyone's: names of ours, and bcrypt's alphabet
            "UPDATE keystone.password JOIN keystone.local_user ON password.local_user_id = local_user.id"  # noqa: S608
            f" SET password_hash = '{hashed}' WHERE local_user.name = '{user}'"
        )
    mariadb(";".join(statements))


def identity_version() -> str:
    """Return a hash that changes with what ``identity`` puts in force."""
    values = parameters()
    mine = [values[name] for name in ("ip", "secret", "admin_password", "user_password")]
    return hashlib.sha256("\0".join(mine).encode()).hexdigest()


def compute_settings() -> None:
    """Write what nova-compute alone reads: which kind of guests it makes. KVM only after a trial said that it works."""
    values = parameters()
    if values["guests"] == "fake":
        text = "[DEFAULT]\ncompute_driver=fake.FakeDriver\n"
    else:
        kind = "lxc" if values["guests"] == "container" else "kvm" if guest_description().get("kvm") else "qemu"
        text = f"[libvirt]\nvirt_type={kind}\ncpu_mode={'host-passthrough' if kind == 'kvm' else 'none'}\n"
    write(COMPUTE_SETTINGS, text)


def guest_description() -> dict[str, Any]:
    """Return what the host said about the guest image, {} while it is still being built."""
    try:
        described: dict[str, Any] = json.loads((SHARED / "guest" / "guest.json").read_text())
    except FileNotFoundError:
        return {}
    return described


def guest() -> bool:
    """Wait for the guest image; tell whether nova-compute must start again, since KVM turned out to work."""
    while not guest_description():
        time.sleep(0.1)
    before = COMPUTE_SETTINGS.read_text()
    compute_settings()
    return COMPUTE_SETTINGS.read_text() != before


def image_version() -> str:
    """Return what tells one guest image from another."""
    return json.dumps(guest_description(), sort_keys=True)


def discover() -> None:
    """Map the compute host to its cell; nova-compute has registered itself by now."""
    run("nova-manage cell_v2 discover_hosts")


def consumed(queue: str) -> Callable[[], bool]:
    """Make a check that someone takes messages from an RPC queue: its service is through with its start."""

    def check() -> bool:
        import amqp  # noqa: PLC0415 - only the root file system has it, for the services' own use

        try:
            with amqp.Connection("127.0.0.1:5672", userid="guest", password="guest") as connection:  # noqa: S106 - on loopback
                declared = connection.channel().queue_declare(queue, passive=True)
        except (OSError, amqp.AMQPError):
            return False
        return bool(declared.consumer_count)

    return check


def compute_ready() -> bool:
    """Tell whether nova-compute takes messages; the scheduler would believe it only after its first report (5 s)."""
    if not consumed(f"compute.{parameters()['hostname']}")():
        return False
    mariadb("UPDATE nova.services SET last_seen_up = UTC_TIMESTAMP() WHERE `binary` = 'nova-compute' AND deleted = 0")
    return True


def seed(*part: str) -> Callable[[], None]:
    """Make the task that runs one part of ``seed`` (it needs the SDK, so it has a process of its own)."""
    return lambda: print(run(["python3", "-B", "-m", "localcloud.inside.seed", *part]))
