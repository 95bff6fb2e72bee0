"""Searching one's own transactions.

Memos are folded in Python, as names are (the database's locale is C), so a search reads a bounded part of the caller's
own history, on its indexes, and looks through that.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from neobank import names
from neobank.ledger.operations import Entry, history

SEARCHED: Final = 1000
"""How many of the caller's newest transactions a search looks through."""


def search(connection: Connection, account_id: int, account_number: str, *, wanted: str, limit: int) -> Sequence[Entry]:
    """Find the newest transactions, at most `limit`, with `wanted` in the memo or the other side's number or name."""
    key = names.key(wanted)

    def matches(entry: Entry) -> bool:
        paid = entry.from_account == account_number
        other = (entry.to_account, entry.to_name) if paid else (entry.from_account, entry.from_name)
        return any(key in names.key(text) for text in (entry.memo, *other))

    return list(islice(filter(matches, history(connection, account_id, limit=SEARCHED)), limit))
