"""This file knows what an aggregator says of itself on the command line: its database, and what it last wrote down.

Metrics are the same, with `live` as of now (`aggregator/figures.py`).
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from schemas.site_tables import (
    dead_letter_count,
    gap,
    gateway,
    health,
    learning_round,
    machine_case,
    release,
    round_update,
    site_offer,
    uplink,
    waiting_update,
)

Live = dict[str, Any]
"""What only a running aggregator knows; the keys are those of `NOTHING_LIVE`."""

NOTHING_LIVE: Live = {
    "said_at_us": 0,
    "links": {},
    "reconnects": {},
    "queue": 0,
    "queue_limit": 0,
    "database_away": 0,
    "messages": 0,
    "memory_bytes": 0,
    "log_lines_not_written": 0,
    "learning_dropped": {},
    "superlink": {},
    "superlink_state": {},
    "superlink_runs": {},
}


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


def read_live(file: Path) -> Live:
    """What a running aggregator has left in its file; empty when there is none, or a newer program wrote it."""
    try:
        live = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return live if isinstance(live, dict) else {}


def read_status(
    engine: Engine, live: Live | None = None, *, now_us: Callable[[], int] = _wall_clock_us
) -> dict[str, Any]:
    """Gather the state of a site or an enterprise; works beside a running aggregator."""
    asked_at_us = now_us()
    with engine.connect() as connection:
        gateways = connection.execute(sa.select(gateway).order_by(gateway.c.gateway)).all()
        return {
            "windows": {
                "stored": connection.execute(sa.select(sa.func.count()).select_from(health)).scalar_one(),
                "duplicates": connection.execute(
                    sa.select(sa.func.coalesce(sa.func.sum(uplink.c.duplicates), 0))
                ).scalar_one(),
            },
            "gateways": {row.gateway: {"last_seq": row.last_sequence, "online": bool(row.online)} for row in gateways},
            "given_up": int(
                connection.execute(sa.select(sa.func.coalesce(sa.func.sum(gap.c["count"]), 0))).scalar_one()
            ),
            "gateways_seen_s": {
                row.gateway: max(0.0, round((asked_at_us - row.last_seen_us) / 1e6, 3))
                for row in gateways
                if row.last_seen_us is not None
            },
            "rounds": _rounds(connection),
            "learning": _learning(connection),
            "release": _release(connection),
            "cases": {
                "open": connection.execute(
                    sa.select(sa.func.count()).select_from(machine_case).where(machine_case.c.state != "closed")
                ).scalar_one()
            },
            "dead_letters": {
                row.reason: row.count
                for row in connection.execute(sa.select(dead_letter_count).order_by(dead_letter_count.c.reason))
            },
            "live": NOTHING_LIVE | (live or {}),
        }


def _rounds(connection: Connection) -> dict[str, Any]:
    rejected = connection.execute(
        sa.select(round_update.c.reason, sa.func.count().label("times"))
        .where(~round_update.c.accepted)
        .group_by(round_update.c.reason)
        .order_by(round_update.c.reason)
    )
    return {
        "last": connection.execute(sa.select(sa.func.max(learning_round.c.round_id))).scalar_one() or 0,
        "accepted": connection.execute(
            sa.select(sa.func.count()).select_from(round_update).where(round_update.c.accepted)
        ).scalar_one(),
        "rejected": {row.reason: row.times for row in rejected},
    }


def _learning(connection: Connection) -> dict[str, Any]:
    """What waits for a merge, what became of what has waited, and how the last round came about."""
    last = connection.execute(
        sa.select(learning_round.c.metrics).order_by(learning_round.c.round_id.desc()).limit(1)
    ).scalar()
    told = last or {}
    return {
        "updates": _by_state(connection, waiting_update),
        "offers": _by_state(connection, site_offer),
        "last": {key: told.get(key) for key in ("from_buffer", "invited", "late", "selection") if key in told},
    }


def _by_state(connection: Connection, table: sa.Table) -> dict[str, int]:
    query = sa.select(table.c.state, sa.func.count().label("rows")).group_by(table.c.state).order_by(table.c.state)
    return {row.state: row.rows for row in connection.execute(query)}


def _release(connection: Connection) -> dict[str, Any]:
    row = connection.execute(
        sa.select(release.c.release_version, release.c.digest)
        .where(release.c.state == "current")
        .order_by(release.c.release_version.desc())
        .limit(1)
    ).one_or_none()
    return {"version": row.release_version, "digest": row.digest} if row else {"version": 0, "digest": ""}


def in_words(status: dict[str, Any]) -> str:
    """The same for a person at a terminal."""
    present = sum(1 for one in status["gateways"].values() if one["online"])
    rounds, release_now = status["rounds"], status["release"]
    updates = f"{rounds['accepted']} accepted, {sum(rounds['rejected'].values())} rejected"
    lines = [
        f"windows    {status['windows']['stored']} stored, {status['windows']['duplicates']} came twice",
        f"gateways   {present} of {len(status['gateways'])} online",
        f"cases      {status['cases']['open']} open",
        f"rounds     last {rounds['last']}, updates {updates}",
        f"release    {release_now['version']} {release_now['digest'][:12]}".rstrip(),
        f"refused    {sum(status['dead_letters'].values())} messages",
    ]
    rejected, dropped = rounds["rejected"], status["live"]["learning_dropped"]
    for title, counts in (("updates rejected", rejected), ("learning messages not used", dropped)):
        if counts:
            lines.append(f"{title}: {', '.join(f'{reason} {count}' for reason, count in counts.items())}")
    live = status["live"]
    if live["superlink"]:
        runs = ", ".join(f"{what} {count}" for what, count in live["superlink_runs"].items())
        lines.append(f"superlink  {live['superlink']['state']}: {live['superlink']['text']}; runs {runs}")
    return "\n".join(lines)
