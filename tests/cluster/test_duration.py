"""How long it takes until a bank stands, against the same objects sent with kubectl, and until nothing has changed."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.deployment import MIGRATION, PATIENCE, Deployment, Measure
from tests.infra.program import run

GOAL = 1.3
"""The program's time over kubectl's, which starts all at once: the program starts the bank on a schema that stands."""


def seconds(action: Callable[[], object]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def objects(bank: Deployment) -> str:
    """Describe for kubectl all that the program would make, with the names that the engine would make up."""
    items = []
    for it in run(bank.configured({}), image=bank.image).kubernetes():
        described = it.inputs
        described["metadata"].setdefault("name", f"{it.name}-1a2b3c4d")  # what others of the program call it
        items.append(described)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def send(bank: Deployment, described: str) -> None:
    where, patience = f"--namespace={bank.namespace}", f"--timeout={PATIENCE}s"
    bank.kubectl.run("apply", "--filename=-", stdin=described)
    for awaited in (("--for=condition=Complete", "job"), ("--for=condition=Available", "deployment")):
        selector = f"--selector={MIGRATION}" if "job" in awaited else "--all"
        bank.kubectl.run("wait", where, *awaited, selector, patience, timeout=PATIENCE + 10)


def test_it_stands_as_kubectl_would_make_it_and_stays_as_it_is(
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
