"""This file knows the plant that screens are measured on: 500 machines, a year of hourly captures, one point faster.

The rows are made by the database itself, from numbers without chance; the hours of the fast point are summed up by
the site's own code.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.history import HOUR_US, LATE_US, sum_hours
from benchmarks.dashboard_year import count_rows, write_year
from schemas.messages import Diagnosis, Evidence, FaultLine, Series
from schemas.nameplate import BearingPlate, Nameplate
from schemas.site_tables import evidence, gateway, health, history_hour, history_mark, machine, machine_case, point
from vibration.envelope import envelope_spectrum
from vibration.spectrum import amplitude_spectrum

MACHINES: Final = 500
HOURS: Final = 365 * 24
NEIGHBOURS: Final = 40
FAST: Final = "machine-000/de"
FAST_EVERY_US: Final = 600_000_000
RATE_HZ, SAMPLES, SHAFT_HZ, BPFO_HZ = 12_800.0, 16_384, 24.67, 88.4
BAND_HZ = (2400.0, 4000.0)


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows there are, to be said beside each figure."""

    health: int
    of_fast_point: int
    hours_of_fast_point: int
    tables: dict[str, int]

    def said(self) -> str:
        """The tables that matter, in words."""
        return ", ".join(f"{count:,} {name}" for name, count in self.tables.items() if count >= 1000)


def build_plant(engine: Engine, *, now_us: int, machines: int = MACHINES, hours: int = HOURS) -> Rows:
    """Fill an empty database of the current version."""
    with engine.begin() as connection:
        _write_machines(connection, machines, now_us=now_us, since_us=now_us - hours * HOUR_US)
        write_year(connection, machines, now_us=now_us)
        for index in range(machines):
            name, every_us = f"machine-{index:03d}/de", FAST_EVERY_US if index == 0 else HOUR_US
            _write_year(connection, name, index, now_us=now_us, every_us=every_us, count=hours * HOUR_US // every_us)
        _write_cases(connection, min(20, machines), now_us=now_us)
        for age in range(8):
            _write_evidence(connection, age, now_us=now_us)
        summed_us = (now_us - LATE_US) // HOUR_US * HOUR_US
        others = [{"point": f"machine-{index:03d}/de", "summed_until_us": summed_us} for index in range(1, machines)]
        connection.execute(sa.insert(history_mark), others)  # only the fast point's year is drawn
        _write_neighbours(connection, machines, now_us=now_us)
    while _sum_once(engine, now_us):
        pass
    with engine.connect() as connection:
        connection.execute(sa.text("ANALYZE"))
        connection.commit()
        count = sa.select(sa.func.count())
        return Rows(
            connection.scalar(count.select_from(health)) or 0,
            connection.scalar(count.select_from(health).where(health.c.point == FAST)) or 0,
            connection.scalar(count.select_from(history_hour).where(history_hour.c.point == FAST)) or 0,
            count_rows(connection),
        )


def _sum_once(engine: Engine, now_us: int) -> int:
    with engine.begin() as connection:
        return sum_hours(connection, now_us=now_us)


def _write_machines(connection: Connection, machines: int, *, now_us: int, since_us: int) -> None:
    for name in ("gw-0", "gw-1", "gw-2", "gw-3"):
        connection.execute(
            sa.insert(gateway).values(
                gateway=name, online=True, last_sequence=1, last_seen_us=now_us, release_version=4
            )
        )
    names = [f"machine-{index:03d}" for index in range(machines)]
    plates = {
        name: Nameplate(
            machine=name, title=f"Machine {name[-3:]}", power_kw=55.0, foundation="rigid", rpm=60 * SHAFT_HZ,
            bearing=BearingPlate(name="6205"),
        ).model_dump(mode="json", exclude_none=True)
        for name in names
    }  # fmt: skip
    connection.execute(
        sa.insert(machine),
        [
            {"machine": name, "title": f"Machine {name[-3:]}", "criticality": 3, "nameplate": plates[name],
             "first_seen_us": since_us}
            for name in names
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(point),
        [
            {"point": f"{name}/de", "machine": name, "gateway": f"gw-{index % 4}", "learning": "ready",
             "learning_share": 1.0, "quality": "ok", "notice": "", "last_measured_us": now_us,
             "last_received_us": now_us, "interval_s": 3600.0}
            for index, name in enumerate(names)
        ],
    )  # fmt: skip


def _write_year(connection: Connection, name: str, index: int, *, now_us: int, every_us: int, count: int) -> None:
    """Captures up to now, made by the database: quicker than to send them."""
    if connection.dialect.name == "sqlite":
        numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)"
    else:
        numbers = "WITH n(i) AS (SELECT generate_series(CAST(0 AS BIGINT), CAST(:count AS BIGINT) - 1))"
    nothing = "'[]'" if connection.dialect.name == "sqlite" else "CAST('[]' AS JSON)"
    values = {
        "gateway": "'gw-' || :own", "boot": "7", "sequence": ":first + i", "point": ":name", "capture_boot": "1",
        "capture_sequence": "i", "measured_at_us": ":now_us - (:count - 1 - i) * :every_us",
        "received_at_us": ":now_us - (:count - 1 - i) * :every_us", "quality": "'ok'", "learning": "'ready'",
        "score": "0.3 + (i * 7919 % 1000) / 4000.0", "score_limit": "0.7", "exceeds": "(1 = 0)", "alarm": "'normal'",
        "zone": "'A'", "zone_basis": "'1.1 mm/s RMS, zone A up to 1.4 (ISO 10816-3:2009, group 2, rigid)'",
        "velocity_rms_mm_s": "1.0 + (i * 104729 % 1000) / 5000.0", "acceleration_rms_g": "0.2",
        "acceleration_peak_g": "0.9", "crest_factor": "4.1", "kurtosis": "3.0 + (i * 31 % 100) / 200.0",
        "envelope_rms_g": "0.05", "rpm": "1480.0", "rpm_source": "'sensor'", "rpm_confidence": "0.9",
        "temperature_c": "41.0", "battery_v": "3.5", "diagnosis": nothing, "model_version": "4",
        "remaining_life_basis": "'no trend: vibration has not grown since commissioning'",
    }  # fmt: skip
    select = f"{numbers} SELECT {', '.join(values.values())} FROM n"
    into = f"INSERT INTO health ({', '.join(values)}) "
    given: dict[str, Any] = {
        "own": str(index % 4), "first": 1_000_000 * index, "name": name, "now_us": now_us, "count": count,
        "every_us": every_us,
    }  # fmt: skip
    connection.execute(sa.text(into + select), given)


def _write_neighbours(connection: Connection, machines: int, *, now_us: int) -> None:
    """Hours and evidence of other points, so that no index is passed over because one point has all rows."""
    named = [f"machine-{index:03d}/de" for index in range(1, min(machines, NEIGHBOURS + 1))]
    h = health.c
    hour = h.measured_at_us // HOUR_US
    columns = ["point", "hour", "first_us", "last_us", "captures", "believed", "score_lowest", "score_highest"]
    connection.execute(
        sa.insert(history_hour).from_select(
            columns,
            sa.select(
                h.point, hour, sa.func.min(h.measured_at_us), sa.func.max(h.measured_at_us),
                sa.func.count(), sa.func.count(), sa.func.min(h.score), sa.func.max(h.score),
            ).where(h.point.in_(named)).group_by(h.point, hour),
        )
    )  # fmt: skip
    connection.execute(
        sa.insert(evidence),
        [
            {"gateway": "gw-1", "boot": 7, "sequence": 910_000_000 + 50 * index + age, "point": name, "why": "bench",
             "measured_at_us": now_us - age * HOUR_US, "detail": {}}
            for index, name in enumerate(named) for age in range(50)
        ],
    )  # fmt: skip


def _write_cases(connection: Connection, cases: int, *, now_us: int) -> None:
    diagnosis = [Diagnosis(label="outer", confidence=0.8).model_dump(mode="json")]
    connection.execute(
        sa.insert(machine_case),
        [
            {"machine": f"machine-{index:03d}", "state": "open", "priority": "alert",
             "title": "Outer race damage likely (80%): 4 of 4 lines stand out of the envelope", "diagnosis": diagnosis,
             "opened_at_us": now_us, "changed_at_us": now_us, "points": {}}
            for index in range(cases)
        ],
    )  # fmt: skip


def _write_evidence(connection: Connection, age: int, *, now_us: int) -> None:
    seed = int.from_bytes(hashlib.sha256(bytes([age])).digest()[:4], "big")
    time_s = np.arange(SAMPLES) / RATE_HZ
    impacts = (np.sin(2 * np.pi * BPFO_HZ * time_s) > 0.995) * np.sin(2 * np.pi * 3200.0 * time_s)
    signal = impacts + 0.02 * np.random.default_rng(seed).standard_normal(SAMPLES)
    hz, heights = amplitude_spectrum(signal, sample_rate_hz=RATE_HZ)
    envelope_hz, envelope = envelope_spectrum(signal, sample_rate_hz=RATE_HZ, band_hz=BAND_HZ)
    found = Evidence(
        point=FAST, capture_boot=1, capture_sequence=age, measured_at_us=now_us - age * 86_400_000_000, why="bench",
        axis=0, rpm=60 * SHAFT_HZ,
        spectrum=Series.pack(heights[:4096], start=0.0, step=float(hz[1]), axis_unit="Hz", value_unit="g"),
        envelope=Series.pack(envelope, start=0.0, step=float(envelope_hz[1]), axis_unit="Hz", value_unit="g"),
        waveform=Series.pack(signal, start=0.0, step=1.0 / RATE_HZ, axis_unit="s", value_unit="g"),
        envelope_band_hz=BAND_HZ, fault_lines=(FaultLine(name="BPFO", frequency_hz=BPFO_HZ, harmonics=4),),
    )  # fmt: skip
    connection.execute(
        sa.insert(evidence).values(
            gateway="gw-0", boot=7, sequence=900_000_000 + age, point=FAST, measured_at_us=found.measured_at_us,
            why=found.why, detail=found.model_dump(mode="json"), waveform_samples=SAMPLES,
        )
    )  # fmt: skip
