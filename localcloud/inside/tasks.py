"""What the steps of a start do; each is idempotent and continues after an interruption."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import string
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import amqp
import bcrypt

from localcloud.inside.system import CONFIG, SHARED, parameters, run

if TYPE_CHECKING:
    from collections.abc import Callable

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

    The reverse path filter (RFC 3704) drops packets that the host forwards from elsewhere: there is no route back.
    """
    values = parameters()
    socket.sethostname(values["hostname"])
    run("ip link set lo up")
    if not values["host_ip"]:
        return  # a fresh state is being made: that cloud has no veth
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
    """Return the task that creates OVN's ``nb`` or ``sb`` database once."""

    def make() -> None:
        Path("/var/lib/ovn").mkdir(exist_ok=True)
        if not Path(f"/var/lib/ovn/{which}.db").exists():
            run(f"ovsdb-tool create /var/lib/ovn/{which}.db /usr/share/ovn/ovn-{which}.ovsschema")

    return make


def mysql_directory() -> None:
    """Make MariaDB's own tables once; the partial directory of an interrupted first start is replaced."""
    done = Path("/var/lib/mysql/localcloud-installed")
    if done.exists():
        return
    shutil.rmtree("/var/lib/mysql", ignore_errors=True)
    options = "--user=mysql --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=socket"
    run(f"mariadb-install-db {options}")
    done.touch()


def accounts() -> None:
    """Create the account that the services use, with this cloud's password."""
    secret = parameters()["secret"]
    mariadb(
        f"CREATE USER IF NOT EXISTS os@localhost; ALTER USER os@localhost IDENTIFIED BY '{secret}';"
        + "".join(f"GRANT ALL ON {name}.* TO os@localhost;" for name in [*DATABASES, "nova_cell0"])
    )


def empty_database(name: str) -> None:
    """Create or recreate a database: MariaDB does not roll an interrupted migration back."""
    mariadb(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name};")


def once(name: str, work: Callable[[], None], about: Callable[[], str] = str) -> Callable[[], None]:
    """Return a task that runs once in the life of the state, and again if it was interrupted.

    A stamp file records it. Where ``about`` is given, the task also runs again when that text has changed.
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
    """Return the task that migrates one database to the version of the packages."""

    def work() -> None:
        empty_database(database)
        for command in DATABASES[database]:
            run(command)

    return once(f"migrated-{database}", work)


def cells() -> None:
    """Register the two cells in nova's API database, with [database]connection of their processes as template."""
    base = "{scheme}://{username}:{password}@{hostname}"
    run(["nova-manage", "cell_v2", "map_cell0", "--database_connection", f"{base}/nova_cell0?{{query}}"])
    if "cell1" not in run("nova-manage cell_v2 list_cells"):
        run(["nova-manage", "cell_v2", "create_cell", "--name", "cell1",
             "--database_connection", f"{base}/{{path}}?{{query}}"])  # fmt: skip
    empty_database("nova_cell0")
    run("nova-manage db sync")


def bootstrap() -> None:
    """Create the administrator and the identity endpoint."""
    values = parameters()
    keys()
    url = f"http://{values['ip']}:5000/v3"
    run(["keystone-manage", "bootstrap", "--bootstrap-region-id", "RegionOne",
         "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-admin-url", url],
        environment={**os.environ, "OS_BOOTSTRAP_PASSWORD": values["admin_password"]})  # fmt: skip


def keys() -> None:
    """Create keys for keystone's tokens and credentials, as ``keystone-manage fernet_setup`` does: 0 is the next."""
    for directory in ("/etc/keystone/fernet-keys", "/etc/keystone/credential-keys"):
        shutil.rmtree(directory, ignore_errors=True)
        Path(directory).mkdir(mode=0o700)
        for name in ("0", "1"):
            with os.fdopen(os.open(f"{directory}/{name}", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(base64.urlsafe_b64encode(os.urandom(32)))
            shutil.chown(f"{directory}/{name}", "keystone", "keystone")
        shutil.chown(directory, "keystone", "keystone")


def identity() -> None:
    """Give keystone this cloud's own keys, passwords and address: the state is a copy of another cloud's."""
    values = parameters()
    keys()
    passwords = dict.fromkeys(SERVICE_USERS, values["secret"])
    passwords |= {"admin": values["admin_password"], values["user"]: values["user_password"]}
    statements = [f"UPDATE keystone.endpoint SET url = REGEXP_REPLACE(url, '//[^:/]+:', '//{values['ip']}:')"]  # noqa: S608 - ours
    for user, password in passwords.items():
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        statements.append(  # no foreign input: names from here, and bcrypt's alphabet
            "UPDATE keystone.password JOIN keystone.local_user ON password.local_user_id = local_user.id"  # noqa: S608
            f" SET password_hash = '{hashed}' WHERE local_user.name = '{user}'"
        )
    mariadb(";".join(statements))


def identity_version() -> str:
    """Return a hash that changes with what ``identity`` sets."""
    values = parameters()
    mine = [values[name] for name in ("ip", "secret", "admin_password", "user_password")]
    return hashlib.sha256("\0".join(mine).encode()).hexdigest()


def compute_settings() -> None:
    """Write the settings of nova-compute alone: the kind of guests, KVM only after a successful trial."""
    values = parameters()
    if values["guests"] == "fake":
        text = "[DEFAULT]\ncompute_driver=fake.FakeDriver\n"
    else:
        kind = "lxc" if values["guests"] == "container" else "kvm" if guest_description().get("kvm") else "qemu"
        text = f"[libvirt]\nvirt_type={kind}\ncpu_mode={'host-passthrough' if kind == 'kvm' else 'none'}\n"
    write(COMPUTE_SETTINGS, text)


def guest_description() -> dict[str, Any]:
    """Return the host's description of the guest image, {} while it is still being built."""
    try:
        described: dict[str, Any] = json.loads((SHARED / "guest" / "guest.json").read_text())
    except FileNotFoundError:
        return {}
    return described


def guest() -> bool:
    """Wait for the guest image; return whether nova-compute must restart, since KVM turned out to work."""
    while not guest_description():
        time.sleep(0.1)
    before = COMPUTE_SETTINGS.read_text()
    compute_settings()
    return COMPUTE_SETTINGS.read_text() != before


def image_version() -> str:
    """Return a text that identifies the guest image."""
    return json.dumps(guest_description(), sort_keys=True)


def discover() -> None:
    """Map the compute host to its cell; nova-compute has registered itself by now."""
    run("nova-manage cell_v2 discover_hosts")


def consumed(queue: str) -> Callable[[], bool]:
    """Make a check that an RPC queue has a consumer: its service has started completely."""

    def check() -> bool:
        try:
            with amqp.Connection("127.0.0.1:5672", userid="guest", password="guest") as connection:  # noqa: S106 - on loopback
                declared = connection.channel().queue_declare(queue, passive=True)
        except (OSError, amqp.AMQPError):
            return False
        return bool(declared.consumer_count)

    return check


def compute_ready() -> bool:
    """Return whether nova-compute takes messages, and record it: its own first report comes after 5 s."""
    if not consumed(f"compute.{parameters()['hostname']}")():
        return False
    mariadb("UPDATE nova.services SET last_seen_up = UTC_TIMESTAMP() WHERE `binary` = 'nova-compute' AND deleted = 0")
    return True


def seed(*part: str) -> Callable[[], None]:
    """Return the task that runs one part of ``seed``, in a process of its own: the SDK is large."""
    return lambda: print(run(["python3", "-B", "-m", "localcloud.inside.seed", *part]))
