"""What each upgrade provides: games, the house's bankroll, the opening balance, the first administrator."""

from sqlalchemy import Connection, exists, select, update
from sqlalchemy.dialects.postgresql import insert

from neobank import names, sessions
from neobank.casino.exact import DIAL_DEFAULT
from neobank.casino.games import GAMES
from neobank.casino.models import DialVersion, GameRow
from neobank.ledger.models import HOUSE_ID, SYSTEM_ID, Account, Transfer
from neobank.ledger.operations import Kind, NameTaken, pay
from neobank.players import passwords
from neobank.players.models import Player, ProvisionedAdministrator, RegistrationTerms
from neobank.players.operations import find_credentials, register
from neobank.settings import Administrator
from neobank.vendors import keys


def provision_games(connection: Connection) -> None:
    """Insert each game that is missing, with the default dial."""
    for name in GAMES:
        inserted = insert(GameRow).values(name=name).on_conflict_do_nothing().returning(GameRow.name)
        if connection.execute(inserted).one_or_none():
            connection.execute(insert(DialVersion).values(game=name, dial=DIAL_DEFAULT, actor_id=SYSTEM_ID))


def fund_house(connection: Connection, bankroll: int) -> None:
    """Pay the bankroll (hundredths of ¤) from SYSTEM to the house, unless it was ever paid."""
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


def set_opening_balance(connection: Connection, amount: int) -> None:
    """Set the amount (hundredths of ¤) that each new player receives."""
    connection.execute(update(RegistrationTerms).values(opening_balance=amount))


def provision_administrator(connection: Connection, administrator: Administrator) -> None:
    """Create the first administrator, or set their password if the configured one has changed since the last run.

    A password that the administrator has changed is kept until a different one is configured. Then all their sessions
    end, and the `debit` keys that they made are revoked: who knew the old password may have them.
    Raise ValueError for an invalid new name.
    """
    credentials = find_credentials(connection, administrator.name)
    if credentials is None:
        given = passwords.hash_password(administrator.password)
        account_id = _register_administrator(connection, administrator.name, given)
    else:
        account_id = credentials.account_id
        if _was_given(connection, account_id, administrator.password):
            return
        given = passwords.hash_password(administrator.password)
        values = {"password_hash": given, "must_change_password": False, "is_admin": True}
        connection.execute(update(Player).where(Player.account_id == account_id).values(values))
        sessions.end_all(connection, account_id)
        keys.revoke_debit_keys(connection, account_id)
    statement = insert(ProvisionedAdministrator).values(account_id=account_id, given_password_hash=given)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["account_id"], set_={"given_password_hash": given})
    )


def _register_administrator(connection: Connection, name: str, password_hash: str) -> int:
    try:
        registered = register(
            connection, name=names.tidy(name), password_hash=password_hash, faction=None, is_admin=True
        )
    except NameTaken as error:
        raise ValueError(f"The administrator can't be created: {error}") from None
    return registered.account_id


def _was_given(connection: Connection, account_id: int, password: str) -> bool:
    statement = select(ProvisionedAdministrator.given_password_hash).where(
        ProvisionedAdministrator.account_id == account_id
    )
    last = connection.execute(statement).scalar_one_or_none()
    return last is not None and passwords.matches(password, last)
