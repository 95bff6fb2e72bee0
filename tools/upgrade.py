"""The pod in which PostgreSQL's data move to another version or flavour, derived from the running objects.

python -m tools.upgrade --major 17 --claim postgres-17 --storage 20Gi <deployments-and-jobs.json

It reads `kubectl get deployments,jobs --output=json` and prints a new claim and the pod `postgres-upgrade` for `kubectl
apply`. In this pod the new server runs on that claim, configured as the stack's own. Two more containers have the
owner's credentials: `copy` has PostgreSQL's tools, `bank` has the service's. In this pod the database's full host name
is the new server; the short name is still the old one. docs/postgresql-upgrade.md is the runbook.
"""

import argparse
import copy
import json
import sys
from typing import Any, Final

from tools.errors import UserError

Object = dict[str, Any]

POD: Final = "postgres-upgrade"
DATABASE: Final = "postgres-deployment"
SERVICE: Final = "postgres-service"
BACKUP: Final = "neobank-backup-secret"
COMPONENT: Final = "app.kubernetes.io/component"
LABELS: Final = {"app.kubernetes.io/name": "neobank", COMPONENT: "migration", "app.kubernetes.io/managed-by": "kubectl"}
"""The labels of the Job's pods: NetworkPolicies let the pod reach the old database, and no Service selects it."""

UIDS: Final = {"alpine": 70, "debian": 999}
SUFFIXES: Final = {"alpine": "-alpine", "debian": ""}
_WAIT: Final = ["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"]


def main() -> None:
    """Print the objects to apply; report a UserError as one sentence, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.upgrade")
    parser.add_argument("--major", required=True, type=int, choices=(16, 17, 18))
    parser.add_argument("--flavour", choices=tuple(UIDS), help="of the image; default: unchanged")
    parser.add_argument("--image", default="", help="the image; default: the official one by its tag")
    parser.add_argument("--claim", required=True, help="the name of the new PersistentVolumeClaim")
    parser.add_argument("--storage", required=True, help="size of the claim, such as 20Gi")
    parser.add_argument("--storage-class", default="", help="its class; default: the cluster's")
    given = parser.parse_args()
    try:
        objects = json.load(sys.stdin)["items"]
        claim = new_claim(given.claim, given.storage, given.storage_class)
        database = database_of(objects)
        flavour = given.flavour or flavour_of(database)
        image = given.image or f"docker.io/library/postgres:{given.major}{SUFFIXES[flavour]}"
        pod = upgrade_pod(database, job_of(objects), given.major, flavour, image, given.claim)
    except UserError as error:
        sys.exit(f"tools.upgrade: {error}")
    except (ValueError, KeyError):
        sys.exit("tools.upgrade: standard input is not the JSON of `kubectl get deployments,jobs --output=json`.")
    json.dump({"apiVersion": "v1", "kind": "List", "items": [claim, pod]}, sys.stdout, indent=1)


def database_of(objects: list[Object]) -> Object:
    """Return the database's Deployment. Raise UserError if there is none."""
    found = [it for it in objects if (it["kind"], it["metadata"]["name"]) == ("Deployment", DATABASE)]
    if not found:
        raise UserError(
            f"there is no {DATABASE} on standard input: point kubectl at the stack's cluster and namespace."
        )
    return found[0]


def job_of(objects: list[Object]) -> Object:
    """Return the newest migration Job. Raise UserError if there is none."""
    jobs = [it for it in objects if it["kind"] == "Job" and it["metadata"]["labels"].get(COMPONENT) == "migration"]
    if not jobs:
        raise UserError(
            "there is no migration Job on standard input: if it was deleted, `make up ARGS=--refresh` creates it again."
        )
    return max(jobs, key=lambda job: str(job["metadata"].get("creationTimestamp", "")))


def new_claim(name: str, storage: str, storage_class: str) -> Object:
    """Return the claim that the data move to."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": {**LABELS, COMPONENT: "database"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": storage}},
            **({"storageClassName": storage_class} if storage_class else {}),
        },
    }


def upgrade_pod(database: Object, job: Object, major: int, flavour: str, image: str, claim: str) -> Object:
    """Return the pod: the database's own with another image and claim, and the Job's container twice.

    Raise UserError if the database already runs that image, or if its own has a digest and the new one has none.
    """
    if "@" in image_of(database) and "@" not in image:
        raise UserError(f"the database's image has a digest: name the image of PostgreSQL {major} with --image, too.")
    if image == image_of(database):
        raise UserError(f"the database runs {image} already: choose another --major or --flavour.")
    spec = copy.deepcopy(database["spec"]["template"]["spec"])
    spec["securityContext"] |= dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), UIDS[flavour])
    for container in [*spec["initContainers"], *spec["containers"]]:
        container["image"] = image
        for variable in container["env"]:
            if variable["name"] == "PGDATA":
                variable["value"] = f"{variable['value'].rpartition('/')[0]}/{major}"
    for volume in spec["volumes"]:
        if "persistentVolumeClaim" in volume:
            volume["persistentVolumeClaim"]["claimName"] = claim
    add_tools(spec, job["spec"]["template"]["spec"], image)
    spec["hostAliases"] = [{"ip": "127.0.0.1", "hostnames": [f"{SERVICE}.{database['metadata']['namespace']}.svc"]}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "labels": LABELS}, "spec": spec}


def add_tools(spec: Object, migrating: Object, image: str) -> None:
    """Add the containers in which the commands run, with the volumes of the Job's pod."""
    names = {volume["name"] for volume in spec["volumes"]}
    spec["volumes"] += [volume for volume in migrating["volumes"] if volume["name"] not in names]
    [upgrading] = migrating["containers"]
    security = {**upgrading["securityContext"], **of_user(migrating["securityContext"])}
    bank = upgrading | {"name": "bank", "command": _WAIT, "securityContext": security}
    spec["containers"] += [bank | {"name": "copy", "image": image, "envFrom": [{"secretRef": {"name": BACKUP}}]}, bank]


def image_of(database: Object) -> str:
    """Return the image that the database runs."""
    image: str = database["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def flavour_of(database: Object) -> str:
    """Return the flavour of the database's image, which its user shows."""
    user = database["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    return next(flavour for flavour, uid in UIDS.items() if uid == user)


def of_user(security: Object) -> Object:
    """Return the user and group of a security context."""
    return {field: security[field] for field in ("runAsUser", "runAsGroup") if field in security}


if __name__ == "__main__":
    main()
