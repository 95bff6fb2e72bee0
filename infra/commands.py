"""Command lines that need only kubectl and contain no password, for an operator to paste.

A command reads the password from its Secret when it runs and passes it through a pipe, because the process list shows
arguments, and the cluster's audit log contains those of `kubectl exec`.
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
    """Return the beginning of every command: kubectl with its context and namespace."""
    return shlex.join(["kubectl", *([f"--context={context}"] if context else []), f"--namespace={namespace}"])


def port_forward(prefix: str) -> str:
    """Return the command that forwards http://127.0.0.1:8080 to the bank until Ctrl-C."""
    return f"{prefix} port-forward service/{application.SERVICE} {LOCAL_PORT}:{application.SERVICE_PORT}"


def local_server(namespace: str, *, tls: bool) -> str:
    """Return the libpq parameters for a connection inside the database's pod, with a host name of the certificate."""
    if not tls:
        return "host=127.0.0.1"
    *_, host, _ = kube.service_hosts(database.SERVICE, namespace)
    return f"host={host} hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={certificate.AUTHORITY_FILE}"


def psql(prefix: str, server: str, login: str) -> str:
    """Return the command that opens psql as the application's role, with only its privileges."""
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
    """Return the command that dumps the database to neobank.dump for pg_restore; a failure keeps the previous file."""
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
    """Return the command that verifies, in a pod, all balances against their transfers, and the audit log."""
    return f"{prefix} exec deployment/{application.DEPLOYMENT} -- neobank verify"


def _secret(prefix: str, template: str) -> str:
    return f"{prefix} get secret {database.SERVER_SECRET} --output=go-template={shlex.quote(template)}"
