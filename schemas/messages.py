"""This file knows the messages that services write to each other as JSON, and reads nothing else.

Each class says who sends it, when, and what the receiver may rely on. Every message carries `kind` and
`version`; unknown keys are refused, so that a reader never half-understands.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError, model_validator

from schemas.errors import MessageRejected
from schemas.names import Name, PointId

MAX_MESSAGE_BYTES = 4 << 20
MAX_VALUES = 1 << 16  # lists, tables and commas: a full batch has some 10,000; wrong, each takes up to 3 KB
MAX_SERIES_SAMPLES = 1 << 16
MOST_MISTAKES = 100  # of which one is named; a list of all takes a hundred times the message
SHOWN_CHARACTERS = 100  # of a name or a value that came from outside

Boot = Annotated[int, Field(ge=0, lt=1 << 63)]
Sequence = Annotated[int, Field(ge=0, lt=1 << 63)]
TimeUs = Annotated[int, Field(ge=0, lt=1 << 53, description="microseconds since 1970 UTC")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Zone = Literal["A", "B", "C", "D"]
Priority = Literal["danger", "alert", "notice", "sensor"]
AlarmState = Literal["normal", "unacknowledged", "acknowledged", "returned", "latched", "shelved", "suppressed"]
Learning = Literal["learning", "ready", "suspect"]
_Item = TypeVar("_Item")
_IF_SAID = Field(exclude_if=lambda value: value is None)
"""Left out where nothing is said: whoever has not been updated yet knows no such key, and refuses what holds it."""
_IF_ANY = Field(exclude_if=lambda value: not value)
Many = Annotated[tuple[_Item, ...], FailFast()]
"""Any number of one kind, up to the first that is none: 4 MB of mistakes, each described, took 2.6 GB."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Diagnosis(_Strict):
    """One possible cause; best first in a list. `unknown` is a full answer."""

    label: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
    confidence: Share


class Finding(_Strict):
    """One sentence of evidence for or against a diagnosis, with what it was read from."""

    label: str
    speaks_for: bool
    text: str
    value: float | None = None
    unit: str = ""


class Contribution(_Strict):
    """How much one band or indicator adds to the anomaly score."""

    name: str
    axis: int
    low_hz: float | None = None
    high_hz: float | None = None
    share: float


class RemainingLife(_Strict):
    """How long the machine will still last, in s from the capture it was read from.

    Low to high is meant to hold the truth in four of five cases; the truth is as likely beyond the median as before.
    """

    low_s: Annotated[float, Field(ge=0)]
    median_s: Annotated[float, Field(ge=0)]
    high_s: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low_s <= self.median_s <= self.high_s:
            raise ValueError(f"{self.low_s}, {self.median_s}, {self.high_s} found; low, median, high must rise")
        return self


class Health(_Strict):
    """What a gateway found in one capture; written once, in the order of the gateway's own sequence.

    `remaining_life_basis` says in one sentence what the remaining life rests on, or why there is none; gateways of 0.1
    send neither. `rssi_dbm` is the strength of the sensor's radio signal, where the sensor tells it.
    Velocity counts from 10 Hz on, from 2 Hz below 600 rpm (`vibration.iso_zones.velocity_band_at`). Of the bands
    (`vibration.features.WIDE_BAND_EDGES_HZ`) those are said that the sample rate reaches.
    """

    kind: Literal["health"] = "health"
    version: Literal[1] = 1
    point: PointId
    capture_boot: Boot
    capture_sequence: Sequence
    measured_at_us: TimeUs
    quality: str
    learning: Learning
    score: float | None
    limit: float | None
    exceeds: bool
    alarm: AlarmState
    zone: Zone | None
    zone_basis: str
    velocity_rms_mm_s: float | None
    acceleration_rms_g: float | None
    acceleration_peak_g: float | None
    crest_factor: float | None
    kurtosis: float | None
    envelope_rms_g: float | None
    rpm: float | None
    rpm_source: str
    rpm_confidence: Share
    temperature_c: float | None
    battery_v: float | None
    diagnosis: Many[Diagnosis] = ()
    remaining_life: RemainingLife | None = None
    remaining_life_basis: Annotated[str, Field(max_length=400)] = ""
    model_version: int = 0
    rssi_dbm: Annotated[float | None, _IF_SAID] = None
    band_low_rms_g: Annotated[float | None, _IF_SAID] = None
    band_middle_rms_g: Annotated[float | None, _IF_SAID] = None
    band_high_rms_g: Annotated[float | None, _IF_SAID] = None


class Alarm(_Strict):
    """A change in a point's alarm; sent before everything else that waits. All changes are sent."""

    kind: Literal["alarm"] = "alarm"
    version: Literal[1] = 1
    point: PointId
    alarm_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    state: AlarmState
    priority: Priority
    measured_at_us: TimeUs
    capture_boot: Boot
    capture_sequence: Sequence
    score: float | None
    limit: float | None
    zone: Zone | None
    reason: str
    diagnosis: Many[Diagnosis] = ()
    findings: Many[Finding] = ()
    contributions: Many[Contribution] = ()
    model_version: int = 0


class Series(_Strict):
    """Equally spaced values, float32 little-endian, deflated, base64.

    Of every `largest_of` values that were measured the largest is here, and stands for the middle of them; None for 1.
    """

    start: float
    step: float
    axis_unit: Literal["Hz", "s", "order"]
    value_unit: str
    values: str
    largest_of: Annotated[Annotated[int, Field(ge=2)] | None, _IF_SAID] = None

    @classmethod
    def pack(
        cls, values: NDArray[np.floating], *, start: float, step: float, axis_unit: Literal["Hz", "s", "order"],
        value_unit: str, largest_of: int | None = None,
    ) -> "Series":  # fmt: skip
        """Write values of shape (n,) into a message.

        Raises:
            MessageRejected: More than 65,536 of them; nobody would read it.
        """
        if np.size(values) > MAX_SERIES_SAMPLES:
            raise MessageRejected("bad_series", f"{np.size(values)} values found, {MAX_SERIES_SAMPLES} allowed")
        text = _deflated(np.ascontiguousarray(values, "<f4").tobytes())
        return cls(
            start=start, step=step, axis_unit=axis_unit, value_unit=value_unit, values=text, largest_of=largest_of
        )

    def unpack(self) -> NDArray[np.float32]:
        """Read the values, shape (n,).

        Raises:
            MessageRejected: They are no deflated float32, or more than 65,536.
        """
        return np.frombuffer(_inflated(self.values, 4, "float32"), "<f4")


class AxisWaveform(_Strict):
    """The samples of one axis as the sensor counted them: int16 little-endian, deflated, base64; g = counts * scale."""

    axis: Annotated[int, Field(ge=0, lt=8)]
    scale_g: Annotated[float, Field(gt=0)]
    step_s: Annotated[float, Field(gt=0)]
    counts: str

    @classmethod
    def pack(cls, counts: NDArray[np.int16], *, axis: int, scale_g: float, step_s: float) -> "AxisWaveform":
        """Write samples of shape (n,) into a message.

        Raises:
            MessageRejected: More than 65,536 of them.
        """
        if np.size(counts) > MAX_SERIES_SAMPLES:
            raise MessageRejected("bad_series", f"{np.size(counts)} samples found, {MAX_SERIES_SAMPLES} allowed")
        text = _deflated(np.ascontiguousarray(counts, "<i2").tobytes())
        return cls(axis=axis, scale_g=scale_g, step_s=step_s, counts=text)

    def unpack_g(self) -> NDArray[np.float64]:
        """Read the samples in g, shape (n,).

        Raises:
            MessageRejected: They are no deflated int16, or more than 65,536.
        """
        return np.frombuffer(_inflated(self.counts, 2, "int16"), "<i2") * self.scale_g


def _deflated(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 6)).decode()


def _inflated(text: str, item_bytes: int, kind: str) -> bytes:
    allowed = item_bytes * MAX_SERIES_SAMPLES
    try:
        inflate = zlib.decompressobj()
        raw = inflate.decompress(base64.b64decode(text, validate=True), allowed + 1)
    except (ValueError, zlib.error) as error:
        raise MessageRejected("bad_series", f"series cannot be read: {error}") from error
    if not inflate.eof or len(raw) % item_bytes or len(raw) > allowed:
        raise MessageRejected("bad_series", f"series is no {kind} of at most {MAX_SERIES_SAMPLES} values")
    return raw


class FaultLine(_Strict):
    """Where theory expects a fault to show, for the cursors on a chart."""

    name: str
    frequency_hz: float
    harmonics: int = 1
    found_hz: float | None = None
    prominence_db: float | None = None


class Evidence(_Strict):
    """Spectra of one capture: sent with an alarm, and when somebody asks. Never the waveform unasked.

    With `waveform`, that of `axis`, come those of the other axes, as long as they fit into one packet of the broker;
    all begin with the capture, and may be shorter than it. `range_g` is what the sensor measures at most.
    """

    kind: Literal["evidence"] = "evidence"
    version: Literal[1] = 1
    point: PointId
    capture_boot: Boot
    capture_sequence: Sequence
    measured_at_us: TimeUs
    why: str
    axis: int
    rpm: float | None
    spectrum: Series
    envelope: Series
    envelope_band_hz: tuple[float, float]
    waveform: Series | None = None
    baseline: Series | None = None
    fault_lines: Many[FaultLine] = ()
    other_axes: Annotated[Many[AxisWaveform], Field(exclude_if=lambda value: not value)] = ()
    range_g: Annotated[float | None, _IF_SAID] = None


class Gap(_Strict):
    """The gateway gave something up on purpose: what, how many, why. A loss is never silent."""

    kind: Literal["gap"] = "gap"
    version: Literal[1] = 1
    what: str
    source: str
    first: Sequence
    last: Sequence
    count: Annotated[int, Field(ge=1)]
    reason: str
    at_us: TimeUs


class PointNotice(_Strict):
    """A point changed its learning state or its sensor its quality; distinct from a machine alarm."""

    kind: Literal["point_notice"] = "point_notice"
    version: Literal[1] = 1
    point: PointId
    learning: Learning
    quality: str
    text: str
    at_us: TimeUs


class CommandResult(_Strict):
    """A gateway's answer to one command; the site repeats the command until this is stored."""

    kind: Literal["command_result"] = "command_result"
    version: Literal[1] = 1
    command_id: str
    done: bool
    text: str
    at_us: TimeUs


Record = Annotated[
    Health | Alarm | Evidence | Gap | PointNotice | CommandResult,
    Field(discriminator="kind"),
]


class Numbered(_Strict):
    """One record with its place in the gateway's sequence."""

    sequence: Sequence
    record: Record


class RecordBatch(_Strict):
    """From a gateway to its site. `(gateway, boot, sequence)` names a record for ever.

    Urgent records overtake: sequences need not be contiguous within a batch. `boot` names the gateway's store;
    a gateway that lost its disk starts again from 0 with another.
    """

    kind: Literal["record_batch"] = "record_batch"
    version: Literal[1] = 1
    gateway: Name
    boot: Boot
    records: Many[Numbered]


class RecordsAck(_Strict):
    """From a site, after its commit: everything up to `through` is stored, and so is each of `also`."""

    kind: Literal["records_ack"] = "records_ack"
    version: Literal[1] = 1
    gateway: Name
    boot: Boot
    through: Annotated[int, Field(ge=-1, lt=1 << 63)]
    also: Many[Sequence] = ()


class CaptureAck(_Strict):
    """From a gateway to a sensor, after its commit: captures of this boot up to `through` may be forgotten."""

    kind: Literal["capture_ack"] = "capture_ack"
    version: Literal[1] = 1
    point: PointId
    boot: Boot
    through: Sequence


class PointStatus(_Strict):
    """State of one measurement point within a gateway's status."""

    point: PointId
    learning: Learning
    captures: int
    learning_share: Share
    quality: str
    model: str


Counts = Annotated[tuple[Annotated[int, Field(ge=0, lt=1 << 53)], ...], Field(max_length=64)]
"""A histogram, from the lowest bin to the highest; the first and the last take all that lies beyond."""


class ShadowSummary(_Strict):
    """Two models on the same captures, `this` without a say: a candidate, or the one before that in use.

    `windows` are captures of points whose limits are calibrated by both, but for those in alarm before. Histograms
    are of the score in limits (0.05 to 20) and of the network's own loss (0.01 to 100), in logarithmic bins.
    """

    this_version: int
    in_use_version: int
    points: Annotated[int, Field(ge=0)]
    windows: Annotated[int, Field(ge=0)]
    exceeding_this: Annotated[int, Field(ge=0)]
    exceeding_in_use: Annotated[int, Field(ge=0)]
    errors: Annotated[int, Field(ge=0, description="captures that `this` could not score")] = 0
    in_limits_this: Counts = ()
    in_limits_in_use: Counts = ()
    loss_this: Counts = ()
    loss_in_use: Counts = ()
    window_us_this: Annotated[float, Field(ge=0, description="time to score one window")] = 0.0
    window_us_in_use: Annotated[float, Field(ge=0)] = 0.0


class GateReport(_Strict):
    """A candidate against the model in use, on what the gateway held back: healthy captures, and faults made of them.

    `problem` says why there are no figures; then rows is 0.
    """

    version: int
    digest: str
    in_use_version: int
    rows: Annotated[int, Field(ge=0, description="healthy captures held back")] = 0
    faults: Annotated[int, Field(ge=0, description="made of these, of every kind and severity")] = 0
    auroc: Share | None = None
    auroc_in_use: Share | None = None
    loss: float | None = None
    loss_in_use: float | None = None
    false_alarm_rate: Share | None = None
    false_alarm_rate_in_use: Share | None = None
    by_fault: dict[str, tuple[Share, Share]] = {}
    problem: Annotated[str, Field(max_length=400)] = ""


class MachineFit(_Strict):
    """The fleet's model against one that learnt from this machine alone, with as many steps, on what was held back."""

    machine: Name
    release_version: int
    steps: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    auroc: Share
    auroc_local: Share
    loss: float
    loss_local: float
    at_us: TimeUs


class UpdateRefused(_Strict):
    """Why a site has not counted what a gateway sent for the learning; round 0 is what belonged to no round."""

    round_number: Annotated[int, Field(ge=0)]
    reason: Annotated[str, Field(min_length=1, max_length=32)]
    text: Annotated[str, Field(max_length=500)]
    at_us: TimeUs


class MemberReport(_Strict):
    """A gateway's part in the learning since its start: how often what happened, and its last update that was refused.

    `tasks` counts what the site asked, by what became of it; `refused` what the site has not counted, by its reason.
    """

    tasks: Annotated[dict[str, int], Field(max_length=32)] = {}
    refused: Annotated[dict[str, int], Field(max_length=32)] = {}
    last_refused: UpdateRefused | None = None


class GatewayStatus(_Strict):
    """From a gateway every ten seconds, retained. The last will is the same with `online` false.

    `outbox_first` is the lowest record number that still waits, or the next to be given: what is below it and not at
    the site never comes. It is not said while a gap record waits, which says the same better; 0.1 never said it.
    Older gateways say nothing from `started_at_us` on, when the agent was started; `gate` and `shadow` answer a
    candidate.
    `load_share` is the host's load over a minute, for each of its processors; `certificate_until_us` ends the client
    certificate that lies there now. `plates_revision` is that of the nameplates the site sent (0: none yet, None: older
    software, which takes none), `plates_problem` why a later one was refused; `machines` are those of its own settings.
    `settings_hash` names the settings that gateways of one plant usually share. `learning` is there once the site has
    asked this gateway to learn.
    """

    kind: Literal["gateway_status"] = "gateway_status"
    version: Literal[1] = 1
    gateway: Name
    online: bool
    boot: Boot
    at_us: TimeUs
    software: str
    release_version: int
    release_digest: str
    release_problem: str = ""
    captures_stored: int = 0
    captures_duplicate: int = 0
    captures_gap: int = 0
    dead_letters: dict[str, int] = {}
    outbox_pending: int = 0
    outbox_oldest_s: float = 0.0
    outbox_first: Sequence | None = None
    ingest_queue: int = 0
    disk_free_bytes: int = 0
    memory_bytes: int = 0
    points: Many[PointStatus] = ()
    started_at_us: TimeUs | None = None
    releases_refused: dict[str, int] = {}
    site_heard_s: float | None = None
    gate: GateReport | None = None
    shadow: ShadowSummary | None = None
    fits: Many[MachineFit] = ()
    disk_size_bytes: Annotated[int, Field(ge=0)] | None = None
    load_share: Annotated[float, Field(ge=0.0)] | None = None
    certificate_until_us: TimeUs | None = None
    plates_revision: Annotated[Annotated[int, Field(ge=0, lt=1 << 53)] | None, _IF_SAID] = None
    plates_problem: Annotated[str, Field(max_length=400), _IF_ANY] = ""
    machines: Annotated[Many[Name], Field(max_length=500), _IF_ANY] = ()
    settings_hash: Annotated[str, Field(pattern=r"^([0-9a-f]{12})?$"), _IF_ANY] = ""
    learning: Annotated[MemberReport | None, _IF_SAID] = None


class Command(_Strict):
    """From a site to a gateway because a person acted. Done at most once per `command_id`.

    `capture_boot` and `capture_sequence` name the capture whose evidence is requested; the newest without.
    """

    kind: Literal["command"] = "command"
    version: Literal[1] = 1
    command_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    gateway: Name
    action: Literal["acknowledge", "shelve", "unshelve", "maintenance", "label", "request_evidence", "roll_back"]
    point: PointId | None = None
    actor: str
    note: str = ""
    issued_at_us: TimeUs
    until_us: TimeUs | None = None
    label: str = ""
    capture_boot: Annotated[Boot | None, _IF_SAID] = None
    capture_sequence: Annotated[Sequence | None, _IF_SAID] = None


class MemberPresence(_Strict):
    """A member of the learning tells its server that it is there, and as what. Retained; empty means gone."""

    kind: Literal["member_presence"] = "member_presence"
    version: Literal[1] = 1
    member: Name
    node_id: Annotated[int, Field(ge=1, lt=1 << 63)]
    session: Annotated[int, Field(ge=0, lt=1 << 63)]
    at_us: TimeUs


Message = (
    RecordBatch | RecordsAck | CaptureAck | GatewayStatus | Command | MemberPresence
    | Health | Alarm | Evidence | Gap | PointNotice | CommandResult
)  # fmt: skip
_M = TypeVar("_M", bound=BaseModel)
_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def encode(message: BaseModel) -> bytes:
    """Write a message as compact JSON, always with the same bytes."""
    return message.model_dump_json().encode()


def decode(kind: type[_M], body: bytes) -> _M:
    """Read a message of one kind.

    Raises:
        MessageRejected: With `reason` oversized, not_json, unknown_version or bad_field.
    """
    _check_size(body)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _rejection(kind.__name__, body, error) from error


def decode_any(body: bytes) -> Message:
    """Read a message of whatever kind it says it is; errors as in `decode`."""
    _check_size(body)
    try:
        return _ANY.validate_json(body)
    except ValidationError as error:
        raise _rejection("message", body, error) from error


def _check_size(body: bytes) -> None:
    """What is small as bytes may be huge as objects, and is copied for each field that is missing."""
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageRejected("oversized", f"message has {len(body)} bytes, {MAX_MESSAGE_BYTES} allowed")
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > MAX_VALUES:
        raise MessageRejected("oversized", f"message has {values} values, {MAX_VALUES} allowed")


def _rejection(name: str, body: bytes, error: ValidationError) -> MessageRejected:
    if error.error_count() > MOST_MISTAKES:
        return MessageRejected("bad_field", f"{name} cannot be read: {error.error_count()} fields are wrong or unknown")
    first: Mapping[str, Any] = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:SHOWN_CHARACTERS]
    if first["type"] == "json_invalid":
        return MessageRejected("not_json", f"{name} is no JSON: {first['msg']}")
    if first["loc"][-1:] == ("version",):
        try:
            found = json.loads(body).get("version")
        except (ValueError, AttributeError):
            found = None
        return MessageRejected(
            "unknown_version", f"{name} has version {str(found)[:SHOWN_CHARACTERS]}; update this program"
        )
    return MessageRejected("bad_field", f"{name} cannot be read at {where!r}: {first['msg'][: 4 * SHOWN_CHARACTERS]}")
