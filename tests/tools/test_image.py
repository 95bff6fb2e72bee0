"""The service's image: which builder is used, its arguments, and the errors.

Docker and Podman are scripts on PATH that record their calls; the real programs are not tested.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.programs import Programs
from tools import image
from tools.cluster import images, local, node
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
def test_an_engine_builds_the_folder_service(client: Client, name: str) -> None:
    programs = client(name, "image")
    image.build("neobank:tag", name)
    last = programs.calls()[-1]
    assert last.program == name
    assert last.words == ["build", f"--file={image.CONTAINERFILE}", "--tag=neobank:tag", str(image.CONTEXT)]


def test_an_existing_image_is_not_built_again(client: Client) -> None:
    programs = client("docker")
    image.build("neobank:tag", "docker")
    assert [call.words[0] for call in programs.calls()] == ["image"]


@pytest.mark.parametrize("other", ["docker", "podman"])
def test_for_the_built_in_node_buildah_builds_whatever_else_is_installed(
    client: Client, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """The node loads images from buildah's store; what another engine builds would lie in that engine's store."""
    programs = client(other)
    programs.install("buildah", "sys.exit('inspect' in words)")
    monkeypatch.setattr(node, "exists", lambda: True)
    monkeypatch.setattr(images, "base_image", lambda: "localhost/base:1")
    image.build("neobank:tag", local.engine())
    assert {call.program for call in programs.calls()} == {"buildah"}
    assert {"bud", "--tag=localhost/neobank:tag", str(image.CONTEXT)} <= {*programs.calls()[-1].words}


def test_for_kind_the_engine_that_runs_its_cluster_builds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client("buildah")
    client("docker", "ps")
    client("podman")
    monkeypatch.setattr(node, "exists", lambda: False)
    assert local.engine() == "podman"
    client("podman", "ps")
    with pytest.raises(UserError, match="the container engine that runs the cluster does not answer"):
        local.engine()


def test_a_failed_build_is_reported(client: Client) -> None:
    client("docker", "image", "build")
    with pytest.raises(UserError, match="docker could not build the image"):
        image.build("neobank:tag", "docker")


def test_no_image_is_built_for_another_cluster(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = client("docker")
    monkeypatch.setattr(local, "is_up", lambda: False)
    with pytest.raises(UserError, match="NEOBANK_IMAGE"):
        image.deliver()
    assert programs.calls() == []
