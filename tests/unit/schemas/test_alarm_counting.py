"""Counting of stored captures: the same alarms as the gateway's own state machine raises."""

import numpy as np
import pytest

from gateway_agent import point_monitor
from gateway_agent.alarm import AlarmLogic, Judged
from gateway_agent.alarm import Severity as GatewaySeverity
from gateway_agent.settings import AlarmSettings
from schemas import alarm_counting
from schemas.alarm_counting import Counting, Rule, Window, judge_window, raised_at_us

RULES = [(5, 8, 5), (3, 5, 3), (1, 1, 1), (4, 4, 2), (2, 9, 7)]
SEVERITIES: tuple[GatewaySeverity, ...] = ("none", "alert", "danger")


@pytest.mark.parametrize("counts", RULES)
@pytest.mark.parametrize("seed", range(8))
def test_raises_worsens_and_ends_at_the_captures_at_which_the_gateway_does(
    counts: tuple[int, int, int], seed: int
) -> None:
    on, of, off = counts
    rng = np.random.default_rng(seed)
    logic = AlarmLogic(AlarmSettings(on_count=on, of_count=of, off_count=off))
    counting = Counting(Rule(on, of, off))
    changes = []
    for number in range(1500):
        # Long stretches of one kind, else nothing ever ends.
        if number % 40 == 0:
            weights = rng.dirichlet((1.0, 0.6, 0.3))
        severity = SEVERITIES[int(rng.choice(3, p=weights))]
        calm = severity == "none" and bool(rng.random() < 0.8)
        stood = logic.priority if logic.state in {"unacknowledged", "acknowledged"} else "none"
        logic.handle(Judged(str(number), number, severity, calm, latches=bool(rng.random() < 0.02)))
        stands = logic.priority if logic.state in {"unacknowledged", "acknowledged"} else "none"
        expected = None
        if stood == "none" and stands != "none":
            expected = "raised"
        elif stood != "none" and stands == "none":
            expected = "ended"
        elif stood == "alert" and stands == "danger":
            expected = "worse"
        assert counting.take(severity, calm=calm) == expected
        assert counting.standing == stands
        if rng.random() < 0.02:
            logic.acknowledge()
        if number % 97 == 0:
            counting = Counting.load(counting.rule, counting.dump())
        changes.append(expected)
    assert {"raised", "ended"} <= set(changes)


def test_danger_lies_as_far_out_as_the_gateway_says() -> None:
    assert alarm_counting.DANGER_SCORES == point_monitor.DANGER_SCORES
    gateway = AlarmSettings()
    assert Rule() == Rule(gateway.on_count, gateway.of_count, gateway.off_count, gateway.dead_band)


@pytest.mark.parametrize(
    ("score", "zone", "severity", "calm"),
    [
        (0.5, "A", "none", True),
        (0.95, "A", "none", False),
        (1.5, "A", "alert", False),
        (4.0, "A", "danger", False),
        (0.5, "C", "alert", False),
        (0.5, "D", "danger", False),
        (None, None, "none", True),
    ],
)
def test_stored_capture_is_judged_by_score_and_zone(
    score: float | None, zone: str | None, severity: str, calm: bool
) -> None:
    assert judge_window(Window(0, score, 1.0, zone), Rule()) == (severity, calm)


def test_higher_limit_raises_fewer_alarms_from_the_same_history() -> None:
    bursts = [1.4] * 6 + [0.2] * 6
    windows = [Window(number, score, 1.0, "A") for number, score in enumerate(bursts * 5)]
    assert len(raised_at_us(windows, Rule())) == 5
    assert raised_at_us(windows, Rule(), limit_factor=1.5) == []
    assert raised_at_us(windows, Rule(), limit_factor=1.5) == raised_at_us(iter(windows), Rule(), limit_factor=1.5)
