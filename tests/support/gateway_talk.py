"""What a gateway says, for tests of those who listen: records with plain values, sealed as the gateway would."""

from schemas.messages import (
    Alarm,
    AlarmState,
    Diagnosis,
    Gap,
    GatewayStatus,
    Health,
    Numbered,
    Priority,
    Record,
    RecordBatch,
    encode,
)
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import RECORDS, STATUS

SITE, GATEWAY = "plant-a", "gw-1"
POINT = "pump-07/de"
BOOT = 7


def health(sequence: int, *, point: str = POINT, measured_at_us: int | None = None, score: float = 0.5) -> Health:
    return Health(
        point=point, capture_boot=1, capture_sequence=sequence,
        measured_at_us=1_000_000 * (sequence + 1) if measured_at_us is None else measured_at_us,
        quality="ok", learning="ready", score=score, limit=1.0, exceeds=score > 1.0, alarm="normal", zone="A",
        zone_basis="test", velocity_rms_mm_s=1.0, acceleration_rms_g=0.1, acceleration_peak_g=0.4, crest_factor=4.0,
        kurtosis=3.0, envelope_rms_g=0.01, rpm=1480.0, rpm_source="plate", rpm_confidence=1.0, temperature_c=None,
        battery_v=None,
    )  # fmt: skip


def alarm(
    state: AlarmState = "unacknowledged",
    *,
    point: str = POINT,
    priority: Priority = "alert",
    reason: str = "outer race",
    alarm_id: str = "00000000000000aa",
    diagnosis: tuple[Diagnosis, ...] = (),
) -> Alarm:
    return Alarm(
        point=point, alarm_id=alarm_id, state=state, priority=priority, measured_at_us=5_000_000, capture_boot=1,
        capture_sequence=1, score=2.0, limit=1.0, zone="C", reason=reason, diagnosis=diagnosis,
    )  # fmt: skip


def dropped(first: int, last: int) -> Gap:
    return Gap(what="records", source="outbox", first=first, last=last, count=last - first + 1, reason="full", at_us=1)


def batch(*records: tuple[int, Record], gateway: str = GATEWAY, boot: int = BOOT) -> RecordBatch:
    return RecordBatch(
        gateway=gateway, boot=boot, records=tuple(Numbered(sequence=number, record=one) for number, one in records)
    )


def healths(*sequences: int, gateway: str = GATEWAY, boot: int = BOOT, point: str = POINT) -> RecordBatch:
    return batch(*((number, health(number, point=point)) for number in sequences), gateway=gateway, boot=boot)


def status(gateway: str = GATEWAY, *, online: bool = True, at_us: int = 1_000_000) -> GatewayStatus:
    return GatewayStatus(
        gateway=gateway, online=online, boot=BOOT, at_us=at_us, software="0.1.0", release_version=3, release_digest="d"
    )


def sealed_records(signer: Signer, said: RecordBatch, *, site: str = SITE) -> tuple[str, bytes]:
    topic = RECORDS.path(site=site, gateway=said.gateway)
    return topic, signer.seal(topic, encode(said))


def sealed_status(signer: Signer, said: GatewayStatus, *, site: str = SITE) -> tuple[str, bytes]:
    topic = STATUS.path(site=site, gateway=said.gateway)
    return topic, signer.seal(topic, encode(said))


def ring(**signers: Signer) -> KeyRing:
    """Keys of gateways by name; underscores stand for hyphens."""
    return KeyRing(AllowedKey(name.replace("_", "-"), "gateway", one.public) for name, one in signers.items())
