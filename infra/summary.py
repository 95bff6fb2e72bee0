"""What a stack is, in words: printed with its outputs, so that whoever deployed it sees what they have."""

import application
import database
from settings import Settings


def summary(settings: Settings) -> dict[str, str]:
    """Describe a stack; nothing in it is secret."""
    postgres, missing = settings.postgres, list(settings.missing_for_production())
    by_way_of = ", which reach the database through PgBouncer" if settings.pgbouncer.enabled else ""
    return {
        "bank": f"{_pods(settings)} ({application.DEPLOYMENT}){by_way_of}",
        "database": f"PostgreSQL {postgres.major} ({postgres.flavour}) {'by' if postgres.tls else 'without'} TLS, with "
        f"{postgres.memory} of memory, on the volume {postgres.existing_claim or database.CLAIM}",
        "data": "protected: `pulumi destroy` refuses to delete the volume"
        if settings.protect_data
        else "not protected: `pulumi destroy` deletes the volume",
        "wayIn": f"the Ingress for {settings.ingress.host}, {'with' if settings.ingress.tls else 'without'} TLS"
        if settings.ingress.enabled
        else "none from outside: see portForwardCommand",
        "traffic": "only what the bank needs"
        if settings.network.policies
        else "everybody in the cluster may ask anybody",
        "production": "its settings are fit for an event" if not missing else "not for an event: " + " ".join(missing),
    }


def _pods(settings: Settings) -> str:
    least, most = settings.application.replicas, settings.application.max_replicas
    return f"{least} to {most} pods, by load" if most else f"{least} pod{'s' if least > 1 else ''}"
