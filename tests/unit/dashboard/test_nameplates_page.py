"""What the settings page says of uploaded nameplates, what undoing gives back, and reasons in German."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from dashboard.pages.settings_tables import sending_words
from dashboard.queries.assets import PlateSending, read_assets_as_of, read_plate_sendings
from schemas.site_tables import gateway, machine_case, plate_sending, table_version
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.site_database import NOW_US
from tests.support.work_plant import build_work_database


def settings_script() -> None:
    from dashboard.pages.settings import show_settings

    show_settings()


def alarms_script() -> None:
    from dashboard.pages.alarms import show_alarms

    show_alarms()


@pytest.fixture(scope="module")
def work_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nameplates") / "site.db"
    build_work_database(path, now_us=NOW_US, days=1.0).dispose()
    return path


@pytest.fixture
def engine(work_database: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    with copied_database(work_database, tmp_path) as opened:
        yield opened


def sending(**changes: Any) -> PlateSending:
    known = {"gateway": "gw-1", "online": True, "machines": 2, "revision": 3, "asset_version": 7, "at_us": NOW_US,
             "in_force": 2, "takes": True, "problem": ""}  # fmt: skip
    return PlateSending(**(known | changes))


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (sending(in_force=3), "✓ in force"), (sending(), "on its way"),
        (sending(online=False), "waits until the gateway is back"),
        (sending(online=False, in_force=None), "waits until the gateway is back"),
        (sending(problem="revision 3 refused: bearing"), "✕ refused: revision 3 refused: bearing"),
        (sending(takes=False, in_force=None), "△ not taken: its software is older"),
    ],
)  # fmt: skip
def test_each_gateway_says_what_became_of_its_nameplates(one: PlateSending, said: str) -> None:
    assert sending_words(one).startswith(said)


def test_the_page_shows_them_by_gateway(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        name = connection.execute(sa.select(gateway.c.gateway).order_by(gateway.c.gateway).limit(1)).scalar_one()
        row = {"gateway": name, "revision": 3, "digest": "", "machines": 2, "asset_version": 7, "at_us": NOW_US}
        connection.execute(sa.insert(plate_sending).values(**row, in_force=3))
        connection.execute(sa.update(gateway).values(online=False))
        (found,) = read_plate_sendings(connection)
    assert (found.in_force, found.takes, found.online) == (3, True, False)
    page = run_page(settings_script, engine, tmp_path, part="assets")
    tables = [frame.value.to_dict("records") for frame in page.dataframe]
    assert [line["Nameplates"] for lines in tables for line in lines if "Nameplates" in line] == ["✓ in force"]
    assert "signed, also to those that are away" in words_of(page.caption)


def versions(engine: Engine, *tables: list[dict[str, Any]]) -> list[int]:
    with engine.begin() as connection:
        connection.execute(sa.delete(table_version))
        made = [
            connection.execute(
                sa.insert(table_version).values(kind="assets", at_us=NOW_US, actor="anna", note="", rows=rows)
            ).inserted_primary_key
            for rows in tables
        ]
    return [int(key[0]) for key in made if key]


def as_of(engine: Engine, version: int) -> dict[str, tuple[float | None, str]]:
    with engine.connect() as connection:
        return {row.machine: (row.power_kw, row.title) for row in read_assets_as_of(connection, version)}


def test_a_version_put_in_force_again_gives_back_what_all_tables_until_then_said_together(engine: Engine) -> None:
    pump, fan = {"machine": "pump-07", "power_kw": 30.0}, {"machine": "fan-03", "power_kw": 4.0, "title": "Fan"}
    first, second, third = versions(engine, [pump], [fan], [pump | {"power_kw": 99.0}, fan | {"power_kw": 98.0}])
    assert as_of(engine, second) == {"pump-07": (30.0, ""), "fan-03": (4.0, "Fan")}
    assert as_of(engine, third) == {"pump-07": (99.0, ""), "fan-03": (98.0, "Fan")}
    assert as_of(engine, first) == {"pump-07": (30.0, ""), "fan-03": (None, "Fan")}  # its own settings count again


def test_a_row_of_an_old_version_that_cannot_be_read_any_more_is_left_out(engine: Engine) -> None:
    (only,) = versions(engine, [{"machine": "pump-07", "colour": "red"}, {"machine": "fan-03"}])
    assert list(as_of(engine, only)) == ["fan-03"]


def test_a_gateways_reason_is_german_on_a_german_page_and_as_it_was_said_on_an_english_one(
    engine: Engine, tmp_path: Path
) -> None:
    reason = "Vibration pattern 4.2 times its healthy limit; zone D: 12.3 mm/s RMS, may cause damage"
    with engine.begin() as connection:
        connection.execute(sa.update(machine_case).where(machine_case.c.machine == "pump-07").values(title=reason))
    shown = {
        code: words_of(run_page(alarms_script, engine, tmp_path, language=code).markdown).replace("\\", "")
        for code in ("de", "en")
    }
    assert "Schwingungsmuster beim 4.2-fachen seines gesunden Grenzwerts; Zone D: 12.3 mm/s" in shown["de"]
    assert reason in shown["en"]
