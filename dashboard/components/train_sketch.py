"""This file knows how a machine's train and the state of its points are handed to what draws them."""

from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.assets import asset
from dashboard.condition import Level, Staleness, point_level, position
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.queries.records import MachineRecord, PointRecord
from dashboard.train import Spot, train_of

_sketch = st.components.v2.component(
    "undertone.train_sketch", css=asset("train_sketch.css"), js=asset("glyph.js") + asset("train_sketch.js")
)


def show_train(machine: MachineRecord, staleness: Staleness, *, now_us: int) -> None:
    """Draw the train; each point leads to its bench."""
    if machine.points:
        _sketch(key=f"train:{machine.machine}", data=train_data(machine, staleness, now_us=now_us))


def train_data(machine: MachineRecord, staleness: Staleness, *, now_us: int) -> dict[str, Any]:
    """Describe the sketch."""
    train = train_of(machine.nameplate, [position(point.point) for point in machine.points])
    spots = [
        _spot(number, spot, point, point_level(machine, point, staleness, now_us))
        for number, (spot, point) in enumerate(zip(train.spots, machine.points, strict=True), 1)
    ]
    note = tr("Drawn from the nameplate and the names of the points; not to scale.")
    untold = [spot.position for spot in train.spots if not spot.told]
    if untold:
        note += " " + tr("Not told by their names where they sit: {names}.", names=", ".join(untold))
    return {
        "parts": [{"kind": part.kind, "start": part.start, "end": part.end} for part in train.parts],
        "spots": spots, "note": note,
        "said": tr("Sketch of the train: {parts}", parts=", ".join(_part_word(part.kind) for part in train.parts)),
    }  # fmt: skip


def _spot(number: int, spot: Spot, point: PointRecord, level: Level) -> dict[str, Any]:
    latest = point.latest
    known = latest is not None and level.name != "unknown"
    velocity = words.number(latest.velocity_rms_mm_s, "mm/s RMS") if latest is not None and known else ""
    zone = tr("zone {zone}", zone=latest.zone) if latest is not None and known and latest.zone else ""
    return {
        "number": str(number), "x": spot.x, "name": spot.position, "href": point_address(point.point),
        "shape": level.shape, "letter": level.letter, "word": level.said, "colour": level.colour,
        "text": ", ".join(said for said in (velocity, zone) if said and said != words.NOT_KNOWN),
    }  # fmt: skip


def _part_word(kind: str) -> str:
    return {
        "motor": tr("motor"), "coupling": tr("coupling"), "gear": tr("gear"), "general": tr("driven machine"),
        "pump": tr("pump"), "fan": tr("fan"), "reciprocating": tr("reciprocating machine"),
    }[kind]  # fmt: skip
