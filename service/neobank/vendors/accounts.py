"""Lookup of the players' accounts that requests of vendors and organisers name."""

from sqlalchemy import Connection, bindparam, select

from neobank.ledger.models import Account
from neobank.ledger.operations import UnknownAccount
from neobank.players.models import Player

_PLAYER = (
    select(Account.id, Account.name)
    .join(Player, Player.account_id == Account.id)
    .where(Account.number == bindparam("number"))
)


def find_player(connection: Connection, number: str) -> tuple[int, str]:
    """Return id and name of the player's account with this number. Raise UnknownAccount if no player has it."""
    row = connection.execute(_PLAYER, {"number": number}).one_or_none()
    if row is None:
        raise UnknownAccount(f"No player has the account {number}.")
    account_id, name = row
    return account_id, name
