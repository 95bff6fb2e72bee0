"""Passwords change; the data and the bank stay."""

import pytest

from tests.cluster.deployment import SECRETS, Deployment
from tests.cluster.kubectl import KubectlError


def test_only_the_new_password_works_after_a_rotation(deployed: Deployment) -> None:
    with deployed.reached() as bank:
        neo = bank.join("Rotated")
    old = deployed.outputs["databaseUrl"]
    new = deployed.apply(rotation={"application": {"number": 2}})["databaseUrl"]
    assert new != old
    assert deployed.log_in(new) == deployed.outputs["databaseUser"] == "neobank_1"
    with pytest.raises(KubectlError, match="password authentication failed"):
        deployed.log_in(old)
    with deployed.reached() as bank:
        assert bank.balance(neo) == 1000
    deployed.assert_books_agree()


def test_a_new_stack_uses_the_existing_volume_with_new_passwords(deployed: Deployment) -> None:
    """Every generated secret is deleted with the stack; the volume and its namespace stay."""
    with deployed.reached() as bank:
        bank.join("Survivor")
    before = dict(deployed.outputs)
    claim = deployed.kubectl.get("pvc", deployed.namespace, "postgres-pvc")
    deployed.destroy(keep_data=True)
    assert deployed.kubectl.list("pods", deployed.namespace) == []
    assert deployed.kubectl.list("secrets", deployed.namespace) == []
    after = deployed.apply()
    for output in ("databasePassword", "databaseUrl", "adminPassword"):
        assert after[output] != before[output]
    kept = deployed.kubectl.get("pvc", deployed.namespace, "postgres-pvc")
    assert kept is not None
    assert claim is not None
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
    with deployed.reached() as bank:
        assert bank.balance(bank.log_in("Survivor", "password of Survivor")) == 1000
        bank.log_in(after["adminName"], after["adminPassword"])
    with pytest.raises(KubectlError, match="password authentication failed"):
        deployed.log_in(before["databaseUrl"])
    deployed.assert_books_agree()


def test_all_passwords_can_be_rotated_at_once(deployed: Deployment) -> None:
    before = dict(deployed.outputs)
    after = deployed.apply(rotation={secret: {"number": 7} for secret in SECRETS})
    assert after["adminPassword"] != before["adminPassword"]
    with deployed.reached() as bank:
        bank.log_in(after["adminName"], after["adminPassword"])
        status, _ = bank.call(
            "/api/v1/auth/login", {"character_name": after["adminName"], "password": before["adminPassword"]}
        )
    assert status == 401
