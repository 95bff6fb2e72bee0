"""Payments that a terminal makes by itself, and the balances that it may see."""

from sqlalchemy import Connection, bindparam, select

from neobank.errors import Forbidden, NotFound
from neobank.ledger.models import Account
from neobank.ledger.operations import UnknownAccount, balance_of
from neobank.players.models import Player
from neobank.vendors.keys import Scope, Vendor

_PLAYER = (
    select(Account.id, Account.name, balance_of(Account.id))
    .join(Player, Player.account_id == Account.id)
    .where(Account.number == bindparam("number"))
)


def payer(connection: Connection, vendor: Vendor, number: str) -> tuple[int, str]:
    """Give id and name of an account that a key may pay from. Raises Forbidden outside its scope, or UnknownAccount."""
    vendor.require(Scope.PAY, Scope.DEBIT)
    if number == vendor.account_number:
        return vendor.account_id, vendor.account_name
    if vendor.scope != Scope.DEBIT:
        raise Forbidden(f"This key pays from {vendor.account_number} only.")
    row = connection.execute(_PLAYER, {"number": number}).one_or_none()
    if row is None:
        raise UnknownAccount(f"No player has the account {number}.")
    account_id, name, _ = row
    return account_id, name


def balance(connection: Connection, vendor: Vendor, number: str) -> int:
    """Give the balance in hundredths of an account that a key may see.

    Raises Forbidden for another than its own, whether it exists or not, unless the key may debit everybody; NotFound.
    """
    if number != vendor.account_number:
        vendor.require(Scope.DEBIT)
    row = connection.execute(_PLAYER, {"number": number}).one_or_none()
    if row is None:
        raise NotFound(f"No player has the account {number}.")
    return row[2]
