"""How many updates a round needs so that as many as promised may be wrong, and what is promised to a small site."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from aggregator.carriers.local import LocalCarrier
from aggregator.learning.strategy import MergeStrategy, Plan, RoundResult, run_rounds
from aggregator.merge.tolerance import needed, promised, tolerated
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply

SIZE = 8
THETA = np.zeros(SIZE, np.float32)
HONEST: Mapping[str, Any] = {}
NAN = {"delta": np.full(SIZE, np.nan, np.float32)}


def member(number: int, change: Mapping[str, Any] | None) -> ClientApp:
    """Learns when asked; None declines."""
    app = ClientApp()

    @app.train()
    def train(message: Message, _context: Context) -> Message:
        task = LearningTask.read(message)
        if change is None:
            raise ValueError("too few healthy captures yet")
        delta = np.random.default_rng(number).normal(1.0, 0.1, SIZE).astype(np.float32)
        reply = TrainingReply(task.base_version, delta, 100.0, 1.0, 0.9, 50)
        return Message(replace(reply, **change).record(), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, _context: Context) -> Message:
        return Message(EvaluationReply(0.9, 50).record(), reply_to=message)

    return app


def round_of(*, honest: int, silent: int = 0, caught: int = 0, declined: int = 0, **plan: Any) -> RoundResult:
    kinds = [HONEST] * (honest + silent) + [NAN] * caught + [None] * declined
    members = {f"gw-{number:02d}": member(number, change) for number, change in enumerate(kinds)}
    carrier = LocalCarrier(members)
    carrier.away = {f"gw-{number:02d}" for number in range(silent)}
    strategy = MergeStrategy(
        carrier, Plan(graph="g", quorum_share=0.5, **plan), THETA, base_version=1, invited=sorted(members)
    )
    (result,) = run_rounds(carrier, strategy, rounds=1, deadline_s=10.0)
    return result


def test_what_is_promised_can_be_kept_although_as_many_are_silent_as_may_be_wrong() -> None:
    for invited in range(1, 200):
        wrong = promised(invited)
        assert wrong <= tolerated(invited)
        assert needed(wrong) <= invited - wrong
        assert (wrong == 0) == (invited < 6)
    assert [promised(count) for count in (6, 9, 12, 16, 20)] == [1, 2, 3, 4, 4]
    assert [needed(promised(count)) for count in (5, 6, 9, 12, 20)] == [0, 5, 7, 9, 11]


@pytest.mark.parametrize(("invited", "answer", "counts"), [
    (10, 7, True), (10, 6, False),
    (20, 11, True), (20, 10, False),
    (6, 5, True), (6, 4, False),
    (5, 3, True), (5, 2, False),
    (3, 2, True), (2, 1, True), (1, 1, True),
])  # fmt: skip
def test_when_gateways_drop_out_a_round_counts_from_half_of_them_and_twice_the_wrong_and_three(
    invited: int, answer: int, counts: bool
) -> None:
    result = round_of(honest=answer, silent=invited - answer)
    assert (result.theta is not None) == counts
    if not counts:
        assert f"{answer} of {invited} invited gave a usable update" in result.void
    assert result.metrics["withstands"] == promised(invited)


def test_a_round_that_is_void_for_want_of_answers_says_what_it_needed_them_for() -> None:
    result = round_of(honest=6, silent=4)
    assert result.void == "6 of 10 invited gave a usable update, 7 needed so that 2 may be wrong"


def test_a_wrong_member_that_is_caught_cannot_make_rounds_void() -> None:
    assert round_of(honest=5, silent=4, caught=1).theta is not None
    assert round_of(honest=4, silent=5, caught=1).theta is None


def test_members_that_have_nothing_to_learn_from_yet_hold_up_nobody() -> None:
    assert round_of(honest=3, declined=3).theta is not None
    assert round_of(honest=3, silent=3).theta is None


@pytest.mark.parametrize(("wrong", "counts"), [(0, True), (1, True), (2, False)])
def test_the_number_of_wrong_members_can_be_set(wrong: int, counts: bool) -> None:
    assert (round_of(honest=5, silent=3, wrong_members=wrong).theta is not None) == counts


def test_with_a_gateway_of_the_sites_own_rows_who_points_the_other_way_does_not_count_at_all() -> None:
    backwards = {"delta": np.full(SIZE, -1.0, np.float32)}
    members = {f"gw-{number:02d}": member(number, backwards if number < 4 else HONEST) for number in range(7)}
    merged = {}
    for rule, root in (("fltrust", "gw-06"), ("mean", None)):
        plan = Plan(graph="g", rule=rule, root_member=root)  # type: ignore[arg-type]
        carrier = LocalCarrier(members)
        (result,) = run_rounds(carrier, MergeStrategy(carrier, plan, THETA, base_version=1), rounds=1, deadline_s=10.0)
        assert result.outcome is not None
        assert result.outcome.rule_used == rule
        merged[rule] = result.delta
    assert (merged["fltrust"] > 0.5).all()
    assert (merged["mean"] < 0.0).all()


def test_while_the_sites_own_gateway_is_silent_the_default_is_used_and_the_round_says_so() -> None:
    result = round_of(honest=8, silent=1, rule="fltrust", root_member="gw-00")
    assert result.outcome is not None
    assert result.outcome.rule_used == "robust"
    assert "fltrust is not used" in result.outcome.notes[0]
