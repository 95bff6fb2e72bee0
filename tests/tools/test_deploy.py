"""`make up|preview|down`: the calls of the engine, and one error line for each missing requirement.

The engine is a script on PATH that records its calls; the tests of the real engine are in tests/cluster.
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
        """Let calls with this argument fail; with an empty word, none fail."""
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


def test_up_passes_the_image_and_prints_the_outputs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_further_options_are_passed_to_the_engine_after_the_action(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools.deploy", "--stack", "dev", "preview", *options])
    with pytest.raises(SystemExit) as ended:
        deploy.main()
    assert ended.value.code == 0
    assert engine.calls()[-1].words == ["preview", "--stack", "dev", *options]


@pytest.mark.parametrize(("action", "words"), [("preview", ["preview"]), ("down", ["destroy", "--yes"])])
def test_preview_and_down_do_not_build_the_image(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, action: str, words: list[str]
) -> None:
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("nothing is built for this"))
    assert deploy.run(action, "dev", []) == 0
    last = engine.calls()[-1]
    assert last.words == [*words, "--stack", "dev"]
    assert last.environment["NEOBANK_IMAGE"] == image.reference()


def test_a_given_image_is_used_unchanged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("nothing is built for this"))
    assert deploy.run("up", "dev", []) == 0
    assert engine.calls()[0].environment["NEOBANK_IMAGE"] == "registry.example/neobank:1"


def test_the_program_is_installed_once_for_each_lock_file(
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
def test_up_prints_the_missing_exports_and_the_next_command() -> None:
    environment = deploy.engine_environment(os.environ, "dev")
    printed = deploy.how_to_go_on("pulumi", "dev", environment)
    assert f"export PULUMI_BACKEND_URL={environment['PULUMI_BACKEND_URL']} PULUMI_CONFIG_PASSPHRASE=''\n" in printed
    assert "KUBECONFIG" not in printed
    assert printed.endswith("  pulumi stack output --stack dev --show-secrets")


@pytest.mark.parametrize("failing", ["select", "install", "up", "output"])
def test_a_failed_step_ends_the_command(engine: Engine, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    engine.fail_on(failing)
    assert deploy.run("up", "dev", []) != 0
    assert failing in engine.calls()[-1].words


def test_an_unknown_stack_is_rejected_with_the_known_ones(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"no Pulumi\.nowhere\.yaml.*dev"):
        deploy.run("up", "nowhere", [])
    assert engine.calls() == []


def without(*names: str, **more: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names} | more


def test_a_stack_other_than_dev_needs_a_passphrase() -> None:
    with pytest.raises(UserError, match="PULUMI_CONFIG_PASSPHRASE"):
        deploy.engine_environment(without(*deploy.PASSPHRASES, KUBECONFIG="given"), "prod")
    given = deploy.engine_environment(
        without(*deploy.PASSPHRASES, KUBECONFIG="given", PULUMI_CONFIG_PASSPHRASE_FILE="f"), "prod"
    )
    assert "PULUMI_CONFIG_PASSPHRASE" not in given


def test_the_users_own_backend_and_cluster_take_precedence() -> None:
    given = without(PULUMI_BACKEND_URL="s3://state", KUBECONFIG="mine")
    made = deploy.engine_environment(given, "dev")
    assert (made["PULUMI_BACKEND_URL"], made["KUBECONFIG"]) == ("s3://state", "mine")


def test_the_local_kubeconfig_precedes_that_of_the_home_directory(
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


def test_a_failed_download_of_the_cli_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(root: str, pinned: object) -> None:
        raise OSError(f"no network\nfor {pinned} in {root}")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(PulumiCommand, "install", fail)
    with pytest.raises(
        UserError, match=r"no `pulumi` on PATH and version \d+\.\d+\.\d+ could not be downloaded"
    ) as failed:
        deploy.find_pulumi()
    assert "\n" not in str(failed.value)


def test_make_prints_an_error_as_one_line() -> None:
    command = [sys.executable, "-m", "tools.deploy", "--stack", "nowhere", "up"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("make up: there is no Pulumi.nowhere.yaml")
    assert result.stderr.count("\n") == 1
