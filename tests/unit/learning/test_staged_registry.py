"""What the registry says of a release on its way, and what a person's word does to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current, writing
from aggregator.desk_answers import Decision, RequestRefused
from aggregator.desk_rollout import handlers
from aggregator.foundry.artefacts import BUILT
from aggregator.registry import IMPORTED, KEPT_RELEASES, Registry
from aggregator.release_making import first_release
from schemas.database import sqlite_url
from schemas.errors import ReleaseRejected
from schemas.release import PARAMETERS, Release
from schemas.requests import Action, Request
from schemas.site_tables import release, release_event
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser")])
FIRST = builtin(PEOPLE["product"])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    registry = Registry(engine, PEOPLE["site-a"], lambda: CREATED_AT_US, staged=True)
    registry.start_with(FIRST)
    return registry


def learn(registry: Registry, engine: Engine, factor: float) -> Release:
    with writing(engine) as connection:
        return registry.publish(
            connection, FIRST.parameters() * np.float32(factor), level="site", data={}, metrics={}, merge={}
        )


def states(engine: Engine) -> dict[int, tuple[str, str | None]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(release.c.release_version, release.c.state, release.c.stage))
        return {row.release_version: (row.state, row.stage) for row in rows}


def everywhere(registry: Registry, version: int) -> None:
    registry.set_out(version, ["gw-1", "gw-2"])
    registry.enter(version, "everywhere", 0.0, "good", {}, actor="rollout")


def test_what_is_learnt_is_a_candidate_and_learning_goes_on_from_it(registry: Registry, engine: Engine) -> None:
    made = learn(registry, engine, 1.1)
    assert states(engine) == {1: ("current", "everywhere"), 2: ("candidate", None)}
    assert registry.current().digest == made.digest


def test_one_sets_out_and_those_before_it_are_passed_over(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    learn(registry, engine, 1.2)
    registry.set_out(3, ["gw-1"])
    assert states(engine)[2] == ("passed_over", None)
    assert states(engine)[3] == ("candidate", "shadow")
    assert registry.standings()[-1].order == ("gw-1",)


def test_what_is_everywhere_is_current_and_the_one_before_is_superseded(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    everywhere(registry, 2)
    assert states(engine) == {1: ("superseded", "everywhere"), 2: ("current", "everywhere")}


def test_taking_back_twice_goes_back_by_two(registry: Registry, engine: Engine) -> None:
    for version, factor in ((2, 1.1), (3, 1.2)):
        learn(registry, engine, factor)
        everywhere(registry, version)
    assert registry.withdraw(3, "worse", {}, actor="anna") is not None
    assert registry.current().manifest.merge["to"] == 2
    assert registry.withdraw(4, "worse as well", {}, actor="anna") is not None
    assert registry.current().manifest.merge["to"] == 1
    assert registry.withdraw(5, "and that", {}, actor="anna") is None, "nothing is before it"


def brought_in(registry: Registry, engine: Engine) -> int:
    other = first_release(BUILT / "conv_autoencoder_48", PEOPLE["product"], created_at_us=CREATED_AT_US)
    with writing(engine) as connection:
        return registry.publish_foreign(
            connection, other, level="site", merge={"rule": IMPORTED}, actor="anna"
        ).version  # fmt: skip


def test_what_was_brought_in_meanwhile_waits_on_when_a_candidate_is_withdrawn(
    registry: Registry, engine: Engine
) -> None:
    learn(registry, engine, 1.1)
    learn(registry, engine, 1.2)
    registry.set_out(2, ["gw-1", "gw-2"])
    version = brought_in(registry, engine)
    assert registry.withdraw(2, "worse", {}, actor="rollout") is None
    assert states(engine) == {
        1: ("current", "everywhere"), 2: ("withdrawn", "withdrawn"), 3: ("withdrawn", None), 4: ("candidate", None),
    }  # fmt: skip
    assert registry.current().version == version


def test_what_was_brought_in_meanwhile_says_so_when_a_roll_back_must_go_above_it(
    registry: Registry, engine: Engine
) -> None:
    learn(registry, engine, 1.1)
    registry.set_out(2, ["gw-1", "gw-2"])
    registry.enter(2, "canary", 0.0, "good so far", {}, actor="rollout")
    version = brought_in(registry, engine)
    back = registry.withdraw(2, "worse", {}, actor="rollout")
    assert back is not None
    assert back.version == version + 1
    assert states(engine)[version] == ("withdrawn", None)
    with engine.connect() as connection:
        text = connection.execute(sa.select(release.c.stage_text).where(release.c.release_version == version)).scalar()
    assert text == "release 4 had to go above it; bring it in again"


def test_what_was_learnt_on_a_release_that_was_taken_back_meanwhile_is_not_released(
    registry: Registry, engine: Engine
) -> None:
    learn(registry, engine, 1.1)
    everywhere(registry, 2)
    registry.withdraw(2, "worse", {}, actor="anna")
    with writing(engine) as connection, pytest.raises(ReleaseRejected, match="release 3 has replaced 2 since"):
        registry.publish(
            connection, FIRST.parameters(), level="site", data={}, metrics={}, merge={}, learnt_on=2
        )  # fmt: skip


def test_a_candidate_withdrawn_from_the_shadow_leaves_everything_as_it_was(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    registry.set_out(2, ["gw-1"])
    assert registry.withdraw(2, "worse", {}, actor="rollout") is None
    assert states(engine) == {1: ("current", "everywhere"), 2: ("withdrawn", "withdrawn")}
    assert registry.current().digest == FIRST.digest


def test_a_release_withdrawn_from_a_canary_is_replaced_by_the_good_one_under_a_higher_version(
    registry: Registry, engine: Engine
) -> None:
    learn(registry, engine, 1.1)
    everywhere(registry, 2)
    learn(registry, engine, 1.2)
    registry.set_out(3, ["gw-1"])
    registry.enter(3, "canary", 0.0, "tried", {}, actor="rollout")
    learn(registry, engine, 1.3)
    back = registry.withdraw(3, "cries wolf", {"exceeding": 9.0}, actor="rollout", above_version=6)
    assert back is not None
    assert back.version == 7
    assert back.files[PARAMETERS] == registry.release(2).files[PARAMETERS]  # type: ignore[union-attr]
    assert back.manifest.merge == {"rule": "rolled_back", "to": 2, "from": 3, "reason": "cries wolf"}
    assert states(engine)[4] == ("withdrawn", None)  # learnt on what was withdrawn
    assert registry.current().digest == back.digest
    assert registry.standings()[-1].brings_back


def test_the_first_release_cannot_be_withdrawn(registry: Registry, engine: Engine) -> None:
    assert registry.withdraw(1, "for no reason", {}, actor="rollout") is None
    assert states(engine) == {1: ("current", "everywhere")}


def test_what_is_in_use_or_on_its_way_is_kept_however_much_is_learnt(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    registry.set_out(2, ["gw-1"])
    for _ in range(KEPT_RELEASES + 2):
        learn(registry, engine, 1.2)
    assert {1, 2} <= set(states(engine))
    assert len(states(engine)) <= KEPT_RELEASES + 2


def ask(
    engine: Engine, action: Action, *, note: str = "", by: str = "anna", people: int = 1, after_s: float = 0.0,
    **values: Any,
) -> Decision:  # fmt: skip
    asked = Request(
        request_id="0" * 32, action=action, actor=by, role="engineer", note=note, values=values,
        asked_at_us=CREATED_AT_US,
    )  # fmt: skip
    with writing(engine) as connection:
        return handlers(lambda: people)[action](connection, asked, CREATED_AT_US + round(after_s * 1e6))


def test_a_person_pauses_and_resumes_the_release_on_its_way(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    registry.set_out(2, ["gw-1"])
    learn(registry, engine, 1.2)
    assert ask(engine, "pause_rollout").answer == "rollout of release 2 paused"
    assert [one.paused for one in registry.standings()] == [False, True, False]
    ask(engine, "resume_rollout", release_version=2)
    assert not any(one.paused for one in registry.standings())


def test_a_promotion_waits_in_the_row_until_it_is_carried_out(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    registry.set_out(2, ["gw-1"])
    ask(engine, "promote_release")
    assert registry.standings()[-1].asked == {"action": "promote_release", "actor": "anna", "note": ""}
    registry.enter(2, "canary", 0.0, "promoted by a person", {}, actor="anna")
    assert registry.standings()[-1].asked is None


def test_a_release_is_taken_back_only_with_a_reason(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    everywhere(registry, 2)
    with pytest.raises(RequestRefused, match="why"):
        ask(engine, "roll_back_release", note=" ")
    ask(engine, "roll_back_release", note="pump-07 went quiet")
    with engine.connect() as connection:
        last = connection.execute(sa.select(release_event).order_by(release_event.c.event_id.desc())).first()
    assert last is not None
    assert (last.actor, last.text) == ("anna", "roll-back asked for: pump-07 went quiet")


def wanted(registry: Registry) -> str | None:
    return (registry.standings()[-1].asked or {}).get("actor")


def test_where_two_people_must_ask_the_first_stops_a_release_and_the_second_takes_it_back(
    registry: Registry, engine: Engine
) -> None:
    learn(registry, engine, 1.1)
    registry.set_out(2, ["gw-1", "gw-2"])
    first = ask(engine, "roll_back_release", note="pump-07 went quiet", people=2)
    assert first.answer == (
        "release 2 is taken back once a second person asks for it within 60 minutes; it goes no further until then"
    )
    assert registry.standings()[-1].paused
    ask(engine, "roll_back_release", note="it really did", people=2, after_s=60.0)
    assert wanted(registry) is None, "the same person is not two"
    ask(engine, "roll_back_release", note="mine, too", by="ben", people=2, after_s=3000.0)
    assert wanted(registry) == "ben"


def test_a_second_person_who_comes_after_an_hour_is_the_first_again(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    everywhere(registry, 2)
    ask(engine, "roll_back_release", note="pump-07 went quiet", people=2)
    late = ask(engine, "roll_back_release", note="mine, too", by="ben", people=2, after_s=3700.0)
    assert late.answer == "release 2 is taken back once a second person asks for it within 60 minutes"
    assert wanted(registry) is None
    ask(engine, "roll_back_release", note="and mine", people=2, after_s=3800.0)
    assert wanted(registry) == "anna"


def test_two_people_who_mean_two_releases_take_none_back(registry: Registry, engine: Engine) -> None:
    for version, factor in ((2, 1.1), (3, 1.2)):
        learn(registry, engine, factor)
        everywhere(registry, version)
    learn(registry, engine, 1.3)
    registry.set_out(4, ["gw-1", "gw-2"])
    ask(engine, "roll_back_release", note="pump-07 went quiet", people=2, release_version=3)
    ask(engine, "roll_back_release", note="the kiln cries wolf", by="ben", people=2, release_version=4)
    assert [one.asked for one in registry.standings()] == [None, None]


@pytest.mark.parametrize(
    ("action", "values", "why"),
    [
        ("roll_back_release", {}, "nothing to go back to"),
        ("promote_release", {}, "not on its way"),
        ("pause_rollout", {"release_version": 9}, "there is no release 9"),
        ("pause_rollout", {"release_version": "two"}, "the number of a release"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    registry: Registry, engine: Engine, action: Action, values: dict[str, Any], why: str
) -> None:
    with pytest.raises(RequestRefused, match=why):
        ask(engine, action, note="because", **values)
