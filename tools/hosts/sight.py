"""What runs where, read from /proc: processes, the addresses that they listen on, connections between hosts."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tools.hosts.network import Host, Network

_ESTABLISHED, _LISTENING = "01", "0A"


def processes(host: Host) -> dict[int, str]:
    """Command lines by process id of those in the host's network."""
    own = os.readlink(f"/proc/{host.init}/ns/net")
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            if os.readlink(folder / "ns/net") == own:
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                )
    return found


def listening(host: Host) -> list[dict[str, str]]:
    """`process` and `address` of every socket that waits for connections."""
    holders = {}
    for pid, command in processes(host).items():
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    holders[os.readlink(descriptor)] = command
    rows = [
        {"process": short(holders.get(f"socket:[{inode}]", "")), "address": local}
        for state, local, _, inode in sockets(host)
        if state == _LISTENING
    ]
    return sorted(rows, key=lambda row: (row["process"], row["address"]))


def connections(network: Network, one: str, other: str) -> int:
    """Established ones from `one` to `other`'s address."""
    address = network[other].address
    found = [remote for state, _, remote, _ in sockets(network[one]) if state == _ESTABLISHED]
    return sum(remote.rpartition(":")[0] == address for remote in found)


def training_workers(network: Network) -> dict[str, list[str]]:
    """Names of Ray Train's worker processes, by the address that they run on."""
    found = {}
    for host in network.hosts.values():
        if names := [
            line.split()[0].partition(".")[0]
            for line in processes(host).values()
            if line.startswith("ray::RayTrainWorker")
        ]:
            found[host.address] = names
    return found


def sockets(host: Host) -> Iterator[tuple[str, str, str, str]]:
    """State, local and remote address, inode; of IPv4, and of IPv4 in IPv6."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{host.init}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            yield fields[3], address(fields[1]), address(fields[2]), fields[9]


def address(text: str) -> str:
    """`0B004D0A:1F90` is 10.77.0.11:8080: the last four bytes, in this machine's order."""
    host, _, port = text.partition(":")
    return f"{'.'.join(str(byte) for byte in reversed(bytes.fromhex(host[-8:])))}:{int(port, 16)}"


def short(command: str) -> str:
    """`services.gateway` of `python -m services.gateway`, `monitor.py` of a script, else the program's name."""
    words = command.split() or ["?"]
    if "python" not in Path(words[0]).name:
        return Path(words[0]).name
    if "-m" in words:
        return words[words.index("-m") + 1]
    return Path(next((word for word in words if word.endswith(".py")), words[0])).name
