"""How long a deployment takes, compared with kubectl applying the same objects, and how long without changes."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.deployment import MIGRATION, PATIENCE, Deployment, Measure
from tests.infra.program import run

pytestmark = pytest.mark.soak

GOAL = 1.3
"""The program's time divided by kubectl's. kubectl starts all at once, the program the bank after the migration."""


def seconds(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def objects(bank: Deployment) -> str:
    """Return all objects of the program as JSON for kubectl, with names in place of the engine's auto-names."""
    items = []
    for it in run(bank.configured({}), image=bank.image).kubernetes():
        described = it.inputs
        described["metadata"].setdefault("name", f"{it.name}-1a2b3c4d")  # by which other objects refer to it
        items.append(described)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def send(bank: Deployment, described: str) -> None:
    where, patience = f"--namespace={bank.namespace}", f"--timeout={PATIENCE}s"
    bank.kubectl.run("apply", "--filename=-", stdin=described)
    for awaited in (("--for=condition=Complete", "job"), ("--for=condition=Available", "deployment")):
        selector = f"--selector={MIGRATION}" if "job" in awaited else "--all"
        bank.kubectl.run("wait", where, *awaited, selector, patience, timeout=PATIENCE + 10)


def test_deploying_again_changes_nothing_and_the_times_are_measured(
    cluster: Path, service_image: str, tmp_path: Path, measured: Measure
) -> None:
    bank = Deployment("neobank-duration", service_image, cluster, tmp_path)
    bank.clear()
    described = objects(bank)
    sent = seconds(lambda: send(bank, described))
    bank.clear()
    applied, before = seconds(bank.apply), bank.described()
    unchanged = seconds(bank.apply)
    assert bank.described() == before
    bank.clear()
    ratio = applied / sent
    measured("from nothing", f"{applied:.1f} s, with kubectl {sent:.1f} s: {ratio:.2f} times that (goal: {GOAL})")
    measured("with nothing to change", f"{unchanged:.1f} s")
