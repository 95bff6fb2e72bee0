"""A description of the stack, printed with its outputs for the operator."""

import application
import database
from settings import Settings


def summary(settings: Settings) -> dict[str, str]:
    """Return the description by topic; it contains no secret."""
    postgres, missing = settings.postgres, list(settings.missing_for_production())
    route = ", which reach the database through PgBouncer" if settings.pgbouncer.enabled else ""
    return {
        "bank": f"{_pods(settings)} ({application.DEPLOYMENT}){route}",
        "database": f"PostgreSQL {postgres.major} ({postgres.flavour}) {'with' if postgres.tls else 'without'} TLS, "
        f"{postgres.memory} of memory, on the volume {postgres.existing_claim or database.CLAIM}",
        "data": "protected: `pulumi destroy` refuses to delete the volume"
        if settings.protect_data
        else "not protected: `pulumi destroy` deletes the volume",
        "access": f"the Ingress for {settings.ingress.host}, {'with' if settings.ingress.tls else 'without'} TLS"
        if settings.ingress.enabled
        else "none from outside the cluster: use portForwardCommand",
        "traffic": "only what the bank needs" if settings.network.policies else "not restricted inside the cluster",
        "production": "its settings are fit for an event" if not missing else "not for an event: " + " ".join(missing),
    }


def _pods(settings: Settings) -> str:
    least, most = settings.application.replicas, settings.application.max_replicas
    return f"{least} to {most} pods, by load" if most else f"{least} pod{'s' if least > 1 else ''}"
