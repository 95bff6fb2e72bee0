"""The service's image: which builder is taken, what it is told, and what is said where none works.

Docker and Podman are scripts on PATH that write down how they were called: neither's engine runs where these tests do.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import image
from tools.cluster import local
from tools.errors import UserError

CLIENT = """#!{python}
import json, sys
with open({record!r}, "a") as record:
    print(json.dumps(sys.argv), file=record)
sys.exit(sys.argv[1] in {failing!r})
"""

Client = Callable[..., Path]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Put a client on an otherwise empty PATH; the commands named fail."""
    monkeypatch.setenv("PATH", str(tmp_path))
    record = tmp_path / "calls"

    def put(name: str, *failing: str) -> Path:
        program = tmp_path / name
        program.write_text(CLIENT.format(python=sys.executable, record=str(record), failing=failing))
        program.chmod(0o700)
        return record

    return put


def calls(record: Path) -> list[list[str]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_engine_that_runs_builds_from_the_folder_service(client: Client, name: str) -> None:
    record = client(name, "image")
    image.build("neobank:tag")
    *_, (program, *words) = calls(record)
    assert Path(program).name == name
    assert words == ["build", f"--file={image.CONTAINERFILE}", "--tag=neobank:tag", str(image.CONTEXT)]


def test_what_is_built_already_is_not_built_again(client: Client) -> None:
    record = client("docker")
    image.build("neobank:tag")
    assert [words[1] for words in calls(record)] == ["ps", "image"]


def test_a_client_without_an_engine_is_passed_over(client: Client) -> None:
    client("docker", "ps")
    record = client("podman", "image")
    image.build("neobank:tag")
    assert Path(calls(record)[-1][0]).name == "podman"


@pytest.mark.parametrize("clients", [[], ["docker"], ["docker", "podman"]])
def test_without_any_builder_one_sentence_says_what_to_get(client: Client, clients: list[str]) -> None:
    for name in clients:
        client(name, "ps")
    with pytest.raises(UserError, match=r"Docker or Podman running, or buildah"):
        image.build("neobank:tag")


def test_a_build_that_fails_is_said(client: Client) -> None:
    client("docker", "image", "build")
    with pytest.raises(UserError, match="docker could not build the image"):
        image.build("neobank:tag")


def test_nothing_is_built_for_a_cluster_that_is_not_ours(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    record = client("docker")
    monkeypatch.setattr(local, "is_up", lambda: False)
    with pytest.raises(UserError, match="NEOBANK_IMAGE"):
        image.deliver()
    assert not record.exists()
