"""This file knows how judged captures add up to an alarm, without who has seen it: N of M, danger twice, dead band.

What a gateway runs has the same rule inside its state machine (`gateway_agent.alarm`); a test holds that both raise,
worsen and end at the same captures. Here it serves limits that the site itself judges, and the question what another
limit would have raised.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["none", "alert", "danger"]
Change = Literal["raised", "worse", "ended"]
DANGER_SCORES = 4.0
"""Times the limit that makes an alert a danger; a test holds it to the gateway's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When evidence is an alarm; the gateway's defaults.

    Attributes:
        on_count: So many of the last `of_count` raise it; a capture of danger counts twice.
        off_count: Captures in a row below the dead band until it ends.
        dead_band: Share of the limit by which a capture must be below it to be calm.
    """

    on_count: int = 5
    of_count: int = 8
    off_count: int = 5
    dead_band: float = 0.10

    @property
    def reach(self) -> int:
        """After so many calm captures nothing is left of what was before."""
        return max(self.of_count, self.off_count)


@dataclass(frozen=True, slots=True)
class Window:
    """What a stored health record says of one believable capture."""

    at_us: int
    score: float | None
    limit: float | None
    zone: str | None


@dataclass(slots=True)
class Counting:
    """Where the counting of one point stands."""

    rule: Rule
    recent: deque[Severity] = field(default_factory=deque)
    calm_run: int = 0
    standing: Literal["none", "alert", "danger"] = "none"

    def take(self, severity: Severity, *, calm: bool) -> Change | None:
        """Take in one capture; say what it changed."""
        self.recent.append(severity)
        while len(self.recent) > self.rule.of_count:
            self.recent.popleft()
        self.calm_run = self.calm_run + 1 if calm else 0
        if self._enough("alert"):
            priority: Severity = "danger" if self._enough("danger") else "alert"
            if self.standing == "none":
                self.standing = priority
                return "raised"
            if priority == "danger" and self.standing == "alert":
                self.standing = "danger"
                return "worse"
        elif self.standing != "none" and self.calm_run >= self.rule.off_count:
            self.standing = "none"
            self.recent.clear()
            return "ended"
        return None

    def _enough(self, severity: Severity) -> bool:
        loud = [one for one in self.recent if one == "danger" or (one == "alert" and severity == "alert")]
        return len(loud) + loud.count("danger") >= self.rule.on_count

    def dump(self) -> dict[str, Any]:
        """The state as JSON; `load` continues from it."""
        return {"recent": list(self.recent), "calm_run": self.calm_run, "standing": self.standing}

    @classmethod
    def load(cls, rule: Rule, dumped: dict[str, Any]) -> "Counting":
        """Continue from what `dump` gave."""
        return cls(rule, deque(dumped["recent"]), dumped["calm_run"], dumped["standing"])


def judge_window(window: Window, rule: Rule, *, limit_factor: float = 1.0) -> tuple[Severity, bool]:
    """Say how bad a stored capture is, and whether it is calm, as the gateway does.

    Args:
        window: What was stored.
        rule: For the dead band.
        limit_factor: Judge as if the limit of the score had been so many times what it was.
    """
    score, limit = window.score, None if window.limit is None else limit_factor * window.limit
    severity: Severity = "none"
    calm = True
    if score is not None and limit is not None:
        exceeds = score > limit
        calm = score < limit * (1.0 - rule.dead_band)
        if exceeds:
            severity = "danger" if score >= DANGER_SCORES * limit else "alert"
    if window.zone == "D":
        severity = "danger"
    elif window.zone == "C" and severity == "none":
        severity = "alert"
    return severity, calm and severity == "none"


def judge_value(
    value: float, alert: float | None, danger: float | None, dead_band: float
) -> tuple[Severity, bool]:  # fmt: skip
    """Say how bad one value is by a plant's own limits, and whether it is calm. A value on a limit is above it.

    Args:
        value: What was measured.
        alert: From here on an alert; None for no such limit. One of the two is given.
        danger: Likewise.
        dead_band: Share of the lower limit by which a value must be below it to be calm.
    """
    if danger is not None and value >= danger:
        return "danger", False
    if alert is not None and value >= alert:
        return "alert", False
    lowest = alert if alert is not None else danger
    assert lowest is not None
    return "none", value < lowest - dead_band * abs(lowest)


def raised_by(judged: Iterable[tuple[int, Severity, bool]], rule: Rule) -> list[int]:
    """When a rule would have raised an alarm, in time order.

    Captures that are calm may be left out where at least `rule.reach` calm ones stand between them and what was not:
    they change nothing any more.

    Args:
        judged: Of each capture its time, how bad it is, and whether it is calm; oldest first.
        rule: By which they add up.
    """
    counting = Counting(rule)
    return [at_us for at_us, severity, calm in judged if counting.take(severity, calm=calm) == "raised"]


def raised_at_us(windows: Iterable[Window], rule: Rule, *, limit_factor: float = 1.0) -> list[int]:
    """When a rule would have raised an alarm in a stored history, in time order."""
    return raised_by(((one.at_us, *judge_window(one, rule, limit_factor=limit_factor)) for one in windows), rule)
