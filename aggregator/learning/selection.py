"""This file knows who is asked in a round: members that can, as a bandit on their past contribution likes them, fairly.

Most places go by duels in the spirit of FedACS: after a round every two participants are compared, the one whose
update went more the merged way wins, and the next round draws from what is then believed of each. Some places are
kept for the machine types that have waited longest.

| promise | bound |
|---|---|
| no machine type is left out for ever | a type with a member that can is asked within `most_rounds_left_out` rounds |
| state is bounded | four numbers a member; duels fade, so that at most `MEMORY_ROUNDS` rounds are remembered |
| the same state and seed choose the same members | `choose` is pure |

Per type and not per member: a fleet of a thousand with twenty places cannot ask each soon, and need not.

References:
    FedACS, IWQoS 2021 (Federated Skewness Analytics in Heterogeneous Decentralized Data Environments): clients as arms
    of a dueling bandit. There skewness is estimated from histograms of data, which our gateways do not send; ours is
    the cosine between a member's update and the merged one. Thompson sampling on the Borda score: Jamieson et al.
    (2015), arXiv:1502.00133, for the score.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.member_condition import MemberCondition

FAIR_SHARE = 0.25  # of the places; at least one
FADES = 0.95  # a round: what a machine's data were worth before it was repaired says little
MEMORY_ROUNDS = 1.0 / (1.0 - FADES)
LOW_BATTERY = 0.3
FRESH_S = 7 * 86400.0  # healthy rows change with the seasons, not with the hour
MIN_CONDITION = 0.1


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of one member.

    Attributes:
        machine_type: What its machines are; fairness is between types.
        rounds_passed: Rounds in a row in which nobody of its type was asked, while it was there.
        wins: Duels won, in rounds: each round's duels together count 1; older rounds fade.
        losses: Duels lost.
        contribution: Cosine of its last update with the merged one; None before the first.
        condition: What it last said of itself.
    """

    machine_type: str
    rounds_passed: int = 0
    wins: float = 0.0
    losses: float = 0.0
    contribution: float | None = None
    condition: MemberCondition = field(default_factory=MemberCondition)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is asked, and why each of those present is, or is not: `all`, `waited`, `useful`; `not_useful`, `cannot`."""

    members: tuple[str, ...]
    why: Mapping[str, str]

    def notes(self) -> dict[str, Any]:
        """As JSON for the round's record."""
        return {"places": len(self.members), "present": len(self.why), "why": dict(sorted(self.why.items()))}


def everybody(members: Sequence[str]) -> Choice:
    """Ask all that are there."""
    return Choice(tuple(sorted(members)), dict.fromkeys(members, "all"))


def choose(standings: Mapping[str, Standing], places: int, *, seed: int) -> Choice:
    """Choose at most `places` of the members that are there.

    Args:
        standings: Everybody that is there.
        places: How many may be asked.
        seed: The round's number: a round that is taken up again asks the same.
    """
    able = {member: one for member, one in standings.items() if can(one.condition)}
    why = {member: "cannot" for member in standings if member not in able}
    waited = _longest_waiting(able, fair_places(places))
    left = sorted(member for member in able if member not in waited)
    liked = _draw(able, left, places - len(waited), np.random.default_rng(seed))
    why |= dict.fromkeys(waited, "waited") | dict.fromkeys(liked, "useful")
    why |= {member: "not_useful" for member in left if member not in liked}
    return Choice(tuple(sorted((*waited, *liked))), why)


def fair_places(places: int) -> int:
    """How many of the places go to types that have waited longest."""
    return min(places, max(1, math.ceil(FAIR_SHARE * places)))


def most_rounds_left_out(types: int, places: int) -> int:
    """The most rounds in a row that a type with an able member can be left out.

    Each round the `fair_places` types that have waited longest are served. A type is overtaken only by types that
    have waited at least as long, and each of those then starts again from 0: after that many rounds nobody is left
    before it.
    """
    return math.ceil(types / fair_places(places))


def can(condition: MemberCondition) -> bool:
    """Whether a member should learn now; who has not said how it is gets the chance to."""
    low = condition.battery_share is not None and condition.battery_share < LOW_BATTERY
    return not (low and condition.on_mains == 0.0) and condition.rows != 0.0


def fitness(condition: MemberCondition) -> float:
    """How well a member can take part, `MIN_CONDITION` to 1: power, link, load and fresh data each take their share."""
    power = 1.0 if condition.on_mains != 0.0 else _known(condition.battery_share, 1.0)
    load = 1.0 - 0.5 * min(1.0, _known(condition.cpu_load, 0.0))
    fresh = 1.0 / (1.0 + _known(condition.newest_row_age_s, 0.0) / FRESH_S)
    return max(MIN_CONDITION, power * min(1.0, _known(condition.link_share, 1.0)) * load * fresh)


def contributions(
    deltas: Iterable[tuple[str, NDArray[np.floating[Any]]]], merged: NDArray[np.floating[Any]]
) -> dict[str, float]:
    """Cosine of each member's update (P,) with the merged one (P,); 0 where either has no length."""
    ahead = merged.astype(np.float64)
    length = float(np.linalg.norm(ahead))
    cosines = {}
    for member, delta in deltas:
        way = delta.astype(np.float64)
        lengths = length * float(np.linalg.norm(way))
        cosines[member] = float(way @ ahead) / lengths if lengths > 0 else 0.0
    return cosines


def after_round(
    standings: Mapping[str, Standing], asked: Sequence[str], contributed: Mapping[str, float]
) -> dict[str, Standing]:
    """What is remembered after a round.

    Args:
        standings: Everybody that was there.
        asked: Who was asked.
        contributed: `contributions` of those whose update counted. Who was asked and is not here has lost to all that
            are: it did not answer, or with nonsense.
    """
    silent = -math.inf
    marks = {member: contributed.get(member, silent) for member in asked if member in standings}
    served = {standings[member].machine_type for member in marks}
    after = {}
    for member, one in standings.items():
        passed = 0 if one.machine_type in served else one.rounds_passed + 1
        if member not in marks:
            after[member] = replace(one, rounds_passed=passed)
            continue
        others = [mark for rival, mark in marks.items() if rival != member]
        beaten = sum((marks[member] > mark) + 0.5 * (marks[member] == mark) for mark in others)
        won = beaten / len(others) if others else 0.5
        after[member] = replace(
            one,
            rounds_passed=passed,
            wins=FADES * one.wins + won,
            losses=FADES * one.losses + 1.0 - won,
            contribution=contributed.get(member, one.contribution),
        )
    return after


def _longest_waiting(able: Mapping[str, Standing], places: int) -> list[str]:
    """One member of each of the types that wait longest: the one of which least is known."""
    waits: dict[str, int] = {}
    for one in able.values():
        waits[one.machine_type] = max(one.rounds_passed, waits.get(one.machine_type, 0))
    chosen = []
    for kind in sorted(waits, key=lambda each: (-waits[each], each))[:places]:
        mine = [member for member, one in able.items() if one.machine_type == kind]
        chosen.append(min(mine, key=lambda member: (able[member].wins + able[member].losses, member)))
    return chosen


def _draw(able: Mapping[str, Standing], left: Sequence[str], places: int, draw: np.random.Generator) -> list[str]:
    """Those of whom a draw from what is believed of their Borda score, times their fitness, is highest."""
    believed = {
        member: draw.beta(1.0 + able[member].wins, 1.0 + able[member].losses) * fitness(able[member].condition)
        for member in left
    }
    return sorted(left, key=lambda member: (-believed[member], member))[: max(0, places)]


def _known(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
