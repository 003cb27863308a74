"""This file knows when evidence becomes an alarm and when an alarm may go: the state machine of one point.

Events in, changes out; no clock of its own. States follow ISA-18.2:

    normal ──N of M──▶ unacknowledged ──ack──▶ acknowledged
      ▲                     │ calm                 │ calm
      │◀──ack── returned ◀──┤                      ├──▶ normal
      │                     └──▶ latched ◀─────────┘   (danger until acknowledged, bearing until maintenance)
      └───────────── maintenance ─────────────────────── from every state

`shelved` hides whatever goes on below for at most twelve hours. A capture that is not usable changes nothing:
silence of a sensor is neither evidence nor recovery. A capture of danger counts twice: what is four times the limit
is not odd, and need not be waited for as long.
"""

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway_agent.settings import AlarmSettings
from schemas.messages import AlarmState, Priority

Severity = Literal["none", "alert", "danger"]
Latch = Literal["none", "acknowledge", "maintenance"]
MAX_SHELVE_US = 12 * 3600 * 1_000_000

_RANK: dict[Severity, int] = {"none": 0, "alert": 1, "danger": 2}
_ACTIVE = ("unacknowledged", "acknowledged")


@dataclass(frozen=True, slots=True)
class Judged:
    """What one usable capture says.

    Attributes:
        name: Names the capture; the alarm it raises is named after it.
        at_us: When it was judged, by the gateway's clock: that of a sensor may stand still, and shelving must end.
        severity: How bad.
        calm: Whether it lies below the dead band of every limit.
        latches: The capture shows damage that does not heal (a bearing past its early stage).
    """

    name: str
    at_us: int
    severity: Severity
    calm: bool
    latches: bool = False


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """The point's alarm is now in another state or of another priority."""

    alarm_id: str
    state: AlarmState
    priority: Priority
    why: str


@dataclass(slots=True)
class AlarmLogic:
    """The alarm of one point; see the module for its states."""

    settings: AlarmSettings
    _recent: deque[Severity] = field(default_factory=deque)
    _below: AlarmState = "normal"
    _priority: Priority = "alert"
    _alarm_id: str = ""
    _calm_run: int = 0
    _latch: Latch = "none"
    _shelved_until_us: int | None = None

    @property
    def state(self) -> AlarmState:
        """What the point shows."""
        return "shelved" if self._shelved_until_us is not None else self._below

    @property
    def priority(self) -> Priority:
        """Priority of the alarm that is or was up."""
        return self._priority

    @property
    def alarm_id(self) -> str:
        """Names the alarm that is or was up; empty before the first."""
        return self._alarm_id

    @property
    def active(self) -> bool:
        """Whether an alarm stands that a person has to deal with, calm or not."""
        return self._below in {"unacknowledged", "acknowledged", "latched"}

    def handle(self, judged: Judged) -> list[AlarmChange]:
        """Take in one usable capture."""
        changes = self.expire_shelf(judged.at_us)
        self._recent.append(judged.severity)
        while len(self._recent) > self.settings.of_count:
            self._recent.popleft()
        self._calm_run = self._calm_run + 1 if judged.calm else 0
        before = (self._below, self._priority)
        if self._enough("alert"):
            self._rise(judged)
        elif self._below in _ACTIVE and self._calm_run >= self.settings.off_count:
            self._calm_down()
        if (self._below, self._priority) != before:
            changes += self._tell("went calm" if self._below in {"normal", "returned"} else "limit exceeded")
        return changes

    def acknowledge(self) -> list[AlarmChange]:
        """A person has seen it."""
        match self._below:
            case "unacknowledged":
                self._below = "acknowledged"
            case "returned":
                self._below = "normal"
            case "latched" if self._latch == "acknowledge":
                self._below, self._latch = "normal", "none"
            case _:
                return []
        if self._latch == "acknowledge":
            self._latch = "none"
        return self._tell("acknowledged")

    def shelve(self, until_us: int, *, now_us: int) -> list[AlarmChange]:
        """Hide the alarm for a while, at most twelve hours."""
        self._shelved_until_us = min(until_us, now_us + MAX_SHELVE_US)
        return self._tell("shelved")

    def unshelve(self) -> list[AlarmChange]:
        """Show the alarm again."""
        if self._shelved_until_us is None:
            return []
        self._shelved_until_us = None
        return self._tell("unshelved")

    def maintain(self) -> list[AlarmChange]:
        """The machine was repaired: whatever was up is over, even what was latched."""
        was = self.state
        self._below, self._latch, self._shelved_until_us = "normal", "none", None
        self._recent.clear()
        self._calm_run = 0
        return self._tell("maintenance recorded") if was != "normal" else []

    def dump(self) -> dict[str, Any]:
        """The whole state as JSON; `load` continues from it."""
        return {
            "recent": list(self._recent), "below": self._below, "priority": self._priority, "alarm_id": self._alarm_id,
            "calm_run": self._calm_run, "latch": self._latch, "shelved_until_us": self._shelved_until_us,
        }  # fmt: skip

    @classmethod
    def load(cls, settings: AlarmSettings, dumped: dict[str, Any]) -> "AlarmLogic":
        """Continue from what `dump` gave."""
        return cls(
            settings, deque(dumped["recent"]), dumped["below"], dumped["priority"], dumped["alarm_id"],
            dumped["calm_run"], dumped["latch"], dumped["shelved_until_us"],
        )  # fmt: skip

    def _enough(self, severity: Severity) -> bool:
        loud = [_RANK[s] for s in self._recent if _RANK[s] >= _RANK[severity]]
        return len(loud) + sum(rank == _RANK["danger"] for rank in loud) >= self.settings.on_count

    def _rise(self, judged: Judged) -> None:
        priority: Priority = "danger" if self._enough("danger") else "alert"
        if self._below in _ACTIVE:
            escalates = priority == "danger" and self._priority == "alert"
            if escalates:
                self._below, self._priority = "unacknowledged", "danger"
        else:
            if self._below == "normal":
                self._alarm_id = hashlib.sha256(judged.name.encode()).hexdigest()[:16]
            self._below, self._priority = "unacknowledged", priority
        if judged.latches:
            self._latch = "maintenance"
        elif self._latch == "none" and self._priority == "danger" and self._below == "unacknowledged":
            self._latch = "acknowledge"

    def _calm_down(self) -> None:
        self._recent.clear()
        if self._latch != "none":
            self._below = "latched"
        else:
            self._below = "returned" if self._below == "unacknowledged" else "normal"

    def expire_shelf(self, now_us: int) -> list[AlarmChange]:
        """Show the alarm again when its time is over, also where no capture comes any more."""
        if self._shelved_until_us is None or now_us < self._shelved_until_us:
            return []
        self._shelved_until_us = None
        return self._tell("shelving has ended")

    def _tell(self, why: str) -> list[AlarmChange]:
        return [AlarmChange(self._alarm_id or "0" * 16, self.state, self._priority, why)]
