"""This file knows when a machine has a case: opened by an alarm, joined by others, closed when all is normal again.

One machine has at most one open case, however many of its points complain: what a person sees is a machine, a
reason and a history. Pure: events in, a changed case and lines for its history out.

    nothing ──alarm──▶ open ──person──▶ acknowledged ──all points normal, or a person──▶ closed
                        ▲ ◀──new or worse alarm────┘
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from schemas.messages import AlarmState, Diagnosis, Priority

CaseState = Literal["open", "acknowledged", "closed"]
SITE = "site"  # who acted when no person did

_OPENING: frozenset[AlarmState] = frozenset({"unacknowledged", "acknowledged", "latched"})
_WEIGHT: Mapping[str, int] = {"danger": 3, "alert": 2, "notice": 1, "sensor": 0}


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """A point's alarm changed its state, as a gateway said it.

    Attributes:
        overtaken: Whether a later change of this point is already known; then it is history, not news.
    """

    point: str
    state: AlarmState
    priority: Priority
    reason: str
    at_us: int
    diagnosis: tuple[Diagnosis, ...] = ()
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What is wrong with one machine.

    Attributes:
        priority: The worst there was since it was opened.
        title: The reason of that worst alarm, in words.
        points: The last alarm state of each point that joined.
    """

    machine: str
    state: CaseState
    priority: Priority
    title: str
    diagnosis: tuple[Diagnosis, ...]
    points: Mapping[str, AlarmState] = field(default_factory=dict)
    acknowledged_by: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The last word of an alarm whose case a person has closed while it went on."""

    state: AlarmState
    priority: Priority


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a case's history."""

    kind: str
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; `case` is None when there still is none."""

    case: Case | None
    entries: tuple[Entry, ...] = ()


def on_alarm(current: Case | None, machine: str, change: AlarmChange, *, settled: Settled | None = None) -> Outcome:
    """Take a change of a point's alarm into the machine's case.

    Args:
        current: The machine's open case, if there is one.
        machine: Whose point it is.
        change: What the gateway said.
        settled: What was last heard of this same alarm, when a person closed its case meanwhile: only a worse
            priority or a fresh start makes it news again.
    """
    if change.priority == "sensor":
        entry = Entry("sensor", SITE, f"{change.point}: sensor {change.state}: {change.reason}")
        return Outcome(current, (entry,) if current else ())
    if change.overtaken:
        entry = Entry("alarm", SITE, f"{change.point}: was {change.state} in between: {change.reason}")
        return Outcome(current, (entry,) if current else ())
    if current is None:
        return _open(machine, change, settled)
    return _join(current, change)


def _open(machine: str, change: AlarmChange, settled: Settled | None) -> Outcome:
    known = (
        settled is not None
        and _WEIGHT[change.priority] <= _WEIGHT[settled.priority]
        and not (change.state == "unacknowledged" and settled.state != "unacknowledged")
    )
    if change.state not in _OPENING or known:
        return Outcome(None)
    case = Case(machine, "open", change.priority, change.reason, change.diagnosis, {change.point: change.state})
    return Outcome(case, (Entry("opened", SITE, f"{change.point}: {change.priority}: {change.reason}"),))


def _join(current: Case, change: AlarmChange) -> Outcome:
    before = current.points.get(change.point)
    if before is None and change.state == "normal":
        return Outcome(current)
    case = replace(current, points={**current.points, change.point: change.state})
    entries = [Entry("alarm", SITE, f"{change.point}: {change.state}: {change.reason}")]
    active = change.state in _OPENING
    worse = active and _WEIGHT[change.priority] > _WEIGHT[current.priority]
    if worse or (active and change.priority == current.priority and _surer(change.diagnosis, current.diagnosis)):
        case = replace(case, priority=change.priority, title=change.reason, diagnosis=change.diagnosis)
    fresh = change.state == "unacknowledged" and before != "unacknowledged"
    if current.state == "acknowledged" and (worse or fresh):
        case = replace(case, state="open", acknowledged_by=None)
        entries.append(Entry("reopened", SITE, f"{change.point}: {'worse' if worse else 'new'} since acknowledged"))
    if all(state == "normal" for state in case.points.values()):
        case = replace(case, state="closed")
        entries.append(Entry("closed", SITE, "all points are back to normal"))
    return Outcome(case, tuple(entries))


def _surer(new: tuple[Diagnosis, ...], old: tuple[Diagnosis, ...]) -> bool:
    def best(diagnosis: tuple[Diagnosis, ...]) -> float:
        return max((item.confidence for item in diagnosis if item.label != "unknown"), default=0.0)

    return best(new) > best(old)


def on_acknowledge(case: Case, actor: str, note: str) -> Outcome:
    """A person has seen it and takes it on; doing so twice leaves the first name."""
    entry = Entry("acknowledged", actor, note)
    if case.state == "acknowledged":
        return Outcome(case, (entry,))
    return Outcome(replace(case, state="acknowledged", acknowledged_by=actor), (entry,))


def on_note(case: Case, actor: str, note: str) -> Outcome:
    """A person adds what they know."""
    return Outcome(case, (Entry("note", actor, note),))


def on_label(case: Case, actor: str, label: str, note: str) -> Outcome:
    """A person says what it really was; the history of labels is what learning is checked against."""
    return Outcome(case, (Entry("label", actor, f"{label}: {note}" if note else label),))


def on_maintenance(case: Case, actor: str, note: str) -> Outcome:
    """The machine was worked on: what was known of it no longer holds, and its points learn anew."""
    entries = (Entry("maintenance", actor, note), Entry("closed", actor, "maintenance done"))
    return Outcome(replace(case, state="closed"), entries)


def on_close(case: Case, actor: str, note: str) -> Outcome:
    """A person decides that it is over."""
    return Outcome(replace(case, state="closed"), (Entry("closed", actor, note),))
