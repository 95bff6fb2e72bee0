"""Command line of the local cluster.

python -m tools.cluster up|down|packages
"""

import argparse
import sys

from tools.cluster import local, packages
from tools.errors import UserError


def main() -> None:
    """Does what the one argument says; a user's mistake is one sentence on standard error and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description="The local Kubernetes cluster.")
    parser.add_argument("action", choices=["up", "down", "packages"], help="packages: the Debian packages missing here")
    action = parser.parse_args().action
    try:
        if action == "up":
            local.up()
        elif action == "down":
            local.down()
        else:
            print(" ".join(packages.missing()))
    except UserError as error:
        sys.exit(f"cluster: {error}")
    except KeyboardInterrupt:
        sys.exit("cluster: interrupted; the next `make cluster` clears away what was begun.")


if __name__ == "__main__":
    main()
