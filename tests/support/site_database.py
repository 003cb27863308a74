"""A site's database as a plant would have filled it: six machines, each with its own story, the same from one seed.

    build_site_database(tmp_path / "site.db", now_us=NOW_US)

    pump-07         outer race damage, danger, nobody has acknowledged    fan-03        imbalance, acknowledged
    compressor-02   still learning                                        conveyor-11   silent since hours
    mixer-04        its sensor is overdriven                              mill-01       well

Run as a program it makes one to look at: `python -m tests.support.site_database site.db [--days 30]`.
"""

import argparse
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection, Engine

from schemas.database import open_database, sqlite_url
from schemas.messages import (
    Alarm,
    AlarmState,
    Contribution,
    Diagnosis,
    Evidence,
    FaultLine,
    Finding,
    GatewayStatus,
    PointStatus,
    Priority,
    RemainingLife,
    Series,
)
from schemas.nameplate import BearingPlate, Nameplate
from schemas.site_tables import (
    alarm,
    audit,
    case_event,
    evidence,
    gateway,
    health,
    learning_round,
    ledger,
    machine,
    machine_case,
    metadata,
    point,
    release,
    rollout,
    round_update,
)
from vibration.bearing import BearingGeometry, FaultOrders, fault_orders
from vibration.iso_zones import Kind, ZoneVerdict, zone
from vibration.iso_zones import Nameplate as ZonePlate

FloatArray = NDArray[np.floating[Any]]

NOW_US = 1_790_000_000_000_000
VERSION = "v0003"
INTERVAL_S = 600.0
DAY_US = 86_400_000_000
BOOT = 7
ORDERS: FaultOrders = fault_orders(BearingGeometry(9, 7.94, 39.04))
RPM = 1480.0
SHAFT_HZ = RPM / 60.0
SLIP = 0.011
BPFO_HZ = ORDERS.bpfo * SHAFT_HZ
PUMP_LIFE = RemainingLife(low_s=3 * 86_400.0, median_s=6 * 86_400.0, high_s=11 * 86_400.0)
PUMP_LIFE_BASIS = "vibration has grown by 9 dB over 31 hours"
NO_LIFE = "no trend: vibration has not grown since commissioning"


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to one machine."""

    machine: str
    title: str
    points: tuple[str, ...]
    gateway: str
    criticality: int = 3
    level: float = 0.3
    growth: float = 0.0
    velocity_mm_s: float = 1.1
    learning: str = "ready"
    learning_share: float = 1.0
    quality: str = "ok"
    notice: str = ""
    silent_s: float = 0.0


STORIES = (
    Story("pump-07", "Cooling water pump 7", ("drive-end", "fan-end"), "gw-a", 5, growth=5.2, velocity_mm_s=1.6),
    Story("fan-03", "Exhaust fan 3", ("bearing-1",), "gw-a", 4, growth=1.4, velocity_mm_s=3.4),
    Story("compressor-02", "Screw compressor 2", ("stage-1",), "gw-b", learning="learning", learning_share=0.6),
    Story("conveyor-11", "Conveyor drive 11", ("gearbox",), "gw-b", silent_s=5 * 3600.0),
    Story(
        "mixer-04", "Batch mixer 4", ("head",), "gw-b", quality="saturated",
        notice="saturated: channel 0: 214 samples in flat tops of 3 or more equal ones",
    ),
    Story("mill-01", "Cement mill 1", ("inlet", "outlet"), "gw-a", 5),
)  # fmt: skip


def create_tables(path: Path) -> Engine:
    """Make an empty database of the version the dashboard reads."""
    engine = open_database(sqlite_url(path))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:version)"), {"version": VERSION})
    return engine


def build_site_database(path: Path, *, now_us: int = NOW_US, days: float = 3.0, seed: int = 0) -> Engine:
    """Fill a database; the newest data is of `now_us`."""
    engine = create_tables(path)
    rng = np.random.default_rng(seed)
    with engine.begin() as connection:
        sequence = 0
        for story in STORIES:
            sequence = _write_machine(connection, story, rng, sequence, now_us=now_us, days=days)
        _write_gateways(connection, now_us)
        _write_pump_case(connection, rng, now_us)
        _write_fan_case(connection, rng, now_us)
        _write_learning(connection, rng, now_us)
    return engine


def _write_machine(
    connection: Connection, story: Story, rng: np.random.Generator, sequence: int, *, now_us: int, days: float
) -> int:
    plate = Nameplate(
        machine=story.machine, title=story.title, power_kw=55.0, foundation="rigid", rpm=RPM,
        kind="pump" if story.machine.startswith("pump") else "general",
        bearing=BearingPlate(name="6205") if story.machine != "conveyor-11" else None, criticality=story.criticality,
    )  # fmt: skip
    connection.execute(
        sa.insert(machine).values(
            machine=story.machine, title=story.title, criticality=story.criticality,
            nameplate=plate.model_dump(mode="json", exclude_none=True), first_seen_us=now_us - int(days * DAY_US),
        )
    )  # fmt: skip
    for place in story.points:
        name = f"{story.machine}/{place}"
        last_us = now_us - int((story.silent_s + 20.0) * 1e6)
        rows = _health_rows(story, name, rng, last_us=last_us, days=days, sequence=sequence)
        sequence = rows[-1]["sequence"] + 1
        connection.execute(sa.insert(health), rows)
        connection.execute(
            sa.insert(point).values(
                point=name, machine=story.machine, gateway=story.gateway, learning=story.learning,
                learning_share=story.learning_share, quality=story.quality, notice=story.notice,
                last_measured_us=last_us, last_received_us=last_us + 1_200_000, interval_s=INTERVAL_S,
            )
        )  # fmt: skip
    return sequence


def _health_rows(
    story: Story, name: str, rng: np.random.Generator, *, last_us: int, days: float, sequence: int
) -> list[dict[str, Any]]:
    count = max(12, int(days * 86_400 / INTERVAL_S))
    if story.learning == "learning":
        count = 12
    steps = np.arange(count)
    grown = np.exp(np.log1p(story.growth) * np.clip((steps / count - 0.35) / 0.65, 0.0, 1.0) ** 1.4)
    first = name.endswith(story.points[0])
    score = (story.level * (grown if first else 1.0)) * np.exp(0.09 * rng.standard_normal(count))
    velocity = story.velocity_mm_s * (0.9 + 0.1 * grown) * np.exp(0.04 * rng.standard_normal(count))
    at_us = last_us - ((count - 1 - steps) * INTERVAL_S * 1e6).astype(np.int64)
    kept = np.ones(count, dtype=bool)
    if count > 100 and story.machine in {"pump-07", "mill-01"}:
        kept[int(0.52 * count) : int(0.57 * count)] = False
    rows = []
    for i in np.flatnonzero(kept):
        believed = story.quality == "ok" or i < count - 30
        judged = believed and story.learning == "ready"
        life = PUMP_LIFE if judged and name == "pump-07/drive-end" and score[i] > 0.9 else None
        rows.append(
            {
                "gateway": story.gateway, "boot": BOOT, "sequence": sequence + int(i), "point": name,
                "capture_boot": 3, "capture_sequence": int(i), "measured_at_us": int(at_us[i]),
                "received_at_us": int(at_us[i]) + 1_200_000, "quality": "ok" if believed else story.quality,
                "learning": story.learning, "score": float(score[i]) if judged else None,
                "score_limit": 0.55 if judged else None, "exceeds": bool(judged and score[i] > 0.55),
                "alarm": "unacknowledged" if judged and score[i] > 0.9 else "normal",
                "zone": _zone(story, float(velocity[i])).zone if believed else None,
                "zone_basis": _zone(story, float(velocity[i])).reason,
                "velocity_rms_mm_s": float(velocity[i]) if believed else None,
                "acceleration_rms_g": 0.21, "acceleration_peak_g": 0.9 + float(score[i]), "crest_factor": 4.1,
                "kurtosis": 3.0 + 2.0 * float(score[i]), "envelope_rms_g": 0.05 * float(score[i]) + 0.02,
                "rpm": RPM + float(rng.normal(0, 2)), "rpm_source": "signal", "rpm_confidence": 0.93,
                "temperature_c": 41.0 + 3.0 * float(np.sin(i / 23.0)), "battery_v": 3.52,
                "diagnosis": [], "model_version": 4,
                "remaining_life_low_s": life.low_s if life else None,
                "remaining_life_median_s": life.median_s if life else None,
                "remaining_life_high_s": life.high_s if life else None,
                "remaining_life_basis": (PUMP_LIFE_BASIS if life else NO_LIFE) if judged else "",
            }
        )  # fmt: skip
    return rows


def _zone(story: Story, velocity_mm_s: float) -> ZoneVerdict:
    kind: Kind = "pump" if story.machine.startswith("pump") else "general"
    return zone(velocity_mm_s, ZonePlate(power_kw=55.0, foundation="rigid", kind=kind, rpm=RPM))


def _write_gateways(connection: Connection, now_us: int) -> None:
    for name, online, seen_s in (("gw-a", True, 4), ("gw-b", True, 6), ("gw-c", False, 7200)):
        status = GatewayStatus(
            gateway=name, online=online, boot=BOOT, at_us=now_us - seen_s * 1_000_000, software="0.1.0",
            release_version=4 if name != "gw-c" else 3, release_digest="5e" * 32, captures_stored=4321,
            outbox_pending=0, disk_free_bytes=21_000_000_000, memory_bytes=131_000_000,
            points=tuple(
                PointStatus(
                    point=f"{story.machine}/{place}", learning=story.learning, captures=12,
                    learning_share=story.learning_share, quality=story.quality, model="release 4",
                )
                for story in STORIES if story.gateway == name for place in story.points
            ),
        )  # fmt: skip
        connection.execute(
            sa.insert(gateway).values(
                gateway=name, online=online, boot=BOOT, last_sequence=9000, last_seen_us=now_us - seen_s * 1_000_000,
                status=status.model_dump(mode="json"), release_version=status.release_version,
            )
        )  # fmt: skip


def _envelope_g(rng: np.random.Generator, family_hz: float | None, lines: int, step_hz: float) -> FloatArray:
    frequency_hz = np.arange(lines, dtype=np.float64) * step_hz
    values = 0.0016 * rng.rayleigh(1.0, lines) * (1.0 + 2.0 * np.exp(-frequency_hz / 60.0))
    for harmonic in (1, 2):
        values += _line(frequency_hz, harmonic * SHAFT_HZ, 0.006 / harmonic, step_hz)
    if family_hz is not None:
        for harmonic in range(1, 7):
            values += _line(frequency_hz, harmonic * family_hz, 0.061 * 0.72 ** (harmonic - 1), step_hz)
    return values


def _line(frequency_hz: FloatArray, at_hz: float, height: float, step_hz: float) -> FloatArray:
    distance = np.clip(np.abs(frequency_hz - at_hz) / (2.0 * step_hz), 0.0, 1.0)
    peak: FloatArray = height * np.cos(0.5 * np.pi * distance) ** 2
    return peak


def make_evidence(
    name: str, rng: np.random.Generator, *, measured_at_us: int, family_hz: float | None, why: str, sequence: int
) -> Evidence:
    """Spectra of one capture; with a bearing family in the envelope where there is one."""
    lines, step_hz = 1601, 0.625
    wide, wide_hz = 3201, 4.0
    frequency_hz = np.arange(wide, dtype=np.float64) * wide_hz
    healthy = 0.0008 * rng.rayleigh(1.0, wide) * (1.0 + 3.0 * np.exp(-(((frequency_hz - 3200.0) / 700.0) ** 2)))
    for harmonic, height in ((1, 0.021), (2, 0.009), (3, 0.004)):
        healthy += _line(frequency_hz, harmonic * SHAFT_HZ, height, wide_hz)
    spectrum = healthy.copy()
    if family_hz is not None:
        for harmonic in range(1, 120):
            at_hz = harmonic * family_hz
            spectrum += _line(frequency_hz, at_hz, 0.016 * np.exp(-(((at_hz - 3200.0) / 900.0) ** 2)), wide_hz)
    found = family_hz
    rates = (("BPFO", ORDERS.bpfo), ("BPFI", ORDERS.bpfi), ("2xBSF", 2 * ORDERS.bsf), ("FTF", ORDERS.ftf))
    return Evidence(
        point=name, capture_boot=3, capture_sequence=sequence, measured_at_us=measured_at_us, why=why, axis=0, rpm=RPM,
        spectrum=Series.pack(spectrum, start=0.0, step=wide_hz, axis_unit="Hz", value_unit="g"),
        envelope=Series.pack(
            _envelope_g(rng, family_hz, lines, step_hz), start=0.0, step=step_hz, axis_unit="Hz", value_unit="g"
        ),
        baseline=Series.pack(healthy, start=0.0, step=wide_hz, axis_unit="Hz", value_unit="g"),
        envelope_band_hz=(2400.0, 4000.0),
        fault_lines=(
            *(
                FaultLine(
                    name=label, frequency_hz=order * SHAFT_HZ, harmonics=4,
                    found_hz=found if label == "BPFO" else None,
                    prominence_db=31.4 if label == "BPFO" and found else 2.1,
                )
                for label, order in rates
            ),
            FaultLine(name="1x", frequency_hz=SHAFT_HZ, harmonics=4),
        ),
    )  # fmt: skip


def _write_evidence(connection: Connection, source: str, sequence: int, found: Evidence) -> None:
    connection.execute(
        sa.insert(evidence).values(
            gateway=source, boot=BOOT, sequence=sequence, point=found.point, measured_at_us=found.measured_at_us,
            why=found.why, detail=found.model_dump(mode="json"),
        )
    )  # fmt: skip


def _write_alarm(
    connection: Connection, source: str, sequence: int, case_id: int, said: Alarm
) -> None:  # fmt: skip
    connection.execute(
        sa.insert(alarm).values(
            gateway=source, boot=BOOT, sequence=sequence, point=said.point, machine=said.point.partition("/")[0],
            alarm_id=said.alarm_id, state=said.state, priority=said.priority, measured_at_us=said.measured_at_us,
            received_at_us=said.measured_at_us + 1_300_000, reason=said.reason, case_id=case_id,
            detail=said.model_dump(mode="json"),
        )
    )  # fmt: skip


def open_case(
    connection: Connection,
    *,
    name: str,
    priority: Priority,
    title: str,
    diagnosis: tuple[Diagnosis, ...],
    at_us: int,
    state: str = "open",
    acknowledged_by: str | None = None,
    points: dict[str, AlarmState] | None = None,
) -> int:
    """Write one case that is not closed, with the first line of its history."""
    case_id: int = connection.execute(
        sa.insert(machine_case)
        .values(
            machine=name, state=state, priority=priority, title=title,
            diagnosis=[item.model_dump(mode="json") for item in diagnosis], opened_at_us=at_us, changed_at_us=at_us,
            acknowledged_by=acknowledged_by, points=points or {},
        )
        .returning(machine_case.c.case_id)
    ).scalar_one()  # fmt: skip
    connection.execute(
        sa.insert(case_event).values(
            case_id=case_id, at_us=at_us, kind="opened", actor="site", text=f"{priority}: {title}"
        )
    )
    return case_id


def _write_pump_case(connection: Connection, rng: np.random.Generator, now_us: int) -> None:
    name, at_us = "pump-07/drive-end", now_us - 5 * 3600 * 1_000_000
    diagnosis = (
        Diagnosis(label="outer", confidence=0.82),
        Diagnosis(label="looseness", confidence=0.09),
        Diagnosis(label="unknown", confidence=0.09),
    )
    found_hz = BPFO_HZ * (1.0 - SLIP)
    title = (
        f"Outer race damage likely (82%): 4 of 4 outer race lines stand out of the envelope, the strongest at "
        f"{found_hz:.1f} Hz (-1.1 % from theory), 31 dB above its surroundings; vibration "
        "pattern 3.1 times its healthy limit"
    )
    case_id = open_case(
        connection, name="pump-07", priority="danger", title=title, diagnosis=diagnosis, at_us=at_us,
        points={name: "unacknowledged"},
    )  # fmt: skip
    said = Alarm(
        point=name, alarm_id="a1" * 8, state="unacknowledged", priority="danger", measured_at_us=at_us,
        capture_boot=3, capture_sequence=400, score=1.7, limit=0.55, zone="A", reason=title, diagnosis=diagnosis,
        findings=(
            Finding(
                label="outer", speaks_for=True, value=31.0, unit="dB",
                text=f"4 of 4 outer race lines stand out of the envelope, the strongest at {found_hz:.1f} Hz "
                "(-1.1 % from theory), 31 dB above its surroundings",
            ),
            Finding(label="outer", speaks_for=True, text="no sidebands at shaft speed: the damage does not turn"),
            Finding(label="looseness", speaks_for=True, value=0.09, text="looseness is also possible (9%)"),
            Finding(label="outer", speaks_for=False, text="velocity is still in zone A: no damage beyond the bearing"),
        ),
        contributions=(
            Contribution(name="envelope up", axis=0, low_hz=79.0, high_hz=100.0, share=0.34),
            Contribution(name="spectrum up", axis=0, low_hz=2900.0, high_hz=3600.0, share=0.27),
            Contribution(name="envelope up", axis=0, low_hz=158.0, high_hz=200.0, share=0.11),
        ),
        model_version=4,
    )  # fmt: skip
    _write_alarm(connection, "gw-a", 500_000, case_id, said)
    shown = make_evidence(name, rng, measured_at_us=at_us, family_hz=found_hz, why="alarm raised", sequence=400)
    _write_evidence(connection, "gw-a", 500_001, shown)


def _write_fan_case(connection: Connection, rng: np.random.Generator, now_us: int) -> None:
    name, at_us = "fan-03/bearing-1", now_us - 30 * 3600 * 1_000_000
    diagnosis = (Diagnosis(label="imbalance", confidence=0.61), Diagnosis(label="unknown", confidence=0.39))
    title = "Zone C: 3.4 mm/s RMS, allowed for a limited time only; shaft lines of imbalance have grown by 14 dB"
    case_id = open_case(
        connection, name="fan-03", priority="alert", title=title, diagnosis=diagnosis, at_us=at_us,
        state="acknowledged", acknowledged_by="M. Weber", points={name: "acknowledged"},
    )  # fmt: skip
    connection.execute(
        sa.insert(case_event).values(
            case_id=case_id, at_us=at_us + 3600 * 1_000_000, kind="acknowledged", actor="M. Weber",
            text="Blades to be cleaned at the stop on Thursday",
        )
    )  # fmt: skip
    said = Alarm(
        point=name, alarm_id="b2" * 8, state="acknowledged", priority="alert", measured_at_us=at_us, capture_boot=3,
        capture_sequence=300, score=0.7, limit=0.55, zone="C", reason=title, diagnosis=diagnosis,
        findings=(
            Finding(label="imbalance", speaks_for=True, value=14.0, unit="dB", text="1x has grown by 14 dB"),
            Finding(label="imbalance", speaks_for=False, text="speed has not been varied: resonance is not ruled out"),
        ),
        model_version=4,
    )  # fmt: skip
    _write_alarm(connection, "gw-a", 500_010, case_id, said)
    shown = make_evidence(name, rng, measured_at_us=at_us, family_hz=None, why="alarm raised", sequence=300)
    _write_evidence(connection, "gw-a", 500_011, shown)


def _write_learning(connection: Connection, rng: np.random.Generator, now_us: int) -> None:
    hour_us = 3600 * 1_000_000
    for version, state in ((2, "superseded"), (3, "superseded"), (4, "current")):
        connection.execute(
            sa.insert(release).values(
                release_version=version, digest=hashlib.sha256(bytes([version])).hexdigest(), level="site", state=state,
                created_at_us=now_us - (5 - version) * hour_us, manifest={"version": version}, bundle=b"x" * 84_000,
            )
        )  # fmt: skip
    for number, state in ((1, "released"), (2, "released"), (3, "void")):
        accepted = 2 if state == "released" else 1
        connection.execute(
            sa.insert(learning_round).values(
                round_id=number, level="site", state=state, base_version=number + 1,
                release_version=number + 2 if state == "released" else None,
                started_at_us=now_us - (4 - number) * hour_us, ended_at_us=now_us - (4 - number) * hour_us + 9_400_000,
                invited=3, accepted=accepted, rejected=1 if number == 2 else 0, bytes_down=231_000, bytes_up=229_500,
                rule="mean", digest="c4" * 32, text="" if state == "released" else "1 of 3 answered, 2 needed",
                metrics={},
            )
        )  # fmt: skip
        for index, member in enumerate(("gw-a", "gw-b", "gw-c")[: accepted + (number == 2)]):
            refused = number == 2 and member == "gw-c"
            connection.execute(
                sa.insert(round_update).values(
                    round_id=number, member=member, received_at_us=now_us - (4 - number) * hour_us + 4_000_000,
                    accepted=not refused, reason="not_finite" if refused else "",
                    weight=0.0 if refused else 60.0 + index,
                    norm=None if refused else float(rng.uniform(0.4, 0.6)), bytes=76_500, digest="d5" * 32, metrics={},
                )
            )  # fmt: skip
    for name, version, state in (("gw-a", 4, "running"), ("gw-b", 4, "running"), ("gw-c", 4, "offered")):
        connection.execute(
            sa.insert(rollout).values(
                release_version=version, gateway=name, state=state, text="", at_us=now_us - hour_us
            )
        )
    for days_ago in range(3):
        day = time.strftime("%Y-%m-%d", time.gmtime(now_us / 1e6 - 86_400 * days_ago))
        for topic, messages, size in (("member", 2, 412), ("reply", 24, 1_836_000)):
            connection.execute(sa.insert(ledger).values(day=day, topic=topic, messages=messages, bytes=size))
    connection.execute(
        sa.insert(audit).values(at_us=now_us - hour_us, actor="site", action="release", text="release 4 made current")
    )


def main() -> None:
    """Make a database to look at."""
    parser = argparse.ArgumentParser(description="Make a site database with six machines to look at.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    build_site_database(options.path, now_us=time.time_ns() // 1000, days=options.days, seed=options.seed).dispose()


if __name__ == "__main__":
    main()
