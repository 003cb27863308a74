"""This file knows what becomes of a capture on its way: published when, on which topic, in which pieces, how often."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.fragments import OVERHEAD_BYTES, split
from schemas.names import check_point
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT
from sensor_sim.imperfections import Duplicated, Fragmented, Imperfection, Lost, Reordered, active_of


@dataclass(frozen=True, slots=True)
class Route:
    """Whose captures these are and who listens to them."""

    site: str
    gateway: str
    point: str

    def topic(self, *, in_fragments: bool) -> str:
        """The topic of whole captures, or of their fragments."""
        machine, _, position = check_point(self.point).partition("/")
        row = CAPTURE_FRAGMENT if in_fragments else CAPTURE
        return row.path(site=self.site, gateway=self.gateway, machine=machine, position=position)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload on its way.

    Attributes:
        at_s: When it reaches the broker, in seconds since the run's start.
        topic: Where.
        payload: A capture, or a fragment of one.
        route: Whose it is.
        boot: Of the capture.
        sequence: Of the capture.
        kept: Whether the sensor keeps it until it is acknowledged.
        lost: Whether it never reaches the broker; such a one is only worth keeping.
        repeated: Whether the same was on its way before.
    """

    at_s: float
    topic: str
    payload: bytes
    route: Route
    boot: int
    sequence: int
    kept: bool = False
    lost: bool = False
    repeated: bool = False


def plan_delivery(
    capture: Capture,
    route: Route,
    *,
    ready_s: float,
    started_s: float,
    shortcomings: tuple[Imperfection, ...] = (),
    chance: np.random.Generator,
) -> list[Delivery]:
    """Plan how one capture travels, in order of time.

    Args:
        capture: What was measured.
        route: Whose it is and to whom it goes.
        ready_s: When the sensor has it, in seconds since the run's start.
        started_s: When the capture began, for what holds at that time.
        shortcomings: Of this sensor.
        chance: Randomness of this capture's way.
    """
    encoded = encode_capture(capture)
    fragmented = active_of(Fragmented, shortcomings, started_s)
    if fragmented is None:
        pieces = [encoded]
    else:
        pieces = split(encoded, stream=capture.boot, item=capture.sequence, piece_bytes=fragmented.piece_bytes)
        if fragmented.shuffled:
            pieces = [pieces[number] for number in chance.permutation(len(pieces))]
    late = active_of(Reordered, shortcomings, started_s)
    at_s = ready_s + (late.delay_s if late is not None and chance.random() < late.share else 0.0)
    lost = active_of(Lost, shortcomings, started_s)
    topic = route.topic(in_fragments=fragmented is not None)
    kept = bool(capture.flags & CaptureFlag.KEPT_UNTIL_ACK)
    first = [
        Delivery(
            at_s, topic, piece, route, capture.boot, capture.sequence, kept,
            lost=lost is not None and bool(chance.random() < lost.share),
        )
        for piece in pieces
    ]  # fmt: skip
    twice = active_of(Duplicated, shortcomings, started_s)
    if twice is None or not chance.random() < twice.share:
        return first
    again = [dataclasses.replace(d, at_s=at_s + twice.delay_s, lost=False, repeated=True) for d in first]
    return first + again


def fit_packets(delivery: Delivery, max_payload_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Give topic and payload, in fragments where the broker does not take as much at once.

    A fragment that is still too large is given as it is: the pieces of an item cannot be cut anew.
    """
    whole = delivery.route.topic(in_fragments=False)
    if len(delivery.payload) <= max_payload_bytes or delivery.topic != whole:
        yield delivery.topic, delivery.payload
        return
    for piece in split(
        delivery.payload,
        stream=delivery.boot,
        item=delivery.sequence,
        piece_bytes=max_payload_bytes - OVERHEAD_BYTES,
    ):
        yield delivery.route.topic(in_fragments=True), piece
