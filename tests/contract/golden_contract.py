"""One fixed example of everything that is said, as an object and with the way to write and read it.

`PYTHONPATH=. python -m tests.contract.golden_contract` writes the files that are missing. A file that is there is
never changed: what was said once must be read for ever; a new form is a new version with a new file. A message that
got fields with a default has a file for what is written now; that of before is read, no longer written.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict

from schemas import messages as m
from schemas.capture import Capture, CaptureFlag, decode_capture, encode_capture
from schemas.container import array_blob, pack, unpack
from schemas.flower_codec import dump_message, load_message, take_identity
from schemas.fragments import Fragment, decode_fragment, encode_fragment
from schemas.nameplate import BearingPlate
from schemas.plate_table import PlateTable, ToldPlate
from schemas.release import FileEntry, Manifest, manifest_text
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_summary import NamedMachine, SiteSummary

FOLDER = Path(__file__).parent / "golden"
KEY = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
RING = KeyRing([AllowedKey("gw-1", "gateway", KEY.public)])
TOPIC = "ut/v1/plant-a/gateway/gw-1/records"
AT = 1_700_000_000_000_000


@dataclass(frozen=True)
class Golden:
    """One example; `write` is None where this form is only read."""

    file: str
    thing: Any
    write: Callable[[Any], bytes] | None
    read: Callable[[bytes], Any]

    @property
    def path(self) -> Path:
        return FOLDER / self.file


def _series(unit: str = "Hz") -> m.Series:
    # Deflated by hand: the bytes a deflater chooses may differ between versions of zlib, those it reads may not.
    text = "eAEBDADz/wAAgD8AAABAAABAQAlDAYA="
    return m.Series(start=0.0, step=2.5, axis_unit="Hz", value_unit=unit, values=text)


DIAGNOSIS = (m.Diagnosis(label="outer", confidence=0.75), m.Diagnosis(label="unknown", confidence=0.25))
HEALTH = m.Health(
    point="pump-07/de", capture_boot=7, capture_sequence=41, measured_at_us=AT, quality="ok", learning="ready",
    score=1.25, limit=2.5, exceeds=False, alarm="normal", zone="B", zone_basis="ISO 20816-3", velocity_rms_mm_s=2.25,
    acceleration_rms_g=0.5, acceleration_peak_g=2.0, crest_factor=4.0, kurtosis=3.5, envelope_rms_g=0.125, rpm=1480.0,
    rpm_source="sensor", rpm_confidence=1.0, temperature_c=41.5, battery_v=None, diagnosis=DIAGNOSIS, model_version=17,
)  # fmt: skip
HEALTH_WITH_LIFE = HEALTH.model_copy(
    update={
        "remaining_life": m.RemainingLife(low_s=259_200.0, median_s=518_400.0, high_s=950_400.0),
        "remaining_life_basis": "vibration has grown by 9 dB over 5 days",
    }
)
ALARM = m.Alarm(
    point="pump-07/de", alarm_id="0123456789abcdef", state="unacknowledged", priority="danger", measured_at_us=AT,
    capture_boot=7, capture_sequence=41, score=5.0, limit=2.5, zone="D", reason="Outer race damage likely",
    diagnosis=DIAGNOSIS,
    findings=(m.Finding(label="outer", speaks_for=True, text="3 of 4 lines stand out", value=12.5, unit="dB"),),
    contributions=(m.Contribution(name="envelope up", axis=0, low_hz=100.0, high_hz=200.0, share=0.5),),
    model_version=17,
)  # fmt: skip
EVIDENCE = m.Evidence(
    point="pump-07/de", capture_boot=7, capture_sequence=41, measured_at_us=AT, why="alarm 0123456789abcdef", axis=0,
    rpm=1480.0, spectrum=_series("g"), envelope=_series("g"), envelope_band_hz=(2000.0, 4000.0), waveform=None,
    baseline=None,
    fault_lines=(m.FaultLine(name="BPFO", frequency_hz=88.25, harmonics=4, found_hz=88.0, prominence_db=12.5),),
)  # fmt: skip
EVIDENCE_WITH_AXES = EVIDENCE.model_copy(
    update={
        "spectrum": _series("g").model_copy(update={"largest_of": 3}), "waveform": _series("g"),
        "other_axes": (m.AxisWaveform(axis=1, scale_g=0.0625, step_s=0.0001, counts="eAEBCAD3/wEA/v8DAPz/DgID/Q=="),),
        "range_g": 16.0,
    }
)  # fmt: skip
HEALTH_WITH_BANDS = HEALTH_WITH_LIFE.model_copy(
    update={"band_low_rms_g": 0.25, "band_middle_rms_g": 0.5, "band_high_rms_g": 0.125}
)
GAP = m.Gap(what="records", source="outbox", first=3, last=9, count=7, reason="outbox was full", at_us=AT)
NOTICE = m.PointNotice(point="pump-07/de", learning="suspect", quality="stuck", text="stuck: channel 0", at_us=AT)
RESULT = m.CommandResult(command_id="0" * 32, done=True, text="acknowledged", at_us=AT)


def _batch(*records: m.Record) -> m.RecordBatch:
    numbered = tuple(m.Numbered(sequence=i, record=one) for i, one in enumerate(records))
    return m.RecordBatch(gateway="gw-1", boot=9, records=numbered)


BATCH = _batch(HEALTH, ALARM, EVIDENCE, GAP, NOTICE, RESULT)
STATUS = m.GatewayStatus(
    gateway="gw-1", online=True, boot=9, at_us=AT, software="0.1.0", release_version=17, release_digest="ab" * 32,
    release_problem="", captures_stored=100, captures_duplicate=2, captures_gap=1, dead_letters={"bad_crc": 3},
    outbox_pending=5, outbox_oldest_s=1.5, ingest_queue=4, disk_free_bytes=1 << 30, memory_bytes=1 << 27,
    points=(
        m.PointStatus(
            point="pump-07/de", learning="ready", captures=100, learning_share=1.0, quality="ok", model="release 17"
        ),
    ),
)  # fmt: skip
STATUS_WITH_FIRST = STATUS.model_copy(update={"outbox_first": 37})
STATUS_WITH_TRIALS = STATUS_WITH_FIRST.model_copy(
    update={
        "started_at_us": AT - 60_000_000, "releases_refused": {"bad_digest": 1}, "site_heard_s": 2.5,
        "gate": m.GateReport(
            version=18, digest="cd" * 32, in_use_version=17, rows=40, faults=120, auroc=0.93, auroc_in_use=0.94,
            loss=0.5, loss_in_use=0.25, false_alarm_rate=0.025, false_alarm_rate_in_use=0.0,
            by_fault={"imbalance": (0.5, 0.75)}, problem="",
        ),
        "shadow": m.ShadowSummary(
            this_version=18, in_use_version=17, points=2, windows=300, exceeding_this=4, exceeding_in_use=3, errors=1,
            in_limits_this=(0, 299, 1), in_limits_in_use=(1, 299, 0), loss_this=(300,), loss_in_use=(300,),
            window_us_this=25.5, window_us_in_use=24.25,
        ),
        "fits": (
            m.MachineFit(
                machine="pump-07", release_version=17, steps=600, rows=40, auroc=0.5, auroc_local=0.75, loss=1.5,
                loss_local=1.25, at_us=AT,
            ),
        ),
    }
)  # fmt: skip
STATUS_WITH_HOST = STATUS_WITH_TRIALS.model_copy(
    update={"disk_size_bytes": 1 << 36, "load_share": 0.25, "certificate_until_us": AT + 86_400_000_000}
)
STATUS_WITH_PLATES = STATUS_WITH_HOST.model_copy(
    update={"plates_revision": 3, "plates_problem": "", "machines": ("pump-07",), "settings_hash": "0123456789ab"}
)
STATUS_WITH_LEARNING = STATUS_WITH_PLATES.model_copy(
    update={
        "learning": m.MemberReport(
            tasks={"answered": 40, "repeated": 1}, refused={"norm_outlier": 2},
            last_refused=m.UpdateRefused(
                round_number=12, reason="norm_outlier", text="norm 31 found, the median of all allows 9.9", at_us=AT
            ),
        )
    }
)  # fmt: skip
COMMAND = m.Command(
    command_id="0" * 32, gateway="gw-1", action="shelve", point="pump-07/de", actor="fitter", note="belt changed",
    issued_at_us=AT, until_us=AT + 3_600_000_000, label="",
)  # fmt: skip
COMMAND_FOR_CAPTURE = COMMAND.model_copy(
    update={"action": "request_evidence", "until_us": None, "capture_boot": 7, "capture_sequence": 41}
)
SAID = (
    HEALTH, ALARM, EVIDENCE, GAP, NOTICE, RESULT, BATCH, STATUS, COMMAND,
    m.RecordsAck(gateway="gw-1", boot=9, through=41, also=(43, 45)),
    m.CaptureAck(point="pump-07/de", boot=7, through=41),
    m.MemberPresence(member="gw-1", node_id=12345, session=678, at_us=AT),
)  # fmt: skip
# As 0.1 wrote them; now with a remaining life, and with the first record that waits.
ONLY_READ = ("health", "record_batch", "gateway_status")
SAID_WITH_LIFE = (HEALTH_WITH_LIFE, _batch(HEALTH_WITH_LIFE, HEALTH))
HEALTH_WITH_RSSI = HEALTH_WITH_LIFE.model_copy(update={"rssi_dbm": -67.0})
SITE_SUMMARY = SiteSummary(
    site="north", at_us=AT, interval_s=300.0, newest_data_us=AT, states={"danger": 1, "normal": 41}, acknowledged=1,
    points=84, points_assessable=80, gateways=3, gateways_online=3, gateways_current=2, release_version=17,
    fleet_version=9, software="0.1.0", names_allowed=True,
    worst=(
        NamedMachine(
            machine="pump-07", title="Cooling water pump 7", state="danger", cause="outer", since_us=AT,
            acknowledged=True,
        ),
    ),
)  # fmt: skip
PLATES = PlateTable(
    gateway="gw-1", revision=3, asset_version=12, at_us=AT,
    machines=(
        ToldPlate(
            machine="pump-07", power_kw=37.0, foundation="rigid", kind="pump", unit_calibrated=True, rpm=1480.0,
            rpm_range=(1400.0, 1500.0), bearing=BearingPlate(name="6205"), gear_teeth=31, line_frequency_hz=60.0,
        ),
        ToldPlate(machine="fan-02"),
    ),
)  # fmt: skip

CAPTURE = Capture(
    7, 41, AT, 25_600.0, (np.arange(96, dtype=np.int16) * 300 - 14_000).reshape(3, 32),
    np.array([1 / 2048, 1 / 2048, 1 / 1024]), 16.0, 1480.0, 0.75, 41.5, float("nan"),
    CaptureFlag.LOW_BATTERY | CaptureFlag.KEPT_UNTIL_ACK,
)  # fmt: skip
MANIFEST = Manifest(
    name="fleet-17", release_version=17, base_version=16, created_at_us=AT, level="fleet", family="dense",
    features="undertone-features-1", inputs=48, parameter_count=5,
    files={"parameters.bin": FileEntry(sha256="cd" * 32, size_bytes=20)}, data={"clients": 3}, metrics={"loss": 0.5},
    merge={"rule": "mean", "accepted": 3},
)  # fmt: skip


def _flower(content: RecordDict | None, error: Error | None = None) -> Message:
    take_identity(1)
    metadata = Metadata(1, "f" * 32, 5, 42, "e" * 32, "3", 1_700_000_000.0, 3600.0, "train")
    if content is None:
        return Message(error=error, metadata=metadata)  # type: ignore[call-overload,no-any-return]
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload,no-any-return]


FLOWER = _flower(
    RecordDict(
        {
            "parameters": ArrayRecord({"theta": Array(np.arange(5, dtype=np.float32))}),
            "metrics": MetricRecord({"loss": 0.5, "rows": 12}),
            "config": ConfigRecord({"round": 3, "graph": "a" * 64, "rate": 0.001, "flat": True}),
        }
    )
)
FLOWER_ERROR = _flower(None, Error(2, "too few rows"))


def _said(said: Any, form: str = "", *, written: bool = True) -> Golden:
    write = m.encode if written else None
    return Golden(f"{said.kind}{form}.v1.json", said, write, functools.partial(m.decode, type(said)))


def _beside(said: Any) -> bytes:
    """What is written like the messages of `schemas.messages`, and is none of them."""
    return m.encode(said)


def _container(parts: tuple[dict[str, Any], dict[str, bytes]]) -> bytes:
    return pack(*parts)


_META, _BLOB = array_blob(np.arange(6, dtype=np.float32).reshape(2, 3))

GOLDEN: tuple[Golden, ...] = (
    *(_said(said, written=said.kind not in ONLY_READ) for said in SAID),
    *(_said(said, ".remaining_life") for said in SAID_WITH_LIFE),
    _said(HEALTH_WITH_RSSI, ".rssi"),
    _said(STATUS_WITH_FIRST, ".outbox_first", written=False),
    _said(STATUS_WITH_TRIALS, ".trials", written=False),
    _said(STATUS_WITH_HOST, ".host"),
    _said(STATUS_WITH_PLATES, ".plates"),
    _said(STATUS_WITH_LEARNING, ".learning"),
    Golden("plate_table.v1.json", PLATES, _beside, functools.partial(m.decode, PlateTable)),
    _said(HEALTH_WITH_BANDS, ".bands"),
    Golden("site_summary.v1.json", SITE_SUMMARY, _beside, functools.partial(m.decode, SiteSummary)),
    _said(EVIDENCE_WITH_AXES, ".axes"),
    _said(COMMAND_FOR_CAPTURE, ".capture"),
    Golden("capture.v1.bin", CAPTURE, encode_capture, decode_capture),
    Golden("capture.v2.bin", replace(CAPTURE, rssi_dbm=-67.0), encode_capture, decode_capture),
    Golden("fragment.v1.bin", Fragment(7, 41, 1, 3, 20, b"seven b"), encode_fragment, decode_fragment),
    Golden("container.v1.bin", ({"a": _META, "n": 3}, {"a": _BLOB, "empty": b""}), _container, unpack),
    Golden("sealed.v1.bin", m.encode(GAP), lambda b: KEY.seal(TOPIC, b), lambda s: RING.open(TOPIC, s, role="gateway")),
    Golden("flower_message.v1.bin", FLOWER, dump_message, load_message),
    Golden("flower_error.v1.bin", FLOWER_ERROR, dump_message, load_message),
    Golden("manifest.v1.json", MANIFEST, manifest_text, Manifest.model_validate_json),
)


def main() -> None:
    """Write what is missing."""
    for golden in GOLDEN:
        if golden.write is not None and not golden.path.exists():
            golden.path.write_bytes(golden.write(golden.thing))
            print(golden.path.name)


if __name__ == "__main__":
    main()
