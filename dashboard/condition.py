"""This file knows how a machine stands: from cases, points and ages to one state, one reason and a place in the list.

Pure: what the database says and the time go in, what a person is shown comes out. States, worst first, each with a
shape, a letter and a word besides its colour; a machine that is well is grey, and silence is never well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dashboard import sentences, words
from dashboard.languages import tr
from dashboard.queries.records import CaseRecord, MachineRecord, PointRecord, Trend
from schemas.messages import RemainingLife

LevelName = Literal["danger", "alert", "notice", "sensor", "unknown", "shelved", "stopped", "learning", "normal"]
STOPPED = "machine_stopped"
_ACTIVE = frozenset({"unacknowledged", "acknowledged", "latched", "returned"})
BELIEVED = frozenset({"ok", "remounted"})  # a re-mounted sensor's baseline has moved with it: it is judged as before


@dataclass(frozen=True, slots=True)
class Level:
    """One state and how it looks.

    Attributes:
        word: In English, as the code knows it; `said` is what a person reads.
        shape: For drawn glyphs; `mark` is its stand-in within text.
        colour: A colour name of the theme; grey is not a colour but its absence.
        weight: Place in the order of attention, before everything else.
    """

    name: LevelName
    word: str
    letter: str
    shape: str
    mark: str
    colour: str
    weight: float

    @property
    def said(self) -> str:
        """The word, in the viewer's language."""
        said: dict[LevelName, str] = {
            "danger": tr("Danger"), "alert": tr("Alert"), "notice": tr("Notice"), "sensor": tr("Sensor problem"),
            "unknown": tr("Stale"), "shelved": tr("Shelved"), "stopped": tr("Stopped"), "learning": tr("Learning"),
            "normal": tr("Normal"),
        }  # fmt: skip
        return said[self.name]

    @property
    def text(self) -> str:
        """The glyph within Markdown: shape, letter and word."""
        body = f"{self.mark} {self.letter} {self.said}".replace("  ", " ")
        return body if self.colour == "gray" else f":{self.colour}[**{body}**]"


LEVELS: dict[LevelName, Level] = {
    level.name: level
    for level in (
        Level("danger", "Danger", "D", "square", "■", "red", 3000.0),
        Level("alert", "Alert", "C", "triangle", "▲", "orange", 2000.0),
        Level("notice", "Notice", "N", "circle", "●", "yellow", 1000.0),
        Level("sensor", "Sensor problem", "S", "diamond", "◆", "violet", 700.0),
        Level("unknown", "Stale", "?", "hatched", "▨", "gray", 500.0),
        Level("shelved", "Shelved", "H", "shelf", "▭", "gray", 375.0),
        Level("stopped", "Stopped", "–", "pause", "❙❙", "gray", 125.0),
        Level("learning", "Learning", "L", "ring", "◌", "gray", 250.0),
        Level("normal", "Normal", "", "dot", "·", "gray", 0.0),
    )
}

QUIET: frozenset[LevelName] = frozenset({"normal", "learning", "stopped", "shelved"})
"""Levels that need nobody now."""

# Together less than the step from one priority to the next.
SHARE_OF_CONFIDENCE = 80.0
_SHARE_OF_TREND = 80.0
STEP_OF_CRITICALITY = 25.0
OPEN_BEFORE_ACKNOWLEDGED = 60.0
TOLD_RATE = 0.05  # of the limit a day: less is the scatter of a healthy machine
_STEEP = 0.5  # of the limit a day: steeper does not lift a machine further


@dataclass(frozen=True, slots=True)
class Staleness:
    """When a point counts as silent."""

    after_intervals: float
    floor_s: float
    assumed_interval_s: float

    def limit_s(self, interval_s: float | None) -> float:
        """Age of the last data from which a point is stale."""
        interval = interval_s if interval_s and interval_s > 0 else self.assumed_interval_s
        return max(self.floor_s, self.after_intervals * interval)

    def is_stale(self, point: PointRecord, now_us: int) -> bool:
        """Whether a point has missed so many captures that its last value says nothing about now."""
        age_s = data_age_s(point, now_us)
        return age_s is None or age_s > self.limit_s(point.interval_s)


@dataclass(frozen=True, slots=True)
class HowLong:
    """What is said of a machine's remaining life.

    Attributes:
        point: Where it was read.
        life: Counted from now; None where nothing can be said.
        basis: What it rests on, or why there is none.
    """

    point: str
    life: RemainingLife | None
    basis: str


@dataclass(frozen=True, slots=True)
class Condition:
    """How one machine stands.

    Attributes:
        reason: One sentence for the list.
        details: What limits the verdict: stale points, sensors, learning.
        zone: The worst zone of fresh points; None if none could be judged.
        age_s: Since the newest data of any point arrived; None if there never was any.
        stale: Whether all points are silent.
        remaining_life: By the fresh point that ends first; None if no gateway says anything of it.
        points_assessable: Points that are fresh, ready and believed.
        attention: The place in the list: larger comes first.
    """

    machine: str
    title: str
    level: Level
    reason: str
    details: tuple[str, ...]
    zone: str | None
    confidence: float | None
    trend_share_a_day: float | None
    remaining_life: HowLong | None
    age_s: float | None
    stale: bool
    points: int
    points_assessable: int
    case: CaseRecord | None
    criticality: int
    area: str
    attention: float = field(compare=False)

    @property
    def sort_key(self) -> tuple[float, str]:
        """Worst first; equals by name, so that the order never flickers."""
        return -self.attention, self.machine


def data_age_s(point: PointRecord, now_us: int) -> float | None:
    """Seconds since data of a point last arrived; by arrival, because a sensor's clock may be wrong."""
    newest = point.last_received_us if point.last_received_us is not None else point.last_measured_us
    return None if newest is None else (now_us - newest) / 1e6


def judge(machine: MachineRecord, trend: Trend | None, staleness: Staleness, now_us: int) -> Condition:
    """Say how a machine stands.

    Args:
        machine: With its points and its open case, as the database has them.
        trend: How the score of its worst point develops; None if not known.
        staleness: When a point counts as silent.
        now_us: The time to judge by.
    """
    points = machine.points
    stale = [point for point in points if staleness.is_stale(point, now_us)]
    fresh = [point for point in points if point not in stale]
    suspects = [point for point in points if _is_suspect(point)]
    learning = [point for point in fresh if point.learning == "learning"]
    stopped = bool(fresh) and all(point.quality == STOPPED for point in fresh)
    ages = [found for found in (data_age_s(point, now_us) for point in points) if found is not None]
    all_stale = len(stale) == len(points)
    name, reason = _level(machine, stale, suspects, learning, stopped=stopped, all_stale=all_stale, now_us=now_us)
    confidence = _confidence(machine.case)
    rate = trend.share_a_day if trend is not None and not all_stale else None
    level = LEVELS[name]
    return Condition(
        machine=machine.machine,
        title=machine.title or machine.machine,
        level=level,
        reason=reason,
        details=tuple(_details(machine, stale, suspects, learning, name, rate, now_us)),
        zone=max((point.latest.zone for point in fresh if point.latest and point.latest.zone), default=None),
        confidence=confidence,
        trend_share_a_day=rate,
        remaining_life=how_long(fresh, now_us),
        age_s=min(ages, default=None),
        stale=all_stale,
        points=len(points),
        points_assessable=sum(point.learning == "ready" and point.quality in BELIEVED for point in fresh),
        case=machine.case,
        criticality=machine.criticality,
        area=machine.area,
        attention=_attention(level, machine, confidence, rate, now_us),
    )


def point_level(machine: MachineRecord, point: PointRecord, staleness: Staleness, now_us: int) -> Level:
    """Say how one point of a machine stands; a case counts only at the points that are part of it."""
    if staleness.is_stale(point, now_us):
        return LEVELS["unknown"]
    if _is_suspect(point):
        return LEVELS["sensor"]
    case = machine.case
    if case is not None and any(
        name.partition(":")[0] == point.point and state in _ACTIVE for name, state in case.points.items()
    ):
        return LEVELS["shelved" if case.on_shelf(now_us) else _case_level(case)]
    if point.quality == STOPPED:
        return LEVELS["stopped"]
    return LEVELS["learning" if point.learning == "learning" else "normal"]


def how_long(points: Iterable[PointRecord], now_us: int) -> HowLong | None:
    """Say how long a machine may last: as long as the point that ends first.

    Where none can say, the point furthest towards its limit tells why. What has passed since the capture is taken off.

    Args:
        points: Those that are not silent.
        now_us: The time to count from.
    """
    said = []
    for point in points:
        latest = point.latest
        if latest is not None and (latest.remaining_life is not None or latest.remaining_life_basis):
            life = None if latest.remaining_life is None else _later(latest.remaining_life, data_age_s(point, now_us))
            said.append((latest.times_limit, HowLong(point.point, life, latest.remaining_life_basis)))
    known = [(one.life.median_s, one.life.low_s, one.point, one) for _, one in said if one.life is not None]
    if known:
        return min(known, key=lambda found: found[:3])[3]
    return max(said, key=lambda found: found[0])[1] if said else None


def _later(life: RemainingLife, by_s: float | None) -> RemainingLife:
    low_s, median_s, high_s = (
        max(0.0, left_s - max(0.0, by_s or 0.0)) for left_s in (life.low_s, life.median_s, life.high_s)
    )
    return RemainingLife(low_s=low_s, median_s=median_s, high_s=high_s)


def in_order(conditions: Iterable[Condition]) -> list[Condition]:
    """Worst first."""
    return sorted(conditions, key=lambda condition: condition.sort_key)


def _attention(
    level: Level, machine: MachineRecord, confidence: float | None, rate: float | None, now_us: int
) -> float:  # fmt: skip
    attention = level.weight + STEP_OF_CRITICALITY * (machine.criticality - 3)
    if level.name in {"danger", "alert", "notice"}:
        attention += SHARE_OF_CONFIDENCE * (confidence or 0.0)
        attention += _SHARE_OF_TREND * min(1.0, max(-1.0, (rate or 0.0) / _STEEP))
    case = machine.case
    if case is not None and case.state == "open" and not case.on_shelf(now_us):
        attention += OPEN_BEFORE_ACKNOWLEDGED
    return attention


def _confidence(case: CaseRecord | None) -> float | None:
    if case is None or not case.diagnosis:
        return None
    best = case.diagnosis[0]
    return None if best.label == "unknown" else best.confidence


def _trouble(point: PointRecord) -> str:
    if point.quality == STOPPED or point.quality in BELIEVED:
        return tr("its healthy baseline is in doubt")
    return words.quality(point.quality)


def _is_suspect(point: PointRecord) -> bool:
    sensor_troubled = point.quality != STOPPED and point.quality not in BELIEVED
    return sensor_troubled or point.learning == "suspect"


def _level(
    machine: MachineRecord,
    stale: Sequence[PointRecord],
    suspects: Sequence[PointRecord],
    learning: Sequence[PointRecord],
    *,
    stopped: bool,
    all_stale: bool,
    now_us: int,
) -> tuple[LevelName, str]:
    case = machine.case
    if case is None or case.on_shelf(now_us):
        name, reason = _level_without_case(machine, stale, suspects, learning, stopped, all_stale, now_us)
        if case is None or LEVELS[name].weight > LEVELS["shelved"].weight:
            return name, reason
        return "shelved", sentences.said(case.title)
    return _case_level(case), sentences.said(case.title)


def _level_without_case(
    machine: MachineRecord, stale: Sequence[PointRecord], suspects: Sequence[PointRecord],
    learning: Sequence[PointRecord], stopped: bool, all_stale: bool, now_us: int,
) -> tuple[LevelName, str]:  # fmt: skip
    if all_stale:
        return "unknown", _silence(machine.points, now_us)
    if suspects:
        first = suspects[0]
        return "sensor", f"{position(first.point)}: {_trouble(first)}"
    if stale:
        return "unknown", _some_silent(machine, stale)
    if stopped:
        return "stopped", tr("machine stands still: not judged")
    if learning:
        return "learning", learning_words(learning)
    return "normal", tr("nothing abnormal")


def _case_level(case: CaseRecord) -> LevelName:
    names: dict[str, LevelName] = {"danger": "danger", "alert": "alert", "notice": "notice", "sensor": "sensor"}
    return names.get(case.priority, "notice")


def _silence(points: Sequence[PointRecord], now_us: int) -> str:
    if not points:
        return tr("no measurement point has reported yet")
    ages = [found for found in (data_age_s(point, now_us) for point in points) if found is not None]
    if not ages:
        return tr("no data has arrived yet")
    intervals = [point.interval_s for point in points if point.interval_s]
    silent = words.span(min(ages))
    if not intervals:
        return tr("no data for {silent}: state not known", silent=silent)
    return tr(
        "no data for {silent}, expected every {interval}: state not known",
        silent=silent, interval=words.span(min(intervals)),
    )  # fmt: skip


def _some_silent(machine: MachineRecord, stale: Sequence[PointRecord]) -> str:
    return tr(
        "{count} of {all} points silent: {names}",
        count=len(stale), all=len(machine.points), names=_names(stale),
    )  # fmt: skip


def learning_words(points: Sequence[PointRecord]) -> str:
    """Say how far commissioning is, by the point that is furthest behind."""
    behind = min(points, key=lambda point: point.learning_share)
    share, captures = behind.learning_share, behind.learning_captures
    if captures and 0.0 < share <= 1.0:
        needed = max(captures, round(captures / share))
        progress = tr("{captures} of {needed} captures", captures=captures, needed=needed)
    else:
        progress = f"{share:.0%}"
    return tr("learning what is healthy ({progress}); until then only velocity zones are judged", progress=progress)


def position(point: str) -> str:
    """The part of a point's name that its machine does not say already."""
    return point.partition("/")[2] or point


def _names(points: Sequence[PointRecord]) -> str:
    return ", ".join(position(point.point) for point in points[:4]) + (" ..." if len(points) > 4 else "")


def _details(
    machine: MachineRecord,
    stale: Sequence[PointRecord],
    suspects: Sequence[PointRecord],
    learning: Sequence[PointRecord],
    name: LevelName,
    rate: float | None,
    now_us: int,
) -> Iterable[str]:
    case = machine.case
    if case is not None and case.shelved_until_us is not None and case.on_shelf(now_us):
        yield tr(
            "{priority}, on the shelf for {span} more by {who}: {reason}",
            priority=LEVELS[_case_level(case)].said, span=words.span((case.shelved_until_us - now_us) / 1e6),
            who=case.shelved_by or tr("somebody"), reason=case.shelved_reason or "",
        )  # fmt: skip
    if case is not None:
        best = next((item for item in case.diagnosis if item.label != "unknown"), None)
        if best is not None:
            yield tr(
                "{cause}, confidence {share}", cause=words.cause(best.label), share=words.confidence(best.confidence)
            )
        else:
            yield tr("cause not known")
    if rate is not None and (rate >= TOLD_RATE or (case is not None and rate <= -TOLD_RATE)):
        share = f"{abs(rate):.0%}"
        yield (
            tr("score rising {share} of its limit a day", share=share)
            if rate > 0
            else tr("score falling {share} of its limit a day", share=share)
        )
    if name == "unknown" or not machine.points:
        return
    if len(stale) == len(machine.points):
        yield _silence(machine.points, now_us)
    elif stale:
        yield _some_silent(machine, stale)
    if suspects and name != "sensor":
        yield tr("sensor suspect: {names}", names=_names(suspects))
    elif suspects and suspects[0].notice:
        yield sentences.said(suspects[0].notice)
    if learning and name != "learning":
        yield tr("{count} of {all} points still learning", count=len(learning), all=len(machine.points))
