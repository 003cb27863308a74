"""This file knows when a new run is submitted to a SuperLink: decisions without clock, process or network.

    away -> (it answers) -> starting -> (the relay is there) -> carrying -> (it has gone) -> away or starting
                               |  not there in time, refused, or gone at once: again, later each time
                               +-> given_up, after so many in a row; until the SuperLink itself has been away

A SuperLink that does not answer is asked again and again, which costs nothing; only submissions are counted.
"""

from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["away", "starting", "carrying", "given_up"]
STATES: tuple[State, ...] = get_args(State)

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 60.0
STEADY_S = 30.0  # a relay that was there for less counts as a failure: it would end again at once


@dataclass(frozen=True, slots=True)
class Submit:
    """Submit a run now; `attempt` counts those in a row without success."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Told:
    """Something people should know; `state` is what it is now."""

    state: State
    text: str


class RunWatch:
    """Decides from what is seen of one SuperLink.

    Args:
        start_within_s: From a submission until its relay must be there.
        attempts: Submissions in a row without success, then no more.

    Attributes:
        state: As of the last look.
        attempt: Submissions in a row without success.
        losses: How often a relay has gone.
        text: Why it is as it is, for people.
    """

    def __init__(self, *, start_within_s: float, attempts: int) -> None:
        self._start_within_s = start_within_s
        self._attempts = attempts
        self._next_at_s = float("-inf")
        self._relay_at_s = float("-inf")
        self.state: State = "away"
        self.attempt = 0
        self.losses = 0
        self.text = "not seen yet"

    def look(self, now_s: float, *, answers: bool, relayed: bool, why: str = "") -> Submit | Told | None:
        """Decide from what is seen now.

        Args:
            now_s: Of a clock that only goes on.
            answers: Whether the SuperLink can be reached.
            relayed: Whether the run's relay is there.
            why: Why not.
        """
        if relayed:
            return self._carry(now_s)
        if self.state == "carrying":
            return self._lose(now_s, answers, why)
        if not answers:
            return self._wait_for_superlink(why)
        if self.state == "away":
            self.attempt, self._next_at_s = 0, now_s
        if self.state == "given_up" or now_s < self._next_at_s:
            return None
        if self.attempt >= self._attempts:
            return self._tell(
                "given_up", f"{self.attempt} runs in a row came to nothing, the last: {self.text}; mend it and restart "
                "the SuperLink or this site"
            )  # fmt: skip
        self.attempt += 1
        self.state = "starting"
        self.text = why or "the run's relay has not come in time"
        self._next_at_s = now_s + self._start_within_s
        return Submit(self.attempt)

    def refused(self, now_s: float, why: str) -> None:
        """The submission has failed: the next comes later each time."""
        self.text = why
        self._next_at_s = now_s + self._wait_s()

    def _carry(self, now_s: float) -> Told | None:
        if self.state != "carrying":
            self._relay_at_s = now_s
            return self._tell("carrying", f"run of attempt {max(1, self.attempt)}")
        if now_s - self._relay_at_s >= STEADY_S:
            self.attempt = 0
        return None

    def _lose(self, now_s: float, answers: bool, why: str) -> Told:
        self.losses += 1
        self._next_at_s = now_s + (self._wait_s() if self.attempt else 0.0)
        return self._tell("starting" if answers else "away", why)

    def _wait_for_superlink(self, why: str) -> Told | None:
        return self._tell("away", why) if self.state != "away" else None

    def _wait_s(self) -> float:
        return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (self.attempt - 1)))

    def _tell(self, state: State, text: str) -> Told:
        self.state, self.text = state, text
        return Told(state, text)
