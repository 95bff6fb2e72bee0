"""The proof that rounds are what their seeds make of them: all of every retired seed, no nonce missing or twice.

Each round's dial has to be its version's, free rounds those that were awarded, and the money that of the transfers. A
seed in use can't be read by the role that serves, which this runs as: its rounds are held to that and their nonces.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from neobank.casino.history import of_seed
from neobank.casino.rounds import problems

MAX_NAMED: Final = 20

# What a seed says of its rounds, where that is not what there is: the unique constraint leaves gaps alone to look for.
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
# What each player's rounds took and gave, where their transfers say otherwise.
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
# Rounds at a dial that no version of their game's had when they were played.
_DIALS: Final = text("""
    SELECT round.id, round.dial, round.version_id
    FROM rounds AS round
        LEFT JOIN dial_versions AS version ON version.id = round.version_id AND version.game = round.game
            AND version.dial = round.dial AND version.created_at <= round.created_at
    WHERE version.id IS NULL
    ORDER BY round.id
""")
# Rounds that are not as free spins make them: so many as were awarded come next in their game, at the awarding round's
# terms, and all others are paid. Before a game's first award they are from another system, at ¤5 a line.
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
    """How many rounds of how many retired seeds were computed anew, and all that is wrong, in words."""

    seeds: int
    rounds: int
    problems: list[str]


def verify_rounds(connection: Connection) -> Fairness:
    """Compute the rounds of retired seeds anew, a seed at a time; look for gaps, at dials, free spins and money."""
    wrong = [
        f"seed {seed} of account {account} has {expected} rounds, and there are {there} with nonces below {end}"
        for seed, account, expected, there, end in connection.execute(_GAPS)
    ]
    wrong += [
        f"the rounds of account {account} and its casino transfers do not come to the same"
        for account, *_ in connection.execute(_MONEY)
    ]
    wrong += [
        f"round {found} is at dial {dial / 100:.2f}, and version {version} was another then"
        for found, dial, version in connection.execute(_DIALS)
    ]
    wrong += [f"round {found} is not as free spins make it" for found in connection.execute(_FREE).scalars()]
    seeds = connection.execute(_RETIRED).scalars().all()
    rounds = 0
    for seed in seeds:
        for found in of_seed(connection, seed):
            rounds += 1
            try:
                wrong += [f"round {found.id}: {problem}" for problem in problems(found)]
            except ValueError as error:
                wrong.append(f"round {found.id}: {error}")
    return Fairness(len(seeds), rounds, wrong)
