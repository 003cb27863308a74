"""Who is asked: those that can and have contributed, and no machine type is left out for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.learning.selection import (
    MEMORY_ROUNDS,
    Standing,
    after_round,
    choose,
    contributions,
    fair_places,
    fitness,
    most_rounds_left_out,
)
from schemas.member_condition import MemberCondition

KINDS = ("pump", "fan", "general", "reciprocating", "gearbox", "press", "mill")


def fleet(count: int, kinds: int) -> dict[str, Standing]:
    return {f"gw-{number:03d}": Standing(KINDS[number % kinds]) for number in range(count)}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32), kinds=st.integers(1, 7), places=st.integers(3, 20), rare=st.booleans(),
    leaving=st.floats(0, 0.5),
)  # fmt: skip
def test_no_machine_type_is_left_out_longer_than_the_stated_bound(
    seed: int, kinds: int, places: int, rare: bool, leaving: float
) -> None:
    """Whatever members contribute, and whoever comes and goes, as long as the type has a member that is there."""
    draw = np.random.default_rng(seed)
    standings = fleet(60, kinds)
    if rare:  # one member of its type among sixty, and the most useless of all
        standings["gw-999"] = Standing("rare")
    types = {one.machine_type for one in standings.values()}
    bound = most_rounds_left_out(len(types), places)
    left_out = dict.fromkeys(types, 0)
    stays = {kind: min(member for member, one in standings.items() if one.machine_type == kind) for kind in types}
    for number in range(60):
        there = {
            member: one
            for member, one in standings.items()
            if member == stays[one.machine_type] or draw.random() >= leaving
        }
        choice = choose(there, places, seed=seed + number)
        assert len(choice.members) == min(places, len(there))
        asked = {there[member].machine_type for member in choice.members}
        left_out = {kind: 0 if kind in asked else rounds + 1 for kind, rounds in left_out.items()}
        assert max(left_out.values()) <= bound, (number, left_out)
        marks = {member: -1.0 if member == "gw-999" else draw.random() for member in choice.members}
        standings |= after_round(there, choice.members, marks)


def test_most_places_go_to_members_whose_updates_went_the_merged_way() -> None:
    """Ten of forty always point the merged way, thirty anywhere: asked at random they would get a quarter."""
    standings, useful = fleet(40, 2), {f"gw-{number:03d}" for number in range(10)}
    draw, places, asked = np.random.default_rng(5), 10, 0
    for number in range(80):
        choice = choose(standings, places, seed=number)
        asked += len(useful & set(choice.members)) if number >= 40 else 0
        marks = {member: 0.9 if member in useful else draw.uniform(-0.3, 0.3) for member in choice.members}
        standings = after_round(standings, choice.members, marks)
    assert asked / (40 * places) > 0.6


def test_the_same_state_and_seed_choose_the_same_members_whatever_the_order() -> None:
    standings = fleet(50, 3)
    turned = dict(reversed(standings.items()))
    assert choose(standings, 12, seed=4) == choose(turned, 12, seed=4)
    assert choose(standings, 12, seed=4).members != choose(standings, 12, seed=5).members


@pytest.mark.parametrize(
    "condition",
    [MemberCondition(on_mains=0.0, battery_share=0.2), MemberCondition(rows=0.0)],
    ids=["nearly empty battery", "nothing to learn from"],
)
def test_a_member_that_cannot_is_not_asked_and_the_reason_is_told(condition: MemberCondition) -> None:
    standings = {**fleet(6, 1), "gw-weak": Standing("pump", condition=condition)}
    choice = choose(standings, 7, seed=1)
    assert choice.why["gw-weak"] == "cannot"
    assert len(choice.members) == 6


WORSE = {
    "on battery": MemberCondition(on_mains=0.0, battery_share=0.5),
    "link that comes and goes": MemberCondition(link_share=0.5),
    "busy": MemberCondition(cpu_load=1.0),
    "data of last month": MemberCondition(newest_row_age_s=30 * 86400.0),
}


@pytest.mark.parametrize("what", WORSE)
def test_power_link_load_and_fresh_data_each_make_a_member_likelier_to_be_asked(what: str) -> None:
    assert fitness(WORSE[what]) < fitness(MemberCondition()) == 1.0


def test_who_does_not_answer_loses_to_all_that_do() -> None:
    standings = fleet(4, 1)
    after = after_round(standings, list(standings)[:3], {"gw-000": 0.1, "gw-001": 0.2})
    assert (after["gw-002"].wins, after["gw-002"].losses) == (0.0, 1.0)
    assert (after["gw-001"].wins, after["gw-000"].wins) == (1.0, 0.5)
    assert after["gw-003"] == standings["gw-003"]


def test_what_is_remembered_of_a_member_is_bounded_and_fades() -> None:
    standings = fleet(2, 1)
    for _ in range(500):
        standings = after_round(standings, list(standings), {"gw-000": 1.0, "gw-001": 0.0})
    assert standings["gw-000"].wins <= MEMORY_ROUNDS + 1e-9
    for _ in range(40):
        standings = after_round(standings, list(standings), {"gw-000": 0.0, "gw-001": 1.0})
    assert standings["gw-000"].losses > standings["gw-000"].wins


def test_contribution_is_the_cosine_with_the_merged_update() -> None:
    merged = np.array([1.0, 0.0], np.float32)
    ways = {"same": [2.0, 0.0], "across": [0.0, 3.0], "against": [-1.0, 0.0], "nothing": [0.0, 0.0]}
    found = contributions([(name, np.array(way, np.float32)) for name, way in ways.items()], merged)
    assert found == {"same": 1.0, "across": 0.0, "against": -1.0, "nothing": 0.0}
    assert set(contributions([("one", np.ones(2))], np.zeros(2)).values()) == {0.0}


@pytest.mark.parametrize(("places", "fair"), [(3, 1), (4, 1), (5, 2), (20, 5)])
def test_a_quarter_of_the_places_is_kept_for_types_that_have_waited(places: int, fair: int) -> None:
    assert fair_places(places) == fair
