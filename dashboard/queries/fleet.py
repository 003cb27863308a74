"""This file knows how gateways and sensors are asked for: what they say of themselves, and what their captures say.

Sensors are read a page at a time, from the end of the index of each: `CAPTURES` rows and one a day of `DAYS`.
"""

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection, Row

from schemas.errors import TopicError
from schemas.messages import GatewayStatus
from schemas.site_tables import (
    dead_letter,
    dead_letter_count,
    enrolled,
    gateway,
    health,
    machine,
    point,
    release,
    rollout,
)
from schemas.topics import topic_of

SENSORS = 25  # a page: 5,000 rows of captures and 750 of batteries
CAPTURES = 200  # of each sensor, newest: what is counted among them
DAYS = 30  # of each battery, one value a day
LETTERS = 200  # newest of each reason, by its index
MOST_RELEASES = 20
DAY_US = 86_400_000_000
UNKNOWN_SENDER = ("unknown_key", "unsigned", "bad_signature", "wrong_speaker", "wrong_gateway")
SATURATED = "saturated"


@dataclass(frozen=True, slots=True)
class FleetGateway:
    """One gateway as it was last heard.

    Attributes:
        status: What it said of itself; None when it said nothing that is understood here.
        clock_ahead_s: Of the site's clock at its last status, the way of the message included; None if not known.
    """

    gateway: str
    online: bool
    last_seen_us: int | None
    release_version: int
    status: GatewayStatus | None
    clock_ahead_s: float | None
    points: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What the newest release is to one gateway."""

    version: int
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class SensorRecord:
    """One sensor, by its measurement point.

    Attributes:
        captures: Newest captures that were counted, at most `CAPTURES`.
        missing: Of the numbers between them, those that never came or wait at the gateway.
        saturated: Of the captures, those that were overdriven.
        unusable: Of the captures, those that nobody believes for another reason than a machine that stands.
        battery: Time in microseconds and voltage, one a day, oldest first; empty without a battery.
        rssi_dbm: Strength of its radio signal, the median of those captures; None where it tells none.
    """

    point: str
    machine: str
    title: str
    gateway: str
    quality: str
    last_received_us: int | None
    interval_s: float | None
    captures: int
    missing: int
    saturated: int
    unusable: int
    battery: tuple[tuple[int, float], ...]
    rssi_dbm: float | None = None

    @property
    def loss_share(self) -> float | None:
        """Of the captures it has numbered, those that are not here; None with too few to say."""
        return self.missing / (self.missing + self.captures) if self.captures > 1 else None


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Somebody on the aggregator's lists.

    Attributes:
        key_known: Whether what it signs is believed.
        certificate_until_us: None where the broker asks for a password instead.
    """

    name: str
    kind: str
    revoked: bool
    key_known: bool
    certificate_until_us: int | None


@dataclass(frozen=True, slots=True)
class UnknownDevice:
    """Somebody who sends what nobody asked for, by the topic it used."""

    sender: str
    reason: str
    text: str
    letters: int
    last_us: int


def read_fleet(connection: Connection) -> tuple[FleetGateway, ...]:
    """Read all gateways by name; one row each, with the number of their points."""
    counted = sa.select(point.c.gateway, sa.func.count().label("points")).group_by(point.c.gateway).subquery()
    query = (
        sa.select(gateway, sa.func.coalesce(counted.c.points, 0).label("points"))
        .select_from(gateway.outerjoin(counted, counted.c.gateway == gateway.c.gateway))
        .order_by(gateway.c.gateway)
    )
    return tuple(
        FleetGateway(
            row.gateway, row.online, row.last_seen_us, row.release_version, _status(row.status), row.clock_ahead_s,
            row.points,
        )
        for row in connection.execute(query)
    )  # fmt: skip


def read_current_release(connection: Connection) -> int | None:
    """Read the number of the release that is current; of the newest few, by key."""
    newest = sa.select(release.c.release_version, release.c.state)
    rows = connection.execute(newest.order_by(release.c.release_version.desc()).limit(MOST_RELEASES))
    return next((row.release_version for row in rows if row.state == "current"), None)


def read_trials(connection: Connection) -> dict[str, Trial]:
    """Read what each gateway makes of the newest release that has set out, by its key."""
    newest = sa.select(sa.func.max(rollout.c.release_version)).scalar_subquery()
    rows = connection.execute(sa.select(rollout).where(rollout.c.release_version == newest))
    return {row.gateway: Trial(row.release_version, row.state, row.text) for row in rows}


def count_sensors(connection: Connection) -> int:
    """How many measurement points there are."""
    return connection.execute(sa.select(sa.func.count()).select_from(point)).scalar_one()


def read_sensors(connection: Connection, *, now_us: int, first: int = 0) -> tuple[SensorRecord, ...]:
    """Read one page of sensors, by name, with what their last captures and their batteries say."""
    query = (
        sa.select(point, sa.func.coalesce(machine.c.title, "").label("title"))
        .select_from(point.outerjoin(machine, machine.c.machine == point.c.machine))
        .order_by(point.c.point)
        .offset(first)
        .limit(SENSORS)
    )
    rows = list(connection.execute(query))
    names = [row.point for row in rows]
    captures, batteries = _captures(connection, names), _batteries(connection, names, now_us)
    return tuple(_sensor(row, captures.get(row.point, []), batteries.get(row.point, ())) for row in rows)


def read_unknown_devices(connection: Connection) -> tuple[tuple[UnknownDevice, ...], dict[str, int]]:
    """Read who sends without being known, newest first, and how often each reason came ever."""
    c = dead_letter.c
    found: dict[tuple[str, str], list[Any]] = {}
    for reason in UNKNOWN_SENDER:
        newest = sa.select(c.topic, c.reason, c.text, c.at_us).where(c.reason == reason)
        for row in connection.execute(newest.order_by(c.letter_id.desc()).limit(LETTERS)):
            found.setdefault((sender_of(row.topic), row.reason), []).append(row)
    devices = [
        UnknownDevice(sender, reason, letters[0].text, len(letters), max(row.at_us for row in letters))
        for (sender, reason), letters in found.items()
    ]
    ever = connection.execute(sa.select(dead_letter_count).where(dead_letter_count.c.reason.in_(UNKNOWN_SENDER)))
    counts = {str(row.reason): int(row._mapping["count"]) for row in ever}
    return tuple(sorted(devices, key=lambda one: (-one.last_us, one.sender))), counts


def read_enrolled(connection: Connection) -> dict[str, Enrolled]:
    """Read who is on the aggregator's lists, by name; a row each."""
    return {row.name: Enrolled(*row) for row in connection.execute(sa.select(enrolled))}


def sender_of(topic: str) -> str:
    """Who has written to a topic, as far as it says."""
    try:
        _, names = topic_of(topic)
    except TopicError:
        return topic
    machine_point = f"{names['machine']}/{names['position']}" if "machine" in names else None
    return machine_point or names.get("gateway") or names.get("member") or topic


def _sensor(row: Row[Any], captures: list[Row[Any]], battery: tuple[tuple[int, float], ...]) -> SensorRecord:
    by_boot: dict[int, list[int]] = {}
    for one in captures:
        by_boot.setdefault(one.capture_boot, []).append(one.capture_sequence)
    numbered = sum(max(numbers) - min(numbers) + 1 for numbers in by_boot.values())
    qualities = Counter(one.quality for one in captures)
    believed = qualities["ok"] + qualities["machine_stopped"]
    strengths = [one.rssi_dbm for one in captures if one.rssi_dbm is not None]
    return SensorRecord(
        point=row.point, machine=row.machine, title=row.title, gateway=row.gateway, quality=row.quality,
        last_received_us=row.last_received_us, interval_s=row.interval_s, captures=len(captures),
        missing=numbered - sum(len(set(numbers)) for numbers in by_boot.values()),
        saturated=qualities[SATURATED], unusable=len(captures) - believed - qualities[SATURATED], battery=battery,
        rssi_dbm=median(strengths) if strengths else None,
    )  # fmt: skip


def _captures(connection: Connection, names: list[str]) -> dict[str, list[Row[Any]]]:
    """The newest captures of each point: `CAPTURES` steps from the end of its index."""
    if not names:
        return {}
    c = health.c
    parts = [
        sa.select(
            sa.select(c.point, c.capture_boot, c.capture_sequence, c.quality, c.rssi_dbm)
            .where(c.point == name)
            .order_by(c.measured_at_us.desc())
            .limit(CAPTURES)
            .subquery()
        )
        for name in names
    ]
    found: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(sa.union_all(*parts)):
        found.setdefault(row.point, []).append(row)
    return found


def _batteries(
    connection: Connection, names: list[str], now_us: int
) -> dict[str, tuple[tuple[int, float], ...]]:  # fmt: skip
    """The first voltage of each of the last days: one step down the index a point and day."""
    if not names:
        return {}
    c = health.c
    starts = [(now_us - (DAYS - number) * DAY_US,) for number in range(DAYS)]
    days = sa.values(sa.column("from_us", sa.BigInteger), name="start").data(starts).cte("day")
    first = (
        sa.select(c.measured_at_us)
        .where(c.point == point.c.point, c.measured_at_us >= days.c.from_us,
               c.measured_at_us < days.c.from_us + DAY_US)
        .order_by(c.measured_at_us)
        .limit(1)
        .scalar_subquery()
    )  # fmt: skip
    seeds = (
        sa.select(point.c.point, first.label("measured_at_us"))
        .select_from(point.join(days, sa.true()))
        .where(point.c.point.in_(names))
        .cte("seed")
        .prefix_with("MATERIALIZED")
    )
    query = (
        sa.select(c.point, c.measured_at_us, c.battery_v)
        .select_from(seeds.join(health, (c.point == seeds.c.point) & (c.measured_at_us == seeds.c.measured_at_us)))
        .where(c.battery_v.is_not(None))
        .order_by(c.point, c.measured_at_us)
    )
    found: dict[str, list[tuple[int, float]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.point, []).append((row.measured_at_us, row.battery_v))
    return {name: tuple(values) for name, values in found.items()}


def _status(said: object) -> GatewayStatus | None:
    if said is None:
        return None
    try:
        return GatewayStatus.model_validate(said)
    except ValidationError:
        return None
