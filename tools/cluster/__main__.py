"""Command line of the local cluster.

python -m tools.cluster up|down|packages
"""

import argparse
import sys

from tools.cluster import local, packages
from tools.errors import UserError


def main() -> None:
    """Run the requested action; report a UserError as one sentence on standard error, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description="The local Kubernetes cluster.")
    parser.add_argument(
        "action", choices=["up", "down", "packages"], help="packages: print the missing Debian packages"
    )
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
        sys.exit("cluster: interrupted: the next `make cluster` removes the unfinished cluster and starts again.")


if __name__ == "__main__":
    main()
