"""`python -m ingrain.testing`: the fake platform as a process, until Ctrl-C."""

import argparse
import contextlib

from ingrain.testing import FakePlatform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7070)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--step-s", type=float, default=0.05, help="seconds per step of long work")
    parser.add_argument("--heartbeat-s", type=float, default=15.0, help="seconds of quiet between heartbeats")
    options = parser.parse_args()
    with FakePlatform(options.port, options.api_key, options.step_s, options.heartbeat_s) as platform:
        print(f"fake platform at {platform.target}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            platform.wait()


if __name__ == "__main__":
    main()
