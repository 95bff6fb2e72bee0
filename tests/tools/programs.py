"""Programs that stand in for real ones on PATH: Python scripts that record each call."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.scripts import write_script

SCRIPT = """#!{python}
import json, os, sys
from pathlib import Path
folder = Path({folder!r})
words = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    print(json.dumps([{name!r}, words, dict(os.environ)]), file=calls)
{body}
"""


@dataclass(frozen=True)
class Call:
    """One call of a stand-in."""

    program: str
    words: list[str]
    environment: dict[str, str]


class Programs:
    """A folder for PATH; the stand-ins keep their record, and what their bodies write, in the folder above it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir()

    def install(self, name: str, body: str = "") -> None:
        """Install a stand-in; its body is Python that may use `words` and `folder`."""
        script = SCRIPT.format(python=sys.executable, folder=str(self.folder), name=name, body=body)
        write_script(self.path, name, script)

    def calls(self, name: str = "") -> list[Call]:
        """Return the calls of one stand-in, or of all, in order."""
        record = self.folder / "calls"
        lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        found = [Call(*json.loads(line)) for line in lines]
        return [call for call in found if name in {"", call.program}]
