"""Command lines for a technician who has nothing but kubectl: ready to paste, no password in them or in a process list.

Each takes the password from its Secret when it runs and hands it over through a pipe, since what `kubectl exec` has as
arguments ends in the cluster's audit log.
"""

import shlex

import application
import certificate
import database
import kube
from contract import CONTRACT

LOCAL_PORT = 8080
_PASSWORD_FILE = "/tmp/.pgpass"  # noqa: S105, S108  # in the database's pod, while psql runs
_EXEC = f"exec deployment/{database.DEPLOYMENT} --container={database.CONTAINER}"


def kubectl(context: str, namespace: str) -> str:
    """Give the words that every command begins with."""
    return shlex.join(["kubectl", *([f"--context={context}"] if context else []), f"--namespace={namespace}"])


def port_forward(prefix: str) -> str:
    """Bring the bank to http://127.0.0.1:8080 until Ctrl-C."""
    return f"{prefix} port-forward service/{application.SERVICE} {LOCAL_PORT}:{application.SERVICE_PORT}"


def to_itself(namespace: str, *, tls: bool) -> str:
    """Give the parameters of libpq by which the database's pod reaches its own server, under the certificate's name."""
    if not tls:
        return "host=127.0.0.1"
    *_, host, _ = kube.service_hosts(database.SERVICE, namespace)
    return f"host={host} hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={certificate.AUTHORITY_FILE}"


def psql(prefix: str, server: str, login: str) -> str:
    """Open a prompt as the serving role: what the bank may do, and no more."""
    line = "*:*:*:*:{{.data.application | base64decode}}"
    store = f"umask 077; cat >{_PASSWORD_FILE}"
    run = (
        f'trap "rm -f {_PASSWORD_FILE}" EXIT; PGPASSFILE={_PASSWORD_FILE} '
        f'psql "{server} user={login} dbname={CONTRACT.database.name}"'
    )
    return (
        f"{_secret(prefix, line)} | {prefix} {_EXEC} --stdin -- sh -c {shlex.quote(store)}"
        f" && {prefix} {_EXEC} --stdin --tty -- sh -c {shlex.quote(run)}"
    )


def backup(prefix: str, server: str) -> str:
    """Write the whole database to neobank.dump, in pg_restore's format; one that fails leaves the last one there."""
    dump = (
        "PGPASSWORD=$(cat) pg_dump --format=custom --exclude-schema=administration "
        f'"{server} user={CONTRACT.database.backup} dbname={CONTRACT.database.name}"'
    )
    password = _secret(prefix, "{{.data.backup | base64decode}}")
    return (
        f"{password} | {prefix} {_EXEC} --stdin -- sh -c {shlex.quote(dump)} >neobank.dump.part"
        " && mv neobank.dump.part neobank.dump"
    )


def verify(prefix: str) -> str:
    """Check in one of the bank's pods that every balance agrees with its transfers, and the audit with itself."""
    return f"{prefix} exec deployment/{application.DEPLOYMENT} -- neobank verify"


def _secret(prefix: str, template: str) -> str:
    return f"{prefix} get secret {database.SERVER_SECRET} --output=go-template={shlex.quote(template)}"
