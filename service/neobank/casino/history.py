"""Queries of played rounds, for players and for verification."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, TextClause, text

from neobank.casino.rounds import Round
from neobank.errors import NotFound

# server_seed is NULL for a round of a seed in use: the view contains only revealed seeds.
_ROUNDS: Final = """
    SELECT round.id, round.created_at, round.game, round.loose, round.stops, round.dial, round.version_id, round.sheet,
        round.nonce, round.free, round.line_bet, round.bet, round.win, round.awarded,
        seeds.commitment, seeds.client_seed,
        (SELECT server_seed FROM revealed_seeds WHERE revealed_seeds.id = round.seed_id)
    FROM {} AS round JOIN seeds ON seeds.id = round.seed_id
"""
# Ordered and bounded by both columns of the index, like `ledger.operations.history` and for the same reason. The page
# is selected before the join with seeds, because the planner estimates such a range as a single row.
_PAGE: Final = """(
    SELECT * FROM rounds WHERE account_id >= :account AND (account_id, id) < (:account, :before)
    ORDER BY account_id DESC, id DESC LIMIT :limit
)"""
_NEWEST: Final = text(_ROUNDS.format(_PAGE) + "ORDER BY round.id DESC")
_ONE: Final = text(_ROUNDS.format("rounds") + "WHERE round.id = :id AND round.account_id = :account")
_OF_SEED: Final = text(_ROUNDS.format("rounds") + "WHERE round.seed_id = :seed ORDER BY round.nonce")


def newest(connection: Connection, account_id: int, *, limit: int, before: int) -> Sequence[Round]:
    """Return a player's rounds, newest first: at most `limit`, all older than round `before`."""
    return _rounds(connection, _NEWEST, {"account": account_id, "limit": limit, "before": before})


def one(connection: Connection, account_id: int, round_id: int) -> Round:
    """Return one of a player's rounds. Raise NotFound if it does not exist or is another player's."""
    for played in _rounds(connection, _ONE, {"account": account_id, "id": round_id}):
        return played
    raise NotFound(f"You have no round {round_id}. The list of your rounds shows their numbers.")


def of_seed(connection: Connection, seed_id: int) -> Sequence[Round]:
    """Return the rounds of a seed, ordered by nonce."""
    return _rounds(connection, _OF_SEED, {"seed": seed_id})


def _rounds(connection: Connection, statement: TextClause, values: dict[str, int]) -> list[Round]:
    return [
        Round(
            id=row.id,
            played_at=row.created_at,
            game=row.game,
            loose=row.loose,
            stops=tuple(row.stops),
            dial=row.dial,
            version=row.version_id,
            sheet=row.sheet,
            nonce=row.nonce,
            free=row.free,
            line_bet=row.line_bet,
            bet=row.bet,
            win=row.win,
            awarded=row.awarded,
            server_seed_hash=row.commitment,
            client_seed=row.client_seed,
            server_seed=None if row.server_seed is None else bytes(row.server_seed),
        )
        for row in connection.execute(statement, values)
    ]
