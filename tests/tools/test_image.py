"""The service's image: which builder is used, its arguments, and the error if there is none.

Docker and Podman are scripts on PATH that record their calls; the real programs are not tested.
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
def test_a_running_engine_builds_the_folder_service(client: Client, name: str) -> None:
    programs = client(name, "image")
    image.build("neobank:tag")
    last = programs.calls()[-1]
    assert last.program == name
    assert last.words == ["build", f"--file={image.CONTAINERFILE}", "--tag=neobank:tag", str(image.CONTEXT)]


def test_an_existing_image_is_not_built_again(client: Client) -> None:
    programs = client("docker")
    image.build("neobank:tag")
    assert [call.words[0] for call in programs.calls()] == ["ps", "image"]


def test_a_client_without_a_running_engine_is_ignored(client: Client) -> None:
    client("docker", "ps")
    programs = client("podman", "image")
    image.build("neobank:tag")
    assert programs.calls()[-1].program == "podman"


@pytest.mark.parametrize("clients", [[], ["docker"], ["docker", "podman"]])
def test_without_a_builder_the_error_names_the_alternatives(client: Client, clients: list[str]) -> None:
    for name in clients:
        client(name, "ps")
    with pytest.raises(UserError, match=r"Docker or Podman running, or buildah"):
        image.build("neobank:tag")


def test_a_failed_build_is_reported(client: Client) -> None:
    client("docker", "image", "build")
    with pytest.raises(UserError, match="docker could not build the image"):
        image.build("neobank:tag")


def test_no_image_is_built_for_another_cluster(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = client("docker")
    monkeypatch.setattr(local, "is_up", lambda: False)
    with pytest.raises(UserError, match="NEOBANK_IMAGE"):
        image.deliver()
    assert programs.calls() == []
