"""How far a release may go, from nothing but what gateways say, how long it has been there, and what people want."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from aggregator.rollout_plan import (
    Pace,
    Progress,
    Seen,
    Stage,
    canaries_of,
    chance_of,
    in_order,
    judge_gates,
    judge_shadows,
    next_step,
    takers_of,
)
from schemas.messages import GateReport, ShadowSummary

VERSION = 18
ORDER = tuple(f"gw-{number}" for number in range(8))
PACE = Pace(canaries=1, shadow_s=100.0, shadow_windows=50, canary_s=100.0, shares=(0.25, 0.5), share_s=100.0)


def gate(**figures: Any) -> GateReport:
    told: dict[str, Any] = {
        "rows": 40, "faults": 800, "auroc": 0.94, "auroc_in_use": 0.94, "loss": 0.5, "loss_in_use": 0.5,
        "false_alarm_rate": 0.0, "false_alarm_rate_in_use": 0.0, **figures,
    }  # fmt: skip
    return GateReport(version=VERSION, digest="ab" * 32, in_use_version=17, **told)


def tried(*, windows: int = 100, exceeding: int = 1, before: int = 1, errors: int = 0) -> ShadowSummary:
    """The candidate without a say."""
    return ShadowSummary(
        this_version=VERSION, in_use_version=17, points=4, windows=windows, exceeding_this=exceeding,
        exceeding_in_use=before, errors=errors,
    )  # fmt: skip


def watched(*, windows: int = 100, exceeding: int = 1, before: int = 1) -> ShadowSummary:
    """In use, with the release before beside it."""
    return ShadowSummary(
        this_version=17, in_use_version=VERSION, points=4, windows=windows, exceeding_this=before,
        exceeding_in_use=exceeding,
    )  # fmt: skip


WAITING = Seen(online=True, version=17, runs=False, gate=gate(), shadow=tried())
RUNNING = Seen(online=True, version=VERSION, runs=True, gate=gate(), shadow=watched())


def site(running: int = 0, **others: Seen) -> dict[str, Seen]:
    found = {name: RUNNING if number < running else WAITING for number, name in enumerate(ORDER)}
    return found | {name.replace("_", "-"): seen for name, seen in others.items()}


def at(stage: Stage, *, share: float = 0.0, age_s: float = 200.0, **more: Any) -> Progress:
    return Progress(VERSION, stage, share, age_s, more.pop("order", ORDER), **more)


def test_a_release_that_nothing_speaks_against_goes_through_every_stage_in_turn() -> None:
    progress, seen = at("shadow"), site()
    path = []
    while progress.stage != "everywhere":
        step = next_step(progress, seen, PACE)
        assert step.kind == "advance", step
        path.append((step.stage, step.share))
        progress = at(step.stage, share=step.share)
        seen = site(len(takers_of(ORDER, step.stage, step.share, PACE)))
    assert path == [("canary", 0.0), ("staged", 0.25), ("staged", 0.5), ("everywhere", 0.0)]


@pytest.mark.parametrize(
    "progress", [at("shadow", age_s=99), at("canary", age_s=99), at("staged", share=0.25, age_s=99)]
)
def test_no_stage_is_shorter_than_its_time(progress: Progress) -> None:
    assert next_step(progress, site(2), PACE).kind == "hold"


def test_the_shadow_lasts_until_enough_captures_were_scored() -> None:
    step = next_step(at("shadow", age_s=500.0), site(gw_0=replace(WAITING, shadow=tried(windows=49))), PACE)
    assert step.kind == "hold"
    assert "49 of 50 captures" in step.text


def test_a_canary_whose_machines_are_all_in_alarm_holds_a_release_up_but_not_for_ever() -> None:
    silent = site(gw_0=replace(WAITING, shadow=tried(windows=0)))
    assert next_step(at("shadow", age_s=4 * 100.0 + PACE.answer_s - 1), silent, PACE).kind == "hold"
    step = next_step(at("shadow", age_s=4 * 100.0 + PACE.answer_s), silent, PACE)
    assert (step.kind, step.stage) == ("advance", "canary")


def test_every_gateway_is_heard_before_the_shadow_ends_but_not_for_ever() -> None:
    silent = site(gw_5=replace(WAITING, gate=None))
    impatient = replace(PACE, shadow_s=0.0)
    assert "gw-5 to judge it" in next_step(at("shadow", age_s=60.0), silent, impatient).text
    assert next_step(at("shadow", age_s=121.0), silent, impatient).kind == "advance"


def test_a_canary_that_is_away_holds_the_release_and_is_named() -> None:
    step = next_step(at("canary"), site(gw_0=replace(WAITING, online=False)), PACE)
    assert step.kind == "hold"
    assert step.text == "waits for gw-0 to run it; away: gw-0"


def test_a_gateway_beyond_the_canaries_that_is_away_holds_nobody_up() -> None:
    step = next_step(at("staged", share=0.25), site(1, gw_1=replace(WAITING, online=False)), PACE)
    assert step.kind == "advance"


@pytest.mark.parametrize(
    ("worse", "named"),
    [
        (gate(auroc=0.929), "AUROC"),
        (gate(loss=0.526), "loss on healthy"),
        (gate(rows=0, faults=0, auroc=0.0, problem="a loss is not finite"), "not finite"),
    ],
)
def test_a_candidate_that_is_worse_on_the_hold_outs_is_withdrawn_from_the_shadow(worse: GateReport, named: str) -> None:
    step = next_step(at("shadow", age_s=0.0), {name: replace(WAITING, gate=worse) for name in ORDER}, PACE)
    assert (step.kind, step.stage) == ("withdraw", "withdrawn")
    assert named in step.text


def test_another_network_is_judged_by_what_it_tells_apart_and_not_by_its_loss() -> None:
    lossy = {name: replace(WAITING, gate=gate(loss=5.0)) for name in ORDER}
    assert next_step(at("shadow", other_network=True), lossy, PACE).kind == "advance"
    assert next_step(at("shadow"), lossy, PACE).kind == "withdraw"
    blind = {name: replace(WAITING, gate=gate(loss=0.1, auroc=0.5)) for name in ORDER}
    assert next_step(at("shadow", other_network=True), blind, PACE).kind == "withdraw"


def test_what_is_within_the_allowance_passes() -> None:
    assert judge_gates({"a": gate(auroc=0.9301, loss=0.524)}, PACE)[0] == ""


def test_a_gateway_with_more_rows_weighs_more() -> None:
    gates = {"few": gate(rows=10, loss=1.0), "many": gate(rows=990)}
    why, means = judge_gates(gates, PACE)
    assert why == ""
    assert means["loss"] == pytest.approx(0.505)


def test_a_hold_out_of_an_earlier_candidate_is_not_counted() -> None:
    old = GateReport.model_validate({**gate(auroc=0.1).model_dump(), "version": 17})
    assert next_step(at("canary"), site(1, gw_3=replace(WAITING, gate=old)), PACE).kind == "advance"


@pytest.mark.parametrize("stage", ["canary", "staged", "everywhere"])
def test_a_release_whose_healthy_captures_exceed_too_often_is_withdrawn_at_any_stage(stage: Stage) -> None:
    loud = replace(RUNNING, shadow=watched(exceeding=12, before=1))
    step = next_step(at(stage, share=0.25, age_s=10.0), site(1, gw_0=loud), PACE)
    assert step.kind == "withdraw"
    assert "12 of 100 healthy captures exceed" in step.text
    assert step.evidence["exceeding"] == 12.0


def test_a_machine_that_fails_meanwhile_counts_for_both_releases_and_withdraws_none() -> None:
    failing = replace(RUNNING, shadow=watched(exceeding=60, before=58))
    assert next_step(at("canary"), site(1, gw_0=failing), PACE).kind == "advance"


def test_a_few_exceedings_more_than_doubled_are_chance() -> None:
    assert judge_shadows(VERSION, {"a": tried(windows=200, exceeding=5, before=1)})[0] == ""


def test_a_rate_below_the_stated_one_may_double() -> None:
    assert judge_shadows(VERSION, {"a": tried(windows=10_000, exceeding=150, before=30)})[0] == ""


def test_one_capture_that_cannot_be_scored_is_enough() -> None:
    assert "could not be scored" in judge_shadows(VERSION, {"a": tried(errors=1)})[0]


@pytest.mark.parametrize(("exceeding", "windows", "rate"), [(3, 100, 0.01), (12, 100, 0.01), (40, 1000, 0.02)])
def test_chance_is_never_called_smaller_than_it_is(exceeding: int, windows: int, rate: float) -> None:
    from scipy.stats import binom

    exact = float(binom.sf(exceeding - 1, windows, rate))
    assert exact <= chance_of(exceeding, windows, rate) <= 40 * exact


def test_a_refusal_withdraws_when_it_is_the_releases_fault_and_only_then() -> None:
    refused = site(1, gw_0=replace(WAITING, refused="release 18 refused (bad_golden): scores differ"))
    assert next_step(at("canary"), refused, PACE).kind == "withdraw"
    excused = site(2, gw_1=replace(WAITING, excused="release 18 refused (disk): full"))
    assert next_step(at("staged", share=0.25), excused, PACE).kind == "advance"


def test_an_agent_that_starts_again_and_again_withdraws() -> None:
    assert next_step(at("canary"), site(1, gw_0=replace(RUNNING, starts=4)), PACE).kind == "withdraw"
    assert next_step(at("canary"), site(1, gw_0=replace(RUNNING, starts=3)), PACE).kind == "advance"


def test_a_paused_release_stays_but_is_still_withdrawn_when_it_does_harm() -> None:
    assert next_step(at("canary", paused=True), site(1), PACE).text == "paused by a person"
    loud = site(1, gw_0=replace(RUNNING, shadow=watched(exceeding=50)))
    assert next_step(at("canary", paused=True), loud, PACE).kind == "withdraw"


def test_a_person_may_hurry_a_release_but_not_push_one_that_is_worse() -> None:
    step = next_step(at("shadow", age_s=1.0, promoted=True), site(), PACE)
    assert (step.kind, step.stage, step.text) == ("advance", "canary", "promoted by a person")
    worse = {name: replace(WAITING, gate=gate(auroc=0.5)) for name in ORDER}
    assert next_step(at("shadow", age_s=1.0, promoted=True), worse, PACE).kind == "withdraw"


def one_gateway(seen: Seen) -> Mapping[str, Seen]:
    return {"gw-0": seen}


def test_with_one_gateway_the_shadow_is_followed_by_everywhere_and_that_is_said() -> None:
    step = next_step(at("shadow", order=("gw-0",)), one_gateway(WAITING), PACE)
    assert step.stage == "everywhere"
    assert "nobody can go first" in step.text


def test_with_two_gateways_one_goes_first_and_then_both() -> None:
    order = ("gw-0", "gw-1")
    two = {"gw-0": WAITING, "gw-1": WAITING}
    assert next_step(at("shadow", order=order), two, PACE).stage == "canary"
    step = next_step(at("canary", order=order), {**two, "gw-0": RUNNING}, PACE)
    assert step.stage == "everywhere"
    assert "too few" in step.text


def test_half_of_the_gateways_at_most_are_canaries() -> None:
    assert canaries_of(ORDER, 100) == ORDER[:4]
    assert canaries_of(ORDER[:1], 100) == ORDER[:1]


def test_who_is_there_goes_before_who_is_away_and_the_order_stays() -> None:
    seen = {"a": replace(WAITING, online=False), "b": WAITING, "c": WAITING}
    assert in_order((), seen) == ("b", "c", "a")
    assert in_order(("b", "c", "a"), {**seen, "d": WAITING}) == ("b", "c", "a", "d")


def test_after_it_is_everywhere_it_is_watched_for_a_while() -> None:
    loud = site(8, gw_0=replace(RUNNING, shadow=watched(exceeding=50)))
    assert next_step(at("everywhere", age_s=99.0), loud, PACE).kind == "withdraw"
    assert next_step(at("everywhere", age_s=101.0), loud, PACE).kind == "hold"
