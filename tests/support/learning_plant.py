"""A site's database with learning and a fleet in it: a candidate on its canary, rejected updates, machines worse off.

    build_learning_database(tmp_path / "site.db", now_us=NOW_US)

    round 12   gw-a, gw-b accepted, gw-d far too large, gw-c late         release 5   candidate, on its canary gw-a
    gw-b       older software, little disk, a clock ahead, records wait   conveyor-11 worse off with the fleet
    mixer-04   overdriven, loses captures, its battery falls              gw-x        unknown, no key on the list

Run as a program it makes one to look at: `python -m tests.support.learning_plant site.db`.
"""

import argparse
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator import desk_rollout
from aggregator.requests_desk import RequestsDesk
from aggregator.settings import DeskSettings
from schemas.messages import GateReport, GatewayStatus, ShadowSummary
from schemas.signing import KeyRing, Signer
from schemas.site_tables import (
    dead_letter,
    dead_letter_count,
    gateway,
    health,
    learning_round,
    machine_fit,
    release,
    release_event,
    rollout,
    round_update,
    site_offer,
)
from tests.support.people import working
from tests.support.site_database import NOW_US, build_site_database

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
CANDIDATE = 5
FITS = (
    ("conveyor-11", "gw-b", 0.71, 0.78), ("pump-07", "gw-a", 0.94, 0.81), ("fan-03", "gw-a", 0.9, 0.86),
    ("mill-01", "gw-a", 0.905, 0.9),
)  # fmt: skip


def build_learning_database(path: Path, *, now_us: int = NOW_US, days: float = 12.0) -> Engine:
    """Fill a database; the newest data is of `now_us`."""
    engine = build_site_database(path, now_us=now_us, days=days)
    rng = np.random.default_rng(3)
    with engine.begin() as connection:
        for number in range(4, 13):
            _write_round(connection, number, now_us - (12 - number) * HOUR_US // 4 - 300_000_000, rng)
        _write_candidate(connection, now_us)
        for name, of_gateway, auroc, alone in FITS:
            connection.execute(
                sa.insert(machine_fit).values(
                    machine=name, gateway=of_gateway, release_version=4, auroc=auroc, auroc_local=alone, loss=0.31,
                    loss_local=0.33, rows=48, steps=240, at_us=now_us - 2 * HOUR_US,
                )
            )  # fmt: skip
        _write_offer(connection, now_us)
        _write_statuses(connection, now_us)
        _write_troubled_sensor(connection)
        _write_unknown_device(connection, now_us)
    return engine


def desk_of_releases(engine: Engine, ring: KeyRing, *, people: int = 1) -> RequestsDesk:
    """The site's desk for what people ask of releases, where so many must ask for one to be taken back."""
    numbers = iter(range(1 << 30))
    return RequestsDesk(
        engine, site="plant-a", signer=Signer.generate(), keys=ring, settings=DeskSettings(),
        publish=lambda topic, sealed: True, now_us=lambda: time.time_ns() // 1000, now_s=time.monotonic,
        new_id=lambda: f"{next(numbers):032x}", handlers=desk_rollout.handlers(lambda: people),
    )  # fmt: skip


@contextmanager
def steering(engine: Engine, ring: KeyRing) -> Iterator[None]:
    """That desk at work, while the block lasts."""
    with working(desk_of_releases(engine, ring)):
        yield


def _write_round(connection: Connection, number: int, at_us: int, rng: np.random.Generator) -> None:
    last = number == 12
    members = ["gw-a", "gw-b", "gw-c", "gw-d"] if last else ["gw-a", "gw-b"]
    metrics: dict[str, Any] = {
        "invited": members, "present": members, "for_enterprise": False, "from_buffer": False,
        "why": dict.fromkeys(members, "all"),
        "late": [{"member": "gw-c", "key": "11", "staleness": 1, "share": 0.7071}],
        "loss_before": 0.412, "loss_after": 0.377, "held_back_rows": 118.0, "judges": 2.0,
    }  # fmt: skip
    connection.execute(
        sa.insert(learning_round).values(
            round_id=number, level="site", state="released", base_version=4, release_version=CANDIDATE if last else 4,
            started_at_us=at_us, ended_at_us=at_us + 9_200_000, invited=len(members), accepted=2,
            rejected=len(members) - 2, bytes_down=308_000, bytes_up=306_000, rule="mean", digest="c4" * 32,
            text="2 updates: the mean is used, no rule can tell a wrong one from a right one", metrics=metrics,
        )
    )  # fmt: skip
    for index, member in enumerate(members):
        accepted = member in {"gw-a", "gw-b"}
        reason = {"gw-d": "norm_outlier", "gw-c": "late"}.get(member, "")
        norm = {"gw-d": 9.7, "gw-c": None}.get(member, float(rng.uniform(0.4, 0.6)))
        said = {"base_version": 4, "staleness": 0, "loss_before": 0.41, "loss_after": 0.38, "held_back_rows": 59}
        if accepted:
            said["contribution"] = 0.91 - 0.2 * index
        connection.execute(
            sa.insert(round_update).values(
                round_id=number, member=member, received_at_us=at_us + 4_000_000, accepted=accepted, reason=reason,
                weight=240.0 - 60 * index if accepted else 0.0, norm=norm, bytes=76_500 if norm else 0,
                digest="d5" * 32, metrics=said if norm else {},
            )
        )  # fmt: skip


def _write_candidate(connection: Connection, now_us: int) -> None:
    connection.execute(
        sa.insert(release).values(
            release_version=CANDIDATE, digest=hashlib.sha256(b"5").hexdigest(), level="site", state="candidate",
            created_at_us=now_us - HOUR_US, manifest={"version": CANDIDATE}, bundle=b"x" * 84_000, stage="canary",
            stage_share=0.0, stage_at_us=now_us - HOUR_US // 3, paused=False,
            stage_text="runs on 1 of 3 gateways for 1200 of 3600 s",
            evidence={"order": ["gw-a", "gw-b", "gw-c"], "figures": {"windows": 900.0}},
        )
    )  # fmt: skip
    for ago_us, stage, text in (
        (HOUR_US, "shadow", "set out"),
        (HOUR_US // 3, "canary", "7 of 900 healthy captures exceed, 9 of the same by the other release"),
    ):
        connection.execute(
            sa.insert(release_event).values(
                release_version=CANDIDATE, at_us=now_us - ago_us, stage=stage, actor="rollout", text=text,
                evidence={"auroc": 0.93, "auroc_in_use": 0.92},
            )
        )  # fmt: skip
    edges = np.arange(26)
    ours = np.round(400 * np.exp(-(((edges - 7.5) / 2.2) ** 2))).astype(int)
    others = np.round(400 * np.exp(-(((edges - 8.0) / 2.4) ** 2))).astype(int)
    shadow = ShadowSummary(
        this_version=CANDIDATE, in_use_version=4, points=4, windows=900, exceeding_this=7, exceeding_in_use=9, errors=0,
        in_limits_this=tuple(int(n) for n in ours), in_limits_in_use=tuple(int(n) for n in others),
    )  # fmt: skip
    gate = GateReport(
        version=CANDIDATE, digest="5e" * 32, in_use_version=4, rows=118, faults=360, auroc=0.93, auroc_in_use=0.92,
        loss=0.38, loss_in_use=0.41, false_alarm_rate=0.008, false_alarm_rate_in_use=0.012,
    )  # fmt: skip
    rows = (("gw-a", "running", gate, shadow), ("gw-b", "trying", gate, None), ("gw-c", "offered", None, None))
    for name, state, judged, scored in rows:
        connection.execute(
            sa.insert(rollout).values(
                release_version=CANDIDATE, gateway=name, state=state, text="", at_us=now_us - HOUR_US // 3,
                gate=None if judged is None else judged.model_dump(mode="json"),
                shadow=None if scored is None else scored.model_dump(mode="json"),
            )
        )  # fmt: skip


def _write_offer(connection: Connection, now_us: int) -> None:
    delta = np.linspace(-0.01, 0.01, 19_088, dtype="<f4").tobytes()
    connection.execute(
        sa.insert(site_offer).values(
            key="3f" * 32, state="waiting", first_round=11, last_round=12, rounds=2, base_version=2,
            base_digest="9a" * 32, made_at_us=now_us - HOUR_US, weight=420.0, delta=delta, text="",
            metrics={"loss_before": 0.412, "loss_after": 0.377, "made_version": 5},
        )
    )  # fmt: skip


def _write_statuses(connection: Connection, now_us: int) -> None:
    host: dict[str, dict[str, Any]] = {
        "gw-a": {"disk_size_bytes": 64_000_000_000, "load_share": 0.12, "certificate_until_us": now_us + 21 * DAY_US,
                 "software": "0.2.0", "captures_gap": 3, "captures_duplicate": 11},
        "gw-b": {"disk_size_bytes": 32_000_000_000, "disk_free_bytes": 700_000_000, "load_share": 0.95,
                 "certificate_until_us": now_us + 3 * DAY_US, "outbox_pending": 512, "outbox_oldest_s": 4200.0,
                 "dead_letters": {"unknown_machine": 14, "bad_crc": 2}},
        "gw-c": {"software": "0.2.0"},
    }  # fmt: skip
    for row in connection.execute(sa.select(gateway.c.gateway, gateway.c.status)).all():
        said = GatewayStatus.model_validate({**row.status, **host[row.gateway]})
        connection.execute(
            sa.update(gateway)
            .where(gateway.c.gateway == row.gateway)
            .values(
                status=said.model_dump(mode="json"),
                clock_ahead_s={"gw-a": -0.04, "gw-b": 31.5}.get(row.gateway),
            )
        )


def _write_troubled_sensor(connection: Connection) -> None:
    """Every fifth capture of mixer-04 is lost, and its battery falls from 3.4 V by 15 mV a day."""
    mine = health.c.point == "mixer-04/head"
    first_us, last_us = connection.execute(
        sa.select(sa.func.min(health.c.measured_at_us), sa.func.max(health.c.measured_at_us)).where(mine)
    ).one()
    fallen = 3.4 - 0.015 * (health.c.measured_at_us - first_us) / float(DAY_US)
    connection.execute(
        sa.delete(health).where(mine, health.c.capture_sequence % 5 == 2, health.c.measured_at_us < last_us)
    )
    connection.execute(sa.update(health).where(mine).values(battery_v=fallen))


def _write_unknown_device(connection: Connection, now_us: int) -> None:
    for number in range(3):
        connection.execute(
            sa.insert(dead_letter).values(
                topic="ut/v1/plant-a/gateway/gw-x/status", reason="unknown_key",
                text="key 8f3a on ut/v1/plant-a/gateway/gw-x/status is not on the list; enrol it",
                at_us=now_us - number * 10_000_000, head=b"", size_bytes=300,
            )
        )  # fmt: skip
    connection.execute(sa.insert(dead_letter_count).values(reason="unknown_key", count=41))


def main() -> None:
    """Make a database to look at."""
    parser = argparse.ArgumentParser(description="Make a site database with learning and a fleet to look at.")
    parser.add_argument("path", type=Path)
    build_learning_database(parser.parse_args().path, now_us=time.time_ns() // 1000).dispose()


if __name__ == "__main__":
    main()
