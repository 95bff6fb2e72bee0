"""`make rotate`: numbers and dates change in the stack file, and nothing else does."""

import re
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from settings import Rotations, Settings, keys
from tests.infra.program import CHECKOUT
from tools import deploy, image
from tools.cluster import local
from tools.engine import Engine, State
from tools.errors import UserError
from tools.rotate import KEY, SECRETS, main, raise_numbers
from tools.target import Target

DAY = date(2026, 11, 22)


@pytest.fixture(params=["dev", "prod"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copy = tmp_path / f"Pulumi.{request.param}.yaml"
    copy.write_bytes((CHECKOUT / copy.name).read_bytes())
    return copy


def rotations(file: Path) -> Rotations:
    return Rotations.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))["config"][KEY])


def test_all_numbers_are_raised_and_the_rest_of_the_file_stays(file: Path) -> None:
    before = file.read_text(encoding="utf-8")
    assert raise_numbers(file, list(SECRETS), DAY) == dict.fromkeys(SECRETS, 2)
    after = file.read_text(encoding="utf-8")
    assert after.startswith(before)
    assert after.removeprefix(before).splitlines()[0].strip() == f"{KEY}:"
    assert {it.number for _, it in rotations(file)} == {2}
    assert {it.since for _, it in rotations(file)} == {"2026-11-22"}


def test_one_number_can_be_raised_again(file: Path) -> None:
    raise_numbers(file, ["owner", "admin"], DAY)
    assert raise_numbers(file, ["owner"], date(2026, 11, 23)) == {"owner": 3}
    found = rotations(file)
    assert (found.owner.number, found.owner.since) == (3, "2026-11-23")
    assert (found.admin.number, found.admin.since) == (2, "2026-11-22")
    assert found.backup.number == 1


def rotate(file: Path, monkeypatch: pytest.MonkeyPatch, *secrets: str) -> str:
    """Run the command on a copy of a stack file; return its error or exit code."""
    monkeypatch.setattr(deploy, "REPOSITORY", file.parent)
    monkeypatch.setattr(sys, "argv", ["tools.rotate", "--stack", file.name.split(".")[1], *secrets])
    with pytest.raises(SystemExit) as ended:
        main()
    return str(ended.value.code)


def fail(*_: object) -> NoReturn:
    raise UserError("something is missing.")


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be missing that a deployment needs."""
    monkeypatch.delenv(deploy.IMAGE, raising=False)
    monkeypatch.setattr(deploy, "find_pulumi", lambda: "pulumi")
    monkeypatch.setattr(deploy, "engine_environment", lambda *_: {})
    monkeypatch.setattr(Target, "uid", lambda *_: "uid")
    monkeypatch.setattr(Engine, "run", lambda *_: 0)
    monkeypatch.setattr(Engine, "state", lambda *_: State([], [], interrupted=False))
    monkeypatch.setattr(Engine, "lock", lambda *_: None)
    monkeypatch.setattr(local, "is_up", lambda: False)
    monkeypatch.setattr(image, "deliver", lambda: "neobank:built")
    monkeypatch.setattr(deploy, "install_program", lambda _: 0)


@pytest.mark.usefixtures("complete")
@pytest.mark.parametrize(
    "missing",
    [
        "find_pulumi",
        "engine_environment",
        "image.deliver",
        "install_program",
        "Target.uid",
        "Engine.state",
        "Engine.lock",
    ],
)
def test_no_number_is_raised_if_something_is_missing(file: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    before = file.read_bytes()
    monkeypatch.setattr(f"tools.deploy.{missing}", fail)
    assert rotate(file, monkeypatch) == "make rotate: something is missing."
    assert file.read_bytes() == before


@pytest.mark.usefixtures("complete")
@pytest.mark.parametrize("failing", [lambda *_: 1, fail])
def test_a_rotation_that_fails_after_the_numbers_are_raised_is_not_repeated(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: Callable[..., int]
) -> None:
    monkeypatch.setattr(deploy.Deployment, "_require_safe_plan", failing)
    assert rotate(file, monkeypatch) in {"1", "make rotate: something is missing."}
    assert {it.number for _, it in rotations(file)} == {2}
    assert f"go on with `make up STACK={file.name.split('.')[1]}`" in capsys.readouterr().out


def test_an_unknown_secret_is_rejected_and_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    assert re.search(r"\bapp\b.*\bowner, application", rotate(file, monkeypatch, "owner", "app"))
    assert file.read_bytes() == before
    assert [it.name for it in file.parent.iterdir()] == [file.name]


def test_every_secret_of_the_settings_can_be_raised() -> None:
    section = keys(Settings)["rotation"].section
    assert section is not None
    assert tuple(keys(section)) == SECRETS
