"""A site's SQLite database learns which of its tables are large, and then finds open cases by their index."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.planner_figures import EVERY_S, PlannerFigures
from dashboard.queries.plant import read_open_cases
from schemas.database import sqlite_url
from schemas.site_tables import machine_case


def plan_of_open_cases(engine: Engine) -> str:
    """What the database does for the open cases of the overview; on a connection of its own, as pages have."""
    asked: list[tuple[str, object]] = []
    engine.dispose()
    with engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *said: asked.append((said[2], said[3])))
        read_open_cases(connection)
        statement, values = asked[0]
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        return "; ".join(str(row[-1]) for row in steps)


def test_open_cases_are_found_by_their_index_once_the_database_knows_how_many_are_over(tmp_path: Path) -> None:
    now_s = 0.0
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    figures = PlannerFigures(engine, now_s=lambda: now_s)
    figures.step()
    usual = {"priority": "alert", "title": "", "diagnosis": [], "opened_at_us": 1, "changed_at_us": 1, "points": {}}
    rows = [usual | {"machine": f"m-{n % 40}", "state": "closed"} for n in range(3000)]
    rows += [usual | {"machine": f"m-{n}", "state": "open"} for n in range(3)]
    with engine.begin() as connection:
        connection.execute(sa.insert(machine_case), rows)
    figures.step()
    assert plan_of_open_cases(engine) == "SCAN machine_case", "it is not looked again before it is time"
    now_s += EVERY_S
    figures.step()
    assert "uq_machine_case_open" in plan_of_open_cases(engine)
    engine.dispose()
