"""Wait until a host answers SSH, within a bound in seconds; and the likely cause where it does not."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from netorder.cloud.waits import SPOKEN, Wait
from netorder.text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from netorder.cloud.signs import Signs
    from netorder.cloud.waits import Waits

__all__ = ["Answer", "Cause", "diagnosis", "likely_cause", "spent", "wait"]

PAUSE = 3.0
ATTEMPT = 60.0  # s, for one try: through several slow hosts; the bounds of ssh itself hold for each of them
LEAST = 10.0  # s, for each host, however late its turn comes
LOOK = 20.0  # s between looks at what the cloud says
# what waiting does not make better
HOPELESS = ("Permission denied", "verification failed", "Bad configuration", "no such identity", "Bad owner")
UNKNOWN = (
    "server, port, floating IP and rules are as they should be: something on the way to it drops the packets "
    "(a VPN, a firewall, a missing route), or the host does (its own firewall, its network is down, it hangs)"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the waiting. ``said``: ssh's last words, empty when it answered."""

    rc: int
    said: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause and what to do. ``certain``: to wait longer does not help."""

    text: str
    certain: bool = False


def wait(
    ssh: Sequence[str],
    seconds: float,
    *,
    waits: Waits,
    host: str,
    progress: Callable[[str], None],
    hopeless: Callable[[str], bool],
    spent: float = 0.0,
    once: bool = False,
) -> Answer:
    """Run ``ssh`` until it ends with 0, ``seconds`` are over, or waiting cannot help; at least once, or just once.

    ``spent`` is what of the seconds was over before this host's turn came. ``hopeless`` is asked now and then, with
    ssh's last words, whether the cloud says that waiting cannot help.
    """
    start = time.monotonic()
    bound = max(seconds - spent, min(seconds, LEAST))
    line = Wait(waits, f"SSH on {host}", bound)
    end, looked, said = start + bound, start, ""
    while True:
        rc, words = _try(ssh, ATTEMPT if once else max(1.0, min(ATTEMPT, end - time.monotonic())))
        now = time.monotonic()
        said = words or said  # the bound may end the last try before it has said anything
        if rc == 0 or once or now + PAUSE >= end or any(word in said for word in HOPELESS):
            break
        if now - looked >= LOOK:
            looked = now
            if hopeless(said):
                break
        if not line.told and now + PAUSE - start >= SPOKEN:
            progress(line.opening(said))
        time.sleep(PAUSE)
    if rc == 0 and line.told:
        line.done()
        progress(f"{host} answers SSH after {line.took:.0f} s")
    return Answer(rc, (said or f"no answer within {bound:.0f} s") if rc else "", line.took)


def spent(marker: Path) -> float:
    """Return for how long (s) others have been waiting already, who share the bound: since the first made the marker.

    Ansible starts as many at a time as it has forks, the rest when these have ended.
    """
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return max(0.0, time.time() - marker.stat().st_mtime)
    except OSError:
        pass
    return 0.0


def _try(ssh: Sequence[str], seconds: float) -> tuple[int, str]:
    # a file: a connection that stays open for the next command would hold a pipe open
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        try:
            done = subprocess.run(
                ssh, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, timeout=seconds, check=False
            )
            rc = done.returncode
        except subprocess.TimeoutExpired:
            rc = 255
        except OSError as error:
            return 127, f"no such identity or program: {error}"
        said.seek(0)
        return rc, " ".join(said.read().split())


def likely_cause(said: str, signs: Signs, *, sources: Sequence[str], blocked: str, expected: str | None) -> Cause:
    """Return the first cause that what ssh said and the cloud's signs agree on.

    ``sources``: the addresses of the machine that connects to it, this one or the last host before it, one of which it
    connects from; ``blocked``: why it may be blocked; ``expected``: the floating IP that SSH goes to, None for a host
    behind others.
    """
    causes = chain(
        _of_server(signs),
        _of_login(said, signs),
        _of_path(signs, sources=sources, blocked=blocked, expected=expected),
        _of_host(said, signs, behind=expected is None),
    )
    return next(causes, Cause(UNKNOWN))


def _of_server(signs: Signs) -> Iterator[Cause]:
    if signs.status is None:
        yield Cause("the cloud has no server of this host: run ansible-playbook playbooks/provision.yml", certain=True)
    elif signs.status == "ERROR":
        back = f"`openstack server reboot --hard {signs.name}` may bring it back if it ran"
        yield Cause(f"its server is in ERROR: {signs.fault} Provisioning again replaces it; {back}", certain=True)
    elif signs.off:
        start = "playbooks/power.yml -e state=started"
        yield Cause(f"its server is {signs.status} on purpose: ansible-playbook {start}", certain=True)
    elif signs.moving:
        yield Cause(f"its server is {signs.status}, which takes longer than the wait")
    elif signs.startable:
        yield Cause(f"its server is {signs.status}: provisioning again starts it", certain=True)
    elif signs.status not in {"ACTIVE", "VERIFY_RESIZE"}:
        yield Cause(f"its server is {signs.status}: finish or undo that, then provision again", certain=True)


def _of_login(said: str, signs: Signs) -> Iterator[Cause]:
    if "Permission denied" in said:
        yield Cause(
            "it refuses the key: the image's user is another than `user` says, the key was removed on the host, or "
            "cloud-init did not get it (metadata out of reach: see the console)",
            certain=True,
        )
    if "verification failed" in said:
        yield Cause(
            "its host key is not the one that its console showed: it was made anew, or something else answers at its "
            f"address. Compare with `openstack console log show {signs.name}`; if it is right, delete the server's "
            "property netorder_hostkey and provision again",
            certain=True,
        )
    if signs.panicked:
        yield Cause(f"it did not boot: `{signs.panicked}`. Use another image, or delete the server", certain=True)


def _of_path(signs: Signs, *, sources: Sequence[str], blocked: str, expected: str | None) -> Iterator[Cause]:
    known = {signs.floating_ip, *signs.more_floating_ips, *signs.addresses}  # one of its own: on a reachable network
    if expected is not None and expected not in known:
        has = f"SSH goes to {expected}, and its floating IP is {signs.floating_ip}"
        yield Cause(f"{has if signs.floating_ip else 'no floating IP is bound to it'}: provision again", certain=True)
    if blocked:
        yield Cause(blocked)
    elif sources and all(signs.admits(source) is False for source in sources):
        yield Cause(
            f"no rule of its security groups lets {' or '.join(sources)} in to port 22, though the topology does: "
            "provision again",
            certain=True,
        )


def _of_host(said: str, signs: Signs, *, behind: bool) -> Iterator[Cause]:
    if "refused" in said:
        yield Cause("it runs, and nothing listens on port 22: sshd is stopped, or still starting")
    if not behind and ("banner exchange" in said or "kex_exchange" in said):
        yield Cause("port 22 opens and nothing follows: an MTU too large for the path, or a host out of memory")
    if signs.ports_down:
        yield Cause(f"Neutron has not connected its port {', '.join(signs.ports_down)} (DOWN): see the compute host")
    if signs.has and not set(signs.has) & set(signs.addresses):
        yield Cause(
            f"it has {', '.join(signs.has)} and not {', '.join(signs.addresses)}: DHCP did not reach it, or the image "
            "sets addresses of its own"
        )
    if "No route to host" in said:
        yield Cause("nothing answers for its address: it did not boot so far, or DHCP did not reach it")
    # through another host, whose connection is open: it says no more than that
    if behind and "Connection closed by" in said:
        yield Cause(
            "the host before it cannot connect to it: nothing listens on port 22 (sshd is stopped, or still starting), "
            "or nothing answers for its address"
        )
    if not signs.console:
        yield Cause("its console is empty: it has not begun to boot, or the image does not print on a serial console")


def diagnosis(host: str, answer: Answer, cause: Cause, signs: Signs) -> str:
    """Write the end of a wait for people: the likely cause first, then the signs."""
    up = "DOWN: " + ", ".join(signs.ports_down) if signs.ports_down else "ACTIVE"
    shown = [
        f"server: {signs.status or 'none'}" + (f" ({signs.fault})" if signs.fault else ""),
        f"ports: {up if signs.addresses else 'none'}",
        f"floating IP: {signs.floating_ip or 'none'}",
        f"port 22 is open to: {', '.join([*signs.let_in, *['members of groups'] * signs.members_let_in]) or 'nobody'}",
        f"host key on its console: {'yes' if signs.printed_key else 'not in its last lines'}",
        f"addresses it got: {', '.join(signs.has) or 'not in the last lines of its console'}",
        f"last {count(len(signs.console), 'line')} of its console:" if signs.console else "console: empty",
        *(f"  {line}" for line in signs.console),
    ]
    head = f"{host} does not answer SSH after {answer.seconds:.0f} s: {answer.said}"
    return "\n".join([head, f"likely cause: {cause.text}.", *(f"  {line}" for line in shown)])
