"""This file knows what a payload from a sensor is: a capture, a fragment of one, or a dead letter."""

from dataclasses import dataclass

from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.foreign.reading import Reading
from gateway_agent.waiting import Waiting
from schemas.capture import MAX_BYTES, Capture, decode_capture
from schemas.errors import CaptureRejected, ContractError, FragmentRejected, NameError_, RejectedInput
from schemas.fragments import Reassembly, decode_fragment
from schemas.names import check_name, machine_of
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT, ROOT, topic_of

FUTURE_US = 86_400_000_000  # a day ahead of us: the sensor's clock is wrong, not ours


@dataclass(frozen=True, slots=True)
class Payload:
    """One message as it came from the broker."""

    topic: str
    content: bytes
    received_at_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A capture that can be used.

    Attributes:
        reading: What a sensor of single values says; its capture has the key and no samples.
        same_within_s: None where the sensor counts its captures; else one of the same boot within so many seconds is
            the same one again.
    """

    point: str
    capture: Capture
    raw: bytes
    received_at_us: int
    reading: Reading | None = None
    same_within_s: float | None = None


@dataclass(slots=True)
class Intake:
    """Turns payloads into captures; what cannot be used is refused with a countable reason."""

    site: str
    gateway: str
    machines: frozenset[str]
    accept_unknown_machines: bool
    fragments: Reassembly
    foreign: ForeignSensors | None = None

    def take(self, payload: Payload, *, now_s: float) -> Taken | Waiting:
        """Read one payload; Waiting while a fragmented capture is not whole yet.

        Args:
            payload: As it came.
            now_s: Monotonic time, for the age of fragments.

        Raises:
            RejectedInput: With a `reason` of `schemas.capture`, `schemas.fragments`, `foreign.errors`, or
                unknown_topic, unknown_machine, wrong_gateway, future.
        """
        if self.foreign is not None and not payload.topic.startswith(f"{ROOT}/"):
            return self._take_foreign(self.foreign, payload, now_s)
        try:
            topic, names = topic_of(payload.topic)
            for name in names.values():
                check_name(name)
        except (NameError_, ContractError) as error:
            raise CaptureRejected("unknown_topic", str(error)) from error
        if topic not in {CAPTURE, CAPTURE_FRAGMENT}:
            raise CaptureRejected("unknown_topic", f"{payload.topic} carries no captures")
        if (names["site"], names["gateway"]) != (self.site, self.gateway):
            raise CaptureRejected("wrong_gateway", f"{payload.topic} is another gateway's")
        self._require_known(names["machine"])
        raw = payload.content
        if topic is CAPTURE_FRAGMENT:
            whole = self._join(payload, now_s)
            if isinstance(whole, Waiting):
                return whole
            raw = whole
        capture = decode_capture(raw)
        _require_past(capture, payload)
        return Taken(f"{names['machine']}/{names['position']}", capture, raw, payload.received_at_us)

    def given_up(self, *, now_s: float) -> list[RejectedInput]:
        """One rejection for every fragmented capture that never became whole."""
        lost: list[RejectedInput] = [
            FragmentRejected("fragments_incomplete", f"capture {item} of boot {stream} on {source} never became whole")
            for source, stream, item in self.fragments.expired(now_s=now_s)
        ]
        return lost if self.foreign is None else lost + self.foreign.given_up(now_s=now_s)

    def _take_foreign(self, foreign: ForeignSensors, payload: Payload, now_s: float) -> Taken | Waiting:
        mapped = foreign.take(payload.topic, payload.content, received_at_us=payload.received_at_us, now_s=now_s)
        if isinstance(mapped, Waiting):
            return mapped
        self._require_known(machine_of(mapped.point))
        _require_past(mapped.capture, payload)
        return Taken(
            mapped.point, mapped.capture, mapped.raw, payload.received_at_us, mapped.reading, mapped.same_within_s
        )

    def _require_known(self, machine: str) -> None:
        if machine not in self.machines and not self.accept_unknown_machines:
            raise CaptureRejected(
                "unknown_machine", f"machine {machine!r} is not in the settings; add a [[machines]] table for it"
            )

    def _join(self, payload: Payload, now_s: float) -> bytes | Waiting:
        fragment = decode_fragment(payload.content)
        if fragment.total_bytes > MAX_BYTES:
            raise FragmentRejected("oversized", f"capture of {fragment.total_bytes} bytes, {MAX_BYTES} allowed")
        whole = self.fragments.add(payload.topic, fragment, now_s=now_s)
        if whole is not None:
            return whole
        item = (payload.topic, fragment.stream, fragment.item)
        return Waiting(lambda: not self.fragments.waits_for(*item))


def _require_past(capture: Capture, payload: Payload) -> None:
    if capture.measured_at_us > payload.received_at_us + FUTURE_US:
        raise CaptureRejected("future", "measured more than a day from now; set the sensor's clock")
