"""The applier on a cluster that is a dictionary: what it keeps, renews, waits for, rejects and deletes."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.mocks import MockResourceArgs

from tests.cluster.applier import RealProviders, State
from tests.cluster.kubectl import Kubectl, KubectlError, Object

COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
FAILED = {"conditions": [{"type": "Failed", "status": "True"}]}


@dataclass(frozen=True)
class FakeCluster(Kubectl):
    """Objects by kind and name; every Job ends with `job_status`."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    job_status: list[Object] = field(default_factory=lambda: [COMPLETE])

    def get(self, kind: str, namespace: str, name: str) -> Object | None:  # noqa: ARG002
        return self.objects.get((kind, name))

    def apply(self, described: Object, manager: str) -> Object:  # noqa: ARG002
        live = {**described, "status": self.job_status[0] if described["kind"] == "Job" else {"phase": "Bound"}}
        self.objects[described["kind"], described["metadata"]["name"]] = live
        return live

    def wait(self, kind: str, namespace: str, name: str, done: Callable[[Object], bool], timeout: float) -> Object:  # noqa: ARG002
        live = self.objects[kind, name]
        assert done(live)
        return live

    def delete(self, kind: str, namespace: str, name: str, timeout: float = 0) -> None:  # noqa: ARG002
        del self.objects[kind, name]
        self.deleted.append(name)

    def story(self, namespace: str) -> str:
        return f"what happened in {namespace}"


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(Path("kubeconfig"))


class Stack:
    """Resources applied repeatedly with one state file."""

    def __init__(self, cluster: FakeCluster, state: Path) -> None:
        self.cluster, self.state = cluster, state

    def apply(self, *resources: MockResourceArgs) -> list[dict[str, Any]]:
        providers = RealProviders(self.state, self.cluster)
        made = [providers.new_resource(resource)[1] for resource in resources]
        providers.delete_what_disappeared()
        return made


@pytest.fixture
def stack(cluster: FakeCluster, tmp_path: Path) -> Stack:
    return Stack(cluster, tmp_path / "state")


def password(rotation: str) -> MockResourceArgs:
    inputs = {"length": 32, "keepers": {"rotation": rotation}}
    return MockResourceArgs("random:index/randomPassword:RandomPassword", "password", inputs)


def key(**more: str) -> MockResourceArgs:
    inputs = {"algorithm": "ECDSA", "ecdsaCurve": "P256", **more}
    return MockResourceArgs("tls:index/privateKey:PrivateKey", "key", inputs)


def authority(pem: str) -> MockResourceArgs:
    inputs = {"privateKeyPem": pem, "isCaCertificate": True, "subject": {"commonName": "authority"}}
    inputs |= {"validityPeriodHours": 1, "allowedUses": ["cert_signing"]}
    return MockResourceArgs("tls:index/selfSignedCert:SelfSignedCert", "authority", inputs)


def described(kind: str, resource: str, name: str = "", **content: object) -> MockResourceArgs:
    metadata = {"namespace": "bank", **({"name": name} if name else {})}
    inputs = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}
    return MockResourceArgs(f"kubernetes:core/v1:{kind}", resource, inputs)


def names(cluster: FakeCluster) -> list[str]:
    return sorted(name for _, name in cluster.objects)


def test_a_password_stays_until_its_keepers_change(stack: Stack) -> None:
    [first], [again], [other] = stack.apply(password("1")), stack.apply(password("1")), stack.apply(password("2"))
    assert first["result"] == again["result"] != other["result"]
    assert len(other["result"]) == 32
    assert stack.state.stat().st_mode & 0o077 == 0


def test_a_key_and_its_certificate_stay_until_their_inputs_change(stack: Stack) -> None:
    [first], [again] = stack.apply(key()), stack.apply(key())
    assert first["privateKeyPem"] == again["privateKeyPem"]
    [signed], [kept] = (stack.apply(authority(first["privateKeyPem"])) for _ in range(2))
    assert signed["certPem"] == kept["certPem"]
    [other] = stack.apply(key(note="another input"))
    [renewed] = stack.apply(authority(other["privateKeyPem"]))
    assert other["privateKeyPem"] != first["privateKeyPem"]
    assert renewed["certPem"] != signed["certPem"]


def test_a_secrets_plain_text_is_sent_as_data_and_not_returned(stack: Stack, cluster: FakeCluster) -> None:
    [state] = stack.apply(described("Secret", "secret", "secret", stringData={"key": "value"}))
    assert cluster.objects["Secret", "secret"]["data"] == {"key": base64.b64encode(b"value").decode()}
    assert "stringData" not in cluster.objects["Secret", "secret"]
    assert not {"data", "stringData"} & state.keys()


def test_an_auto_named_object_keeps_its_name(stack: Stack, cluster: FakeCluster) -> None:
    stack.apply(described("ServiceAccount", "account"))
    before = names(cluster)
    stack.apply(described("ServiceAccount", "account", labels={"changed": "yes"}))
    assert names(cluster) == before
    assert before[0].startswith("account-")


def test_an_unchanged_job_is_kept_and_a_changed_one_replaced(stack: Stack, cluster: FakeCluster) -> None:
    stack.apply(described("Job", "job", spec={"image": "1"}))
    before = names(cluster)
    stack.apply(described("Job", "job", spec={"image": "1"}))
    assert names(cluster) == before
    stack.apply(described("Job", "job", spec={"image": "2"}))
    assert cluster.deleted == before
    assert len(names(cluster)) == 1


def test_a_failed_job_is_an_error_and_is_created_again_next_time(stack: Stack, cluster: FakeCluster) -> None:
    cluster.job_status[0] = FAILED
    with pytest.raises(KubectlError, match=r"failed: .*\n.*what happened in bank"):
        stack.apply(described("Job", "job"))
    failed = names(cluster)
    cluster.job_status[0] = COMPLETE
    stack.apply(described("Job", "job"))
    assert cluster.deleted == failed


def test_objects_that_disappear_are_deleted_in_reverse_order(stack: Stack, cluster: FakeCluster) -> None:
    stack.apply(*(described("ConfigMap", name, name) for name in ("a", "b", "c")))
    stack.apply(described("ConfigMap", "b", "b"))
    assert cluster.deleted == ["c", "a"]
    assert names(cluster) == ["b"]
    assert [made.name for made in State.load(stack.state).objects.values()] == ["b"]


def test_an_object_of_another_owner_is_rejected(stack: Stack, cluster: FakeCluster) -> None:
    cluster.apply({"kind": "Secret", "metadata": {"name": "mine"}}, "another owner")
    with pytest.raises(KubectlError, match="Secret mine already exists"):
        stack.apply(described("Secret", "secret", "mine"))


def test_an_existing_object_is_read_and_must_exist(stack: Stack, cluster: FakeCluster) -> None:
    wanted = MockResourceArgs("kubernetes:core/v1:PersistentVolumeClaim", "pvc", {}, resource_id="bank/kept")
    with pytest.raises(KubectlError, match="PersistentVolumeClaim bank/kept does not exist"):
        stack.apply(wanted)
    cluster.apply({"kind": "PersistentVolumeClaim", "metadata": {"name": "kept", "uid": "1"}}, "another owner")
    assert stack.apply(wanted)[0]["metadata"]["uid"] == "1"
    assert stack.apply() == []
    assert names(cluster) == ["kept"]
