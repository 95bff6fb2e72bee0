"""Organisers look at the bank as a whole and switch it: factions, switches, figures, the audit."""

from apiflask import APIBlueprint

from neobank.admin import factions, reports
from neobank.admin.schemas import (
    AuditLog,
    AuditLogs,
    FactionGroup,
    FactionGroups,
    NewFaction,
    Page,
    Stats,
    SwitchesChange,
    SwitchesNow,
)
from neobank.audit.operations import Detail, logs, record
from neobank.switches.operations import Switches, lock_switches, read_switches, set_switches
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.requests import Confirmation

bank_blueprint = APIBlueprint("admin_bank", __name__, url_prefix="/api/admin", tag="Organisers: bank")


@bank_blueprint.get("/factions/list")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.output(FactionGroups)
def get_factions() -> FactionGroups:
    """List the factions, and last those without one."""
    with current_bank().statement() as connection:
        return FactionGroups(factions=[FactionGroup.model_validate(group) for group in factions.groups(connection)])


@bank_blueprint.post("/factions/create")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.input(NewFaction)
@bank_blueprint.output(Confirmation, status_code=201)
def post_faction(json_data: NewFaction) -> Confirmation:
    """Create a faction."""
    with current_bank().transaction() as connection:
        factions.create(connection, json_data.name, json_data.description)
        by = current_caller().account_id
        record(connection, actor=by, action="create_faction", target=json_data.name, details={})
    return Confirmation(message=f"There is a faction {json_data.name} now.")


@bank_blueprint.get("/switches")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.output(SwitchesNow)
def get_switches() -> SwitchesNow:
    """Show how the bank is switched."""
    with current_bank().statement() as connection:
        return SwitchesNow.model_validate(read_switches(connection))


@bank_blueprint.put("/switches")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.input(SwitchesChange)
@bank_blueprint.output(SwitchesNow)
def put_switches(json_data: SwitchesChange) -> SwitchesNow:
    """Stop all money or let it move, and say who may join."""
    with current_bank().transaction() as connection:
        now = lock_switches(connection)
        wanted = Switches(
            read_only=now.read_only if json_data.read_only is None else json_data.read_only,
            registration=json_data.registration or now.registration,
            event_code=json_data.event_code or now.event_code,
        )
        set_switches(connection, wanted)
        details: dict[str, Detail] = {"read_only": wanted.read_only, "registration": wanted.registration}
        by = current_caller().account_id
        record(connection, actor=by, action="set_switches", target="the bank", details=details)
    return SwitchesNow.model_validate(wanted)


@bank_blueprint.get("/stats")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.output(Stats)
def get_stats() -> Stats:
    """Show the bank as a whole."""
    with current_bank().statement() as connection:
        return Stats.model_validate(reports.stats(connection))


@bank_blueprint.get("/audit-logs")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.input(Page, location="query")
@bank_blueprint.output(AuditLogs)
def get_audit_logs(query_data: Page) -> AuditLogs:
    """List what organisers did, newest first."""
    with current_bank().statement() as connection:
        found = logs(connection, limit=query_data.limit, offset=query_data.offset)
    return AuditLogs(
        logs=[
            AuditLog(
                id=log.id,
                timestamp=log.created_at,
                admin=log.actor_name,
                admin_account=log.actor_number,
                action=log.action,
                target=log.target,
                details=log.details,
                hash=log.hash.hex(),
            )
            for log in found
        ]
    )
