"""Organisers' routes for the whole bank: factions, switches, statistics, the audit log."""

from apiflask import APIBlueprint

from neobank.admin import factions, reports
from neobank.admin.actions import record_action
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
from neobank.audit.operations import logs
from neobank.switches.operations import Switches, lock_switches, read_switches, set_switches
from neobank.web.authentication import ORGANISER, bearer
from neobank.web.bank import current_bank
from neobank.web.requests import Confirmation

bank_blueprint = APIBlueprint("admin_bank", __name__, url_prefix="/api/admin", tag="Organisers: bank")


@bank_blueprint.get("/factions/list")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.output(FactionGroups)
def get_factions() -> FactionGroups:
    """List the factions by name, then the players without a faction."""
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
        record_action(connection, "create_faction", json_data.name)
    return Confirmation(message=f"The faction {json_data.name} is created.")


@bank_blueprint.get("/switches")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.output(SwitchesNow)
def get_switches() -> SwitchesNow:
    """Show the switches."""
    with current_bank().statement() as connection:
        return SwitchesNow.model_validate(read_switches(connection))


@bank_blueprint.put("/switches")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.input(SwitchesChange)
@bank_blueprint.output(SwitchesNow)
def put_switches(json_data: SwitchesChange) -> SwitchesNow:
    """Stop all money or let it move again, and set who may register."""
    with current_bank().transaction() as connection:
        current = lock_switches(connection)
        changed = Switches(
            read_only=current.read_only if json_data.read_only is None else json_data.read_only,
            registration=json_data.registration or current.registration,
            event_code=json_data.event_code or current.event_code,
        )
        set_switches(connection, current, changed)
        record_action(
            connection, "set_switches", "the bank", read_only=changed.read_only, registration=changed.registration
        )
    return SwitchesNow.model_validate(changed)


@bank_blueprint.get("/stats")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.output(Stats)
def get_stats() -> Stats:
    """Show statistics of the whole bank."""
    with current_bank().statement() as connection:
        return Stats.model_validate(reports.stats(connection))


@bank_blueprint.get("/audit-logs")
@bank_blueprint.auth_required(bearer, roles=[ORGANISER])
@bank_blueprint.input(Page, location="query")
@bank_blueprint.output(AuditLogs)
def get_audit_logs(query_data: Page) -> AuditLogs:
    """List the organisers' actions, newest first."""
    with current_bank().statement() as connection:
        actions = logs(connection, limit=query_data.limit, offset=query_data.offset)
    return AuditLogs(
        logs=[
            AuditLog(
                id=log.id,
                timestamp=log.created_at,
                admin=log.actor_name,
                admin_account=log.actor_number,
                action=log.action,
                target=log.target,
                details=log.summary(),
                data=log.details,
                hash=log.hash.hex(),
            )
            for log in actions
        ]
    )
