"""`python -m tests.integration.hosts.across FOLDER`: a gateway and an augmenter on two hosts; the link is cut during a call.

Prints one line of JSON: where each listens, and what became of the call.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

from ingrain import Client
from tools.hosts import sight
from tools.hosts.layout import Platform
from tools.hosts.network import HOME, Network, enter

CUT_S = 2.0  # no answer can come within it


def main(folder: Path) -> None:
    network = Network(folder, ("gateway", "services"), {"augmenter": "services"})
    try:
        changes = {
            "INGRAIN_DATABASE_URL": f"sqlite:///{HOME}/platform.sqlite",
            "INGRAIN_STORAGE": f"file://{HOME}/storage",
        }
        platform = Platform(network, changes)
        platform.start_services(("gateway", "augmenter"))
        listens = {
            name: [row["address"] for row in sight.listening(host)] for name, host in network.hosts.items()
        }
        with (
            Client(platform.target, api_key=platform.operator_token) as client,
            ThreadPoolExecutor(1) as pool,
        ):
            client.datasets.upload([{"id": "a", "text": "A valve."}], "valves")
            network.cut("gateway", "services")
            call = pool.submit(client.datasets.get, "valves")
            try:
                answered = call.result(CUT_S).row_count
            except TimeoutError:
                answered = None
            network.heal("gateway", "services")
            passed = call.result(60.0).row_count
    finally:
        network.end()
    print(json.dumps({"listens": listens, "while_cut": answered, "healed": passed}))


if __name__ == "__main__":
    enter("tests.integration.hosts.across", sys.argv[1:])
    main(Path(sys.argv[1]))
