"""This file knows in which units a person reads: mm/s or in/s, g or m/s². What is stored and judged never changes.

Velocity stays RMS: an overall level is never turned into a peak, which would hold for a sine only. Envelopes stay in
gE, which is a unit of its own in the trade.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from vibration.units import G_M_S2, MM_PER_INCH

Velocity = Literal["mm/s", "in/s"]
Acceleration = Literal["g", "m/s²"]
VELOCITIES: Final[tuple[Velocity, ...]] = ("mm/s", "in/s")
ACCELERATIONS: Final[tuple[Acceleration, ...]] = ("g", "m/s²")
SESSION_KEY: Final = "units"


@dataclass(frozen=True, slots=True)
class Units:
    """What one person reads in."""

    velocity: Velocity = "mm/s"
    acceleration: Acceleration = "g"


class Shown(NamedTuple):
    """A unit as it is read, and by what a value in the stored one is multiplied."""

    unit: str
    factor: float


METRIC: Final = Units()
_read_in: ContextVar[Units | None] = ContextVar("read_in", default=None)


def units() -> Units:
    """The units in use: those of `reading_in`, else the viewer's, else mm/s and g."""
    chosen = _read_in.get()
    return chosen if chosen is not None else _of_viewer()


@contextmanager
def reading_in(chosen: Units) -> Iterator[None]:
    """Use some units whoever looks: for reports and tests."""
    token = _read_in.set(chosen)
    try:
        yield
    finally:
        _read_in.reset(token)


def shown(unit: str) -> Shown:
    """How a unit, such as `mm/s RMS` or `g peak`, is read; one that nobody can choose stays as it is."""
    chosen = units()
    name, space, sense = unit.partition(" ")
    if name == "mm/s" and chosen.velocity == "in/s":
        return Shown(f"in/s{space}{sense}", 1.0 / MM_PER_INCH)
    if name == "g" and chosen.acceleration == "m/s²":
        return Shown(f"m/s²{space}{sense}", G_M_S2)
    return Shown(unit, 1.0)


def _of_viewer() -> Units:
    import streamlit as st
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    if get_script_run_ctx(suppress_warning=True) is None:
        return METRIC
    chosen = st.session_state.get(SESSION_KEY)
    return chosen if isinstance(chosen, Units) else METRIC
