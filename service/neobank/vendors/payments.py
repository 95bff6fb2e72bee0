"""The accounts that a terminal may pay from, and the balances that it may read."""

from sqlalchemy import Connection, bindparam, select

from neobank.errors import Forbidden, NotFound
from neobank.ledger.models import Account
from neobank.ledger.operations import balance_of
from neobank.players.models import Player
from neobank.vendors.accounts import find_player
from neobank.vendors.keys import Scope, Vendor

_BALANCE = (
    select(balance_of(Account.id))
    .select_from(Account)
    .join(Player, Player.account_id == Account.id)
    .where(Account.number == bindparam("number"))
)


def payer(connection: Connection, vendor: Vendor, number: str) -> tuple[int, str]:
    """Return id and name of the account with this number, if the vendor's key may pay from it.

    Raise Forbidden if its scope does not allow that, UnknownAccount if no player has the number.
    """
    vendor.require(Scope.PAY, Scope.DEBIT)
    if number == vendor.account_number:
        return vendor.account_id, vendor.account_name
    if vendor.scope != Scope.DEBIT:
        raise Forbidden(
            f"This key can pay from {vendor.account_number} only: other accounts need the scope {Scope.DEBIT}."
        )
    return find_player(connection, number)


def balance(connection: Connection, vendor: Vendor, number: str) -> int:
    """Return the balance (hundredths) of the account with this number, if the vendor's key may read it.

    Raise Forbidden if it is not the vendor's own account and the scope is not `debit`, whether or not the account
    exists; NotFound if no player has the number.
    """
    if number != vendor.account_number:
        vendor.require(Scope.DEBIT)
    held = connection.execute(_BALANCE, {"number": number}).scalar_one_or_none()
    if held is None:
        raise NotFound(f"No player has the account {number}.")
    return held
