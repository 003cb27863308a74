"""This file knows the rows the pages are made of, as frozen records; nothing here asks the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.asset_table import NOT_SAID, StopCost
from schemas.messages import Diagnosis, RemainingLife
from schemas.nameplate import Nameplate


@dataclass(frozen=True, slots=True)
class LatestHealth:
    """The newest judgement of a point.

    Attributes:
        remaining_life: Counted from the capture; None where nothing can be said.
        remaining_life_basis: What it rests on, or why there is none; empty where the gateway says neither.
    """

    measured_at_us: int
    quality: str
    score: float | None
    limit: float | None
    exceeds: bool
    alarm: str
    zone: str | None
    zone_basis: str
    velocity_rms_mm_s: float | None
    acceleration_rms_g: float | None
    acceleration_peak_g: float | None
    envelope_rms_g: float | None
    kurtosis: float | None
    crest_factor: float | None
    rpm: float | None
    rpm_source: str
    rpm_confidence: float
    temperature_c: float | None
    battery_v: float | None
    diagnosis: tuple[Diagnosis, ...]
    model_version: int
    remaining_life: RemainingLife | None = None
    remaining_life_basis: str = ""

    @property
    def times_limit(self) -> float:
        """The score over its limit; 0 where it was not judged."""
        return self.score / self.limit if self.score is not None and self.limit else 0.0


@dataclass(frozen=True, slots=True)
class PointRecord:
    """One measurement point; `learning_captures` is what its gateway said last, None if it said nothing."""

    point: str
    machine: str
    gateway: str
    learning: str
    learning_share: float
    learning_captures: int | None
    quality: str
    notice: str
    last_measured_us: int | None
    last_received_us: int | None
    interval_s: float | None
    latest: LatestHealth | None = None


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case of a machine; `points` is the last alarm state of each that joined, `point:quantity` of an own limit."""

    case_id: int
    machine: str
    state: str
    priority: str
    title: str
    diagnosis: tuple[Diagnosis, ...]
    opened_at_us: int
    changed_at_us: int
    closed_at_us: int | None
    acknowledged_by: str | None
    shelved_until_us: int | None = None
    shelved_by: str | None = None
    shelved_reason: str | None = None
    points: Mapping[str, str] = field(default_factory=dict)

    def on_shelf(self, now_us: int) -> bool:
        """Whether somebody has put it out of sight; not any more once the time is over, even if no site says so."""
        return self.shelved_until_us is not None and self.shelved_until_us > now_us


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """One machine with its points and the case that is not closed."""

    machine: str
    title: str
    criticality: int
    nameplate: Nameplate | None
    first_seen_us: int
    points: tuple[PointRecord, ...]
    case: CaseRecord | None
    area: str = ""
    stop: StopCost = NOT_SAID


@dataclass(frozen=True, slots=True)
class GatewayRecord:
    """One gateway as it was last heard."""

    gateway: str
    online: bool
    last_seen_us: int | None
    release_version: int
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trend:
    """The last scores of a point over its limit, oldest first, and how fast they rise.

    Attributes:
        ratios: score / limit; 1 is the limit.
        share_a_day: Slope of a straight line through them, in limits a day; None with too few of them.
    """

    point: str
    ratios: tuple[float, ...]
    share_a_day: float | None


@dataclass(frozen=True, slots=True)
class Plant:
    """Everything the overview and the strip are made of."""

    machines: tuple[MachineRecord, ...]
    gateways: tuple[GatewayRecord, ...]
    trends: dict[str, Trend]
    last_round: "RoundRecord | None"
    newest_received_us: int | None


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round of learning."""

    round_id: int
    level: str
    state: str
    base_version: int
    release_version: int | None
    started_at_us: int
    ended_at_us: int | None
    invited: int
    accepted: int
    rejected: int
    bytes_down: int
    bytes_up: int
    rule: str
    digest: str
    text: str
