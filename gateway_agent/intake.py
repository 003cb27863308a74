"""This file knows what a payload from a sensor is: a capture, a fragment of one, or a dead letter."""

from dataclasses import dataclass

from schemas.capture import MAX_BYTES, Capture, decode_capture
from schemas.errors import CaptureRejected, ContractError, FragmentRejected, NameError_, RejectedInput
from schemas.fragments import Reassembly, decode_fragment
from schemas.names import check_name
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT, topic_of

FUTURE_US = 86_400_000_000  # a day ahead of us: the sensor's clock is wrong, not ours


@dataclass(frozen=True, slots=True)
class Payload:
    """One message as it came from the broker."""

    topic: str
    content: bytes
    received_at_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A capture that can be used."""

    point: str
    capture: Capture
    raw: bytes
    received_at_us: int


@dataclass(slots=True)
class Intake:
    """Turns payloads into captures; what cannot be used is refused with a countable reason."""

    site: str
    gateway: str
    machines: frozenset[str]
    accept_unknown_machines: bool
    fragments: Reassembly

    def take(self, payload: Payload, *, now_s: float) -> Taken | None:
        """Read one payload; None while a fragmented capture is not whole yet.

        Args:
            payload: As it came.
            now_s: Monotonic time, for the age of fragments.

        Raises:
            RejectedInput: With a `reason` of `schemas.capture`, `schemas.fragments`, or unknown_topic,
                unknown_machine, wrong_gateway, future.
        """
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
        if names["machine"] not in self.machines and not self.accept_unknown_machines:
            raise CaptureRejected(
                "unknown_machine",
                f"machine {names['machine']!r} is not in the settings; add a [[machines]] table for it",
            )
        raw = payload.content
        if topic is CAPTURE_FRAGMENT:
            whole = self._join(payload, now_s)
            if whole is None:
                return None
            raw = whole
        capture = decode_capture(raw)
        if capture.measured_at_us > payload.received_at_us + FUTURE_US:
            raise CaptureRejected("future", "measured more than a day from now; set the sensor's clock")
        return Taken(f"{names['machine']}/{names['position']}", capture, raw, payload.received_at_us)

    def given_up(self, *, now_s: float) -> list[RejectedInput]:
        """One rejection for every fragmented capture that never became whole."""
        return [
            FragmentRejected("fragments_incomplete", f"capture {item} of boot {stream} on {source} never became whole")
            for source, stream, item in self.fragments.expired(now_s=now_s)
        ]

    def _join(self, payload: Payload, now_s: float) -> bytes | None:
        fragment = decode_fragment(payload.content)
        if fragment.total_bytes > MAX_BYTES:
            raise FragmentRejected("oversized", f"capture of {fragment.total_bytes} bytes, {MAX_BYTES} allowed")
        return self.fragments.add(payload.topic, fragment, now_s=now_s)
