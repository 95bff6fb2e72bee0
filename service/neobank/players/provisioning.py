"""What a fresh bank starts with: the house's bankroll and the first administrator. Doing it again changes nothing."""

from sqlalchemy import Connection, exists, select, update
from sqlalchemy.dialects.postgresql import insert

from neobank import names
from neobank.ledger.models import HOUSE_ID, SYSTEM_ID, Account, Transfer
from neobank.ledger.operations import Kind, pay
from neobank.players import passwords
from neobank.players.models import Player, ProvisionedAdministrator
from neobank.players.operations import find_credentials, register
from neobank.settings import Administrator


def fund_house(connection: Connection, bankroll: int) -> None:
    """Give the house its bankroll (hundredths) from SYSTEM, once in the life of the bank."""
    funded = exists().where(Transfer.credit_account_id == HOUSE_ID, Transfer.kind == Kind.OPENING_BALANCE)
    if connection.execute(select(funded)).scalar_one():
        return
    number = connection.execute(select(Account.number).where(Account.id == HOUSE_ID)).scalar_one()
    pay(
        connection,
        debit=SYSTEM_ID,
        credit_number=number,
        amount=bankroll,
        kind=Kind.OPENING_BALANCE,
        memo="Bankroll",
        actor=SYSTEM_ID,
    )


def provision_administrator(connection: Connection, administrator: Administrator) -> None:
    """Make sure the first administrator exists, and set their password where another one is given than last time.

    A password that they changed themselves meanwhile stays, until a new one is given.
    Raises ValueError for a name that can't be shown.
    """
    name = names.tidy(administrator.name)
    found = find_credentials(connection, name)
    if found is None:
        given = passwords.hash_password(administrator.password)
        account_id = register(connection, name=name, password_hash=given, faction=None, is_admin=True).account_id
    else:
        account_id = found.account_id
        if _was_given(connection, account_id, administrator.password):
            return
        given = passwords.hash_password(administrator.password)
        connection.execute(
            update(Player).where(Player.account_id == account_id).values(password_hash=given, is_admin=True)
        )
    statement = insert(ProvisionedAdministrator).values(account_id=account_id, given_password_hash=given)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["account_id"], set_={"given_password_hash": given})
    )


def _was_given(connection: Connection, account_id: int, password: str) -> bool:
    statement = select(ProvisionedAdministrator.given_password_hash).where(
        ProvisionedAdministrator.account_id == account_id
    )
    last = connection.execute(statement).scalar_one_or_none()
    return last is not None and passwords.matches(password, last)
