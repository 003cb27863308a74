"""This file knows what else a year leaves in a plant's database: alarms, cases, requests, rounds, letters, people."""

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas import site_tables as tables

YEAR_US: Final = 365 * 86_400_000_000
DAY_US: Final = 86_400_000_000
ALARMS, CASES, EVENTS_A_CASE, ROUNDS, ROUND_MEMBERS = 100_000, 6_000, 5, 35_040, 8
RELEASES, REQUESTS, AUDIT, DELIVERIES, ORDERS, OFFERS, GAPS = 200, 30_000, 60_000, 20_000, 2_000, 2_000, 5_000
LETTERS, PEOPLE, TOKENS, VERSIONS = 1_000, 200, 400, 100
EVIDENCE = 20_000
BUNDLE_BYTES = 84_000
PIECE: Final = 5_000


def write_year(connection: Connection, machines: int, *, now_us: int) -> None:
    """Fill every table that grows with what people and gateways do; the captures are written elsewhere."""
    for table, rows in _all_rows(machines, now_us):
        for piece in _batched(rows):
            connection.execute(sa.insert(table), piece)
    if connection.dialect.name != "sqlite":
        for table in tables.metadata.sorted_tables:
            key = table.autoincrement_column
            if key is not None:
                newest = sa.select(sa.func.coalesce(sa.func.max(key), 0) + 1).scalar_subquery()
                sequence = sa.func.pg_get_serial_sequence(table.name, key.name)
                connection.execute(sa.select(sa.func.setval(sequence, newest, False)))


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has, the largest first; those without are left out."""
    counts = {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in tables.metadata.sorted_tables
    }
    return {name: count for name, count in sorted(counts.items(), key=lambda one: -one[1]) if count}


def _batched(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    source = iter(rows)
    while piece := list(itertools.islice(source, PIECE)):
        yield piece


def _spread(count: int, now_us: int) -> Iterator[tuple[int, int]]:
    """So many numbers with times over the year up to now."""
    return ((number, now_us - YEAR_US + (number + 1) * (YEAR_US // count)) for number in range(count))


def _name(number: int, machines: int) -> str:
    return f"machine-{number * 7919 % machines:03d}"


def _all_rows(machines: int, now_us: int) -> Iterator[tuple[sa.Table, Iterable[dict[str, Any]]]]:
    yield tables.machine_case, _cases(machines, now_us)
    yield tables.case_event, _case_events(now_us)
    yield tables.alarm, _alarms(machines, now_us)
    yield tables.evidence, _evidence(machines, now_us)
    yield tables.request, _requests(now_us)
    yield tables.audit, _audit(now_us)
    yield from _learning(now_us)
    yield from _office(machines, now_us)
    yield tables.machine_fit, (
        {"machine": f"machine-{n:03d}", "gateway": f"gw-{n % 4}", "release_version": RELEASES, "auroc": 0.98,
         "auroc_local": 0.97 + n % 7 / 300, "loss": 0.4, "loss_local": 0.41, "rows": 240, "steps": 60, "at_us": now_us}
        for n in range(machines)
    )  # fmt: skip


def _cases(machines: int, now_us: int) -> Iterator[dict[str, Any]]:
    diagnosis = [{"label": "outer", "confidence": 0.8}]
    for number, at_us in _spread(CASES, now_us - DAY_US):
        yield {
            "case_id": number + 1, "machine": _name(number, machines), "state": "closed",
            "priority": ("danger", "alert", "notice")[number % 3],
            "title": "Outer race damage likely (80%): 4 of 4 lines stand out of the envelope", "diagnosis": diagnosis,
            "opened_at_us": at_us, "changed_at_us": at_us + 3_600_000_000, "closed_at_us": at_us + 3_600_000_000,
            "acknowledged_by": "A. Schmidt", "points": {},
        }  # fmt: skip


def _case_events(now_us: int) -> Iterator[dict[str, Any]]:
    kinds = ("opened", "alarm", "acknowledged", "label", "closed")
    for number, at_us in _spread(CASES * EVENTS_A_CASE, now_us - DAY_US):
        kind = kinds[number % EVENTS_A_CASE]
        detail = {"label": "outer" if number % 3 else "false_alarm"} if kind == "label" else None
        yield {
            "case_id": number // EVENTS_A_CASE + 1, "at_us": at_us, "kind": kind, "actor": "A. Schmidt",
            "text": "outer" if kind == "label" else "seen at the machine", "detail": detail,
        }  # fmt: skip


def _alarms(machines: int, now_us: int) -> Iterator[dict[str, Any]]:
    states = ("unacknowledged", "acknowledged", "returned", "normal")
    for number, at_us in _spread(ALARMS, now_us):
        name = _name(number // 4, machines)
        yield {
            "gateway": "gw-0", "boot": 8, "sequence": number, "point": f"{name}/de", "machine": name,
            "alarm_id": f"{number // 4:016x}", "state": states[number % 4],
            "priority": ("alert", "notice", "notice")[number % 3], "measured_at_us": at_us, "received_at_us": at_us,
            "reason": "score 1.4 times its limit in 5 of 8 captures", "case_id": number * CASES // ALARMS + 1,
            "detail": {"point": f"{name}/de"},
        }  # fmt: skip


def _evidence(machines: int, now_us: int) -> Iterator[dict[str, Any]]:
    for number, at_us in _spread(EVIDENCE, now_us):
        yield {
            "gateway": "gw-2", "boot": 9, "sequence": number, "point": f"{_name(number, machines)}/de",
            "measured_at_us": at_us, "why": "alarm raised", "detail": {},
        }  # fmt: skip


def _requests(now_us: int) -> Iterator[dict[str, Any]]:
    for number, at_us in _spread(REQUESTS, now_us):
        yield {
            "request_id": f"{number:032x}", "sealed": b"x" * 400, "created_at_us": at_us, "state": "done",
            "actor": f"Person {number % PEOPLE}", "action": ("acknowledge", "sign_in", "note")[number % 3],
            "answer": "done", "answered_at_us": at_us,
        }  # fmt: skip


def _audit(now_us: int) -> Iterator[dict[str, Any]]:
    for number, at_us in _spread(AUDIT, now_us):
        yield {
            "at_us": at_us, "actor": f"Person {number % PEOPLE}",
            "action": ("acknowledge", "sign_in", "note")[number % 3],
            "text": "done: acknowledged", "about": f"machine-{number % 500:03d}, case {number % CASES}",
            "came_from": "10.0.0.7", "seal": f"{number:064x}",
        }  # fmt: skip


def _learning(now_us: int) -> Iterator[tuple[sa.Table, Iterable[dict[str, Any]]]]:
    members = [f"gw-{n}" for n in range(ROUND_MEMBERS)]
    yield tables.learning_round, (
        {"round_id": n + 1, "level": "site", "state": "released" if n % 9 else "void", "base_version": n + 1,
         "release_version": n + 2, "started_at_us": at_us, "ended_at_us": at_us + 9_000_000, "invited": ROUND_MEMBERS,
         "accepted": ROUND_MEMBERS - 1, "rejected": 1, "bytes_down": 231_000, "bytes_up": 229_500,
         "rule": "trimmed_mean", "digest": "c4" * 32,
         "text": "", "metrics": {"invited": members, "loss_before": 0.41, "loss_after": 0.38}}
        for n, at_us in _spread(ROUNDS, now_us)
    )  # fmt: skip
    yield tables.round_update, (
        {"round_id": n + 1, "member": member, "received_at_us": at_us, "accepted": member != "gw-3",
         "reason": "late" if member == "gw-3" else "", "weight": 60.0, "norm": 0.5, "bytes": 76_500,
         "digest": "d5" * 32, "metrics": {"loss_before": 0.41, "loss_after": 0.38}}
        for n, at_us in _spread(ROUNDS, now_us) for member in members
    )  # fmt: skip
    yield tables.release, (
        {"release_version": n + 1, "digest": f"{n:064x}", "level": "site",
         "state": "current" if n + 1 == RELEASES else "superseded", "created_at_us": at_us,
         "manifest": {"version": n + 1}, "bundle": b"x" * BUNDLE_BYTES, "stage": "everywhere", "stage_at_us": at_us}
        for n, at_us in _spread(RELEASES, now_us)
    )  # fmt: skip
    yield tables.rollout, (
        {"release_version": n + 1, "gateway": member, "state": "running", "text": "", "at_us": at_us}
        for n, at_us in _spread(RELEASES, now_us) for member in members
    )  # fmt: skip
    yield tables.release_event, (
        {"release_version": n // 5 + 1, "at_us": at_us, "stage": "canary", "actor": "rollout", "text": "held",
         "evidence": {"windows": 200}}
        for n, at_us in _spread(RELEASES * 5, now_us)
    )  # fmt: skip
    yield tables.site_offer, (
        {"key": f"{n:032x}", "state": "stored", "first_round": n, "last_round": n + 3, "rounds": 4, "base_version": n,
         "base_digest": "ab" * 32, "made_at_us": at_us, "weight": 900.0, "delta": None, "metrics": {"loss_before": 0.4},
         "text": ""}
        for n, at_us in _spread(OFFERS, now_us)
    )  # fmt: skip
    today = dt.datetime.fromtimestamp(now_us / 1e6, dt.UTC).date()
    yield tables.ledger, (
        {"day": (today - dt.timedelta(days=n)).isoformat(), "topic": topic, "messages": 96, "bytes": 7_000_000}
        for n in range(365) for topic in ("member", "reply", "task")
    )  # fmt: skip


def _office(machines: int, now_us: int) -> Iterator[tuple[sa.Table, Iterable[dict[str, Any]]]]:
    yield tables.delivery, (
        {"key": f"{n:032x}", "channel": "shift", "kind": "opened", "priority": "alert", "case_id": n % CASES + 1,
         "machine": _name(n, machines), "payload": {"text": "x" * 200}, "state": "sent",
         "due_at_us": at_us, "attempts": 1, "created_at_us": at_us, "done_at_us": at_us, "text": ""}
        for n, at_us in _spread(DELIVERIES, now_us)
    )  # fmt: skip
    yield tables.notice_channel, [{"channel": "shift", "kind": "message"}]
    yield tables.work_order, (
        {"number": f"UT-{n}", "case_id": n % CASES + 1, "machine": _name(n, machines), "text": "change the bearing",
         "due_date": "2026-11-30", "created_by": "A. Schmidt", "created_at_us": at_us}
        for n, at_us in _spread(ORDERS, now_us)
    )  # fmt: skip
    yield tables.gap, (
        {"gateway": f"gw-{n % 4}", "boot": 7, "sequence": 800_000_000 + n, "what": "records", "source": "outbox",
         "first": n, "last": n + 9, "count": 10, "reason": "outbox was full", "at_us": at_us}
        for n, at_us in _spread(GAPS, now_us)
    )  # fmt: skip
    asset = [{"machine": f"machine-{n:03d}", "title": f"Machine {n:03d}", "area": f"L{n % 9}"} for n in range(machines)]
    limits = [
        {"applies_to": f"machine-{n:03d}", "quantity": "velocity_rms_mm_s", "unit": "mm/s RMS", "alert": 4.5,
         "danger": 7.1, "source": "works standard 12"}
        for n in range(machines)
    ]  # fmt: skip
    yield tables.table_version, (
        {"kind": kind, "at_us": at_us, "actor": "A. Schmidt", "note": "yearly review",
         "rows": {"assets": asset, "limits": limits}.get(kind, [])}
        for n, at_us in _spread(VERSIONS, now_us) for kind in ("assets", "limits", "bearings", "routes")
    )  # fmt: skip
    yield tables.dead_letter, (
        {"topic": f"ut/v1/plant/gateway/gw-{n}/records", "reason": "unknown_key", "text": "not on the list",
         "at_us": at_us, "head": b"x" * 256, "size_bytes": 900}
        for n, at_us in _spread(LETTERS, now_us)
    )  # fmt: skip
    yield tables.dead_letter_count, [{"reason": "unknown_key", "count": 40_000}]
    yield tables.person, (
        {"name": f"Person {n}", "role": "engineer" if n else "admin", "state": "active", "source": "local",
         "password_hash": None, "must_change": False, "sessions_from_us": 1,
         "created_at_us": now_us, "created_by": "bench"}
        for n in range(PEOPLE)
    )  # fmt: skip
    yield tables.api_token, (
        {"token_digest": f"{n:064x}", "person": f"Person {n % PEOPLE}", "title": "bench", "role": "viewer",
         "created_at_us": now_us, "expires_at_us": now_us + YEAR_US}
        for n in range(TOKENS)
    )  # fmt: skip
