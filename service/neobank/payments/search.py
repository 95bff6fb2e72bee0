"""Search in the caller's own transactions.

Memos are folded in Python, as names are, because the database's locale is C. So a search reads a limited part of the
caller's history by index, and filters it in Python.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from neobank import names
from neobank.ledger.operations import Entry, history

SEARCHED: Final = 1000
"""The number of the caller's newest transactions that a search reads."""


def search(connection: Connection, account_id: int, account_number: str, *, wanted: str, limit: int) -> Sequence[Entry]:
    """Return the newest transactions, at most `limit`, with `wanted` in the memo or the other side's number or name."""
    key = names.key(wanted)

    def matches(entry: Entry) -> bool:
        paid = entry.from_account == account_number
        other = (entry.to_account, entry.to_name) if paid else (entry.from_account, entry.from_name)
        return any(key in names.key(text) for text in (entry.memo, *other))

    return list(islice(filter(matches, history(connection, account_id, limit=SEARCHED)), limit))
