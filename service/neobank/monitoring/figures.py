"""The figures of the books, read from the database at each scrape; amounts are in hundredths of ¤.

They come from the view `ledger_figures` and from PostgreSQL's own statistics. The database role that reads them can
read no account.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from neobank.database import reason

logger = logging.getLogger(__name__)

FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "money_supply": ("neobank_money_supply_hundredths", "Sum of all players' balances, in hundredths."),
    "house_balance": ("neobank_house_balance_hundredths", "Balance of the casino's house, in hundredths."),
    "total": ("neobank_ledger_total_hundredths", "Sum of all balances, in hundredths: always 0."),
    "players": ("neobank_players", "Players."),
    "active_players": ("neobank_active_players", "Players with a request in the last hour."),
    "frozen_accounts": ("neobank_frozen_accounts", "Frozen accounts."),
    "open_sessions": ("neobank_open_sessions", "Sessions that have not expired."),
    "pending_charges": ("neobank_pending_charges", "Charges that wait for a player."),
    "last_transfer_id": ("neobank_last_transfer_id", "Id of the newest transfer; some lower ids were never used."),
    "last_audit_id": ("neobank_last_audit_id", "Id of the newest audit row."),
    "read_only": ("neobank_read_only", "1 while the read-only switch is on."),
    "oldest_answer_seconds": (
        "neobank_oldest_kept_answer_seconds",
        "Age of the oldest idempotency record, in seconds: at most 25 hours while `neobank expire` runs hourly.",
    ),
    "connections": ("neobank_database_connections", "Connections to this database."),
    "max_connections": ("neobank_database_max_connections", "Connections that the server allows."),
    "bytes": ("neobank_database_size_bytes", "Size of this database, in bytes."),
}
_UP: Final = ("neobank_figures_up", "1 if the database answered; at 0 the other figures are absent.")

_READ = text("""
    SELECT figures.*, current_setting('max_connections')::int AS max_connections,
        pg_database_size(current_database()) AS bytes,
        (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections
    FROM ledger_figures AS figures
""")


class Figures(Collector):
    """A collector that queries the database at each scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without values, so that registering the collector needs no database."""
        return [GaugeMetricFamily(*named) for named in (_UP, *FIGURES.values())]

    def collect(self) -> Iterator[Metric]:
        """Yield the figures, or only `neobank_figures_up` with 0 if the database does not answer."""
        try:
            with self._engine.connect() as connection:
                row = connection.execute(_READ).mappings().one()
        except SQLAlchemyError as error:
            logger.warning("The figures can't be read from the database: %s", reason(error))
            yield GaugeMetricFamily(*_UP, value=0)
            return
        yield GaugeMetricFamily(*_UP, value=1)
        for column, (name, help_text) in FIGURES.items():
            yield GaugeMetricFamily(name, help_text, value=float(row[column]))
