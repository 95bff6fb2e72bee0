"""Imports of the service point one way: features, then `web`, then the core, then what everything uses."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[2] / "service" / "neobank"

BASE: Final = {"contract", "database", "errors", "names"}
CORE: Final = BASE | {"counters", "free_spins", "ledger", "sessions", "settings"}
WEB: Final = CORE | {"monitoring", "web"}

# The packages and modules of neobank, lowest layer first, and what each may import in addition to itself.
ALLOWED: Final[Mapping[str, set[str]]] = {
    "contract": set(),
    "database": set(),
    "errors": set(),
    "names": set(),
    "counters": BASE,
    "ledger": BASE,
    "sessions": BASE,
    "free_spins": BASE | {"ledger"},
    "settings": BASE | {"ledger"},
    "monitoring": BASE | {"ledger", "settings"},
    "web": CORE | {"monitoring"},
    "audit": CORE,
    "casino": WEB,
    "switches": WEB | {"casino"},
    "players": WEB | {"switches"},
    "payments": WEB,
    "vendors": WEB | {"audit", "payments", "players"},
    "admin": WEB | {"audit", "casino", "payments", "players", "switches", "vendors"},
    "provisioning": CORE | {"casino", "players", "vendors"},
    "migrations": BASE | {"provisioning", "settings"},
    "application": WEB | {"admin", "casino", "migrations", "payments", "players", "switches", "vendors"},
    "serving": WEB,
    "cli": WEB | {"audit", "casino", "migrations", "vendors"},
}

# The modules that `neobank verify-round` needs; they work on any machine.
MATHEMATICS: Final = ("engine", "exact", "fairness", "game", "games", "rounds")
SERVER_LIBRARIES: Final = {"alembic", "apiflask", "flask", "psycopg2", "pydantic", "sqlalchemy", "werkzeug"}


def modules(under: Path) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the path of each module of a package, or of a single file."""
    for path in [under] if under.is_file() else sorted(under.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted name of each import of a module, nested ones too: `from neobank import web` is `neobank.web`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert "neobank" not in {name.name for name in node.names}, f"{path}: import a module of neobank by name"
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def place(name: str) -> Path:
    folder = PACKAGE / name
    return folder if folder.is_dir() else folder.with_suffix(".py")


def test_every_package_has_its_layer() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set(ALLOWED) == found - {"__init__"}


def test_the_layers_have_no_cycle() -> None:
    below = set[str]()
    for name, allowed in ALLOWED.items():
        assert allowed - {name} <= below, name
        below.add(name)


@pytest.mark.parametrize("name", ALLOWED)
def test_a_package_imports_only_what_its_layer_allows(name: str) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, path in modules(place(name))
        for other in imported(path)
        if other.startswith("neobank.") and other.split(".")[1] not in ALLOWED[name] | {name}
    ]
    assert wrong == []


@pytest.mark.parametrize("name", MATHEMATICS)
def test_the_mathematics_of_the_casino_needs_no_server(name: str) -> None:
    inside = {f"neobank.casino.{other}" for other in MATHEMATICS} | {"neobank.ledger.money"}
    wrong = [
        f"{module} imports {other}"
        for module, path in modules(place(f"casino/{name}"))
        for other in imported(path)
        if other.split(".")[0] in SERVER_LIBRARIES
        or (other.startswith("neobank.") and ".".join(other.split(".")[:3]) not in inside)
    ]
    assert wrong == []
