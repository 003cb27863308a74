"""Nameplates that the site sends: the newest counts, the settings file stays the default, nothing learnt is lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway_agent.settings import GatewaySettings, StoreSettings
from gateway_agent.site_plates import KEY, PlatesRefused, SitePlates, settings_hash
from gateway_agent.store import Store
from schemas.nameplate import BearingPlate, Nameplate
from schemas.plate_table import PlateTable, ToldPlate
from tests.support.captures import POINT, gateway_settings, healthy, judge_with, taken

OWN = Nameplate(machine="pump-07", rpm=1797.0, power_kw=30.0, kind="pump", bearing=BearingPlate(name="6205"))
NO_SPEED = float("nan")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(StoreSettings(folder=tmp_path))
    yield opened
    opened.close()


def settings() -> GatewaySettings:
    return gateway_settings(machines=[OWN])


def table(revision: int, *told: ToldPlate, gateway: str = "gw-1") -> PlateTable:
    return PlateTable(gateway=gateway, revision=revision, at_us=1, machines=told)


def in_force(plates: SitePlates) -> dict[str, Nameplate]:
    return {plate.machine: plate for plate in plates.over(settings()).machines}


def refusal(plates: SitePlates, one: PlateTable) -> str:
    with pytest.raises(PlatesRefused) as caught:
        plates.take(one, settings(), ())
    return caught.value.reason


def test_what_the_table_says_counts_and_what_it_leaves_open_stays_as_in_the_settings(store: Store) -> None:
    plates = SitePlates.open(store, "gw-1")
    assert plates.take(table(1, ToldPlate(machine="pump-07", rpm=2980.0, foundation="rigid")), settings(), ())
    plate = in_force(plates)["pump-07"]
    assert (plate.rpm, plate.foundation, plate.power_kw, plate.kind) == (2980.0, "rigid", 30.0, "pump")
    assert plate.bearing == OWN.bearing


def test_a_machine_the_table_no_longer_names_goes_back_to_the_settings(store: Store) -> None:
    plates = SitePlates.open(store, "gw-1")
    plates.take(table(1, ToldPlate(machine="pump-07", rpm=2980.0)), settings(), ())
    plates.take(table(2), settings(), ())
    assert in_force(plates)["pump-07"] == OWN


def test_an_older_table_sent_again_is_refused_even_after_a_restart(store: Store) -> None:
    plates = SitePlates.open(store, "gw-1")
    old = table(1, ToldPlate(machine="pump-07", rpm=600.0))
    plates.take(old, settings(), ())
    plates.take(table(2, ToldPlate(machine="pump-07", rpm=2980.0)), settings(), ())
    assert refusal(plates, old) == "older_revision"
    again = SitePlates.open(store, "gw-1")
    assert again.revision == 2
    assert refusal(again, old) == "older_revision"
    assert in_force(again)["pump-07"].rpm == 2980.0


def test_the_table_in_force_sent_again_changes_nothing_and_another_under_its_number_is_refused(store: Store) -> None:
    plates = SitePlates.open(store, "gw-1")
    one = table(1, ToldPlate(machine="pump-07", rpm=2980.0))
    assert plates.take(one, settings(), ())
    assert not plates.take(one, settings(), ())
    assert refusal(plates, table(1, ToldPlate(machine="pump-07", rpm=600.0))) == "other_content"


def test_a_table_for_another_gateway_is_refused(store: Store) -> None:
    assert refusal(SitePlates.open(store, "gw-1"), table(1, gateway="gw-2")) == "wrong_gateway"


def test_one_bearing_nobody_knows_refuses_the_whole_table_and_says_so_until_a_good_one_comes(store: Store) -> None:
    plates = SitePlates.open(store, "gw-1")
    plates.take(table(1, ToldPlate(machine="pump-07", rpm=2980.0)), settings(), ())
    bad = ToldPlate(machine="pump-07", rpm=600.0, bearing=BearingPlate(name="none such"))
    assert refusal(plates, table(2, bad)) == "bad_bearing"
    assert (plates.revision, in_force(plates)["pump-07"].rpm) == (1, 2980.0)
    assert "revision 2 refused: bearing of machine pump-07" in plates.problem
    plates.take(table(3, ToldPlate(machine="pump-07", rpm=1500.0)), settings(), ())
    assert (plates.problem, plates.revision) == ("", 3)


def test_a_bad_bearing_of_a_machine_that_is_not_here_is_nobodys_concern(store: Store) -> None:
    plates = SitePlates.open(store, "gw-1")
    foreign = ToldPlate(machine="mill-01", bearing=BearingPlate(name="none such"))
    assert plates.take(table(1, foreign, ToldPlate(machine="pump-07", rpm=2980.0)), settings(), ())
    assert in_force(plates)["pump-07"].rpm == 2980.0


def test_what_was_kept_and_cannot_be_read_is_asked_for_again(store: Store) -> None:
    store.remember(KEY, "{")
    plates = SitePlates.open(store, "gw-1")
    assert (plates.revision, in_force(plates)["pump-07"]) == (0, OWN)
    assert "cannot be read" in plates.problem


@pytest.mark.parametrize("wrong", [{"rpm": 0.0}, {"rpm": 1e9}, {"power_kw": float("inf")}, {"gear_teeth": 2},
                                   {"rpm_range": (3000.0, 1500.0)}, {"machine": "Pump 7"}])  # fmt: skip
def test_values_no_machine_has_are_no_nameplate(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ToldPlate.model_validate({"machine": "pump-07"} | wrong)


def test_settings_that_gateways_share_have_one_hash_and_what_is_their_own_does_not_count() -> None:
    one = settings()
    assert settings_hash(one) == settings_hash(one.model_copy(update={"gateway": "gw-2", "machines": ()}))
    alarm = one.alarm.model_copy(update={"on_count": 2})
    assert settings_hash(one) != settings_hash(one.model_copy(update={"alarm": alarm}))


def commissioned(*, rpm: float = NO_SPEED):  # type: ignore[no-untyped-def]
    judge = judge_with(gateway_settings(captures=8, machines=[OWN]))
    judge.process([taken(replace(healthy(n), rpm=rpm)) for n in range(8)], now_us=1)
    assert judge.monitors[POINT].ready
    return judge


def use(judge, **changes: object) -> list[str]:  # type: ignore[no-untyped-def]
    plate = OWN.model_copy(update=changes)
    told = judge.use_settings(gateway_settings(captures=8, machines=[plate]), at_us=5)
    return [record.text for record in told.get(POINT, [])]


def test_another_speed_draws_the_healthy_pictures_anew_and_leaves_the_limits_alone() -> None:
    judge = commissioned()
    monitor = judge.monitors[POINT]
    limits = [state.limit for state in monitor.healthy.states.states]
    (text,) = use(judge, rpm=2980.0)
    assert "rpm 1797 → 2980" in text
    assert "drawn anew from 8 healthy captures" in text
    assert [state.limit for state in monitor.healthy.states.states] == limits
    assert (monitor.ready, monitor.healthy.pictures().count) == (True, 0)
    judge.process([taken(replace(healthy(n), rpm=NO_SPEED)) for n in range(8, 24)], now_us=6)
    assert monitor.healthy.pictures().count == 8
    assert not monitor.healthy.wants_pictures


def test_another_bearing_or_power_counts_at_once_and_nothing_is_drawn_anew() -> None:
    judge = commissioned()
    monitor = judge.monitors[POINT]
    (text,) = use(judge, power_kw=55.0, bearing=BearingPlate(name="6203"))
    assert "power_kw 30 → 55" in text
    assert "anew" not in text
    assert monitor.healthy.pictures().count == 8
    assert monitor.orders is not None
    assert monitor.orders.bpfo == pytest.approx(3.053, abs=0.01)


def test_a_nameplate_that_says_the_same_tells_nobody_anything() -> None:
    assert use(commissioned()) == []


def test_a_speed_that_the_sensor_tells_itself_makes_the_nameplates_no_matter() -> None:
    judge = commissioned(rpm=1797.0)
    (text,) = use(judge, rpm=2980.0)
    assert "anew" not in text
    (text,) = use(judge, rpm=2980.0, gear_teeth=31)
    assert "anew" in text


def test_pictures_half_drawn_anew_go_on_after_a_restart_and_a_change_meanwhile_is_noticed() -> None:
    judge = commissioned()
    use(judge, rpm=2980.0)
    judge.process([taken(replace(healthy(n), rpm=NO_SPEED)) for n in range(8, 11)], now_us=6)
    assert judge.monitors[POINT].healthy.pictures().count == 3
    state = judge.monitors[POINT].dump()

    def restarted(rpm: float):  # type: ignore[no-untyped-def]
        plate = OWN.model_copy(update={"rpm": rpm})
        again = judge_with(gateway_settings(captures=8, machines=[plate]))
        again.monitor(POINT).restore(state)
        return again.monitors[POINT].healthy

    same, other = restarted(2980.0), restarted(1200.0)
    assert (same.pictures().count, other.pictures().count) == (3, 0)
    assert np.isfinite(same.pictures().mean).any()
