"""How merged parameters become the next release, and which one is current."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current, writing
from aggregator.foundry.errors import ArtefactError
from aggregator.registry import KEPT_RELEASES, Registry
from aggregator.release_making import first_release
from gateway_agent.model_slot import ModelSlot
from schemas.database import sqlite_url
from schemas.errors import ReleaseRejected
from schemas.release import Release
from schemas.signing import Signer
from schemas.site_tables import release as release_table
from tests.support.learning import CREATED_AT_US, GRAPHS, builtin

PRODUCT, SITE = Signer.generate(), Signer.generate()
FIRST = builtin(PRODUCT)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    registry = Registry(engine, SITE, lambda: CREATED_AT_US)
    registry.start_with(FIRST)
    return registry


def publish(registry: Registry, engine: Engine, factor: float = 1.1, above_version: int = 0) -> Release:
    with writing(engine) as connection:
        return registry.publish(
            connection, FIRST.parameters() * np.float32(factor), level="site", data={"rows": 7},
            metrics={"loss_after": 0.5}, merge={"rule": "mean"}, above_version=above_version,
        )  # fmt: skip


def test_the_registry_starts_with_the_release_of_the_product_as_it_is(registry: Registry) -> None:
    assert registry.current().digest == FIRST.digest


def test_starting_again_keeps_what_is_current(registry: Registry, engine: Engine) -> None:
    made = publish(registry, engine)
    assert Registry(engine, SITE, lambda: CREATED_AT_US).start_with(FIRST).digest == made.digest


def test_the_next_release_is_one_higher_signed_by_the_site_and_loads_on_a_gateway(
    registry: Registry, engine: Engine
) -> None:
    made = publish(registry, engine)
    assert (made.version, made.manifest.base_version, made.signer) == (2, 1, SITE.key_id)
    assert registry.current().digest == made.digest
    slot = ModelSlot()
    slot.load(made)
    assert made.manifest.files["score.onnx"] == FIRST.manifest.files["score.onnx"]
    assert made.manifest.metrics == {"loss_after": 0.5}


def test_the_same_parameters_at_the_same_time_give_the_same_digest(registry: Registry, engine: Engine) -> None:
    first, second = publish(registry, engine), publish(registry, engine)
    assert first.manifest.files == second.manifest.files


def test_one_release_is_current_and_those_before_are_superseded(registry: Registry, engine: Engine) -> None:
    publish(registry, engine)
    publish(registry, engine)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(release_table.c.release_version, release_table.c.state)).all()
    assert [tuple(row) for row in rows] == [(1, "superseded"), (2, "superseded"), (3, "current")]


def test_a_site_that_lost_its_database_gets_above_its_gateways(registry: Registry, engine: Engine) -> None:
    assert publish(registry, engine, above_version=41).version == 42


def test_parameters_with_nan_make_no_release_and_change_nothing(registry: Registry, engine: Engine) -> None:
    with pytest.raises(ReleaseRejected) as caught:
        publish(registry, engine, factor=float("nan"))
    assert caught.value.reason == "not_finite"
    assert registry.current().digest == FIRST.digest


def test_a_failure_after_publishing_takes_the_release_back(registry: Registry, engine: Engine) -> None:
    def publish_and_fail() -> None:
        with writing(engine) as connection:
            registry.publish(connection, FIRST.parameters(), level="site", data={}, metrics={}, merge={})
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        publish_and_fail()
    assert registry.current().version == 1


def test_an_empty_registry_says_so(engine: Engine) -> None:
    with pytest.raises(ReleaseRejected, match="registry is empty"):
        Registry(engine, SITE, lambda: CREATED_AT_US).current()


def test_old_releases_are_given_up(registry: Registry, engine: Engine) -> None:
    made = publish(registry, engine, above_version=KEPT_RELEASES)
    assert made.version == KEPT_RELEASES + 1
    with engine.connect() as connection:
        assert connection.execute(sa.select(release_table.c.release_version)).scalars().all() == [made.version]


def test_a_first_release_needs_a_whole_folder_of_graphs(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        first_release(tmp_path, PRODUCT, created_at_us=1)


def test_a_first_release_takes_given_parameters() -> None:
    theta = FIRST.parameters() * np.float32(2)
    made = first_release(GRAPHS, PRODUCT, created_at_us=1, parameters=theta, version=5, data={"clients": 3})
    np.testing.assert_array_equal(made.parameters(), theta)
    assert (made.version, made.manifest.data) == (5, {"clients": 3})
