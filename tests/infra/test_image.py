"""The image tag identifies the image's contents: the same contents have the same tag, others another one."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from image import ImageError, image_reference, image_tag


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    (folder / "neobank").mkdir(parents=True)
    (folder / "neobank" / "cli.py").write_text("print()\n")
    (folder / "neobank" / "data.json").write_text("{}\n")
    (folder / ".containerignore").write_text("# tests stay out\ntests/\n**/*.md\n!KEEP.md\nlocal?\n")
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    return folder


def tag(context: Path) -> str:
    return image_tag(context, context.parent / "Containerfile")


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda it: written(it / "neobank/cli.py", "print(1)\n"),
        lambda it: written(it / "neobank/new.py", ""),
        lambda it: written(it / "KEEP.md", "kept\n"),
        lambda it: written(it / "local22", "no match\n"),
        lambda it: written(it.parent / "Containerfile", "FROM other\n"),
        lambda it: (it / "neobank/cli.py").chmod(0o755),
        lambda it: (it / "neobank/cli.py").rename(it / "neobank/cly.py"),
        lambda it: (it / "neobank/data.json").unlink(),
        lambda it: (it / "link").symlink_to("neobank"),
        lambda it: written(it / "neobank/tests/test_x.py", ""),
    ],
)
def test_a_change_of_the_contents_changes_the_tag(context: Path, change: Callable[[Path], object]) -> None:
    before = tag(context)
    change(context)
    assert tag(context) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda it: os.utime(it / "neobank/cli.py", (1, 1)),
        lambda it: (it / "neobank/cli.py").chmod(0o600),
        lambda it: written(it / "neobank/__pycache__/cli.pyc", "x"),
        lambda it: written(it / "neobank/cli.pyc", "x"),
        lambda it: written(it / "neobank.egg-info/PKG-INFO", "x"),
        lambda it: written(it / "dist/neobank.whl", "x"),
        lambda it: written(it / "tests/test_x.py", "x"),
        lambda it: written(it / "docs/deep/README.md", "x"),
        lambda it: written(it / "README.md", "x"),
        lambda it: written(it / "local1", "x"),
        lambda it: (it / "empty").mkdir(),
        lambda it: it.rename(it.with_name("elsewhere")).rename(it),
    ],
)
def test_a_change_outside_the_image_keeps_the_tag(context: Path, change: Callable[[Path], object]) -> None:
    before = tag(context)
    change(context)
    assert tag(context) == before


def test_the_tag_does_not_depend_on_the_order_of_files(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, listed = tag(context), sorted(context.rglob("*"))
    for order in (listed, listed[::-1]):
        monkeypatch.setattr(Path, "rglob", lambda _self, _pattern, order=order: iter(order))
        assert tag(context) == before


def test_the_boundary_between_two_files_is_part_of_the_tag(context: Path) -> None:
    written(context / "a", "b-c")
    written(context / "d", "")
    before = tag(context)
    written(context / "a", "b-")
    written(context / "d", "c")
    assert tag(context) != before


def test_registries_accept_the_tag(context: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{20}", tag(context))


def test_a_missing_context_is_reported_with_the_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="NEOBANK_IMAGE"):
        image_tag(tmp_path / "service", tmp_path / "Containerfile")


def test_the_reference_is_repository_and_tag_unless_the_environment_names_the_image(context: Path) -> None:
    containerfile = context.parent / "Containerfile"
    assert image_reference({}, "registry/neobank", context, containerfile) == f"registry/neobank:{tag(context)}"
    handed_over = {"NEOBANK_IMAGE": "localhost:5000/neobank:1.2"}
    assert image_reference(handed_over, "x", context, containerfile) == "localhost:5000/neobank:1.2"


@pytest.mark.parametrize(
    "reference", ["neobank:v1", f"a/b@sha256:{'0' * 64}", f"a:latest@sha256:{'f' * 64}", "h:5000/x:y"]
)
def test_a_reference_with_a_tag_or_digest_is_accepted(reference: str, tmp_path: Path) -> None:
    assert image_reference({"NEOBANK_IMAGE": reference}, "x", tmp_path, tmp_path) == reference


@pytest.mark.parametrize("bad", ["neobank", "neobank:latest", "h:5000/x", "a b:c", "neobank:", "a@sha256:12", "A:b"])
def test_a_reference_that_is_invalid_or_not_pinned_is_rejected(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"NEOBANK_IMAGE is {re.escape(repr(bad))}"):
        image_reference({"NEOBANK_IMAGE": bad}, "x", tmp_path, tmp_path)
