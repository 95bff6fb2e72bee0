"""A small disk of its own, which a test fills."""

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FILLER = "filler"


@dataclass(frozen=True)
class Disk:
    """A mounted file system."""

    folder: Path

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with (self.folder / FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def clear(self) -> None:
        """Make the space of `fill` available again."""
        (self.folder / FILLER).unlink()


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Disk]:
    """Mount an ext4 file system of this size at a new folder; skip the test where that is impossible."""
    image = folder.with_name(f"{folder.name}.img")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    format_ = ["mkfs.ext4", "-q", "-m", "0", str(image)]
    for command in (format_, ["mount", "-o", "loop", str(image), str(folder)]):
        try:
            done = subprocess.run(command, check=False, capture_output=True)
        except FileNotFoundError:
            pytest.skip(f"this machine has no {command[0]}, which makes a small disk")
        if done.returncode != 0:
            pytest.skip("this machine or user may not mount a file system, which a small disk is")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
