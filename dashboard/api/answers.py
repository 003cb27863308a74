"""This file knows what the interface answers, field by field; times are given in UTC and in microseconds since 1970."""

import datetime as dt
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from schemas.messages import Diagnosis, Evidence
from schemas.nameplate import Nameplate

_T = TypeVar("_T")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Moment(_Answer):
    """A time."""

    utc: str
    us: int


def moment(us: int) -> Moment:
    """Say a time in both ways."""
    stamp = (_EPOCH + dt.timedelta(microseconds=us)).isoformat(timespec="microseconds")
    return Moment(utc=stamp.replace("+00:00", "Z"), us=us)


def maybe(us: int | None) -> Moment | None:
    """Say a time that may be missing."""
    return None if us is None else moment(us)


class Page(_Answer, Generic[_T]):
    """Some of many, newest first; `next` is the `cursor` of the piece behind, null at the end."""

    items: list[_T]
    next: str | None


class MachineAnswer(_Answer):
    """One machine as the overview shows it; `state` is one of danger, alert, notice, sensor, unknown, stopped, ..."""

    machine: str
    title: str
    criticality: int
    state: str
    stale: bool
    reason: str
    points: list[str]
    case_id: int | None
    first_seen: Moment


class PlantAnswer(_Answer):
    """The plant, worst machine first."""

    title: str
    now: Moment
    newest_data: Moment | None
    gateways_online: int
    gateways: int
    machines: list[MachineAnswer]


class MachineDetail(MachineAnswer):
    """One machine with its nameplate."""

    nameplate: Nameplate | None


class SiteAnswer(_Answer):
    """One site as it told its enterprise last; where `stale`, `state` is unknown and the counts are the past."""

    site: str
    state: str
    stale: bool
    told: Moment | None
    states: dict[str, int]
    points: int | None
    points_assessable: int | None
    gateways: int | None
    gateways_online: int | None
    newest_data: Moment | None
    release_version: int | None
    fleet_version: int | None
    releases_behind: int | None
    dashboard: str | None


class PointAnswer(_Answer):
    """One measurement point."""

    point: str
    machine: str
    gateway: str
    learning: str
    learning_share: float
    quality: str
    notice: str
    last_measured: Moment | None
    last_received: Moment | None
    interval_s: float | None


class HealthAnswer(_Answer):
    """One capture as its gateway judged it."""

    point: str
    measured_at: Moment
    received_at: Moment
    quality: str
    score: float | None
    score_limit: float | None
    exceeds: bool
    alarm: str
    zone: str | None
    velocity_rms_mm_s: float | None
    acceleration_rms_g: float | None
    acceleration_peak_g: float | None
    crest_factor: float | None
    kurtosis: float | None
    envelope_rms_g: float | None
    rpm: float | None
    temperature_c: float | None
    battery_v: float | None
    diagnosis: list[Diagnosis]
    model_version: int


class CaseAnswer(_Answer):
    """One case of a machine."""

    case_id: int
    machine: str
    state: str
    priority: str
    title: str
    diagnosis: list[Diagnosis]
    opened_at: Moment
    changed_at: Moment
    closed_at: Moment | None
    acknowledged_by: str | None


class CaseEventAnswer(_Answer):
    """One line of the history of a case."""

    at: Moment
    kind: str
    actor: str
    text: str


class CaseDetail(CaseAnswer):
    """One case with its history, newest first."""

    events: list[CaseEventAnswer]


class AlarmAnswer(_Answer):
    """One change of the alarm of a point."""

    alarm_id: str
    point: str
    machine: str
    state: str
    priority: str
    reason: str
    case_id: int | None
    measured_at: Moment
    received_at: Moment


class EvidenceEntryAnswer(_Answer):
    """That there are spectra; `evidence_id` leads to them."""

    evidence_id: str
    point: str
    measured_at: Moment
    why: str


class EvidenceAnswer(_Answer):
    """Spectra of one capture; series are float32 little-endian, deflated, base64."""

    evidence_id: str
    evidence: Evidence


class RoundAnswer(_Answer):
    """One round of learning."""

    round_id: int
    level: str
    state: str
    base_version: int
    release_version: int | None
    started_at: Moment
    ended_at: Moment | None
    invited: int
    accepted: int
    rejected: int
    bytes_down: int
    bytes_up: int
    rule: str
    digest: str
    text: str


class ReleaseAnswer(_Answer):
    """One model release."""

    release_version: int
    digest: str
    level: str
    state: str
    created_at: Moment
    manifest: dict[str, Any]


class GatewayAnswer(_Answer):
    """One gateway as it was last heard; `status` is its own word."""

    gateway: str
    online: bool
    last_seen: Moment | None
    release_version: int
    status: dict[str, Any]


class LedgerAnswer(_Answer):
    """What left the plant on one day in one class of message."""

    day: str
    topic: str
    messages: int
    bytes: int


class AuditAnswer(_Answer):
    """One row of the audit log."""

    audit_id: int
    at: Moment
    actor: str
    action: str
    about: str
    text: str
    came_from: str
    seal: str | None


class AskedAnswer(_Answer):
    """A request was taken; `follow` says where its answer will be."""

    request_id: str
    follow: str


class RequestAnswer(_Answer):
    """What became of a request: new, sent, done or refused, with the site's words."""

    request_id: str
    action: str
    actor: str
    state: str
    answer: str
    asked_at: Moment
    answered_at: Moment | None


class WhoAnswer(_Answer):
    """Who asks, as the site knows them."""

    name: str
    role: str
