"""`make rotate`: raise the number of each named secret, set today's date, and deploy the new secrets.

python -m tools.rotate --stack dev [owner application backup metrics tls secretKey admin]

This is the only command that writes a stack file. It keeps the comments and the order.
"""

import argparse
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from tools import deploy
from tools.errors import UserError

SECRETS: Final = ("owner", "application", "backup", "metrics", "tls", "secretKey", "admin")
KEY: Final = "neobank:rotation"


def main() -> None:
    """Raise the numbers and deploy; report a UserError as one sentence, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.rotate")
    parser.add_argument("--stack", required=True)
    parser.add_argument("secrets", nargs="*", metavar="SECRET", help=f"{', '.join(SECRETS)}; default: all")
    arguments = parser.parse_args()
    file = deploy.stack_file(arguments.stack)
    names = arguments.secrets or list(SECRETS)
    raised: dict[str, int] = {}

    def raise_and_print() -> None:
        raised.update(raise_numbers(file, names, datetime.now(UTC).date()))
        for name, number in raised.items():
            print(f"{file.name}: {KEY}.{name} is now {number}.", flush=True)

    try:
        require_known(names)
        failure: int | str = deploy.prepare(arguments.stack).run("up", [], before_up=raise_and_print)
    except UserError as error:
        failure = f"make rotate: {error}"
    if failure and raised:
        # A login has two names in turn: another rotation would change the password of the one that pods still use.
        again = f"make up STACK={arguments.stack}"
        print(f"The numbers are raised but not deployed: go on with `{again}`, not with `make rotate`.", flush=True)
    sys.exit(failure)


def require_known(names: list[str]) -> None:
    """Raise UserError if a name is not that of a secret."""
    unknown = sorted(set(names) - set(SECRETS))
    if unknown:
        raise UserError(f"there is no secret {', '.join(unknown)}: choose from {', '.join(SECRETS)}.")


def raise_numbers(file: Path, names: list[str], today: date) -> dict[str, int]:
    """Raise the numbers of these secrets in a stack file and return the new ones."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # wraps no line
    document = yaml.load(file)
    rotation = document.setdefault("config", CommentedMap()).setdefault(KEY, CommentedMap())
    numbers = {name: rotation.get(name, {}).get("number", 1) + 1 for name in names}
    for name, number in numbers.items():
        entry = rotation.setdefault(name, CommentedMap())
        entry.update(number=number, since=today.isoformat())
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as written:
        yaml.dump(document, written)
    part.replace(file)
    return numbers


if __name__ == "__main__":
    main()
