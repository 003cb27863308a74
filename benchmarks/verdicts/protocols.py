"""This file knows which protocols there are, in the order in which they are run and written."""

from collections.abc import Callable

from benchmarks.verdicts import detection, diagnosis, lives, remaining_life
from benchmarks.verdicts.context import Context
from benchmarks.verdicts.tables import Outcome

PROTOCOLS: dict[str, Callable[[Context], Outcome]] = {
    "conditions": detection.leave_one_condition_out,
    "session": detection.new_session,
    "blocked": detection.blocked_in_time,
    "lives": lives.run_to_failure,
    "bearings": diagnosis.unseen_size,
    "states": diagnosis.unseen_speed,
    "remaining-life": remaining_life.phm_2012,
}
