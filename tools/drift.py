"""`make drift`: compare every live object with what the stack's last `up` wanted, and name each difference.

python -m tools.drift --stack dev

The engine's own refresh sees only the fields that it set. A NetworkPolicy that was opened by hand, or one beside the
stack's, stays unseen there. Here the cluster itself completes what the program wants, in a dry run that stores nothing,
and the live object must equal the result. Labels and annotations that others add to an object do not count.
"""

import argparse
import copy
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tools import deploy
from tools.engine import Document, Resource
from tools.errors import UserError
from tools.target import Target

INDEX: Final = "neobank.drift/index"
POLICY: Final = "NetworkPolicy"
AUTOSCALER: Final = "HorizontalPodAutoscaler"
ASSIGNED: Final = {
    "Service": ("spec.clusterIP", "spec.clusterIPs"),
    "PersistentVolumeClaim": ("spec.volumeName",),
    "Job": ("spec.selector", "spec.template.metadata.labels"),
    "ServiceAccount": ("secrets",),
}
"""What the cluster assigns to each object anew."""


def main() -> None:
    """Print the differences; exit with 1 if there are any, or if a UserError prevents the comparison."""
    parser = argparse.ArgumentParser(prog="python -m tools.drift")
    parser.add_argument("--stack", required=True)
    stack = parser.parse_args().stack
    try:
        deployment = deploy.prepare(stack)
        found = list(drift(deployment.engine.state(secrets=True).resources, deployment.target))
    except UserError as error:
        sys.exit(f"make drift: {error}")
    print("\n".join(found) or f"Every object is as the last `make up` of stack {stack} wanted it.")
    sys.exit(1 if found else 0)


def drift(resources: Iterable[Resource], target: Target) -> Iterator[str]:
    """Yield one sentence for each difference between the stack's objects and the live ones."""
    wanted = [plain(it.inputs) for it in resources if it.kind and it.owned and it.inputs.get("kind")]
    live = {_key(it): it for it in target.read_objects(wanted)}
    scaled = {it["spec"]["scaleTargetRef"]["name"] for it in wanted if it["kind"] == AUTOSCALER}
    for document, complete in zip(wanted, _completed(wanted, target), strict=True):
        found = live.get(_key(document))
        if found is None:
            yield f"{_name(document)} does not exist."
            continue
        ignored = [*ASSIGNED.get(document["kind"], ()), "metadata", "status"]
        if document["kind"] == "Deployment" and document["metadata"]["name"] in scaled:
            ignored.append("spec.replicas")
        for path, expected, actual in [
            *differences(_without(complete, ignored), _without(found, ignored)),
            *_metadata(document, found),
        ]:
            yield f"{_name(document)}: {path} {_described(document['kind'], expected, actual)}"
    known = {_key(it) for it in wanted}
    for namespace in sorted({it["metadata"]["namespace"] for it in wanted if it["kind"] == POLICY}):
        for policy in target.list_objects(POLICY, namespace):
            if _key(policy) not in known:
                yield f"{_name(policy)} is not the stack's, and may allow traffic that the stack denies."


def differences(wanted: Any, live: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401  # JSON
    """Yield the path, the wanted and the live value of each difference between two JSON documents."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key in sorted(wanted.keys() | live.keys()):
            yield from differences(wanted.get(key), live.get(key), f"{path}.{key}" if path else key)
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, (first, second) in enumerate(zip(wanted, live, strict=True)):
            yield from differences(first, second, f"{path}[{index}]")
    elif (wanted or None) != (live or None):  # an empty list or object is the same as none
        yield path, wanted, live


def plain(value: Any) -> Any:  # noqa: ANN401  # a JSON document
    """Return a document of the state with its secrets in plain text."""
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _completed(wanted: list[Document], target: Target) -> list[Document]:
    """Return the objects as the cluster would complete them if it created them now, under other names."""
    new = copy.deepcopy(wanted)
    for index, document in enumerate(new):
        metadata = document["metadata"]
        del metadata["name"]
        metadata["generateName"] = "neobank-drift-"
        metadata["annotations"] = {INDEX: str(index)}
    found = {it["metadata"]["annotations"][INDEX]: it for it in target.complete_objects(new)}
    return [found[str(index)] for index in range(len(new))]


def _metadata(wanted: Document, live: Document) -> Iterator[tuple[str, Any, Any]]:
    for field in ("labels", "annotations"):
        for key, value in (wanted["metadata"].get(field) or {}).items():
            actual = (live["metadata"].get(field) or {}).get(key)
            if actual != value:
                yield f"metadata.{field}.{key}", value, actual


def _without(document: Document, ignored: Iterable[str]) -> Document:
    document = copy.deepcopy(document)
    for path in ignored:
        *above, last = path.split(".")
        inner: Document = document
        for key in above:
            inner = inner.get(key) or {}
        inner.pop(last, None)
    return document


def _key(document: Document) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]


def _name(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _described(kind: str, wanted: object, live: object) -> str:
    if kind == "Secret":
        return "differs from what the program wants."
    return f"is {_text(live)}, and the program wants {_text(wanted)}."


def _text(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
