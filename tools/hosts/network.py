"""Hosts and links: Linux namespaces on a bridge. To be used within the namespaces that `enter` makes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

NETWORK = "10.77.0"
CALLER = f"{NETWORK}.1"  # this program's own address on the bridge
BRIDGE = "br0"
HOME = Path("/mnt")  # in each host a folder of its own; short, for the paths of sockets
NOWHERE = "02:00:00:00:00:01"  # no host has this address
_WITHIN = "INGRAIN_HOSTS_WITHIN"
# Whatever ends is started again, as a kubelet would.
_AGAIN = 'while :; do "$@"; echo "--- ended with $?"; sleep 1; done'
_INIT = f"""hostname "$1"; mount --bind "$2" {HOME}; mount -t tmpfs tmpfs /dev/shm; cd {HOME}; echo ready
sleep infinity & wait"""
ENDED = "--- ended with "


def why_not() -> str:
    """Why this machine lets nobody make hosts; empty where it does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces need Linux and root"
    if missing := [
        name for name in ("unshare", "nsenter", "ip", "hostname", "mount") if shutil.which(name) is None
    ]:
        return f"no {', '.join(missing)} here"
    if any(place.is_relative_to(HOME) for place in (Path(sys.prefix), Path(__file__).resolve())):
        return f"{HOME} is each host's own, and what is to run lies there"
    trial = (
        f"ip link add {BRIDGE} type bridge; ip link add veth0 type veth peer name veth1; hostname trial; "
        f"mount --bind /tmp {HOME}; mount -t tmpfs tmpfs /dev/shm; test -r /proc/$$/task/$$/children"
    )
    try:
        done = subprocess.run(
            [*_UNSHARE, "--uts", "sh", "-ec", trial], capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return "namespaces take more than a minute here"
    return "" if done.returncode == 0 else f"the machine allows no namespaces: {done.stderr.strip()[-300:]}"


_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def enter(module: str, arguments: Sequence[str]) -> None:
    """Returns within namespaces of its own; the first call starts `module` anew there and does not return."""
    if not os.environ.get(_WITHIN):
        os.environ[_WITHIN] = "1"
        os.execvp("unshare", [*_UNSHARE, sys.executable, "-m", module, *arguments])


class Host:
    """Its processes see its own address, name, process ids and `HOME`; the rest of the file system is everybody's."""

    def __init__(self, name: str, address: str, folder: Path, port: str) -> None:
        self.name, self.address, self.folder, self.port = name, address, folder, port
        folder.mkdir(parents=True)
        self._unshare = subprocess.Popen(
            [*_UNSHARE, "--uts", "sh", "-ec", _INIT, "sh", name, str(folder)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert self._unshare.stdout is not None
        if self._unshare.stdout.readline() != b"ready\n":
            raise RuntimeError(f"host {name} could not be made")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.init = int(children.read_text())

    def within(self, *command: str, user: int = 0) -> list[str]:
        """The command, run here in `HOME`."""
        spaces = ["--net", "--uts", "--mount", "--pid", "--wd"]
        return [
            "nsenter",
            "--target",
            str(self.init),
            *spaces,
            f"--setuid={user}",
            f"--setgid={user}",
            *command,
        ]

    def run(self, *command: str, user: int = 0) -> None:
        done = subprocess.run(self.within(*command, user=user), capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()[-1000:]}")

    def start(self, name: str, command: Sequence[str], variables: Mapping[str, str], user: int = 0) -> None:
        """With these variables and no others; again whenever it ends. Its log is `<name>.log`."""
        with self.log(name).open("ab") as log:
            subprocess.Popen(
                self.within("sh", "-c", _AGAIN, "sh", *command, user=user),
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def end(self) -> None:
        """All its processes with it."""
        self._unshare.kill()
        self._unshare.wait()


class Network:
    """Hosts by name, numbered in the order in which they came; `names` are further names by host."""

    def __init__(self, folder: Path, hosts: Sequence[str], names: Mapping[str, str]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(hosts, 11)}
        known = {"localhost": "127.0.0.1", **addresses, **{n: addresses[host] for n, host in names.items()}}
        table = folder / "hosts"
        table.write_text("".join(f"{address} {name}\n" for name, address in known.items()))
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{CALLER}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        subprocess.run(["mount", "--bind", str(table), "/etc/hosts"], check=True)
        self.hosts: dict[str, Host] = {}
        for number, (name, address) in enumerate(addresses.items()):
            host = self.hosts[name] = Host(name, address, folder / name, f"port{number}")
            ip("link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", str(host.init))
            ip("link", "set", host.port, "master", BRIDGE, "up")
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                host.run("ip", "link", "set", device, "up")

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def cut(self, one: str, other: str = "") -> None:
        """What the two send each other is lost without a word; without `other` the host's cable is pulled."""
        if not other:
            ip("link", "set", self[one].port, "down")
            return
        for host, peer in ((self[one], self[other]), (self[other], self[one])):
            host.run(
                "ip", "neigh", "replace", peer.address, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent"
            )

    def heal(self, one: str, other: str = "") -> None:
        if not other:
            ip("link", "set", self[one].port, "up")
            return
        for host, peer in ((self[one], self[other]), (self[other], self[one])):
            host.run("ip", "neigh", "del", peer.address, "dev", "eth0")

    def end(self) -> None:
        for host in self.hosts.values():
            host.end()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=30)


def until(what: str, said: Callable[[], bool], limit_s: float, pause_s: float = 0.25) -> None:
    """Asks `said()` until it is true. TimeoutError naming `what`."""
    deadline = time.monotonic() + limit_s
    while not said():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} not within {limit_s:g} s")
        time.sleep(pause_s)
