"""A player's seeds: the one in use and the next, of which the commitments are shown, and those that are revealed."""

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
    """What a player may know: the commitments of the seed in use and of the next, the client seed, the next nonce."""

    server_seed_hash: str
    client_seed: str
    nonce: int
    next_server_seed_hash: str


@dataclass(frozen=True, slots=True)
class Revealed:
    """A seed that was just retired, how many rounds it had, and the pair from here on."""

    server_seed: bytes
    server_seed_hash: str
    client_seed: str
    rounds: int
    now: SeedPair


def ensure_seeds(connection: Connection, account_id: int, account_number: str) -> None:
    """Make sure a player has seeds. The first client seed is the account number, which nobody chose for this."""
    values = {
        "account": account_id,
        "seed": secrets.token_bytes(SEED_BYTES),
        "next": secrets.token_bytes(SEED_BYTES),
        "client_seed": account_number,
    }
    connection.execute(_OPEN, values)


def pair(connection: Connection, account_id: int, account_number: str) -> SeedPair:
    """Look at a player's commitments, which they get now if they have none."""
    statement = _PAIR.where(CasinoPlayer.account_id == account_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        ensure_seeds(connection, account_id, account_number)
        row = connection.execute(statement).one()
    current, client_seed, nonce, following = row
    return SeedPair(current, client_seed or "", nonce, following)


def rotate(connection: Connection, account_id: int, account_number: str, client_seed: str | None) -> Revealed:
    """Retire the seed in use and reveal it; the next one is in use then, with a client seed of the player's."""
    ensure_seeds(connection, account_id, account_number)
    values = {"account": account_id, "seed": secrets.token_bytes(SEED_BYTES), "client_seed": client_seed}
    row = connection.execute(_ROTATE, values).one()
    return Revealed(
        server_seed=bytes(row.server_seed),
        server_seed_hash=row.commitment,
        client_seed=row.client_seed,
        rounds=row.rounds,
        now=SeedPair(row.current_commitment, row.current_client_seed, 0, row.next_commitment),
    )


def renew_all(connection: Connection) -> int:
    """Retire every player's seeds, the next ones too; gives how many players. The owner's, after a restore."""
    accounts = connection.execute(select(CasinoPlayer.account_id).order_by(CasinoPlayer.account_id)).scalars().all()
    for account_id in accounts:
        values = {"seed": secrets.token_bytes(SEED_BYTES), "next": secrets.token_bytes(SEED_BYTES)}
        connection.execute(_RENEW, {"account": account_id} | values)
    return len(accounts)
