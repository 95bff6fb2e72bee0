"""The figures of the books, as the database has them when it is asked; amounts in hundredths.

They are read by a role that sees no account: from the view `ledger_figures`, and from PostgreSQL's own statistics.
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
    "money_supply": ("neobank_money_supply_hundredths", "All that players hold."),
    "house_balance": ("neobank_house_balance_hundredths", "What the casino's house holds."),
    "total": ("neobank_ledger_total_hundredths", "The sum of all balances: 0, always."),
    "players": ("neobank_players", "Players."),
    "active_players": ("neobank_active_players", "Players who were seen within the hour."),
    "frozen_accounts": ("neobank_frozen_accounts", "Accounts that organisers have frozen."),
    "open_sessions": ("neobank_open_sessions", "Log-ins that have not ended."),
    "pending_charges": ("neobank_pending_charges", "Charges that wait for a player."),
    "last_transfer_id": ("neobank_last_transfer_id", "The newest transfer's id; some ids below it were never used."),
    "last_audit_id": ("neobank_last_audit_id", "The newest audit row's id."),
    "read_only": ("neobank_read_only", "1 while organisers have stopped all money."),
    "oldest_answer_seconds": (
        "neobank_oldest_kept_answer_seconds",
        "The age of the oldest idempotency record: a day and an hour at most, while `neobank expire` runs.",
    ),
    "connections": ("neobank_database_connections", "Connections that clients have to this database."),
    "max_connections": ("neobank_database_max_connections", "Connections that the server admits."),
    "bytes": ("neobank_database_size_bytes", "Size of this database."),
}
_UP: Final = ("neobank_figures_up", "1 if the database gave its figures; without it there are no others.")

_READ = text("""
    SELECT figures.*, current_setting('max_connections')::int AS max_connections,
        pg_database_size(current_database()) AS bytes,
        (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections
    FROM ledger_figures AS figures
""")


class Figures(Collector):
    """Asks the database each time somebody asks for the metrics."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        """Name what is collected, so that registering it asks no database."""
        return [GaugeMetricFamily(*named) for named in (_UP, *FIGURES.values())]

    def collect(self) -> Iterator[Metric]:
        """Give the figures, or only that there are none."""
        try:
            with self._engine.connect() as connection:
                row = connection.execute(_READ).mappings().one()
        except SQLAlchemyError as error:
            logger.warning("The database gave no figures: %s", reason(error))
            yield GaugeMetricFamily(*_UP, value=0)
            return
        yield GaugeMetricFamily(*_UP, value=1)
        for column, (name, words) in FIGURES.items():
            yield GaugeMetricFamily(name, words, value=float(row[column]))
