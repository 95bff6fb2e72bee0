"""The bank's data, its namespace and its volume: what an action of the engine would destroy, and who agreed to that."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tools.engine import NAMESPACE, VOLUME, Resource, State, Step
from tools.errors import UserError
from tools.target import Target

DESTROYING: Final = {"delete", "replace", "create-replacement", "delete-replaced"}
WORDS: Final = {NAMESPACE: "the namespace", VOLUME: "the volume"}
BYTES: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def destroyed_by_plan(plan: Sequence[Step]) -> list[Resource]:
    """Return the data that a plan deletes or replaces; a retained volume stays in the cluster."""
    affected = [it.old for it in plan if it.old is not None and it.operation in DESTROYING]
    return _unique(it for it in affected if it.type in WORDS and it.owned and not it.retained)


def destroyed_by_destroy(state: State) -> list[Resource]:
    """Return the data that destroying the stack would delete; the engine refuses to delete what is protected."""
    return _unique(it for it in state.resources if it.type in WORDS and it.owned and not it.protected)


def require_agreement(action: str, stack: str, lost: Sequence[Resource], target: Target, agreed: str) -> None:
    """Raise UserError, with the money that lies there, if data would be lost and `agreed` is not the stack's name."""
    if not lost or agreed == stack:
        return
    objects = " and ".join(f"{WORDS[it.type]} {it.identity.rpartition('/')[2]}" for it in lost)
    namespace = next(it.identity.partition("/")[0] for it in lost)
    raise UserError(
        f"this would delete {objects} of stack {stack} for good, with {target.holdings(namespace)}: "
        f"to delete them, run `make {action} STACK={stack} YES={stack}`; to keep them, set protectData to true and "
        "undo the changes of namespace, createNamespace, storageClass and postgres.existingClaim in "
        f"Pulumi.{stack}.yaml."
    )


def require_growth(plan: Sequence[Step]) -> None:
    """Raise UserError if a plan makes the volume smaller, which Kubernetes does not support."""
    for step in plan:
        if step.operation == "update" and step.old is not None and step.new is not None and step.old.type == VOLUME:
            before, after = _storage(step.old), _storage(step.new)
            if _bytes(after) < _bytes(before):
                raise UserError(
                    f"the volume {step.old.identity.rpartition('/')[2]} has {before} and cannot shrink to {after}: "
                    f"keep postgres.storage at {before} or more, or copy the data to a new volume as "
                    "docs/postgresql-upgrade.md describes."
                )


def _unique(resources: Iterable[Resource]) -> list[Resource]:
    return list({it.urn: it for it in resources}.values())


def _storage(volume: Resource) -> str:
    return str(volume.inputs["spec"]["resources"]["requests"]["storage"])


def _bytes(quantity: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMGT]i)?", quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity of storage")
    return int(found[1]) * BYTES[found[2] or ""]
