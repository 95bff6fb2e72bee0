"""Verification of all rounds: recompute those of retired seeds, and check nonces, dials, free spins and amounts of all.

Each dial must be the dial of its version, the free rounds must be those that were awarded, and the amounts must equal
the transfers. The outcomes of a seed in use are not checked, because this runs as the application's role, which can't
read such a seed.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from neobank.casino.history import of_seed
from neobank.casino.rounds import problems

MAX_NAMED: Final = 20
"""The largest number of problems that `neobank verify` prints."""

# Seeds whose number of rounds differs from the expected one. The unique constraint excludes duplicate nonces, so that
# only gaps remain to be found.
_GAPS: Final = text("""
    SELECT seed.id, seed.account_id, expected.rounds, count(round.id), coalesce(max(round.nonce) + 1, 0)
    FROM seeds AS seed
        LEFT JOIN casino_players AS player ON player.seed_id = seed.id
        CROSS JOIN LATERAL (SELECT coalesce(seed.rounds, player.nonce, 0) AS rounds) AS expected
        LEFT JOIN rounds AS round ON round.seed_id = seed.id
    GROUP BY seed.id, seed.account_id, expected.rounds
    HAVING count(round.id) <> expected.rounds OR coalesce(max(round.nonce) + 1, 0) <> expected.rounds
    ORDER BY seed.id
""")
# Players whose bets and wins differ between their rounds and their transfers.
_MONEY: Final = text("""
    SELECT account_id, sum(bet) FILTER (WHERE played), sum(bet) FILTER (WHERE NOT played),
        sum(win) FILTER (WHERE played), sum(win) FILTER (WHERE NOT played)
    FROM (
        SELECT account_id, bet, win, true AS played FROM rounds
        UNION ALL
        SELECT debit_account_id, amount, 0, false FROM transfers WHERE kind = 'casino_bet'
        UNION ALL
        SELECT credit_account_id, 0, amount, false FROM transfers WHERE kind = 'casino_win'
    ) AS sides
    GROUP BY account_id
    HAVING coalesce(sum(bet) FILTER (WHERE played), 0) <> coalesce(sum(bet) FILTER (WHERE NOT played), 0)
        OR coalesce(sum(win) FILTER (WHERE played), 0) <> coalesce(sum(win) FILTER (WHERE NOT played), 0)
    ORDER BY account_id
""")
# Rounds whose dial is not the dial of their version, or whose version was created after the round.
_DIALS: Final = text("""
    SELECT round.id, round.dial, round.version_id
    FROM rounds AS round
        LEFT JOIN dial_versions AS version ON version.id = round.version_id AND version.game = round.game
            AND version.dial = round.dial AND version.created_at <= round.created_at
    WHERE version.id IS NULL
    ORDER BY round.id
""")
# Rounds that are wrongly free or wrongly paid. After an award of n free spins, the next n rounds of the game must be
# free, at the terms of the awarding round; all others must be paid. Free spins before the first award of a game were
# imported from another system, at ¤5 per line.
_FREE: Final = text("""
    WITH numbered AS (
        SELECT *, count(*) FILTER (WHERE awarded > 0) OVER (PARTITION BY account_id, game ORDER BY id) AS award
        FROM rounds
    ), placed AS (
        SELECT *, row_number() OVER since - 1 AS place, first_value(awarded) OVER since AS due,
            first_value(ARRAY[line_bet, version_id, dial]) OVER since AS terms,
            first_value(sheet) OVER since AS due_sheet
        FROM numbered WINDOW since AS (PARTITION BY account_id, game, award ORDER BY id)
    )
    SELECT id FROM placed
    WHERE CASE
        WHEN award = 0 THEN free AND line_bet <> 500
        WHEN place BETWEEN 1 AND due THEN NOT free OR ARRAY[line_bet, version_id, dial] <> terms OR sheet <> due_sheet
        ELSE free
    END
    ORDER BY id
""")
_RETIRED: Final = text("SELECT id FROM seeds WHERE retired_at IS NOT NULL AND rounds > 0 ORDER BY id")


@dataclass(frozen=True, slots=True)
class Fairness:
    """The number of retired seeds and of their recomputed rounds, and a text for each problem."""

    seeds: int
    rounds: int
    problems: list[str]


def verify_rounds(connection: Connection) -> Fairness:
    """Verify all rounds. Only the rounds of one seed are in memory at a time."""
    wrong = [
        f"seed {seed} of account {account} must have {expected} rounds, but has {actual} with nonces below {end}"
        for seed, account, expected, actual, end in connection.execute(_GAPS)
    ]
    wrong += [
        f"the bets or wins in the rounds of account {account} differ from its casino transfers"
        for account, *_ in connection.execute(_MONEY)
    ]
    wrong += [
        f"round {round_id} is at dial {dial / 100:.2f}, which version {version} did not have at that time"
        for round_id, dial, version in connection.execute(_DIALS)
    ]
    wrong += [
        f"round {round_id} is wrongly free or paid, or not at the terms of its free spins"
        for round_id in connection.execute(_FREE).scalars()
    ]
    seeds = connection.execute(_RETIRED).scalars().all()
    rounds = 0
    for seed in seeds:
        for played in of_seed(connection, seed):
            rounds += 1
            try:
                wrong += [f"round {played.id}: {problem}" for problem in problems(played)]
            except ValueError as error:
                wrong.append(f"round {played.id}: {error}")
    return Fairness(len(seeds), rounds, wrong)
