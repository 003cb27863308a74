"""Every setting of a gateway is either taken over by a reload, or has a word on why not."""

import pytest

from gateway_agent.judge import Judge
from gateway_agent.reload import NEEDS_RESTART, RELOADABLE
from gateway_agent.settings import GatewaySettings
from schemas.errors import SettingsError
from schemas.nameplate import BearingPlate, Nameplate
from tests.support.captures import POINT, gateway_settings, healthy, taken


def test_every_setting_is_reloadable_or_says_why_not() -> None:
    groups = {name.partition(".")[0] for name in (*RELOADABLE, *NEEDS_RESTART)}
    assert groups == set(GatewaySettings.model_fields)


def test_every_name_in_the_tables_is_a_setting() -> None:
    for name in (*RELOADABLE, *NEEDS_RESTART):
        group, _, rest = name.partition(".")
        field = GatewaySettings.model_fields[group]
        assert not rest or rest in field.default.model_fields_set | set(type(field.default).model_fields)


def test_changed_nameplates_and_alarms_hold_for_points_that_are_there_and_what_they_have_learnt_stays() -> None:
    settings = gateway_settings()
    judge = Judge(settings, known=lambda _: set())
    judge.process([taken(healthy(n)) for n in range(6)], now_us=1)
    monitor, learnt = judge.monitors[POINT], judge.monitors[POINT].healthy.count
    plate = Nameplate(machine="pump-07", rpm=1200.0, bearing=BearingPlate(name="6205"))
    judge.use_settings(
        settings.model_copy(
            update={"machines": (plate,), "alarm": settings.alarm.model_copy(update={"on_count": 2, "of_count": 3})}
        )
    )
    assert judge.monitors[POINT] is monitor
    assert (monitor.plate, monitor.alarm.settings.on_count, monitor.healthy.count) == (plate, 2, learnt)
    assert monitor.orders is not None
    judge.process([taken(healthy(n)) for n in range(6, 9)], now_us=2)


def test_a_bearing_that_is_not_known_changes_nothing() -> None:
    settings = gateway_settings()
    judge = Judge(settings, known=lambda _: set())
    judge.process([taken(healthy(0))], now_us=1)
    before = judge.monitors[POINT].plate
    plate = Nameplate(machine="pump-07", bearing=BearingPlate(name="none such"))
    with pytest.raises(SettingsError, match="pump-07"):
        judge.use_settings(settings.model_copy(update={"machines": (plate,)}))
    assert judge.monitors[POINT].plate == before
