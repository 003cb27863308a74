"""What a site tells its enterprise of the fleet's release: by its own registry, through all that can happen to it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from sqlalchemy.engine import Engine

from aggregator.database import open_current, writing
from aggregator.learning.fates import Fates
from aggregator.registry import FLEET_VERSION, Registry
from aggregator.release_making import Level
from schemas.database import sqlite_url
from schemas.errors import MessageRejected
from schemas.flower_codec import take_identity
from schemas.release_fate import ReleaseFate
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser")])
FIRST = builtin(PEOPLE["product"])
FIGURES = {"auroc": 0.9, "auroc_in_use": 0.95}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fates") / "site.db"
    open_current(sqlite_url(path)).dispose()
    return path


@pytest.fixture
def engine(empty: Path, tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(Path(shutil.copy(empty, tmp_path))))
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    registry = Registry(engine, PEOPLE["site-a"], lambda: CREATED_AT_US, staged=True)
    registry.start_with(FIRST)
    return registry


def learn(registry: Registry, engine: Engine, factor: float, *, level: Level, fleet_version: int) -> int:
    with writing(engine) as connection:
        return registry.publish(
            connection, FIRST.parameters() * np.float32(factor), level=level, data={FLEET_VERSION: fleet_version},
            metrics={}, merge={},
        ).version  # fmt: skip


def told(engine: Engine) -> tuple[int, str, str, str] | None:
    fate = Fates(engine).untold()
    return None if fate is None else (fate.fleet_version, fate.state, fate.stage, fate.text)


def test_a_site_that_has_nothing_of_the_fleet_has_nothing_to_tell(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1, level="site", fleet_version=0)
    assert told(engine) is None


def test_stages_are_told_and_at_last_that_it_is_in_use(registry: Registry, engine: Engine) -> None:
    version = learn(registry, engine, 1.1, level="fleet", fleet_version=7)
    assert told(engine) == (7, "trying", "", "")
    registry.set_out(version, ["gw-1", "gw-2"])
    assert told(engine) == (7, "trying", "shadow", "learnt, and not tried yet")
    registry.enter(version, "canary", 0.0, "no worse", FIGURES, actor="rollout")
    fate = Fates(engine).untold()
    assert fate is not None
    assert fate.figures == FIGURES
    registry.enter(version, "everywhere", 0.0, "good", {}, actor="rollout")
    assert told(engine) == (7, "running", "everywhere", "good")


def test_what_it_waits_for_is_no_news(registry: Registry, engine: Engine) -> None:
    version = learn(registry, engine, 1.1, level="fleet", fleet_version=7)
    registry.set_out(version, ["gw-1"])
    fates = Fates(engine)
    before = fates.untold()
    assert before is not None
    registry.note(version, "3 of 200 captures", {"windows": 3.0})
    assert fates.untold() == before
    fates.heard(before.key)
    assert fates.untold() is None


def test_a_release_taken_back_is_told_with_its_reason_also_after_it_ran(registry: Registry, engine: Engine) -> None:
    version = learn(registry, engine, 1.1, level="fleet", fleet_version=7)
    registry.set_out(version, ["gw-1", "gw-2"])
    registry.enter(version, "canary", 0.0, "no worse", {}, actor="rollout")
    assert registry.withdraw(version, "gateway gw-1 refused it: unknown_role", {}, actor="rollout") is not None
    assert told(engine) == (7, "withdrawn", "withdrawn", "gateway gw-1 refused it: unknown_role")


def test_a_child_that_the_site_has_learnt_on_it_carries_it_into_use(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1, level="fleet", fleet_version=7)
    child = learn(registry, engine, 1.2, level="site", fleet_version=7)
    registry.set_out(child, ["gw-1"])
    assert told(engine) == (7, "trying", "shadow", "learnt, and not tried yet")
    registry.enter(child, "everywhere", 0.0, "good", {}, actor="rollout")
    assert told(engine) == (7, "running", "everywhere", "good")


def test_the_newest_of_the_fleet_counts(registry: Registry, engine: Engine) -> None:
    registry.withdraw(learn(registry, engine, 1.1, level="fleet", fleet_version=7), "worse", {}, actor="rollout")
    learn(registry, engine, 1.2, level="fleet", fleet_version=8)
    assert told(engine) == (8, "trying", "", "")


GOOD = {"fleet_version": 3, "state": "running", "stage": "everywhere", "text": "good"}
BAD: dict[str, tuple[dict[str, object], dict[str, float]]] = {
    "a version that is none": ({"fleet_version": 0}, {}),
    "a version in words": ({"fleet_version": "3"}, {}),
    "a state nobody knows": ({"state": "lost"}, {}),
    "a book for a reason": ({"text": "x" * 1001}, {}),
    "a long stage": ({"stage": "x" * 17}, {}),
    "figures that are none": ({}, {"auroc": float("nan")}),
    "too many figures": ({}, {f"f{number}": 1.0 for number in range(33)}),
}


def message(content: RecordDict) -> Message:
    take_identity(1)
    return Message(content, 1, "query.x", group_id="x")


def test_what_is_written_is_read() -> None:
    fate = ReleaseFate(3, "withdrawn", "withdrawn", "worse", FIGURES)
    assert ReleaseFate.read(message(fate.record())) == fate


@pytest.mark.parametrize("case", BAD)
def test_what_a_site_could_not_mean_is_refused(case: str) -> None:
    head, figures = BAD[case]
    content = RecordDict({"fate": ConfigRecord({**GOOD, **head}), "figures": MetricRecord(figures)})  # type: ignore[dict-item]
    with pytest.raises(MessageRejected) as caught:
        ReleaseFate.read(message(content))
    assert caught.value.reason == "bad_fate"
