"""The study across hosts, then one operation after another with a link cut in its middle; writes docs/hosts.json and docs/hosts.md."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ingrain import Client
from tools.hosts import sight, work
from tools.hosts.cases import CASES, Case, measured
from tools.hosts.layout import HOSTS, NAMES, WORKERS, Platform
from tools.hosts.network import Network, enter, why_not
from tools.hosts.page import write

OUT = Path("out/hosts")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path("docs"), help="where the results go (%(default)s)")
    parser.add_argument("--only", nargs="*", default=[case.id for case in CASES], help="ids of cases")
    parser.add_argument(
        "--add", action="store_true", help="these cases to what was measured before, without a study"
    )
    options = parser.parse_args()
    if reason := why_not():
        print(f"No hosts: {reason}.")
        return 2
    enter("tools.hosts", sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.nice(5)
    result: dict[str, Any] = {"cases": []}
    if options.add:
        result = json.loads((options.into / "hosts.json").read_text())
    network = Network(OUT.absolute(), HOSTS, NAMES)
    try:
        measure(
            network, result, [case for case in CASES if case.id in options.only], options.add, options.into
        )
    finally:
        network.end()
    return 0 if all(case["same"] for case in result["cases"]) else 1


def measure(network: Network, result: dict[str, Any], wanted: list[Case], add: bool, into: Path) -> None:
    """Into `result`, which is written after every part."""
    begun = time.monotonic()
    platform = Platform(network)
    platform.start()
    start_s = round(time.monotonic() - begun, 1)
    print(f"every service is healthy and Ray has its nodes after {start_s} s", flush=True)
    if not add:
        result |= {"date": time.strftime("%Y-%m-%d", time.gmtime()), "processors": os.cpu_count()}
        result |= {"start_s": start_s, "hosts": listed(network)}
        with Client(platform.target, api_key=platform.operator_token) as operator:
            key = operator.keys.create("hosts").secret
        with Client(platform.target, api_key=key) as client:
            result["study"] = work.study(client, lambda: workers_at_work(network))
        write(result, into)
        print(json.dumps(result["study"]), flush=True)
    order = [case.id for case in CASES]
    for case in wanted:
        found = measured(case, network, platform)
        others = [one for one in result["cases"] if one["id"] != case.id]
        result["cases"] = sorted([*others, found], key=lambda one: order.index(one["id"]))
        write(result, into)
        print(json.dumps(found), flush=True)


def listed(network: Network) -> list[dict[str, Any]]:
    return [
        {"name": host.name, "address": host.address, "listens": sight.listening(host)}
        for host in network.hosts.values()
    ]


def workers_at_work(network: Network) -> dict[str, Any]:
    """Which training workers run where, and how many connections they hold to each other's host; empty where none runs."""
    running = sight.training_workers(network)
    return running and {"workers": running, "connections": sight.connections(network, *WORKERS)}


if __name__ == "__main__":
    sys.exit(main())
