"""What the pages of learning and fleet read is the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dashboard.queries import federation, fleet
from schemas.site_tables import metadata
from tests.support.learning_plant import CANDIDATE, build_learning_database
from tests.support.postgres import postgres_server
from tests.support.site_database import NOW_US

READS: dict[str, Callable[[Connection], Any]] = {
    "rounds": lambda connection: federation.read_federation(connection, round_id=1).rounds,
    "updates": lambda connection: federation.read_updates(connection, [11, 12]),
    "releases": federation.read_releases,
    "events": lambda connection: federation.read_release_events(connection, CANDIDATE),
    "rollouts": lambda connection: federation.read_rollouts(connection, CANDIDATE),
    "fits": federation.read_fits,
    "offers": lambda connection: [
        (one.key, one.delta_bytes, one.head.tolist()) for one in federation.read_offers(connection)
    ],
    "ledger": federation.read_ledger,
    "ledger_total": federation.read_ledger_total,
    "fleet": fleet.read_fleet,
    "trials": fleet.read_trials,
    "current": fleet.read_current_release,
    "sensors": lambda connection: fleet.read_sensors(connection, now_us=NOW_US),
    "devices": fleet.read_unknown_devices,
}  # fmt: skip


def test_every_read_of_learning_and_fleet_gives_the_same_on_both_databases(tmp_path: Path) -> None:
    small = build_learning_database(tmp_path / "site.db", days=9.0)
    with postgres_server() as url, small.connect() as source:
        large = sa.create_engine(url)
        metadata.create_all(large)
        with large.begin() as target:
            for table in metadata.sorted_tables:
                rows = [dict(row) for row in source.execute(sa.select(table)).mappings()]
                if rows:
                    target.execute(sa.insert(table), rows)
        with large.connect() as target:
            found = {name: (read(source), read(target)) for name, read in READS.items()}
        large.dispose()
    small.dispose()
    assert {name for name, (here, there) in found.items() if here != there} == set()
    assert all(here for here, _ in found.values())
