"""`make up|preview|down`: what the engine is called with, and one sentence for each thing that is missing.

The engine is a script on PATH that writes down how it was called; the real one's own tests are in tests/cluster.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pulumi.automation import PulumiCommand

from tests.tools.programs import Programs
from tools import deploy, image
from tools.errors import UserError
from tools.postgres import REPOSITORY

VARIABLES = ("NEOBANK_IMAGE", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "KUBECONFIG")


class Engine(Programs):
    """A stand-in for the Pulumi CLI."""

    def fail_on(self, word: str) -> None:
        """Let the calls that have this word fail; an empty one lets none fail."""
        self.install("pulumi", f"sys.exit({word!r} in words)")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for name in (*deploy.PASSPHRASES, "PULUMI_BACKEND_URL", "NEOBANK_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    engine = Engine(tmp_path)
    engine.fail_on("")
    monkeypatch.setenv("PATH", f"{engine.path}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", "given")
    monkeypatch.setattr(deploy, "INSTALLED", tmp_path / "installed.txt")
    return engine


def test_up_hands_over_the_image_and_prints_the_outputs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "deliver", lambda: "neobank:built")
    assert deploy.run("up", "dev", ["--diff"]) == 0
    calls = engine.calls()
    assert [call.words for call in calls] == [
        ["stack", "select", "--create", "--stack", "dev"],
        ["install", "--no-plugins"],
        ["up", "--yes", "--stack", "dev", "--diff"],
        ["stack", "output", "--stack", "dev"],
    ]
    expected = {
        "NEOBANK_IMAGE": "neobank:built",
        "PULUMI_BACKEND_URL": (REPOSITORY / ".local" / "pulumi" / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "KUBECONFIG": "given",
    }
    assert [{name: call.environment[name] for name in VARIABLES} for call in calls] == [expected] * 4


@pytest.mark.parametrize("options", [[], ["--diff"], ["--target", "urn:pulumi:1", "--", "--stack"]])
def test_the_engine_s_own_options_follow_the_action(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools.deploy", "--stack", "dev", "preview", *options])
    with pytest.raises(SystemExit) as ended:
        deploy.main()
    assert ended.value.code == 0
    assert engine.calls()[-1].words == ["preview", "--stack", "dev", *options]


@pytest.mark.parametrize(("action", "words"), [("preview", ["preview"]), ("down", ["destroy", "--yes"])])
def test_preview_and_down_build_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, action: str, words: list[str]
) -> None:
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("nothing is built for this"))
    assert deploy.run(action, "dev", []) == 0
    last = engine.calls()[-1]
    assert last.words == [*words, "--stack", "dev"]
    assert last.environment["NEOBANK_IMAGE"] == image.reference()


def test_an_image_that_was_given_is_taken_as_it_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("nothing is built for this"))
    assert deploy.run("up", "dev", []) == 0
    assert engine.calls()[0].environment["NEOBANK_IMAGE"] == "registry.example/neobank:1"


def test_the_program_is_installed_once_for_each_lock(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "requirements.txt"
    monkeypatch.setattr(deploy, "LOCK", lock)
    lock.write_text("one")
    engine.fail_on("install")
    deploy.run("preview", "dev", [])
    engine.fail_on("")
    for content in ("one", "one", "two", "two"):
        lock.write_text(content)
        assert deploy.run("preview", "dev", []) == 0
    assert [call.words[0] for call in engine.calls()] == [
        *("stack", "install"),
        *("stack", "install", "preview"),
        *("stack", "preview"),
        *("stack", "install", "preview"),
        *("stack", "preview"),
    ]


@pytest.mark.usefixtures("engine")
def test_up_says_what_the_shell_lacks() -> None:
    environment = deploy.engine_environment(os.environ, "dev")
    said = deploy.how_to_go_on("pulumi", "dev", environment)
    assert f"export PULUMI_BACKEND_URL={environment['PULUMI_BACKEND_URL']} PULUMI_CONFIG_PASSPHRASE=''\n" in said
    assert "KUBECONFIG" not in said
    assert said.endswith("  pulumi stack output --stack dev --show-secrets")


@pytest.mark.parametrize("failing", ["select", "install", "up", "output"])
def test_whatever_fails_ends_it(engine: Engine, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    engine.fail_on(failing)
    assert deploy.run("up", "dev", []) != 0
    assert failing in engine.calls()[-1].words


def test_an_unknown_stack_is_named_with_those_there_are(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"no Pulumi\.nowhere\.yaml.*dev"):
        deploy.run("up", "nowhere", [])
    assert engine.calls() == []


def without(*names: str, **more: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names} | more


def test_a_stack_that_is_not_dev_needs_its_passphrase() -> None:
    with pytest.raises(UserError, match="PULUMI_CONFIG_PASSPHRASE"):
        deploy.engine_environment(without(*deploy.PASSPHRASES, KUBECONFIG="given"), "prod")
    given = deploy.engine_environment(
        without(*deploy.PASSPHRASES, KUBECONFIG="given", PULUMI_CONFIG_PASSPHRASE_FILE="f"), "prod"
    )
    assert "PULUMI_CONFIG_PASSPHRASE" not in given


def test_the_user_s_own_backend_and_cluster_win() -> None:
    given = without(PULUMI_BACKEND_URL="s3://state", KUBECONFIG="mine")
    made = deploy.engine_environment(given, "dev")
    assert (made["PULUMI_BACKEND_URL"], made["KUBECONFIG"]) == ("s3://state", "mine")


def test_the_local_cluster_is_next_and_then_the_home_directory_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(deploy, "KUBECONFIG", tmp_path / "local")
    with pytest.raises(UserError, match="make cluster"):
        deploy.engine_environment(without("KUBECONFIG"), "dev")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()
    assert "KUBECONFIG" not in deploy.engine_environment(without("KUBECONFIG"), "dev")
    (tmp_path / "local").touch()
    assert deploy.engine_environment(without("KUBECONFIG"), "dev")["KUBECONFIG"] == str(tmp_path / "local")


def test_a_cli_that_can_not_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(root: str, pinned: object) -> None:
        raise OSError(f"no network\nfor {pinned} in {root}")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(PulumiCommand, "install", fail)
    with pytest.raises(
        UserError, match=r"no `pulumi` on PATH and version \d+\.\d+\.\d+ could not be downloaded"
    ) as said:
        deploy.find_pulumi()
    assert "\n" not in str(said.value)


def test_make_says_it_in_one_line() -> None:
    command = [sys.executable, "-m", "tools.deploy", "--stack", "nowhere", "up"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("make up: there is no Pulumi.nowhere.yaml")
    assert result.stderr.count("\n") == 1
