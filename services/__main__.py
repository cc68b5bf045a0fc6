"""`python -m services`: the whole platform on this machine, each service its own process, exactly as on a cluster."""

import sys

from services.supervisor.cli import main

if __name__ == "__main__":
    sys.exit(main())
