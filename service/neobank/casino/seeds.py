"""A player's seeds: the seed in use and the next one, whose commitments are public; a rotation reveals the former."""

import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import aliased

from neobank.casino.fairness import SEED_BYTES
from neobank.casino.models import CasinoPlayer, Seed

_OPEN: Final = text("SELECT open_casino(:account, :seed, :next, :client_seed)")
_ROTATE: Final = text("SELECT * FROM rotate_seed(:account, :seed, :client_seed)")
_RENEW: Final = text("SELECT renew_seeds(:account, :seed, :next)")
_NEXT: Final = aliased(Seed)
_PAIR: Final = (
    select(Seed.commitment, Seed.client_seed, CasinoPlayer.nonce, _NEXT.commitment)
    .join(CasinoPlayer, CasinoPlayer.seed_id == Seed.id)
    .join(_NEXT, _NEXT.id == CasinoPlayer.next_seed_id)
)


@dataclass(frozen=True, slots=True)
class SeedPair:
    """The public values: the commitments of the seed in use and of the next one, the client seed, the next nonce."""

    server_seed_hash: str
    client_seed: str
    nonce: int
    next_server_seed_hash: str


@dataclass(frozen=True, slots=True)
class Revealed:
    """A seed that was just retired, with the number of its rounds, and the pair in use from now on."""

    server_seed: bytes
    server_seed_hash: str
    client_seed: str
    rounds: int
    current: SeedPair


def ensure_seeds(connection: Connection, account_id: int, account_number: str) -> None:
    """Create a player's casino state if it does not exist. The first client seed is the account number."""
    values = {
        "account": account_id,
        "seed": secrets.token_bytes(SEED_BYTES),
        "next": secrets.token_bytes(SEED_BYTES),
        "client_seed": account_number,
    }
    connection.execute(_OPEN, values)


def pair(connection: Connection, account_id: int, account_number: str) -> SeedPair:
    """Return a player's public values; create the seeds if the player has none."""
    statement = _PAIR.where(CasinoPlayer.account_id == account_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        ensure_seeds(connection, account_id, account_number)
        row = connection.execute(statement).one()
    current, client_seed, nonce, following = row
    return SeedPair(current, client_seed or "", nonce, following)


def rotate(connection: Connection, account_id: int, account_number: str, client_seed: str | None) -> Revealed:
    """Retire and reveal the seed in use, and use the next one with this client seed (None: the previous one)."""
    ensure_seeds(connection, account_id, account_number)
    values = {"account": account_id, "seed": secrets.token_bytes(SEED_BYTES), "client_seed": client_seed}
    row = connection.execute(_ROTATE, values).one()
    return Revealed(
        server_seed=bytes(row.server_seed),
        server_seed_hash=row.commitment,
        client_seed=row.client_seed,
        rounds=row.rounds,
        current=SeedPair(row.current_commitment, row.current_client_seed, 0, row.next_commitment),
    )


def renew_all(connection: Connection) -> int:
    """Retire every player's seed in use and next seed, and return the number of players.

    For use after a restore. Only the owner's role can do this.
    """
    accounts = connection.execute(select(CasinoPlayer.account_id).order_by(CasinoPlayer.account_id)).scalars().all()
    for account_id in accounts:
        values = {"seed": secrets.token_bytes(SEED_BYTES), "next": secrets.token_bytes(SEED_BYTES)}
        connection.execute(_RENEW, {"account": account_id} | values)
    return len(accounts)
