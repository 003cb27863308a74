"""This file knows what a gateway says about itself: to its site every ten seconds, and to whoever asks here."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway_agent.batch import DEAD_PREFIX, DUPLICATES, GAPS
from gateway_agent.judge import Judge
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import Store, read_only
from gateway_agent.store_tables import capture_table, counter_table, meta_table, outbox_table
from schemas.messages import GatewayStatus, PointStatus

STATUS_KEYS = ("points", "release_version", "release_digest")


def memory_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def compose_status(
    settings: GatewaySettings,
    store: Store,
    judge: Judge,
    shelf: ReleaseShelf,
    *,
    now_us: int,
    software: str,
    queue: int,
) -> GatewayStatus:
    """Say how the agent is; called from the thread that owns the judge."""
    counts = store.counts()
    pending, since_us = store.outbox_state()
    release = shelf.current
    return GatewayStatus(
        gateway=settings.gateway, online=True, boot=store.boot, at_us=now_us, software=software,
        release_version=release.version, release_digest=release.digest, release_problem=shelf.problem,
        captures_stored=store.captures_stored(), captures_duplicate=counts.get(DUPLICATES, 0),
        captures_gap=max(0, counts.get(GAPS, 0)),
        dead_letters={n.removeprefix(DEAD_PREFIX): v for n, v in counts.items() if n.startswith(DEAD_PREFIX)},
        outbox_pending=pending, outbox_oldest_s=max(0.0, (now_us - since_us) / 1e6) if since_us else 0.0,
        ingest_queue=queue, disk_free_bytes=shutil.disk_usage(settings.store.folder).free, memory_bytes=memory_bytes(),
        points=tuple(_point_status(monitor) for monitor in judge.monitors.values()),
    )  # fmt: skip


def _point_status(monitor: PointMonitor) -> PointStatus:
    return PointStatus(
        point=monitor.point, learning=monitor.learning, captures=monitor.captures,
        learning_share=monitor.learning_share, quality=monitor.quality,
        model=f"release {monitor.model_version}" if monitor.ready else "statistical while learning",
    )  # fmt: skip


def read_status(settings: GatewaySettings) -> dict[str, Any]:
    """Read the agent's state from its store, beside a running agent or after one.

    Raises:
        StoreError: There is no store.
    """
    import json
    import time

    with read_only(settings.store.folder) as connection:

        def rows(query: sa.Select[*tuple[Any, ...]]) -> Sequence[sa.Row[Any]]:
            return connection.execute(query).all()

        counts = {row.name: row.value for row in rows(sa.select(counter_table))}
        outbox = rows(
            sa.select(sa.func.count().label("pending"), sa.func.min(outbox_table.c.created_at_us).label("since_us"))
        )[0]
        stored = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(capture_table.c.id), 0)))
        said = {row.key: row.value for row in rows(sa.select(meta_table))}
    last = json.loads(said.get("status", "{}"))
    since_us = outbox.since_us
    return {
        "gateway": settings.gateway,
        "captures": {
            "stored": int(stored or 0), "duplicates": counts.get(DUPLICATES, 0), "gaps": max(0, counts.get(GAPS, 0)),
            "dead_letters": {n.removeprefix(DEAD_PREFIX): v for n, v in counts.items() if n.startswith(DEAD_PREFIX)},
        },
        "outbox": {
            "pending": int(outbox.pending),
            "oldest_s": max(0.0, round(time.time() - since_us / 1e6, 3)) if since_us else 0.0,
        },
        "points": {p["point"]: p["learning"] for p in last.get("points", [])},
        "learning_share": {p["point"]: p["learning_share"] for p in last.get("points", [])},
        "models": {p["point"]: p["model"] for p in last.get("points", [])},
        "release": {"version": last.get("release_version", 0), "digest": last.get("release_digest", "")},
        "release_problem": last.get("release_problem", ""),
        "memory_bytes": last.get("memory_bytes", 0),
        "said_at_us": last.get("at_us", 0),
    }  # fmt: skip


def describe_status(status: dict[str, Any]) -> str:
    """The same for people."""
    captures, outbox, release = status["captures"], status["outbox"], status["release"]
    lines = [
        f"gateway {status['gateway']}:",
        f"captures: {captures['stored']} stored, {captures['duplicates']} duplicates, {captures['gaps']} missing",
        f"dead letters: {', '.join(f'{n} {v}' for n, v in captures['dead_letters'].items()) or 'none'}",
        f"outbox: {outbox['pending']} records wait for the site, the oldest for {outbox['oldest_s']:.0f} s",
        f"release {release['version']} ({release['digest'][:12]})",
        *(f"  {point}: {learning}" for point, learning in status["points"].items()),
    ]
    return "\n".join(lines)
