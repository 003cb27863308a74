"""This file knows when a machine has a case: opened by an alarm, joined by others, closed when all is normal again.

One machine has at most one open case, however many of its points complain: what a person sees is a machine, a
reason and a history. Pure: events in, a changed case and lines for its history out.

    nothing ──alarm──▶ open ──person──▶ acknowledged ──all points normal, or a person──▶ closed
                        ▲ ◀──new or worse alarm────┘

A person may put a case on the shelf for at most twelve hours (ISA-18.2), with a reason. That is a matter of the site
alone: gateways go on judging and telling, so that nothing is lost while nobody looks, the shelf works for gateways
that are away, and it ends by one clock. Danger is never out of sight silently: it has to be acknowledged first, its
shelving is told to those who are told of danger, and a case that gets worse falls off the shelf at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from schemas.messages import AlarmState, Diagnosis, Priority

CaseState = Literal["open", "acknowledged", "closed"]
SITE = "site"  # who acted when no person did
ALL_NORMAL = "all points are back to normal"
MAX_SHELVE_US = 12 * 3600 * 1_000_000

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
class Shelf:
    """Until when a case is out of sight, who put it there, and why."""

    until_us: int
    actor: str
    reason: str


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
    shelf: Shelf | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The last word of an alarm whose case a person has closed while it went on."""

    state: AlarmState
    priority: Priority


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a case's history; `detail` is what programs read of it."""

    kind: str
    actor: str
    text: str
    detail: Mapping[str, Any] | None = None


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
    elif worse:
        entries.append(Entry("worse", SITE, f"{change.point}: {current.priority} has become {case.priority}"))
    if worse and case.shelf is not None:
        case = replace(case, shelf=None)
        entries.append(Entry("unshelved", SITE, f"worse while on the shelf: {case.priority}"))
    if all(state == "normal" for state in case.points.values()):
        case = replace(case, state="closed", shelf=None)
        entries.append(Entry("closed", SITE, ALL_NORMAL))
    return Outcome(case, tuple(entries))


def _surer(new: tuple[Diagnosis, ...], old: tuple[Diagnosis, ...]) -> bool:
    def best(diagnosis: tuple[Diagnosis, ...]) -> float:
        return max((item.confidence for item in diagnosis if item.label != "unknown"), default=0.0)

    return best(new) > best(old)


def on_own_limit(current: Case | None, machine: str, change: AlarmChange) -> Outcome:
    """Take in a change of an alarm that the site itself judges: what has calmed down unseen waits for somebody.

    As at a gateway (ISA-18.2): an alarm that nobody has acknowledged returns, and is normal with the acknowledgement.
    """
    unseen = change.state == "normal" and current is not None and current.state == "open"
    if unseen and current is not None and change.point in current.points:
        change = replace(change, state="returned")
    return on_alarm(current, machine, change)


def on_acknowledge(case: Case, actor: str, note: str) -> Outcome:
    """A person has seen it and takes it on; doing so twice leaves the first name.

    Alarms that the site judges (`point:quantity`) are normal by this where they are calm; gateways answer for theirs.
    """
    entry = Entry("acknowledged", actor, note)
    if case.state == "acknowledged":
        return Outcome(case, (entry,))
    seen: dict[str, AlarmState] = {
        name: "normal" if state == "returned" and ":" in name else state for name, state in case.points.items()
    }
    case = replace(case, state="acknowledged", acknowledged_by=actor, points=seen)
    if seen and all(state == "normal" for state in seen.values()):
        return Outcome(replace(case, state="closed", shelf=None), (entry, Entry("closed", SITE, ALL_NORMAL)))
    return Outcome(case, (entry,))


def on_note(case: Case, actor: str, note: str) -> Outcome:
    """A person adds what they know."""
    return Outcome(case, (Entry("note", actor, note),))


def on_label(case: Case, actor: str, label: str, note: str, *, codes: Mapping[str, str] | None = None) -> Outcome:
    """A person says what it really was; the history of labels is what learning is checked against.

    Args:
        case: The case, open or closed.
        actor: Who says so.
        label: The cause, as diagnosis names it.
        note: Words.
        codes: Codes of standards that go with the label, by the name of the standard.
    """
    said = " · ".join([label, *(f"{standard} {code}" for standard, code in (codes or {}).items())])
    detail = {"label": label, **(codes or {})}
    return Outcome(case, (Entry("label", actor, f"{said}: {note}" if note else said, detail),))


def on_maintenance(case: Case, actor: str, note: str) -> Outcome:
    """The machine was worked on: what was known of it no longer holds, and its points learn anew."""
    entries = (Entry("maintenance", actor, note), Entry("closed", actor, "maintenance done"))
    return Outcome(replace(case, state="closed", shelf=None), entries)


def on_close(case: Case, actor: str, note: str) -> Outcome:
    """A person decides that it is over."""
    return Outcome(replace(case, state="closed", shelf=None), (Entry("closed", actor, note),))


def shelf_refusal(case: Case, reason: str, *, until_us: int, now_us: int) -> str:
    """Why a case may not go on the shelf; empty when it may."""
    if case.state == "closed":
        return "the case is closed already"
    if not reason.strip():
        return "shelving needs a reason"
    if not now_us < until_us <= now_us + MAX_SHELVE_US:
        hours = (until_us - now_us) / 3.6e9
        return f"shelving for {hours:.1f} h was asked for, more than 0 and at most 12 h are allowed"
    if case.priority == "danger" and case.state != "acknowledged":
        return "a danger cannot be shelved before somebody has acknowledged it"
    return ""


def on_shelve(case: Case, actor: str, reason: str, *, until_us: int, hours: float) -> Outcome:
    """A person puts it out of sight for a while; `shelf_refusal` says when not."""
    entry = Entry("shelved", actor, f"for {hours:g} h: {reason}", {"until_us": until_us})
    return Outcome(replace(case, shelf=Shelf(until_us, actor, reason)), (entry,))


def on_unshelve(case: Case, actor: str, why: str) -> Outcome:
    """It is in sight again, because a person or the clock says so."""
    if case.shelf is None:
        return Outcome(case)
    return Outcome(replace(case, shelf=None), (Entry("unshelved", actor, why),))
