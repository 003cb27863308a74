"""This file knows what a gateway says about itself: to its site every ten seconds, and to whoever asks here.

What is durable is read from the store; what only the running agent knows it leaves there with every status, under
`live`. Metrics are the same, with `live` as of now (`gateway_agent/figures.py`).
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import sqlalchemy as sa
from cryptography import x509

from gateway_agent.batch import (
    AGAIN_REFUSED,
    AGAIN_TAKEN,
    CONTROL_REFUSED_PREFIX,
    DEAD_PREFIX,
    DUPLICATES,
    GAPS,
    GIVEN_UP_SUFFIX,
)
from gateway_agent.judge import Judge
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.release_taker import ReleaseTaker
from gateway_agent.settings import GatewaySettings
from gateway_agent.site_plates import SitePlates, settings_hash
from gateway_agent.store import Store, read_only
from gateway_agent.store_tables import capture_table, counter_table, meta_table, outbox_table
from schemas.messages import AlarmState, GatewayStatus, Learning, MemberReport, PointStatus
from schemas.metrics import memory_bytes
from schemas.plate_table import MOST_PLATES

Live = dict[str, Any]
"""What only a running agent knows; the keys are those of `NOTHING_LIVE`."""

SITE_SILENT_S = 3600.0  # a site acknowledges every record within seconds
WORSE_OFF = 0.01  # AUROC by which a machine's own model must be better to be called so
MOST_POINTS_TOLD = 500  # in one status: 130 to 250 bytes each, in a packet of 256 KB

NOTHING_LIVE: Live = {
    "said_at_us": 0,
    "queue": 0,
    "queue_limit": 0,
    "busy_s": 0.0,
    "disk_full": 0,
    "disk_free_bytes": 0,
    "memory_bytes": 0,
    "links": {},
    "reconnects": {},
    "under_way": 0,
    "records_acknowledged": 0,
    "alarms": {},
    "learning_tasks": {},
    "updates_refused": {},
    "log_lines_not_written": 0,
}


_UP = {0: "down", 1: "up"}


def compose_status(
    settings: GatewaySettings,
    store: Store,
    judge: Judge,
    shelf: ReleaseShelf,
    *,
    now_us: int,
    software: str,
    queue: int,
    taker: ReleaseTaker,
    started_at_us: int,
    site_heard_s: float,
    plates: SitePlates,
    learning: MemberReport | None,
) -> GatewayStatus:
    """Say how the agent is; called from the thread that owns the judge.

    Args:
        settings: Of the agent.
        store: Its store.
        judge: Its points.
        shelf: Its releases.
        now_us: Now.
        software: Version of it.
        queue: Captures that wait.
        taker: What became of candidates.
        started_at_us: When the agent was started.
        site_heard_s: How long ago the site was last heard, or the start.
        plates: Nameplates that the site sent.
        learning: What became of its updates; None where it has no part in the learning, or none yet.
    """
    counts = store.counts()
    disk = shutil.disk_usage(settings.store.folder)
    pending, since_us = store.outbox_state()
    release = shelf.current
    return GatewayStatus(
        gateway=settings.gateway, online=True, boot=store.boot, at_us=now_us, software=software,
        release_version=release.version, release_digest=release.digest,
        release_problem="; ".join(filter(None, (shelf.problem, shelf.overdue))),
        captures_stored=store.captures_stored(), captures_duplicate=counts.get(DUPLICATES, 0),
        captures_gap=max(0, counts.get(GAPS, 0)),
        dead_letters=_after(DEAD_PREFIX, counts),
        outbox_pending=pending, outbox_oldest_s=max(0.0, (now_us - since_us) / 1e6) if since_us else 0.0,
        outbox_first=store.lowest_waiting(),
        ingest_queue=queue, disk_free_bytes=disk.free, memory_bytes=memory_bytes(),
        points=tuple(_point_status(monitor) for monitor in judge.monitors.values()),
        started_at_us=started_at_us, releases_refused=dict(shelf.counters), site_heard_s=max(0.0, site_heard_s),
        gate=taker.gate, shadow=judge.shadow.summary() if judge.shadow is not None else None,
        fits=tuple(taker.fits.values()),
        disk_size_bytes=disk.total, load_share=os.getloadavg()[0] / (os.cpu_count() or 1),
        certificate_until_us=certificate_end_us(settings.broker.certificate_file),
        plates_revision=plates.revision, plates_problem=plates.problem,
        machines=told_machines(settings),
        settings_hash=settings_hash(settings), learning=learning,
    )  # fmt: skip


def told_machines(settings: GatewaySettings) -> tuple[str, ...]:
    """Machines of the settings, by which the site knows whose nameplates to send; also while we are away."""
    return tuple(plate.machine for plate in settings.machines[:MOST_PLATES])


def certificate_end_us(file: Path | None) -> int | None:
    """When a client certificate ends, in microseconds since 1970 UTC; None without one that can be read."""
    if file is None:
        return None
    try:
        return round(x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp() * 1e6)
    except (OSError, ValueError):  # the link says loudly what is wrong with it
        return None


def points_in_turn(status: GatewayStatus, told_before: int) -> GatewayStatus:
    """The status with as many points as a packet holds; a gateway with more of them tells of each in its turn.

    Args:
        status: With all points.
        told_before: How many were told since the start.
    """
    points, parts = status.points, -(-len(status.points) // MOST_POINTS_TOLD)
    if parts <= 1:
        return status
    first = told_before % parts * MOST_POINTS_TOLD
    return status.model_copy(update={"points": points[first : first + MOST_POINTS_TOLD]})


def _point_status(monitor: PointMonitor) -> PointStatus:
    learnt = f"release {monitor.model_version}" if monitor.ready else "statistical while learning"
    return PointStatus(
        point=monitor.point, learning=monitor.learning, captures=monitor.captures,
        learning_share=monitor.learning_share, quality=monitor.quality,
        model=monitor.judged_by or learnt,
    )  # fmt: skip


def alarms_by_state(judge: Judge) -> dict[str, int]:
    """How many points show each state of alarm; any thread may ask."""
    counted = Counter(monitor.alarm.state for monitor in list(judge.monitors.values()))
    return {state: counted[state] for state in get_args(AlarmState)}


def read_status(settings: GatewaySettings, live: Live | None = None) -> dict[str, Any]:
    """Read the agent's state from its store, beside a running agent or after one.

    Args:
        settings: Of the agent.
        live: What the running agent knows now; as it last said if left out.

    Raises:
        StoreError: There is no store.
    """
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
    points = {p["point"]: p["learning"] for p in last.get("points", [])}
    by_state = Counter(points.values())
    return {
        "gateway": settings.gateway,
        "captures": {
            "stored": int(stored or 0), "duplicates": counts.get(DUPLICATES, 0), "gaps": max(0, counts.get(GAPS, 0)),
            "dead_letters": _after(DEAD_PREFIX, counts),
        },
        "dead_letters_again": {"taken": counts.get(AGAIN_TAKEN, 0), "refused": counts.get(AGAIN_REFUSED, 0)},
        "control_refused": _after(CONTROL_REFUSED_PREFIX, counts),
        "given_up": {n.removesuffix(GIVEN_UP_SUFFIX): v for n, v in counts.items() if n.endswith(GIVEN_UP_SUFFIX)},
        "outbox": {
            "pending": int(outbox.pending),
            "oldest_s": max(0.0, round(time.time() - since_us / 1e6, 3)) if since_us else 0.0,
        },
        "points": points,
        "points_by_state": {state: by_state[state] for state in get_args(Learning)},
        "learning_share": {p["point"]: p["learning_share"] for p in last.get("points", [])},
        "models": {p["point"]: p["model"] for p in last.get("points", [])},
        "release": {"version": last.get("release_version", 0), "digest": last.get("release_digest", "")},
        "release_problem": last.get("release_problem", ""),
        "nameplates": {
            "revision": last.get("plates_revision", 0), "problem": last.get("plates_problem", ""),
        },
        "releases_refused": last.get("releases_refused", {}),
        "site": _heard(last),
        "worse_off_than_alone": [
            fit["machine"] for fit in last.get("fits", []) if fit["auroc"] < fit["auroc_local"] - WORSE_OFF
        ],
        "last_update_refused": (last.get("learning") or {}).get("last_refused"),
        "memory_bytes": last.get("memory_bytes", 0),
        "said_at_us": last.get("at_us", 0),
        "live": NOTHING_LIVE | (last.get("live", {}) if live is None else live),
    }  # fmt: skip


def _heard(last: Mapping[str, Any]) -> dict[str, Any]:
    """How long the site has been silent; what a silent site would withdraw stays in use here."""
    heard_s = last.get("site_heard_s") or 0.0
    text = ""
    if heard_s >= SITE_SILENT_S:
        text = (
            f"no word of the site for {heard_s / 3600.0:.0f} h: release {last.get('release_version', 0)} may be "
            "outdated or withdrawn; see whether broker and site run, and who else could hold messages back"
        )
    return {"heard_s": round(heard_s, 1), "text": text}


def _learning_words(status: dict[str, Any]) -> list[str]:
    """What became of this gateway's part in the learning, as far as there is any."""
    live, refused = status["live"], status["last_update_refused"]
    lines = []
    if live["learning_tasks"] or live["updates_refused"]:
        tasks = ", ".join(f"{name} {count}" for name, count in live["learning_tasks"].items()) or "none"
        reasons = ", ".join(f"{name} {count}" for name, count in live["updates_refused"].items()) or "none"
        lines.append(f"learning: tasks {tasks}; updates refused since the start: {reasons}")
    if refused:
        which = f"in round {refused['round_number']}" if refused["round_number"] else "outside of a round"
        lines.append(f"last update refused {which}: {refused['reason']}: {refused['text']}")
    return lines


def _after(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}


def describe_status(status: dict[str, Any]) -> str:
    """The same for people."""
    captures, outbox, release = status["captures"], status["outbox"], status["release"]
    plates = status["nameplates"]
    lines = [
        f"gateway {status['gateway']}:",
        f"captures: {captures['stored']} stored, {captures['duplicates']} duplicates, {captures['gaps']} missing",
        f"dead letters: {', '.join(f'{n} {v}' for n, v in captures['dead_letters'].items()) or 'none'}",
        f"outbox: {outbox['pending']} records wait for the site, the oldest for {outbox['oldest_s']:.0f} s",
        f"release {release['version']} ({release['digest'][:12]})",
        *([f"release problem: {status['release_problem']}"] if status["release_problem"] else []),
        *([f"nameplates of the site: revision {plates['revision']}"] if plates["revision"] else []),
        *([f"nameplates problem: {plates['problem']}"] if plates["problem"] else []),
        *([f"site: {status['site']['text']}"] if status["site"]["text"] else []),
        *_learning_words(status),
        f"links: {', '.join(f'{name} {_UP[up]}' for name, up in status['live']['links'].items()) or 'not started yet'}",
        *(f"  {point}: {learning}" for point, learning in status["points"].items()),
    ]
    return "\n".join(lines)
