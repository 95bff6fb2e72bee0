"""Variants of the service's image."""

import hashlib
from pathlib import Path

from neobank import migrations
from tools.cluster import buildah, local

REVISION = "9999"
_FILES = {
    "Containerfile": """\
FROM {image}
USER 0:0
COPY more.py /
RUN mv /more.py "$(python3 -c 'import neobank.migrations as m; print(m.__path__[0])')/versions/9999_more.py"
USER 10001:10001
""",
    "more.py": """\
from alembic import op

revision = "{revision}"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("{statement}")
""",
}


def with_one_more_migration(image: str, statement: str, folder: Path) -> str:
    """Build the image with one more migration that runs a statement, load it into the node; return its reference."""
    written = {
        name: text.format(image=buildah.stored(image), revision=REVISION, head=migrations.head(), statement=statement)
        for name, text in _FILES.items()
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    variant = f"{image}-{hashlib.sha256(repr(written).encode()).hexdigest()[:8]}"
    buildah.build(buildah.stored(variant), containerfile=folder / "Containerfile", context=folder)
    local.load(variant)
    return variant
