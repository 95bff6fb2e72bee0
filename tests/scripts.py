"""Executable scripts that a test writes, mostly to stand in for a program on PATH."""

from pathlib import Path


def write_script(folder: Path, name: str, text: str) -> Path:
    """Write an executable file and return its path."""
    script = folder / name
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    return script
