"""The service's image: which builder is taken, what it is told, and what is said where none works.

Docker and Podman are scripts on PATH that write down how they were called: neither's engine runs where these tests do.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.programs import Programs
from tools import image
from tools.cluster import local
from tools.errors import UserError

Client = Callable[..., Programs]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a function that puts a client on an otherwise empty PATH; the named commands fail."""
    programs = Programs(tmp_path)
    monkeypatch.setenv("PATH", str(programs.path))

    def put(name: str, *failing: str) -> Programs:
        programs.install(name, f"sys.exit(words[0] in {failing!r})")
        return programs

    return put


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_engine_that_runs_builds_from_the_folder_service(client: Client, name: str) -> None:
    programs = client(name, "image")
    image.build("neobank:tag")
    last = programs.calls()[-1]
    assert last.program == name
    assert last.words == ["build", f"--file={image.CONTAINERFILE}", "--tag=neobank:tag", str(image.CONTEXT)]


def test_what_is_built_already_is_not_built_again(client: Client) -> None:
    programs = client("docker")
    image.build("neobank:tag")
    assert [call.words[0] for call in programs.calls()] == ["ps", "image"]


def test_a_client_without_an_engine_is_passed_over(client: Client) -> None:
    client("docker", "ps")
    programs = client("podman", "image")
    image.build("neobank:tag")
    assert programs.calls()[-1].program == "podman"


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
    programs = client("docker")
    monkeypatch.setattr(local, "is_up", lambda: False)
    with pytest.raises(UserError, match="NEOBANK_IMAGE"):
        image.deliver()
    assert programs.calls() == []
